"""The process itself: restarts, ports, addresses, imports at once, the other commands of ``omero``."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server_bridge.sandbox.server import SandboxError, check_host
from tests.bridge.conftest_sandbox import PASSWORDS, ROOT, RunningSandbox, StartSandbox
from tests.bridge.sandbox.conftest import Connect, gateway, rows, write_tiff
from tests.bridge.sandbox.test_import import ids


def test_a_restart_keeps_everything_but_the_sessions(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    running = start_sandbox(tmp_path / "data", tmp_path / "OMERO" / "ManagedRepository")
    path = write_tiff(tmp_path / "staging" / "a.tif")
    image = ids(running.omero("import", "--transfer=ln", path).out)[0]
    ports = (running.ssl_port, running.tcp_port)
    with gateway(running, "alice") as alice:
        identity = alice.getConfigService().getDatabaseUuid()
    assert running.stop() == 0
    assert not (running.data / "sandbox.json").exists()
    running.start()
    assert (running.ssl_port, running.tcp_port) == ports
    with gateway(running, "alice") as alice:
        assert alice.getConfigService().getDatabaseUuid() == identity
        assert alice.getObject("Image", image).getName() == "a.tif"
    running.kill()
    running.start()
    with gateway(running, "alice") as alice:
        assert alice.getObject("Image", image).getName() == "a.tif"
        assert rows(alice, "select count(d) from Dataset d where d.name = 'embryos'") == [[1]]


def test_an_empty_sandbox_has_people_and_no_projects(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    running = start_sandbox(tmp_path / "data", None, "--empty")
    with gateway(running, "ferry") as ferry:
        assert rows(ferry, "select count(p) from Project p") == [[0]]
        assert rows(ferry, "select count(e) from Experimenter e where e.omeName = 'alice'") == [[1]]


def test_it_says_what_it_is(sandbox: RunningSandbox, connect: Connect) -> None:
    assert "OMERO SANDBOX" in sandbox.log.read_text()
    assert json.loads((sandbox.data / "sandbox.json").read_text())["sandbox"] is True
    with connect("alice") as alice:
        assert alice.getConfigService().getConfigValue("omero.sandbox") == "true"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "omero.example.org"])
def test_it_listens_on_loopback_only(host: str, tmp_path: Path) -> None:
    with pytest.raises(SandboxError):
        check_host(host)
    command = [
        sys.executable,
        "-m",
        "server_bridge.sandbox",
        "--data",
        str(tmp_path / "data"),
        "--host",
        host,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "loopback" in done.stderr


def test_two_do_not_share_one_directory(sandbox: RunningSandbox) -> None:
    command = [sys.executable, "-m", "server_bridge.sandbox", "--data", str(sandbox.data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "another sandbox uses" in done.stderr
    assert (sandbox.data / "sandbox.json").exists()


def test_the_key_of_the_certificate_is_private(sandbox: RunningSandbox) -> None:
    assert stat.S_IMODE((sandbox.data / "tls.pem").stat().st_mode) == 0o600


def test_imported_directories_follow_the_umask(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        running = start_sandbox(tmp_path / "data")
    finally:
        os.umask(before)
    done = running.omero("import", "--transfer=ln", write_tiff(tmp_path / "staging" / "a.tif"))
    assert done.code == 0
    assert running.managed is not None
    modes = {stat.S_IMODE(path.stat().st_mode) for path in running.managed.glob("alice_*/*/*/*/")}
    assert modes == {0o775}


def test_several_imports_run_at_once(sandbox: RunningSandbox, source: Path) -> None:
    homes = [source / f"home-{place}" for place in range(4)]

    def one(home: Path) -> tuple[int, str]:
        home.mkdir()
        path = write_tiff(source / f"{home.name}.tif")
        login = ["-s", "localhost", "-p", str(sandbox.ssl_port), "-u", "bob", "-w", PASSWORDS["bob"], "-C"]
        done = subprocess.run(
            ["omero", "import", *login, "--transfer=ln", str(path)],
            env={**sandbox.env, "HOME": str(home), "OMERO_USERDIR": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, homes))
    assert [code for code, _ in results] == [0, 0, 0, 0]
    assert len({out for _, out in results}) == 4


def test_other_commands_of_omero_work(sandbox: RunningSandbox, source: Path) -> None:
    sandbox.omero("import", "--transfer=ln", write_tiff(source / "a.tif"))
    login = sandbox.omero("login")
    assert login.code == 0, login.err

    def omero(*arguments: str) -> str:
        done = sandbox.omero(*arguments, user=None)
        assert done.code == 0, (arguments, done.err)
        return done.out

    assert "Cytoskeleton" in omero("group", "list")
    assert "carol" in omero("user", "list")
    made = omero("obj", "new", "Dataset", "name=made by obj").strip()
    assert made.startswith("Dataset:")
    assert omero("obj", "get", made, "name").strip() == "made by obj"
    assert "made by obj" in omero("hql", "-q", "--style", "plain", "select d.name from Dataset d")
    assert "ManagedRepository" in omero("fs", "repos", "--style", "plain")
    assert "alice" in omero("fs", "sets", "--style", "plain")
    assert "alice" in omero("sessions", "who")
    assert "a.tif" in omero("fs", "images", "--style", "plain")
    assert omero("fs", "usage", "Project:1").startswith("Total disk usage")
    omero("sessions", "timeout", "1200")
    assert "1200" in sandbox.omero("sessions", "timeout", user=None).out
    assert sandbox.omero("logout", user=None).code == 0


def test_the_command_signs_in_for_others_with_sudo(sandbox: RunningSandbox, source: Path) -> None:
    path = write_tiff(source / "a.tif")
    given = [
        "-s",
        "localhost",
        "-p",
        str(sandbox.ssl_port),
        "--sudo",
        "ferry",
        "-w",
        PASSWORDS["ferry"],
        "-C",
    ]
    done = sandbox.omero("import", *given, "-u", "alice", "-g", "Platform", "--transfer=ln", path, user=None)
    assert done.code == 0, done.err
    with gateway(sandbox, "alice") as alice:
        found = rows(
            alice,
            "select i.details.owner.omeName, i.details.group.name from Image i where i.id = :id",
            id=ids(done.out)[0],
        )
        assert found == [["alice", "Platform"]]
    refused = sandbox.omero(
        "import", *given, "-u", "alice", "-g", "Screens", "--transfer=ln", path, user=None
    )
    assert refused.code not in (0, 2)
    assert "is not a member of group" in refused.err
