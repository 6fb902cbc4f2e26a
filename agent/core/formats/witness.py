"""Asks an acquisition's own format whether it is complete: an index, a count, the end of a file.

This is the one place in the agent that reads data of the microscope, and it is only called for what has been
quiet for the whole quiet time (promise 5): a few kilobytes of the newest files, index files whole up to a
limit. Each file's size and time are compared before and after. An answer "not complete" holds the
acquisition; what cannot be read or judged is "unknown" and holds nothing.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.core import listing
from agent.core.acquisition import PARTS, PLATE
from agent.core.formats.contents import (
    CONTENTS,
    ChangedMeanwhile,
    Peek,
    Said,
    TooMuch,
    fine,
    ndtiff_entries,
    unknown,
    waits,
)
from agent.core.formats.htd import expected_images
from agent.core.formats.rules import Check, CheckKind, FormatRule
from agent.core.formats.survey import Base, Survey
from agent.core.listing import FileSeen
from agent.core.witness import Witness, WitnessState
from server_bridge.contract import AcquisitionKind

TAIL_BYTES = 4096
_OPEN_ELSEWHERE = 32
"""ERROR_SHARING_VIOLATION: another program has it open and does not share."""


@dataclass(frozen=True, slots=True)
class Testimony:
    """What the format says, and which format it is."""

    witnesses: tuple[Witness, ...] = ()
    format: str = ""


def ask(
    top: Path,
    path: str,
    kind: AcquisitionKind,
    members: tuple[str, ...],
    format_id: str,
    formats: Sequence[FormatRule],
    *,
    beat: listing.Beat = listing.no_beat,
) -> Testimony:
    """Look into an acquisition that rests.

    Args:
        format_id: The format that discovery saw; empty where it saw none.
        formats: Those that count.

    Raises:
        ShareAway: where the share does not answer.
        listing.Gone, listing.Unreadable: where it is not there, or a folder in it may not be read.
    """

    def walk() -> Iterable[FileSeen]:
        return listing.walk(top, path, members=members, judged=False, beat=beat)

    start = f"{path}/" if kind is AcquisitionKind.FOLDER else path[: path.rfind("/") + 1]
    survey = Survey(lambda: iter(walk()), start, format_id, formats)
    asked = _Asked(top, survey, beat)
    witnesses: list[Witness] = []
    for base in survey.bases:
        witnesses += asked.about(base)
    ids = {base.rule.id for base in survey.bases}
    return Testimony(tuple(witnesses), format_id or (ids.pop() if len(ids) == 1 else ""))


def lonely_part(path: str, rule: FormatRule, awaits: str, files: Iterable[FileSeen]) -> Witness | None:
    """The witness for what looks like a part; None where what is in it says that it only looks so."""
    if rule.orphan_holds and not any(
        listing.matches(seen.path.rpartition("/")[2], rule.orphan_holds) for seen in files
    ):
        return None
    return Witness(PARTS, WitnessState.WAITING, f"{path.rpartition('/')[2]}: {awaits}")


class _Asked:
    """The checks of one acquisition."""

    def __init__(self, top: Path, survey: Survey, beat: listing.Beat) -> None:
        self._top = top
        self._survey = survey
        self._beat = beat
        self._indexes: dict[CheckKind, Callable[[Base, Check, FileSeen], Said]] = {
            CheckKind.NAMED_FILES: self._named_files,
            CheckKind.CLOSING_TAG: self._closing_tag,
            CheckKind.HTD_COUNT: self._htd_count,
            CheckKind.NDTIFF_INDEX: self._ndtiff_index,
        }

    def about(self, base: Base) -> list[Witness]:
        """All that the format of a folder says."""
        found = []
        for check in base.rule.checks:
            said = self._zarr(base) if check.kind is CheckKind.ZARR_METADATA else self._check(base, check)
            found += [Witness(base.rule.id, one.state, one.words) for one in said]
            if check.kind is CheckKind.ZARR_METADATA and self.plate(base):
                found.append(Witness(PLATE, WitnessState.OK, "a plate"))
        return found

    def _check(self, base: Base, check: Check) -> list[Said]:
        candidates = self._survey.candidates(base, check)
        if candidates.count == 0:
            return [waits(f"{check.files[0]} is not there yet")] if check.required else []
        if check.kind is CheckKind.PRESENT:
            return [fine(f"{candidates.files[0].path.rpartition('/')[2]} is there")]
        look = CONTENTS.get(check.kind)
        if look is not None:
            return [_worst([self._look(seen, look) for seen in candidates.files], candidates.count)]
        index = self._indexes[check.kind]
        return [index(base, check, seen) for seen in candidates.files]

    def _look(self, seen: FileSeen, look: Callable[[Peek], Said]) -> Said:
        name = seen.path.rpartition("/")[2]
        self._beat()
        try:
            with Peek(self._top / seen.path, name) as peek:
                said = look(peek)
        except (ChangedMeanwhile, FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return waits(f"{name} changed while it was looked at")
        except TooMuch:
            return unknown(f"{name} is too large to be looked at")
        except PermissionError as error:
            if sys.platform == "win32" and error.winerror == _OPEN_ELSEWHERE:
                return waits(f"{name} is still open in another program")
            return unknown(f"{name} may not be read")
        except OSError as error:
            raise listing.away(error) from error
        return said

    def _text(self, seen: FileSeen, judge: Callable[[str], Said]) -> Said:
        return self._look(seen, lambda peek: judge(peek.text()))

    # --- indexes --------------------------------------------------------------------------------------

    def _named_files(self, base: Base, check: Check, seen: FileSeen) -> Said:
        title = seen.path.rpartition("/")[2]
        folder = self._survey.relative(seen).casefold().rpartition("/")[0]

        def judge(text: str) -> Said:
            wanted = {
                html.unescape(name).replace("\\", "/").casefold().removeprefix("./")
                for name in re.findall(check.names, text)
            }
            if check.images:
                wanted = {name for name in wanted if listing.matches(name, check.images)}
            if not wanted:
                return unknown(f"{title} names no files")
            there = self._present(folder, wanted)
            words = f"{title} names {len(wanted)} images, {len(there)} are there"
            if len(there) == len(wanted):
                return fine(words)
            return waits(words + self._beside(seen, wanted - there))

        del base
        return self._text(seen, judge)

    def _present(self, folder: str, wanted: set[str]) -> set[str]:
        """Which of the names are there: beside the index, one folder up, or (only if none is) anywhere."""
        names = self._survey.names
        for start in dict.fromkeys((folder, folder.rpartition("/")[0])):
            found = {name for name in wanted if (f"{start}/{name}" if start else name) in names}
            if found:
                return found
        return {name for name in wanted if name.rpartition("/")[2] in self._survey.last_names}

    def _beside(self, seen: FileSeen, missing: set[str]) -> str:
        """Whether what is missing lies beside the index and belongs to something else, by its name."""
        folder = self._top / seen.path.rpartition("/")[0]
        names = {entry.name.casefold() for entry in listing.entries_of(folder)}
        beside = len(missing & names)
        return f"; {beside} lie beside it and are cards of their own" if beside else ""

    def _closing_tag(self, base: Base, check: Check, seen: FileSeen) -> Said:
        del base
        title = seen.path.rpartition("/")[2]

        def judge(peek: Peek) -> Said:
            begins = peek.at(0, 64).lstrip(b"\xef\xbb\xbf \t\r\n")
            if check.begins and not begins.startswith(check.begins.encode()):
                return unknown(f"{title} is not what it is called")
            end = peek.end(TAIL_BYTES).replace(b"\0", b"").rstrip()
            if any(end.endswith(tag.encode()) for tag in check.tag.split()):
                return fine(f"{title} is written to its end")
            return waits(f"{title} is not written to its end")

        return self._look(seen, judge)

    def _htd_count(self, base: Base, check: Check, seen: FileSeen) -> Said:
        title = seen.path.rpartition("/")[2]
        prefix = f"{base.folder.casefold()}/" if base.folder else ""
        images = [
            name
            for name in self._survey.names
            if name.startswith(prefix)
            and listing.matches(name.rpartition("/")[2], check.images)
            and "_thumb" not in name
        ]
        stepped = any("/zstep_" in f"/{name}" for name in images)

        def judge(text: str) -> Said:
            expected = expected_images(text, z_folders=stepped)
            if expected is None:
                return unknown(f"{title} does not say how many images there will be")
            words = f"{title} asks for {expected} images, {len(images)} are there"
            return fine(words) if len(images) >= expected else waits(words)

        return self._text(seen, judge)

    def _ndtiff_index(self, base: Base, check: Check, seen: FileSeen) -> Said:
        del base, check
        title = seen.path.rpartition("/")[2]
        folder = self._top / seen.path.rpartition("/")[0]

        def judge(peek: Peek) -> Said:
            ends: dict[str, int] = {}
            count = 0
            for entry in ndtiff_entries(peek.at(0, peek.size_bytes)):
                if entry is None:
                    return waits(f"{title} is not closed: {count} images are in it")
                count += 1
                ends[entry.file] = max(ends.get(entry.file, 0), entry.end)
            for name, end in ends.items():
                try:
                    size = (folder / Path(name).name).stat().st_size
                except FileNotFoundError:
                    return waits(f"{title} names {name}, which is not there")
                if size < end:
                    return waits(f"{name} is shorter than {title} says")
            return (
                fine(f"{title} names {count} images, all are there") if count else waits(f"{title} is empty")
            )

        return self._look(seen, judge)

    # --- OME-Zarr -------------------------------------------------------------------------------------

    def _zarr(self, base: Base) -> list[Said]:
        """The metadata at the top, and the wells that a plate's names."""
        place = base.folder or "the folder"
        try:
            document = self._document(base)
        except ValueError:
            return [waits(f"the metadata of {place} is not written to its end")]
        if document is None:
            return [waits(f"{place} has no metadata yet")]
        wells = _wells(document)
        if wells is None:
            return [fine(f"{place} has its metadata")]
        prefix = f"{base.folder.casefold()}/" if base.folder else ""
        names = (name.removeprefix(prefix) for name in self._survey.names if name.startswith(prefix))
        there = {tuple(name.split("/")[:2]) for name in names}
        count = sum(tuple(well.casefold().split("/")[:2]) in there for well in wells)
        words = f"{place} names {len(wells)} wells, {count} are there"
        return [fine(words) if count == len(wells) else waits(words)]

    def plate(self, base: Base) -> bool:
        """Whether a Zarr says that it is a plate."""
        try:
            document = self._document(base)
        except ValueError:
            return False
        return document is not None and _wells(document) is not None

    def _document(self, base: Base) -> dict[str, object] | None:
        """The attributes of the group at the top; None where there are none.

        Raises:
            ValueError: where they are no JSON (yet).
        """
        folder = self._survey.start + (f"{base.folder}/" if base.folder else "")
        for name in ("zarr.json", ".zattrs", ".zgroup"):
            text = _Text()
            said = self._look(FileSeen(folder + name, 0, 0), text.take)
            if text.read is None:
                if said.state is WitnessState.UNKNOWN:
                    return {}
                continue
            document = json.loads(text.read)
            return document if isinstance(document, dict) else {}
        return None


class _Text:
    """A whole text, once it was read."""

    read: str | None = None

    def take(self, peek: Peek) -> Said:
        """Read it."""
        self.read = peek.text()
        return fine(f"{peek.name} is there")


def _wells(document: dict[str, object]) -> list[str] | None:
    """The paths of a plate's wells (OME-NGFF 0.4: at the top of .zattrs; 0.5: attributes.ome of
    zarr.json)."""
    attributes = document.get("attributes", document)
    ome = attributes.get("ome", attributes) if isinstance(attributes, dict) else None
    plate = ome.get("plate") if isinstance(ome, dict) else None
    if not isinstance(plate, dict):
        return None
    wells = plate.get("wells", [])
    if not isinstance(wells, list):
        return []
    return [str(well["path"]) for well in wells if isinstance(well, dict) and "path" in well]


def _worst(said: Sequence[Said], count: int) -> Said:
    """One answer for several files: what speaks against it comes first."""
    for state in (WitnessState.WAITING, WitnessState.UNKNOWN):
        found = [one for one in said if one.state is state]
        if found:
            return found[0]
    return said[0] if count == 1 else fine(f"the newest {len(said)} of {count} files are whole")
