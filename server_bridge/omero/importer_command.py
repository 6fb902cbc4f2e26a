"""Command lines and environment of the ``omero import`` command, as pure functions.

The session key is never in an argument of ours: a session file in a fresh ``OMERO_SESSIONDIR`` hands it over
(:func:`session_files`). What ``omero`` itself does is beyond us: it starts Java with ``-k KEY``, which other
local users can read in ``ps``; run the bridge on a host of its own, or mount /proc with ``hidepid=2``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from server_bridge.config import OmeroConfig
from server_bridge.omero.names import NS_ORDER

AGENT = "omero-ferry"
_PASSED_ON = ("JAVA_HOME", "JAVA_OPTS", "LD_LIBRARY_PATH", "TZ", "TMPDIR")
"""Of the bridge's own environment, nothing else reaches the command."""
LEAST_DEPTH = 4


def omero_program(config: OmeroConfig) -> str:
    """The ``omero`` command: as configured, or the one beside this Python."""
    # The interpreter's own folder, without resolving it: a virtual environment links its Python.
    return config.omero_cli or str(Path(sys.executable).parent / "omero")


def scan_command(config: OmeroConfig, path: Path, *, depth: int = LEAST_DEPTH) -> list[str]:
    """``omero import -f``: how Bio-Formats groups what lies at ``path``; needs no server and no session.

    Its plain form is used: one path a line, whereas the YAML form does not quote paths.
    """
    return [
        omero_program(config),
        "import",
        "-f",
        "--skip",
        "upgrade",
        "--depth",
        str(max(depth, LEAST_DEPTH)),
        str(path),
    ]


def import_command(
    config: OmeroConfig, target: str, mains: Sequence[Path], order_id: str, *, depth: int = LEAST_DEPTH
) -> list[str]:
    """``omero import`` of one or several units in place, by one JVM.

    The paths are arguments: Java takes them on standard input as well (the path ``-``), but as trimmed lines,
    and a child's standard input is closed here. With several units the importer is told to go on after a
    failure (``-c``): without it, the next unit has begun already when it leaves, and is torn.

    Args:
        target: ``Dataset:42`` or ``Screen:7``, never a name (names are ambiguous between people and in time).
        mains: the main file of each unit in staging, absolute.
        order_id: goes into a comment that the server itself puts on every new image or plate.
    """
    return [
        omero_program(config),
        "import",
        # Only hard links: never the *_rm transfers, which delete sources although imports failed.
        "--transfer=ln",
        "--output",
        "yaml",
        # Checksums are never skipped: they are the proof.
        "--skip",
        "upgrade",
        *(word for step in config.skip for word in ("--skip", step)),
        "--depth",
        str(max(depth, LEAST_DEPTH)),
        "--annotation-ns",
        NS_ORDER,
        "--annotation-text",
        order_id,
        "--target",
        target,
        *(("-c",) if len(mains) > 1 else ()),
        *(str(main) for main in mains),
        "--",
        f"--agent={AGENT}",
    ]


def import_environment(config: OmeroConfig, work_dir: Path, base: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of one run; ``work_dir`` is the run's own folder (see :func:`prepare`).

    UTF-8 is forced: with a C locale Java would turn names outside ASCII into question marks.
    """
    path = base.get("PATH", os.defpath)
    java = Path(config.java)
    if java.is_absolute():
        # The command looks for `java` on PATH; `bin` holds a link where the program has another name.
        path = f"{java.parent if java.name == 'java' else work_dir / 'bin'}{os.pathsep}{path}"
    return {
        **{name: base[name] for name in _PASSED_ON if name in base},
        "PATH": path,
        "HOME": str(work_dir),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
        "OMERODIR": str(config.omerodir),
        "OMERO_USERDIR": str(work_dir / "omero"),
        "OMERO_SESSIONDIR": str(work_dir / "sessions"),
        "OMERO_TMPDIR": str(work_dir / "tmp"),
    }


def session_files(properties: Mapping[str, str], username: str, key: str) -> dict[str, str]:
    """Files below ``OMERO_SESSIONDIR`` that make ``omero`` use this session: relative path → content.

    It is the layout of omero-py's own store: the properties under host, user and key, and three pointers to
    what was used last. The properties also bound the command's own calls in time.
    """
    host = properties["omero.host"]
    folder = quote(host, safe="")
    stored = {**properties, "omero.user": username, "omero.sess": key}
    return {
        f"{folder}/{username}/{key}": "".join(f"{name}={value}\n" for name, value in stored.items()),
        f"{folder}/{username}/._LASTSESS_": key,
        f"{folder}/._LASTUSER_": username,
        "._LASTHOST_": host,
        "._LASTPORT_": properties["omero.port"],
    }


def prepare(config: OmeroConfig, work_dir: Path, files: Mapping[str, str]) -> None:
    """Make a run's folder, readable for nobody else, with the session files in it."""
    for part in ("", "omero", "sessions", "tmp", "bin"):
        (work_dir / part).mkdir(mode=0o700, exist_ok=True)
    java = Path(config.java)
    if java.is_absolute() and java.name != "java":
        (work_dir / "bin" / "java").symlink_to(java)
    for name, content in files.items():
        path = work_dir / "sessions" / name
        # One by one: the mode would not hold for parents made on the way.
        for parent in reversed(path.relative_to(work_dir).parents):
            (work_dir / parent).mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
