"""Named places where the sandbox can be made to fail, for tests and for training.

A fault is a file ``DATA/faults/<point>`` that any process may write; the sandbox and its import command look
at it when they come to that point and use it up.

=================  ==================================================  ==================
point              where                                               who is hit
=================  ==================================================  ==================
login              a client signs in or joins                          the server
anycall            any remote call after the login                     the server
server.<op>        one remote operation, as ``server.verifyUpload``    the server
scan               the import command looks at a file                  the import command
importFileset      before the fileset is created                       the import command
check36            the 36-byte check of the repository                 the import command
link               the hard link is made (or the file uploaded)        the import command
checkTarget        the server is asked for the linked file's size      the import command
hash               the client's checksum                               the import command
verifyUpload       before the hashes are handed over                   the import command
wait               the hashes are accepted, the server imports         the import command
queue              the hashes are accepted, the import finds no slot   the server
step1 ... step5    the five steps of the import on the server          the server
save36             a linked file of exactly 36 bytes is saved          the server
output             the results are printed                             the import command
=================  ==================================================  ==================

Modes: ``fail`` raises there, ``kill`` ends the process that comes there with SIGKILL, ``delay:SECONDS``
waits, ``wrong_hash`` (at ``hash``) reports a checksum that is not the file's, ``rehash`` (at ``save36``)
makes the server notice that the file is another one than its 36 bytes of check text.  ``match`` limits a
fault to client paths (for ``anycall`` and ``login``: operation or user names) that contain it; ``count`` is
how often it strikes, -1 for ever.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POINTS = (
    "login",
    "anycall",
    "scan",
    "importFileset",
    "check36",
    "link",
    "checkTarget",
    "hash",
    "verifyUpload",
    "wait",
    "queue",
    "save36",
    "step1",
    "step2",
    "step3",
    "step4",
    "step5",
    "output",
)
FOR_EVER = -1


class FaultError(Exception):
    """A fault of mode ``fail`` struck."""


def set_fault(data_dir: Path, point: str, mode: str, count: int = 1, match: str = "") -> None:
    """Arm a fault; raises ValueError for a point or a mode that nothing looks at."""
    if point not in POINTS and not point.startswith("server."):
        raise ValueError(f"no such fault point: {point}")
    if mode not in ("fail", "kill", "wrong_hash", "rehash") and not mode.startswith("delay:"):
        raise ValueError(f"no such fault mode: {mode}")
    if mode.startswith("delay:"):
        float(mode.partition(":")[2])
    directory = data_dir / "faults"
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        _write(directory / point, {"mode": mode, "count": count, "match": match})


def clear_faults(data_dir: Path) -> None:
    """Disarm everything."""
    directory = data_dir / "faults"
    if directory.is_dir():
        with _locked(directory):
            for point in directory.iterdir():
                if not point.name.startswith("."):
                    point.unlink()


class Faults:
    """The faults of one data directory, as seen by a process that may be hit."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "faults"
        # Set by a process that wants to end: nobody needs to wait out a delay then.
        self.ending = threading.Event()

    def take(self, point: str, subject: str = "") -> str | None:
        """The mode of the fault armed at this point for this subject, used up by one.

        None when there is none.
        """
        path = self.directory / point
        if not path.exists():
            return None
        with _locked(self.directory):
            try:
                fault = json.loads(path.read_text())
            except FileNotFoundError:
                return None
            if fault.get("match", "") not in subject:
                return None
            count = int(fault.get("count", 1))
            if count == 1:
                path.unlink()
            elif count > 1:
                _write(path, {**fault, "count": count - 1})
            return str(fault["mode"])

    def strike(self, point: str, subject: str = "") -> str | None:
        """Come to a point: wait, die or raise FaultError as armed.

        Returns any other mode for the caller to act on.
        """
        mode = self.take(point, subject)
        if mode is None:
            return None
        if mode.startswith("delay:"):
            self.ending.wait(float(mode.partition(":")[2]))
            return None
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "fail":
            raise FaultError(f"sandbox fault at {point}")
        return mode


def _write(path: Path, fault: dict[str, object]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(fault))
    part.replace(path)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
