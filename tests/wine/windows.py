"""A Windows made of wine: its own prefix, a real Windows CPython, and the wheels that the agent needs.

Everything lies in one folder of the user's cache, named for what it was made from, and is made once. Whatever
is downloaded is compared with the hashes in the repository.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON, WHEELS, LIBRARY = (HERE / name for name in ("python.txt", "requirements.txt", "bcryptprimitives.def"))
LINKER = "x86_64-w64-mingw32-ld"
REVISION = "1"
"""Raised when the steps below change in a way that these files do not show."""


class WineMissing(RuntimeError):
    """There is no wine on this machine that starts a program."""


@dataclass(frozen=True, slots=True)
class Windows:
    """One wine prefix with a Python in it."""

    folder: Path
    wine: str
    wineserver: str

    @property
    def python(self) -> Path:
        return self.folder / "python" / "python.exe"

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a program in this Windows gets: little, as wine hands PATH and HOME on in its own way."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "CI") if name in os.environ}
        return {
            **kept,
            "LC_ALL": "C.UTF-8",
            "WINEPREFIX": str(self.folder / "prefix"),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            # No menus of the desktop, no questions about .NET or a browser engine.
            "WINEDLLOVERRIDES": "winemenubuilder.exe=d;mscoree=d;mshtml=d",
            # wine drops QT_*; this one it turns into QT_QPA_PLATFORM.
            "WINEQT_QPA_PLATFORM": "offscreen",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUTF8": "1",
            **(more or {}),
        }

    def run(self, arguments: Sequence[str], *, cwd: Path, seconds: float, more: Mapping[str, str]) -> int:
        """Run Python with these arguments, its output going where ours goes; ended with all it started.

        The output passes through a pipe: Python fails at its start (WinError 6) where it is a file.

        Raises:
            subprocess.TimeoutExpired: after ``seconds``; nothing of it runs on.
        """
        command = [self.wine, str(self.python), *arguments]
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=self.environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert child.stdout is not None
        relay = subprocess.Popen(["cat"], stdin=child.stdout)
        child.stdout.close()
        try:
            return child.wait(seconds)
        finally:
            self.end()
            child.wait()
            relay.wait()

    def end(self) -> None:
        """End every program of this prefix, and only of this one."""
        subprocess.run(
            [self.wineserver, "-k"], env=self.environment(), check=False, stderr=subprocess.DEVNULL
        )


def find_wine() -> tuple[str, str]:
    """wine and its server.

    Raises:
        WineMissing: where there is none, or it starts nothing.
    """
    wine = shutil.which("wine64") or shutil.which("wine")
    if wine is None:
        raise WineMissing("wine is not installed (apt-get install --no-install-recommends wine wine64).")
    server = shutil.which("wineserver") or "/usr/lib/wine/wineserver64"
    if not Path(server).exists():
        raise WineMissing("wine is there, its wineserver is not.")
    if shutil.which(LINKER) is None:
        raise WineMissing(f"{LINKER} is not installed (apt-get install binutils-mingw-w64-x86-64).")
    done = subprocess.run([wine, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WineMissing(f"wine does not start: {(done.stderr or done.stdout).strip()[-300:]}")
    return wine, server


def prepare(cache: Path) -> Windows:
    """The Windows to test on, made now where it is not there yet.

    Args:
        cache: folder for everything that is made or downloaded.

    Raises:
        WineMissing: no wine, or one that does not run programs here.
        subprocess.CalledProcessError: a download failed, or brought something else than the hashes say.
    """
    wine, server = find_wine()
    made_from = hashlib.sha256(REVISION.encode())
    for one in (PYTHON, WHEELS, LIBRARY):
        made_from.update(one.read_bytes())
    windows = Windows(cache / f"windows-{made_from.hexdigest()[:12]}", wine, server)
    stamp = windows.folder / "complete"
    if stamp.exists():
        return windows
    shutil.rmtree(windows.folder, ignore_errors=True)
    windows.folder.mkdir(parents=True)
    _unpack_python(windows)
    _install_wheels(windows)
    done = subprocess.run(
        [wine, "wineboot", "--init"],
        env=windows.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    windows.end()
    if done.returncode == 0:
        _add_missing_library(windows)
    else:
        raise WineMissing(f"wine could not make its Windows: {(done.stdout + done.stderr).strip()[-500:]}")
    stamp.touch()
    return windows


def _pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        check=True,
        stdout=sys.stderr,
    )


def _unpack_python(windows: Windows) -> None:
    downloads = windows.folder / "downloads"
    _pip(
        "download", "--no-deps", "--no-binary", ":all:", "--require-hashes",
        "-r", str(PYTHON), "-d", str(downloads),
    )  # fmt: skip
    (sdist,) = downloads.iterdir()
    with tarfile.open(sdist) as packed:
        (name,) = [one for one in packed.getnames() if one.endswith("data.zip")]
        inner = packed.extractfile(name)
        assert inner is not None
        with zipfile.ZipFile(inner) as files:
            files.extractall(windows.folder / "unpacked")
    # The others are launchers that wait in the standard library for somebody's virtual environment.
    (python,) = (windows.folder / "unpacked").glob("*/python.exe")
    python.parent.rename(windows.folder / "python")
    shutil.rmtree(windows.folder / "unpacked", ignore_errors=True)
    shutil.rmtree(downloads)


def _add_missing_library(windows: Windows) -> None:
    library = windows.folder / "prefix" / "drive_c" / "windows" / "system32" / "bcryptprimitives.dll"
    if not library.exists():
        subprocess.run([LINKER, "-shared", "-e", "0", "-o", str(library), str(LIBRARY)], check=True)


def _install_wheels(windows: Windows) -> None:
    _pip(
        "install", "--no-deps", "--only-binary=:all:", "--require-hashes", "--no-compile",
        "--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp",
        "--target", str(windows.packages), "-r", str(WHEELS),
    )  # fmt: skip
