"""The agent opens no data file that may still be written: what it asked of the kernel, seen by strace.

A real agent with a person and a target, on a share into which three microscopes write in their different
ways; every order goes its way up to the sealed manifest. A file that has rested for the quiet time may be
read (by a format's witness); folders are opened to list them, as no system lists them otherwise.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agent.conftest import MARKER
from tests.faults.workstation import QUIET_SECONDS, Workstation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
OPENING = "open,openat,openat2,creat,open_by_handle_at,truncate"
_CALL = re.compile(r'([\d.]+) (\w+)\((.*?)"(.*?)"(.*)\Z')
_FOLDER_ONLY = ("O_DIRECTORY", "O_PATH")
WRITING_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Opening:
    """One call that opens a name below the share, whether it succeeded or not."""

    at: float
    """Seconds since the epoch."""
    path: Path
    rest: str

    @property
    def may_read(self) -> bool:
        """Whether it could give the content of a file."""
        return not any(flag in self.rest for flag in _FOLDER_ONLY)


def openings(outputs: Iterator[Path], top: Path) -> list[Opening]:
    """From strace's files, one per thread, so that no line is cut by another."""
    found = []
    for output in outputs:
        for line in output.read_text(encoding="utf-8", errors="replace").splitlines():
            call = _CALL.match(line)
            if call is None:
                continue
            at, _name, before, name, rest = call.groups()
            # Relative to a folder that is open: -y writes its path behind the number.
            folder = re.search(r"<([^>]*)>", before)
            path = Path(folder[1] if folder else "/", name)
            if path.is_relative_to(top):
                found.append(Opening(float(at), path, rest))
    return found


class Microscopes:
    """Append to one file, write many, write under another name and rename: what they wrote, and when."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.written: dict[Path, list[float]] = {}
        self._note = threading.Lock()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(one,))
            for one in (self._append, self._many, self._rename)
        ]

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._now(path)
        with path.open("ab") as stream:
            stream.write(content)
        self._now(path)

    def _now(self, path: Path) -> None:
        with self._note:
            self.written.setdefault(path, []).append(time.time())

    def _append(self, _number: int) -> None:
        self._write(self.top / "stack" / "stack.nd2", b"frame" * 1000)

    def _many(self, number: int) -> None:
        self._write(self.top / "series" / f"t{number:04d}.tif", b"plane")

    def _rename(self, number: int) -> None:
        partial = self.top / "exported" / f"scene{number}.czi.tmp"
        self._write(partial, b"scene")
        partial.rename(partial.with_suffix(""))
        self._now(partial.with_suffix(""))

    def _run(self, write: Callable[[int], None]) -> None:
        number = 0
        while not self._ending.wait(0.15):
            write(number)
            number += 1

    def write_for(self, seconds: float) -> None:
        for thread in self._threads:
            thread.start()
        time.sleep(seconds)
        self._ending.set()
        for thread in self._threads:
            thread.join(10)


def is_traced(pid: int) -> bool:
    try:
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Opening], Microscopes]]:
    """The whole story, once."""
    top = tmp_path_factory.mktemp("reads")
    with Workstation(top) as place:
        output = top / "strace"
        options = [
            "-D",
            "-ff",
            "-y",
            "-qq",
            "-ttt",
            "-s",
            "4096",
            "-e",
            f"trace={OPENING}",
            "-e",
            "signal=none",
        ]
        session = place.ordering_session("alice", ["strace", *options, "-o", str(output)])
        program = session.program
        microscopes = Microscopes(place.shares["scope1"])
        microscopes.write_for(WRITING_SECONDS)
        for name in ("stack", "series", "exported"):
            place.until(lambda name=name: place.is_sealed(name), f"{name} is sealed", 120)
        pid = program.pid
        program.signal(signal.SIGTERM)
        place.until(lambda: not program.running() and not is_traced(pid), "it ends")
        subprocess.run(["sync", "-f", str(top)], check=True)
        yield openings(top.glob("strace.*"), place.shares["scope1"]), microscopes


def test_no_file_is_opened_before_it_has_rested(traced: tuple[list[Opening], Microscopes]) -> None:
    found, microscopes = traced
    assert len(microscopes.written) > 50
    too_early = []
    for opening in found:
        if not opening.may_read or opening.path.name == MARKER:
            continue
        before = [at for at in microscopes.written.get(opening.path, []) if at <= opening.at]
        if before and opening.at - max(before) < QUIET_SECONDS:
            too_early.append(opening)
    assert not too_early


def test_the_trace_shows_what_it_is_there_for(traced: tuple[list[Opening], Microscopes]) -> None:
    """It saw the folders being listed all the while: a trace that saw nothing would prove nothing."""
    found, microscopes = traced
    last_write = max(at for times in microscopes.written.values() for at in times)
    while_writing = [one for one in found if one.at < last_write]
    assert {one.path.name for one in while_writing} >= {"stack", "series", "exported"}
    assert len(while_writing) > 20
    assert not [one for one in found if "O_WRONLY" in one.rest or "O_RDWR" in one.rest], "it writes nothing"


def test_an_open_of_a_file_would_be_seen(tmp_path: Path) -> None:
    """The reading of the trace itself, on lines as strace writes them."""
    output = tmp_path / "strace.1"
    output.write_text(
        '1700.5 openat(AT_FDCWD</>, "/share/run/a.tif", O_RDONLY|O_CLOEXEC) = 5</share/run/a.tif>\n'
        '1700.6 openat(7</share/run>, "b.tif", O_RDONLY) = -1 EACCES (Permission denied)\n'
        '1700.7 openat(AT_FDCWD</>, "/share/run", O_RDONLY|O_CLOEXEC|O_DIRECTORY) = 5</share/run>\n'
        '1700.8 openat(AT_FDCWD</>, "/etc/passwd", O_RDONLY) = 5</etc/passwd>\n'
    )
    found = openings(iter([output]), Path("/share"))
    assert [(one.at, str(one.path), one.may_read) for one in found] == [
        (1700.5, "/share/run/a.tif", True),
        (1700.6, "/share/run/b.tif", True),
        (1700.7, "/share/run", False),
    ]
