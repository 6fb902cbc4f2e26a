"""What ``omero import`` says, parsed: groups of files, results, steps and errors.

Nothing here is proof of anything (omero.receipts is): the command exits 0 with nothing imported in several
ways, and its output ends with the client although the server goes on. Layouts of log lines depend on the
logback configuration; keywords and "Step: n of m" do not, so only these are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_GROUP = re.compile(r"^# Group: (?P<main>.*) SPW: (?P<spw>true|false) Reader: (?P<reader>\S+)\s*$")
_STEP = re.compile(
    r"\b(?P<kind>FILESET_UPLOAD_PREPARATION|FILESET_UPLOAD_START|FILESET_UPLOAD_END|FILE_UPLOAD_STARTED|"
    r"FILE_UPLOAD_COMPLETE|FILE_UPLOAD_ERROR|IMPORT_STARTED|METADATA_IMPORTED|PIXELDATA_PROCESSED|"
    r"THUMBNAILS_GENERATED|METADATA_PROCESSED|OBJECTS_RETURNED|IMPORT_DONE)\b(?P<rest>.*)$"
)
_OF = re.compile(r"Step: (?P<step>\d+) of (?P<steps>\d+)")
_LOGFILE = re.compile(r"Logfile: (?P<id>\d+)")
_ERROR = re.compile(r"\bERROR\b\s+\S+\s+-\s+(?P<text>.*)$")
_SERVER_ERROR = re.compile(r"\b(?:INTERNAL_EXCEPTION|FILE_EXCEPTION)\b:?\s*(?P<text>.*)$")
_NAMED = re.compile(
    r"\b(?:FILE_UPLOAD_STARTED|FILE_UPLOAD_COMPLETE|FILE_EXCEPTION|INTERNAL_EXCEPTION|UNREADABLE_FILE|"
    r"MISSING_LIBRARY): (?P<path>/.*)$|\bIMPORT_DONE Imported file: (?P<done>/.*)$"
)
_UNREAD = re.compile(r"\b(?:FILE_EXCEPTION|UNREADABLE_FILE|MISSING_LIBRARY): (?P<rest>/.*)$")
_GIVEN_UP = re.compile(r" - (?:Continuing after error|Exiting on error)\s*$")
_REFUSED = re.compile(
    r"\bERROR\b\s+\S+\s+-\s+INTERNAL_EXCEPTION:|^(?!.*\bINFO\b).*\bFailure response on import!|"
    r"^Name: import-[a-z-]+|^(?!.*\bINFO\b).*\bRejectedExecutionException: Failed to execute\b"
)
"""[infer] The server's own report that an import failed, or that it found no slot for it: no image will come.
Never a line that tells what goes on (INFO): those name files, and a file may be called anything."""
_RESULT = re.compile(r"^\s*(?:-\s+)?(?P<kind>Fileset|Image|Plate):\s*\[?(?P<ids>[\d,\s]+)\]?\s*$")


@dataclass(frozen=True, slots=True)
class ScannedUnit:
    """Files that Bio-Formats imports together; ``main`` is the one to name to the importer."""

    main: str
    files: tuple[str, ...]
    spw: bool
    """It describes a plate."""
    reader: str


class StepKind(StrEnum):
    PREPARING = "preparing"
    LINKING = "linking"
    FILE_LINKED = "file linked"
    LINKED = "linked"
    IMPORTING = "importing"
    DONE = "done"


_KINDS = {
    "FILESET_UPLOAD_PREPARATION": StepKind.PREPARING,
    "FILESET_UPLOAD_START": StepKind.LINKING,
    "FILE_UPLOAD_STARTED": StepKind.LINKING,
    "FILE_UPLOAD_COMPLETE": StepKind.FILE_LINKED,
    "FILESET_UPLOAD_END": StepKind.LINKED,
    "IMPORT_DONE": StepKind.DONE,
}


@dataclass(frozen=True, slots=True)
class ImportStep:
    """One sign of progress. ``step`` counts OMERO's own steps 1..``steps`` and is 0 before the first."""

    kind: StepKind
    keyword: str
    step: int = 0
    steps: int = 5
    log_file_id: int | None = None
    """OriginalFile of the server's log of this import."""
    path: str = ""
    """The file that the line names, if it names one."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Ids that the command reported."""

    filesets: tuple[int, ...] = ()
    images: tuple[int, ...] = ()
    plates: tuple[int, ...] = ()


