"""Armed faults: what each leaves behind, as a real import that fails there would."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import Ice
import omero
import omero.cmd
import pytest

from server_bridge.sandbox.faults import FaultError, Faults, clear_faults, set_fault
from tests.bridge.conftest_sandbox import PASSWORDS, Outcome, RunningSandbox, StartSandbox
from tests.bridge.sandbox.conftest import Connect, gateway, rows, write_tiff


@pytest.fixture(autouse=True)
def disarmed(sandbox: RunningSandbox) -> Iterator[None]:
    yield
    clear_faults(sandbox.data)


@dataclass(frozen=True)
class Left:
    """What OMERO holds of one client path."""

    filesets: int
    images: int
    upload_finished: int
    links: int


def left(connection: Any, path: Path) -> Left:
    cp = str(path).lstrip("/")
    filesets = rows(connection, "select count(fe) from FilesetEntry fe where fe.clientPath = :cp", cp=cp)[0][
        0
    ]
    images = rows(
        connection,
        "select count(i) from Image i join i.fileset fs join fs.usedFiles fe where fe.clientPath = :cp",
        cp=cp,
    )[0][0]
    finished = rows(
        connection,
        "select count(j) from FilesetJobLink l join l.parent fs join fs.usedFiles fe join l.child j"
        " where fe.clientPath = :cp and j.status.value = 'Finished'",
        cp=cp,
    )[0][0]
    return Left(filesets, images, finished, path.stat().st_nlink)


def run(sandbox: RunningSandbox, path: Path) -> Outcome:
    return sandbox.omero("import", "--transfer=ln", path)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("importFileset", Left(0, 0, 0, 1)),
        ("check36", Left(1, 0, 0, 1)),
        ("link", Left(1, 0, 0, 1)),
        ("checkTarget", Left(1, 0, 0, 2)),
        ("hash", Left(1, 0, 0, 2)),
        ("verifyUpload", Left(1, 0, 0, 2)),
        ("step1", Left(1, 0, 1, 2)),
        ("step2", Left(1, 1, 1, 2)),
        ("step5", Left(1, 1, 1, 2)),
        ("output", Left(1, 1, 1, 2)),
    ],
)
def test_a_failure_leaves_what_was_done_before_it(
    sandbox: RunningSandbox, connect: Connect, source: Path, point: str, expected: Left
) -> None:
    path = write_tiff(source / "a.tif")
    set_fault(sandbox.data, point, "fail", match=str(path).lstrip("/"))
    done = run(sandbox, path)
    assert done.code == 2
    assert done.out == ""
    assert f"sandbox fault at {point}" in done.err
    assert "1 error in" in done.err
    with connect("ferry") as ferry:
        assert left(ferry, path) == expected


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("link", Left(1, 0, 0, 1)),
        ("checkTarget", Left(1, 0, 0, 2)),
        ("verifyUpload", Left(1, 0, 0, 2)),
        ("wait", Left(1, 1, 1, 2)),
        ("output", Left(1, 1, 1, 2)),
    ],
)
def test_a_killed_client_leaves_it_to_the_server(
    sandbox: RunningSandbox, connect: Connect, source: Path, point: str, expected: Left
) -> None:
    path = write_tiff(source / "a.tif")
    set_fault(sandbox.data, point, "kill", match=str(path))
    done = run(sandbox, path)
    assert done.code != 0
    assert done.out == ""
    with connect("ferry") as ferry:
        deadline = time.monotonic() + 30
        while left(ferry, path) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left(ferry, path) == expected


def test_a_wrong_checksum_fails_with_no_error_counted(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    set_fault(sandbox.data, "hash", "wrong_hash")
    done = run(sandbox, path)
    assert done.code == 2
    assert "checksum mismatch" in done.err
    assert "0 errors" in done.err
    with connect("ferry") as ferry:
        assert left(ferry, path) == Left(1, 0, 0, 2)


def test_a_failed_attempt_is_excluded_ever_after(sandbox: RunningSandbox, source: Path) -> None:
    path = write_tiff(source / "a.tif")
    set_fault(sandbox.data, "step1", "fail")
    assert run(sandbox, path).code == 2
    again = sandbox.omero("import", "--transfer=ln", "--exclude=clientpath", path)
    assert (again.code, again.out) == (0, "")


def test_an_error_in_one_file_stops_the_rest_unless_told_to_go_on(
    sandbox: RunningSandbox, source: Path
) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        write_tiff(source / name)
    set_fault(sandbox.data, "link", "fail", match="b.tif")
    stopped = sandbox.omero("import", "--transfer=ln", source)
    assert (stopped.code, stopped.out.count("Image:")) == (2, 1)
    set_fault(sandbox.data, "link", "fail", match="b.tif")
    went_on = sandbox.omero("import", "--transfer=ln", "-c", source)
    assert (went_on.code, went_on.out.count("Image:")) == (0, 2)


def test_a_fault_strikes_as_often_as_told_and_only_where_it_matches(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    set_fault(tmp_path, "link", "fail", count=2, match="a.tif")
    faults.strike("link", "b.tif")
    for _ in range(2):
        with pytest.raises(FaultError):
            faults.strike("link", "x/a.tif")
    assert faults.strike("link", "x/a.tif") is None


@pytest.mark.parametrize(
    ("point", "mode"), [("nowhere", "fail"), ("link", "explode"), ("link", "delay:soon")]
)
def test_a_fault_nothing_would_notice_is_refused(tmp_path: Path, point: str, mode: str) -> None:
    with pytest.raises(ValueError):
        set_fault(tmp_path, point, mode)


def test_a_delay_delays(sandbox: RunningSandbox, source: Path) -> None:
    set_fault(sandbox.data, "step3", "delay:1.5")
    started = time.monotonic()
    assert run(sandbox, write_tiff(source / "a.tif")).code == 0
    assert time.monotonic() - started > 1.5


def test_a_fault_of_the_scan_is_an_error_of_the_scan(sandbox: RunningSandbox, source: Path) -> None:
    write_tiff(source / "a.tif")
    write_tiff(source / "b.tif")
    set_fault(sandbox.data, "scan", "fail", match="a.tif")
    done = sandbox.omero("import", "-f", source, user=None)
    assert done.code == 0
    assert "b.tif" in done.out
    assert "a.tif" not in done.out


def test_a_delay_does_not_keep_the_server_from_ending(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    running = start_sandbox(tmp_path / "data")
    path = write_tiff(tmp_path / "staging" / "a.tif")
    set_fault(running.data, "step2", "delay:600")
    assert running.omero("import", "--transfer=ln", path, "--", "--minutes-wait=0").code == 0
    assert running.stop() == 0


def test_an_import_fails_when_its_session_has_lived_its_time(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    set_fault(sandbox.data, "step1", "delay:5", match=str(path).lstrip("/"))
    with connect("ferry") as ferry, ThreadPoolExecutor(1) as pool:
        principal = omero.sys.Principal(name="alice", group="Cytoskeleton", eventType="User")
        key = ferry.c.sf.getSessionService().createSessionWithTimeouts(principal, 0, 600_000).uuid.val
        login = ["-s", "localhost", "-p", str(sandbox.ssl_port), "-k", key]
        running = pool.submit(sandbox.omero, "import", *login, "--transfer=ln", path, user=None)
        deadline = time.monotonic() + 60
        while left(ferry, path).upload_finished == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        client = omero.client(sandbox.host, sandbox.ssl_port)
        client.joinSession(key)
        client.sf.submit(omero.cmd.UpdateSessionTimeoutRequest(key, omero.rtypes.rlong(1), None))
        done = running.result()
        assert done.code == 2
        assert done.out == ""
        assert left(ferry, path) == Left(1, 0, 1, 2)


def test_signing_in_and_calls_can_fail(sandbox: RunningSandbox) -> None:
    set_fault(sandbox.data, "login", "fail", match="alice")
    client = omero.client(sandbox.host, sandbox.ssl_port)
    with pytest.raises(omero.WrappedCreateSessionException):
        client.createSession("alice", PASSWORDS["alice"])
    with gateway(sandbox, "alice") as alice:
        set_fault(sandbox.data, "anycall", "fail", match="IConfig.getVersion")
        with pytest.raises(omero.InternalException):
            alice.getConfigService().getVersion()
        assert alice.getConfigService().getVersion().startswith("5.6")


def test_the_server_can_be_killed_in_the_middle_of_an_import(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    running = start_sandbox(tmp_path / "data")
    path = write_tiff(tmp_path / "staging" / "a.tif")
    set_fault(running.data, "step2", "kill")
    done = run(running, path)
    assert done.code == 2
    assert running.process is not None
    assert running.process.wait(30) == -signal.SIGKILL
    running.restart()
    with gateway(running, "ferry") as ferry:
        assert left(ferry, path) == Left(1, 1, 1, 2)


def test_a_frozen_server_blocks_only_those_without_a_time_limit(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    running = start_sandbox(tmp_path / "data")
    limits = tmp_path / "ice.config"
    limits.write_text("Ice.Default.InvocationTimeout=4000\nIce.Override.CloseTimeout=500\n")
    client = omero.client(["--Ice.Config=" + str(limits)], host=running.host, port=running.ssl_port)
    client.createSession("alice", PASSWORDS["alice"])
    running.sigstop()
    try:
        with pytest.raises(Ice.InvocationTimeoutException):
            client.sf.getConfigService().getVersion()
    finally:
        running.sigcont()
    assert client.sf.getConfigService().getVersion()
    client.closeSession()


def test_killing_the_command_alone_leaves_its_child_importing(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    set_fault(sandbox.data, "link", "delay:2")
    login = ["-s", "localhost", "-p", str(sandbox.ssl_port), "-u", "alice", "-w", PASSWORDS["alice"], "-C"]
    command = subprocess.Popen(
        ["omero", "import", *login, "--transfer=ln", str(path)],
        env=sandbox.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with connect("ferry") as ferry:
        deadline = time.monotonic() + 30
        while left(ferry, path).filesets == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        command.kill()
        command.wait(10)
        while left(ferry, path).images == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left(ferry, path) == Left(1, 1, 1, 2)
