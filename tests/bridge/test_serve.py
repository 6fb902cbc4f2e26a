"""`ferry-bridge serve` as a process: it starts, answers, ends in order, and refuses what is not safe."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.bridge.bridge_site import make_site
from tests.bridge.test_cli import assert_one_clear_line, ferry, write_site

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


@pytest.fixture
def site_file(tmp_path: Path, port: int) -> Path:
    path = write_site(make_site(tmp_path), tmp_path / "site.toml")
    path.write_text(path.read_text() + f"\n[http]\nport = {port}\n")
    return path


@pytest.fixture
def start(site_file: Path, tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(url: str, verify: object = True) -> subprocess.Popen[str]:
        with (tmp_path / "serve.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "server_bridge.cli", "serve", "--site", str(site_file)],
                stdout=log,
                stderr=log,
                text=True,
            )
        running.append(process)
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, (tmp_path / "serve.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "serve.log").read_text()
            try:
                assert requests.get(url + "/healthz", timeout=5, verify=verify).ok  # type: ignore[arg-type]
            except requests.ConnectionError:
                time.sleep(0.1)
            else:
                return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait(20)


def test_it_serves_until_term_and_ends_with_0_also_while_a_poll_waits(
    start: Start, port: int, site_file: Path, tmp_path: Path
) -> None:
    process = start(f"http://127.0.0.1:{port}")
    ready = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=30).json()
    assert ready["checks"]["database"] == "ok"
    second = ferry("serve", site=site_file)
    assert second.returncode == 1
    assert "The bridge runs already" in second.stderr
    assert "Traceback" not in second.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, (tmp_path / "serve.log").read_text()
    assert "Traceback" not in (tmp_path / "serve.log").read_text()


def test_a_killed_bridge_starts_again(start: Start, port: int) -> None:
    process = start(f"http://127.0.0.1:{port}")
    process.kill()
    process.wait(20)
    start(f"http://127.0.0.1:{port}")


def test_tls(start: Start, port: int, site_file: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "bridge.key", tmp_path / "bridge.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    key.chmod(0o600)
    with site_file.open("a") as stream:
        stream.write(f'host = "0.0.0.0"\ntls_certificate_file = "{certificate}"\ntls_key_file = "{key}"\n')
    process = start(f"https://127.0.0.1:{port}", verify=str(certificate))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_it_refuses_an_open_port_without_tls(site_file: Path) -> None:
    with site_file.open("a") as stream:
        stream.write('host = "0.0.0.0"\n')
    done = ferry("serve", site=site_file)
    assert (done.returncode, "in the clear" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_a_taken_port_and_a_missing_staging_folder_are_told(
    site_file: Path, port: int, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = ferry("serve", site=site_file)
        assert (done.returncode, f"127.0.0.1:{port}" in done.stderr, "Traceback" in done.stderr) == (
            1,
            True,
            False,
        )
    (tmp_path / "staging").rmdir()
    done = ferry("serve", site=site_file)
    assert (done.returncode, "The staging folder is not there" in done.stderr) == (1, True)


def test_a_state_folder_that_cannot_be_used(site_file: Path, tmp_path: Path) -> None:
    (tmp_path / "state").chmod(0o500)
    try:
        assert_one_clear_line(ferry("orders", site=site_file), "state folder")
    finally:
        (tmp_path / "state").chmod(0o700)
    assert os.access(tmp_path / "state", os.W_OK)
