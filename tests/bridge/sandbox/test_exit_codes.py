"""Exit codes of ``omero import``, above all those that say less than one would think."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.sandbox.conftest import Connect, dataset_id, rows, write_tiff


def images_of(connect: Connect, path: Path) -> int:
    with connect("ferry") as ferry:
        count: int = rows(
            ferry,
            "select count(i) from Image i join i.fileset fs join fs.usedFiles fe where fe.clientPath = :cp",
            cp=str(path).lstrip("/"),
        )[0][0]
        return count


def test_an_excluded_file_is_success_with_nothing_said(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    assert sandbox.omero("import", "--transfer=ln", "--exclude=clientpath", path).out
    again = sandbox.omero("import", "--transfer=ln", "--exclude=clientpath", path)
    assert (again.code, again.out) == (0, "")
    assert "ClientPath match for filename" in again.err
    assert images_of(connect, path) == 1


def test_the_same_bytes_are_excluded_by_name(sandbox: RunningSandbox, source: Path) -> None:
    path = write_tiff(source / "the same.tif")
    assert sandbox.omero("import", "--transfer=ln", path).code == 0
    again = sandbox.omero("import", "--transfer=ln", "--exclude=filename", path)
    assert (again.code, again.out) == (0, "")


def test_only_errors_in_the_scan_is_success_too(sandbox: RunningSandbox, source: Path) -> None:
    path = write_tiff(source / "a.tif")
    path.write_bytes(path.read_bytes()[:40])
    done = sandbox.omero("import", "--transfer=ln", source)
    assert (done.code, done.out) == (0, "")
    assert "No imports due to errors!" in done.err


def test_one_bad_file_among_good_ones_is_success(sandbox: RunningSandbox, source: Path) -> None:
    write_tiff(source / "good.tif")
    bad = write_tiff(source / "bad.tif")
    bad.write_bytes(bad.read_bytes()[:40])
    done = sandbox.omero("import", "--transfer=ln", source)
    assert done.code == 0
    assert done.out.count("Image:") == 1
    assert "1 error in" in done.err


def test_nothing_to_import_is_exit_code_1(sandbox: RunningSandbox, source: Path) -> None:
    (source / "notes.txt").write_text("nothing")
    done = sandbox.omero("import", "--transfer=ln", source)
    assert done.code == 1
    assert "No imports found" in done.err
    assert "Usage:" in done.err


@pytest.mark.parametrize(
    "arguments", [("-n", "one", "-n", "two"), ("-d", "not-a-number"), ("--transfer=teleport",)]
)
def test_wrong_arguments_are_exit_code_1(
    sandbox: RunningSandbox, source: Path, arguments: tuple[str, ...]
) -> None:
    # argparse keeps the last -n, so the second one must reach the importer behind "--".
    path = write_tiff(source / "a.tif")
    given = list(arguments)
    if given.count("-n") == 2:
        given = ["-n", "one", path.as_posix(), "--", "-n", "two"]  # type: ignore[list-item]
    done = sandbox.omero("import", *given, path)
    assert done.code == 1


def test_a_missing_target_is_failure_with_no_error_counted(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    done = sandbox.omero("import", "--transfer=ln", "-d", "999999", path)
    assert (done.code, done.out) == (2, "")
    assert "Failed to load target" in done.err
    assert "0 errors" in done.err
    assert path.stat().st_nlink == 1


def test_a_target_that_may_not_be_linked_to_is_refused(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    with connect("bob") as bob:
        theirs = dataset_id(bob, "embryos")
    done = sandbox.omero(
        "import", "--transfer=ln", "-d", str(theirs), write_tiff(source / "a.tif"), user="bob"
    )
    assert done.code == 2
    assert "Cannot link to target" in done.err


def test_a_target_of_another_group_is_not_found(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    with connect("alice", group="Platform") as alice:
        beads = dataset_id(alice, "beads")
    done = sandbox.omero("import", "--transfer=ln", "-d", str(beads), write_tiff(source / "a.tif"))
    assert done.code == 2
    right = sandbox.omero(
        "import", "--transfer=ln", "-d", str(beads), write_tiff(source / "b.tif"), group="Platform"
    )
    assert right.code == 0, right.err


def test_another_mount_cannot_be_linked(sandbox: RunningSandbox, connect: Connect) -> None:
    shared_memory = Path("/dev/shm")
    assert sandbox.managed is not None
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == sandbox.managed.stat().st_dev:
        pytest.skip("there is no second file system here")
    path = write_tiff(shared_memory / f"ferry-sandbox-{sandbox.ssl_port}.tif")
    try:
        done = sandbox.omero("import", "--transfer=ln", path)
        assert done.code == 2
        assert "Invalid cross-device link" in done.err
        assert "1 error in" in done.err
        assert images_of(connect, path) == 0
    finally:
        path.unlink()


def test_a_file_of_36_bytes_is_refused_and_leaves_debris(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = source / "odd.fake"
    path.write_bytes(b"x" * 36)
    done = sandbox.omero("import", "--transfer=ln", path)
    assert done.code == 2
    assert "0 errors" in done.err
    assert path.stat().st_nlink == 2
    assert images_of(connect, path) == 0


def test_not_waiting_says_nothing_and_the_server_goes_on(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    import time

    path = write_tiff(source / "a.tif")
    done = sandbox.omero("import", "--transfer=ln", path, "--", "--minutes-wait=0")
    assert (done.code, done.out) == (0, "")
    deadline = time.monotonic() + 30
    while images_of(connect, path) == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert images_of(connect, path) == 1
