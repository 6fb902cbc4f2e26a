"""Which files of the given paths make which import units: the scan that ``omero import -f`` shows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from server_bridge.sandbox.faults import FaultError, Faults
from server_bridge.sandbox.images import readers
from server_bridge.sandbox.images.unit import CorruptFileError, Unit, UnknownFormatError, UnreadableFileError


@dataclass
class Scan:
    """What a scan found; errors are the files whose reader failed."""

    units: list[Unit] = field(default_factory=list)
    unknown: int = 0
    errors: int = 0
    seen: int = 0
    calls: int = 0
    milliseconds: int = 0


Log = Callable[[str, str], None]


def files_below(paths: list[Path], depth: int, log: Log) -> Iterator[Path]:
    """The files to look at, in a stable order.

    Names that begin with a dot are passed over, as by the original.
    """
    for path in paths:
        if path.is_dir():
            yield from _walk(path, depth, log)
        elif not path.name.startswith("."):
            yield path


def _walk(directory: Path, depth: int, log: Log) -> Iterator[Path]:
    try:
        entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        log("WARN", f"UNREADABLE_FILE: {directory}: {error.strerror}")
        return
    # A companion speaks for the files it names, so it is asked first.
    yield from sorted(
        (entry for entry in entries if not entry.is_dir()), key=lambda e: not readers.is_companion(e)
    )
    if depth > 1:
        for entry in entries:
            if entry.is_dir():
                yield from _walk(entry, depth - 1, log)


def scan(paths: list[Path], depth: int, faults: Faults, log: Log) -> Scan:
    """Look at every file once; ``log`` takes a level and a line."""
    found, taken = Scan(), set[Path]()
    started = time.monotonic()
    for path in files_below([path.absolute() for path in paths], depth, log):
        found.seen += 1
        if path in taken:
            continue
        found.calls += 1
        try:
            faults.strike("scan", str(path))
            unit = readers.read(path)
        except UnknownFormatError:
            found.unknown += 1
        except UnreadableFileError as error:
            log("WARN", f"UNREADABLE_FILE: {error}")
        except (CorruptFileError, FaultError) as error:
            found.errors += 1
            log("ERROR", f"FILE_EXCEPTION: {path}: {error}")
        else:
            # A set may name its files by way of "..", while the walk comes to them directly.
            files = {Path(os.path.normpath(file)) for file in unit.files}
            if not taken.intersection(files):
                found.units.append(unit)
                taken.update(files)
    found.milliseconds = int((time.monotonic() - started) * 1000)
    return found


def summary(found: Scan) -> str:
    """The line the original logs after a scan."""
    return (
        f"{found.seen} file(s) parsed into {len(found.units)} group(s) with {found.calls} call(s) to setId in"
        f" {found.milliseconds}ms. ({found.milliseconds}ms total) [{found.unknown} unknowns]"
    )
