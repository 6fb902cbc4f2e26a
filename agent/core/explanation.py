"""How a folder would be grouped under a rule, and why: for staff, before they roll it out. Nothing is kept.

What discovery and the witness say here is what the scanner would act upon; it is the same code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.core import listing, template
from agent.core.acquisition import join
from agent.core.discovery import discover
from agent.core.formats import witness as format_witness
from agent.core.formats.grouping import Item
from agent.core.formats.known import BY_ID, KNOWN
from agent.core.formats.rules import used_by
from agent.core.formats.witness import lonely_part
from agent.core.template import TargetSuggestion
from agent.core.witness import Witness
from server_bridge.contract import AcquisitionRule, WorkstationShare

MARKER = ".omero-ferry-share"
"""Where a folder is the top of a share, its marker is no acquisition."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One acquisition, and what the rule makes of it."""

    path: str
    item: Item
    file_count: int
    size_bytes: int
    quiet_seconds: float
    fields: dict[str, str] = field(default_factory=dict)
    suggestion: TargetSuggestion | None = None
    witnesses: tuple[Witness, ...] = ()
    problem: str = ""

    @property
    def format_title(self) -> str:
        """The format's name for people; empty where none was recognised."""
        return BY_ID[self.item.format].title if self.item.format in BY_ID else ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of a folder."""

    acquisitions: tuple[Explained, ...]
    unreadable: dict[str, str]
    """Folders that may not be listed, and why."""


def share_of(rule: AcquisitionRule) -> WorkstationShare:
    """A share of its own, with the folder as its top."""
    return WorkstationShare(id="explained", title="", root=".", marker=MARKER, rule=rule)


def explain(top: Path, rule: AcquisitionRule, *, look: bool) -> Explanation:
    """Group a folder under a rule.

    Args:
        top: What the workstation's root would be.
        look: Also ask the formats' witnesses, which read a little of the newest files. Not on data that a
            microscope is writing.

    Raises:
        ShareAway: where the folder can't be listed.
    """
    share = share_of(rule)
    found = discover(top, share)
    items = sorted(found.items.items())
    return Explanation(
        tuple(_explain(top, share, path, item, look) for path, item in items), dict(found.problems)
    )


def _explain(top: Path, share: WorkstationShare, path: str, item: Item, look: bool) -> Explained:
    rule = share.rule
    count = size = 0
    problem = ""
    witnesses: tuple[Witness, ...] = ()
    format_id = item.format
    try:
        for seen in _files(top, path, item):
            count += 1
            size += seen.size_bytes
        if look:
            said = format_witness.ask(top, path, item.kind, item.members, item.format, used_by(rule, KNOWN))
            witnesses, format_id = said.witnesses, said.format or format_id
            if item.awaits:
                lonely = lonely_part(path, BY_ID[item.format], item.awaits, _files(top, path, item))
                witnesses = (lonely,) if lonely is not None else witnesses
    except (listing.Gone, listing.Unreadable) as error:
        problem = str(error)
    fields = template.parse(rule.template, path)
    is_plate = bool(format_id) and BY_ID[format_id].plate == "plate"
    return Explained(
        path=path,
        item=Item(item.name, item.kind, item.members, format_id, item.why, item.awaits),
        file_count=count,
        size_bytes=size,
        quiet_seconds=rule.quiet_for(format_id),
        fields=fields,
        suggestion=template.suggest(fields, is_plate=is_plate),
        witnesses=witnesses,
        problem=problem,
    )


def _files(top: Path, path: str, item: Item) -> Iterator[listing.FileSeen]:
    return listing.walk(top, path, members=item.members, judged=False)


def lines(explanation: Explanation) -> Iterator[str]:
    """The explanation as a person reads it."""
    for one in explanation.acquisitions:
        files = "1 file" if one.file_count == 1 else f"{one.file_count} files"
        title = f", {one.format_title}" if one.format_title else ""
        yield f"{one.path}"
        yield f"    {one.item.kind.value}{title}: {files}, {one.size_bytes / 1e6:.1f} MB"
        if one.item.why:
            yield f"    because: {one.item.why}"
        if one.item.members:
            yield f"    takes: {_short(one.item.members)}"
        if one.item.awaits:
            yield f"    waits: {one.item.awaits}"
        if one.suggestion is not None:
            yield f"    suggests: {suggestion_text(one.suggestion)}"
        yield f"    finished: after {one.quiet_seconds:g} s without a change{_last(one)}"
        for witness in one.witnesses:
            yield f"    {witness.state.value}: {witness.words}"
        if one.problem:
            yield f"    problem: {one.problem}"
    for folder, reason in sorted(explanation.unreadable.items()):
        yield f"{join(folder, '')} may not be listed: {reason}"
    yield f"{len(explanation.acquisitions)} acquisitions"


def _short(members: tuple[str, ...], most: int = 4) -> str:
    shown = ", ".join(members[:most])
    return shown if len(members) <= most else f"{shown} and {len(members) - most} more patterns"


def _last(one: Explained) -> str:
    rule = BY_ID.get(one.item.format)
    if rule is None or not rule.last:
        return ""
    return f"; written last: {rule.last.replace('[infer]', '(not proven)')}"


def suggestion_text(suggestion: TargetSuggestion) -> str:
    """``user alice, project Actin, dataset run 1``."""
    parts = (
        ("user", suggestion.person),
        ("group", suggestion.group_name),
        ("project", suggestion.project_name),
        (suggestion.kind.value, suggestion.container_name or "of any name"),
        ("tags", " ".join(suggestion.tags)),
    )
    return ", ".join(f"{name} {text}" for name, text in parts if text)
