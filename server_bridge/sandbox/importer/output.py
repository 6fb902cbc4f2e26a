"""What the importer writes: log lines on standard error, units and results on standard output."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import datetime

from server_bridge.sandbox.images.unit import Unit

STARTED = time.monotonic()
SEPARATOR = "#======================================"
MONITOR = "s.importer.cli.LoggingImportMonitor"
LIBRARY = "   ome.formats.importer.ImportLibrary"
CANDIDATES = "ome.formats.importer.ImportCandidates"
CONFIG = "    ome.formats.importer.ImportConfig"
CLI = "ormats.importer.cli.CommandLineImporter"


def log(level: str, logger: str, message: str) -> None:
    """One line as logback's pattern gives it: date, elapsed, thread, level, logger, message."""
    stamp = datetime.now().strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
    elapsed = int((time.monotonic() - STARTED) * 1000)
    sys.stderr.write(f"{stamp} {elapsed:<10} [{'main':>10}] {level:<5} {logger:>41} - {message}\n")
    sys.stderr.flush()


def say(text: str) -> None:
    """A line on standard output, at once: a killed import must not have said more than it did."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line on standard error that is not a log line."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Result:
    """The ids one fileset gave."""

    fileset: int
    images: tuple[int, ...]
    plates: tuple[int, ...]
    pixels: tuple[int, ...]


def ids(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


def result(found: Result, style: str) -> None:
    """The result of one fileset in one of the three styles of ``--output``."""
    if style == "yaml":
        complain("Imported objects:")
        say("---")
        say(f"- Fileset: {found.fileset}")
        if found.images:
            say(f"  Image: [{ids(found.images)}]")
        if found.plates:
            say(f"  Plate: [{ids(found.plates)}]")
        return
    if style == "legacy":
        complain("Imported pixels:")
        for pixels in found.pixels:
            say(str(pixels))
        complain("Other imported objects:")
        complain(f"Fileset:{found.fileset}")
        complain(f"Image:{ids(found.images)}")
        return
    say(f"Plate:{ids(found.plates)}" if found.plates else f"Image:{ids(found.images)}")
    complain("Other imported objects:")
    complain(f"Fileset:{found.fileset}")
    if found.plates:
        complain(f"Image:{ids(found.images)}")


def units(found: list[Unit], style: str) -> None:
    """What ``-f`` shows."""
    if style == "yaml":
        say("---")
        for unit in found:
            say(f"- group: {unit.main}")
            say(f"  spw: {str(unit.is_plate).lower()}")
            say(f"  reader: {unit.reader}")
            say("  files:")
            for path in unit.files:
                say(f"   - {path}")
        return
    for unit in found:
        say(SEPARATOR)
        say(f"# Group: {unit.main} SPW: {str(unit.is_plate).lower()} Reader: {unit.reader}")
        for path in unit.files:
            say(str(path))


@dataclass
class Totals:
    """The numbers of the summary."""

    files: int = 0
    filesets: int = 0
    images: int = 0
    plates: int = 0
    errors: int = 0


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def summary(totals: Totals) -> None:
    """The last lines of a run, on standard error."""
    seconds = time.monotonic() - STARTED
    elapsed = f"{int(seconds // 3600)}:{int(seconds // 60) % 60:02d}:{seconds % 60:06.3f}"
    plates = f", {_plural(totals.plates, 'plate')} created" if totals.plates else ""
    complain("")
    complain("==> Summary")
    complain(
        f"{_plural(totals.files, 'file')} uploaded, {_plural(totals.filesets, 'fileset')} created{plates}, "
        f"{_plural(totals.images, 'image')} imported, {_plural(totals.errors, 'error')} in {elapsed}"
    )
