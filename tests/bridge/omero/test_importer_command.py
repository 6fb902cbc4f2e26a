"""Command lines, environment and session files of ``omero import``."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from server_bridge.config import OmeroConfig
from server_bridge.omero.importer_command import (
    import_command,
    import_environment,
    prepare,
    scan_command,
    session_files,
)

BASE = {
    "host": "omero.example.org",
    "password_file": "/etc/ferry/omero",
    "omerodir": "/opt/omero",
    "omero_cli": "/opt/venv/bin/omero",
}
KEY = "0f3a2f8e-0000-4000-8000-1234567890ab"


def config(**changes: object) -> OmeroConfig:
    return OmeroConfig.model_validate(BASE | changes)


def test_a_scan_needs_no_session() -> None:
    assert scan_command(config(), Path("/staging/conf/42")) == [
        "/opt/venv/bin/omero",
        "import",
        "-f",
        "--skip",
        "upgrade",
        "--depth",
        "4",
        "/staging/conf/42",
    ]


def test_a_deep_acquisition_is_scanned_to_its_ground() -> None:
    command = scan_command(config(), Path("/staging/conf/42"), depth=9)
    assert command[command.index("--depth") + 1] == "9"


def test_an_import_links_one_unit_into_a_place_given_by_id() -> None:
    assert import_command(config(), "Dataset:42", [Path("/staging/conf/42/a b.tif")], "order-1") == [
        "/opt/venv/bin/omero",
        "import",
        "--transfer=ln",
        "--output",
        "yaml",
        "--skip",
        "upgrade",
        "--depth",
        "4",
        "--annotation-ns",
        "omero-ferry/order",
        "--annotation-text",
        "order-1",
        "--target",
        "Dataset:42",
        "/staging/conf/42/a b.tif",
        "--",
        "--agent=omero-ferry",
    ]


def test_several_units_share_a_run_that_goes_on_after_a_failure() -> None:
    command = import_command(config(), "Dataset:42", [Path("/s/a.tif"), Path("/s/b.tif")], "order-1")
    assert command[command.index("--target") :] == [
        "--target",
        "Dataset:42",
        "-c",
        "/s/a.tif",
        "/s/b.tif",
        "--",
        "--agent=omero-ferry",
    ]


def test_the_site_may_skip_statistics_and_thumbnails_and_nothing_else() -> None:
    command = import_command(config(skip=("minmax", "thumbnails")), "Screen:7", [Path("/s/a")], "o")
    skipped = [command[place + 1] for place, word in enumerate(command) if word == "--skip"]
    assert skipped == ["upgrade", "minmax", "thumbnails"]
    with pytest.raises(ValueError, match="skip"):
        config(skip=("checksum",))


def test_the_command_beside_this_python_is_the_default() -> None:
    assert scan_command(config(omero_cli=""), Path("/s"))[0] == str(Path(sys.executable).parent / "omero")


def test_the_environment_is_the_runs_own(tmp_path: Path) -> None:
    found = import_environment(
        config(), tmp_path, {"PATH": "/usr/bin", "OMERO_PASSWORD": "x", "JAVA_OPTS": "-Xmx4g", "HOME": "/h"}
    )
    assert found == {
        "PATH": "/usr/bin",
        "JAVA_OPTS": "-Xmx4g",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
        "OMERODIR": "/opt/omero",
        "OMERO_USERDIR": f"{tmp_path}/omero",
        "OMERO_SESSIONDIR": f"{tmp_path}/sessions",
        "OMERO_TMPDIR": f"{tmp_path}/tmp",
    }


def test_a_java_given_by_its_path_comes_first(tmp_path: Path) -> None:
    first = import_environment(config(java="/opt/jdk/bin/java"), tmp_path, {"PATH": "/usr/bin"})
    assert first["PATH"] == f"/opt/jdk/bin{os.pathsep}/usr/bin"
    renamed = config(java="/opt/jdk/bin/java-17")
    assert import_environment(renamed, tmp_path, {"PATH": "/usr/bin"})["PATH"].startswith(f"{tmp_path}/bin:")
    prepare(renamed, tmp_path, {})
    assert (tmp_path / "bin" / "java").readlink() == Path("/opt/jdk/bin/java-17")


def test_session_files_are_what_omero_itself_would_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omero.util.sessions import SessionsStore

    properties = {"omero.host": "omero.example.org", "omero.port": "4064"}
    prepare(config(), tmp_path, session_files(properties, "alice", KEY))
    store = SessionsStore(str(tmp_path / "sessions"))
    assert store.get_current() == ("omero.example.org", "alice", KEY, "4064")
    assert store.get("omero.example.org", "alice", KEY)["omero.sess"] == KEY


def test_nobody_else_can_read_the_session(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    work = tmp_path / "work"
    work.mkdir()
    properties = {"omero.host": "h", "omero.port": "4064"}
    prepare(config(), work, session_files(properties, "alice", KEY))
    os.umask(umask)
    assert (work / "sessions" / "h" / "alice" / KEY).is_file()
    for path in (work / "sessions").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