def parse_groups(text: str) -> list[ScannedUnit]:
    """The groups of ``omero import -f``. Paths are absolute, so no line of a path looks like a heading."""
    units: list[ScannedUnit] = []
    heading: re.Match[str] | None = None
    files: list[str] = []

    def close() -> None:
        if heading is not None:
            main = heading["main"]
            ordered = tuple(dict.fromkeys([main, *files]))
            units.append(ScannedUnit(main, ordered, heading["spw"] == "true", heading["reader"]))

    for line in text.split("\n"):
        found = _GROUP.match(line)
        if found is not None:
            close()
            heading, files = found, []
        elif heading is not None and line.startswith("/"):
            files.append(line)
    close()
    return units


def parse_result_yaml(text: str) -> ImportResult:
    """Ids from ``--output yaml``, one document for each fileset; what is not a result line is passed over."""
    ids: dict[str, list[int]] = {"Fileset": [], "Image": [], "Plate": []}
    for line in text.split("\n"):
        found = _RESULT.match(line)
        if found is not None:
            ids[found["kind"]] += [int(one) for one in re.findall(r"\d+", found["ids"])]
    return ImportResult(tuple(ids["Fileset"]), tuple(ids["Image"]), tuple(ids["Plate"]))


def parse_log_line(line: str) -> ImportStep | None:
    """The step that a log line reports, if any."""
    found = _STEP.search(line)
    if found is None or found["kind"] == "FILE_UPLOAD_ERROR":
        return None
    of = _OF.search(found["rest"])
    logfile = _LOGFILE.search(found["rest"])
    return ImportStep(
        kind=_KINDS.get(found["kind"], StepKind.IMPORTING),
        keyword=found["kind"],
        step=int(of["step"]) if of else 0,
        steps=int(of["steps"]) if of else 5,
        log_file_id=int(logfile["id"]) if logfile else None,
        path=_path_in(line),
    )


def _path_in(line: str) -> str:
    found = _NAMED.search(line)
    return (found["path"] or found["done"] or "") if found else ""


def parse_error(line: str) -> str | None:
    """The text of a line that reports an error."""
    found = _ERROR.search(line) or _SERVER_ERROR.search(line)
    return found["text"].strip() if found else None


def parse_unread(line: str) -> str | None:
    """What a line of a scan says of a file that a reader failed at: its path, then perhaps ``: `` and why.

    Not of a file that no reader takes: Bio-Formats says nothing of those. A name may hold ``: `` itself.
    """
    found = _UNREAD.search(line)
    return found["rest"].rstrip() if found else None


def reports_refusal(line: str) -> bool:
    """Whether the line says that OMERO itself ended an import as failed."""
    return _REFUSED.search(line) is not None


# -- the log of a run that brings several units ---------------------------------------------------------

_KEPT_LINES = 40


@dataclass(slots=True)
class UnitLog:
    """What a run's log says about one unit. No part of it is proof."""

    done: bool = False
    refused: bool = False
    """OMERO itself reported that it cannot import it: no image will come."""
    last_error: str = ""
    lines: list[str] = field(default_factory=list)
    """The first lines from its first error on, without the frames of stack traces."""

    @property
    def failed(self) -> bool:
        return not self.done and bool(self.last_error)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class RunLog:
    """Tells whose line is whose in the log of a run over several units.

    The importer brings one unit after the other [infer: ``--parallel-fileset`` is 1 where it is not given],
    so what stands between the first line that names a file of a unit and the unit's end is about that unit.
    A line that nobody's file comes before is nobody's: its unit is tried again, alone, and then it is told.

    Args:
        main_of: every file of the run's units → the main file of its unit.
    """

    def __init__(self, main_of: Mapping[str, str]) -> None:
        self._main_of = main_of
        self.units: dict[str, UnitLog] = {main: UnitLog() for main in main_of.values()}
        self._current: UnitLog | None = None
        self.failures_in_a_row = 0

    @property
    def done_count(self) -> int:
        return sum(1 for unit in self.units.values() if unit.done)

    def take(self, line: str, step: ImportStep | None) -> None:
        """Note one line; ``step`` is what :func:`parse_log_line` made of it."""
        if step is not None and step.kind is StepKind.PREPARING:
            self._current = None
            return
        named = self._main_of.get(step.path if step is not None else _path_in(line))
        if named is not None:
            self._current = self.units[named]
        unit = self._current
        if step is not None and step.kind is StepKind.DONE:
            if unit is not None:
                unit.done = True
            self._current = None
            self.failures_in_a_row = 0
        elif _GIVEN_UP.search(line):
            self._current = None
            self.failures_in_a_row += 1
        elif unit is not None:
            self._note(unit, line)

    @staticmethod
    def _note(unit: UnitLog, line: str) -> None:
        error = parse_error(line)
        unit.last_error = error or unit.last_error
        unit.refused = unit.refused or reports_refusal(line)
        if unit.last_error and len(unit.lines) < _KEPT_LINES and not line.lstrip().startswith("at "):
            unit.lines.append(line)
