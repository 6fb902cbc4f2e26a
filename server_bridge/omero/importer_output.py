"""What ``omero import`` says, parsed: groups of files, results, steps and errors.

Nothing here is proof of anything (omero.receipts is): the command exits 0 with nothing imported in several
ways, and its output ends with the client although the server goes on. Layouts of log lines depend on the
logback configuration; keywords and "Step: n of m" do not, so only these are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
    )


def parse_error(line: str) -> str | None:
    """The text of a line that reports an error."""
    found = _ERROR.search(line) or _SERVER_ERROR.search(line)
    return found["text"].strip() if found else None
