"""What of one folder belongs together. Pure: names go in, acquisitions and plain folders come out.

Every name ends up in exactly one place, whatever the order of the listing. What is decided by the name of a
file alone (an image and the parts it may get, a numbered series) is decided at first sight and stays true as
more files come. Two things come late and change what was seen before, as long as nothing of it is finished
or ordered: a file that stands for parts that were there before it (``_img_`` before ``img.vsi``), and a
companion file that is written after its images. What is finished or ordered is *kept*: it stays what it is.

Where the names of two groups overlap (``a.companion.ome`` and ``a_b.companion.ome`` can both mean
``a_b_t1.ome.tif``) they are one group: no file is ever in two.
"""

from __future__ import annotations

import glob
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache

from agent.core.formats import series
from agent.core.formats.rules import FormatRule
from server_bridge.contract import AcquisitionKind

MOST_MEMBERS = 32
"""As many patterns as an order may have (contract: ``OrderIntent.members``)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder."""

    name: str
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One acquisition of a folder."""

    name: str
    """Of the file that stands for it, or the pattern of a series."""
    kind: AcquisitionKind
    members: tuple[str, ...] = ()
    format: str = ""
    why: str = ""
    """In words, for staff who look at how a rule groups."""
    awaits: str = ""
    """What has to come before it is whole, in words."""
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Of a group: the names that are there now."""


@dataclass(frozen=True, slots=True)
class Grouped:
    items: tuple[Item, ...]
    folders: tuple[str, ...]
    """Folders that belong to no group."""


@dataclass(slots=True)
class _Draft:
    """A file that stands for an acquisition, with the patterns of what may belong to it."""

    rule: FormatRule
    name: str
    stem: str
    members: list[str]
    samples: list[str]
    """A name for each pattern, to find out whether another group's patterns would take it."""


def group(
    entries: Sequence[Entry],
    formats: Sequence[FormatRule],
    kept: Iterable[Item] = (),
    *,
    orphans: bool = True,
) -> Grouped:
    """Divide a folder's entries.

    Args:
        kept: Acquisitions of this folder that are finished or ordered; they keep what they have.
        orphans: Whether what looks like a part whose file is not there yet is taken for one.
    """
    left = {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}
    names = list(left)
    everything = dict(left)
    items = [item for item, _ in _keep(left, names, kept)]
    reserved = frozenset(names) | {item.name for item in items}
    items += _whole_folders(left, formats)
    found = _groups(left, names, formats, frozenset(item.name for item in items))
    items += _orphans(left, formats) if orphans else ()
    found += _series(left, formats, reserved)
    for item, taken in found:
        # A pattern that also takes what is kept elsewhere would bring the same file twice.
        if set(taken) == {name for member in item.members for name in _matching(names, member)}:
            items.append(replace(item, names=tuple(sorted(taken))))
        else:
            left |= {name: everything[name] for name in taken}
    for entry in list(left.values()):
        if not entry.is_folder:
            del left[entry.name]
            items.append(Item(entry.name, AcquisitionKind.FILE, format=_format_of(entry.name, formats)))
    return Grouped(tuple(sorted(items, key=lambda item: item.name)), tuple(sorted(left)))


def holds(members: Iterable[str], name: str) -> bool:
    """Whether a name is a member (as the bridge sees it: `fnmatch.fnmatchcase`)."""
    return any(name.startswith(literal_start(one)) and fnmatchcase(name, one) for one in members)


@lru_cache(maxsize=8192)
def literal_start(pattern: str) -> str:
    """What every name that a shell pattern matches begins with."""
    found = re.match(r"(?:[^*?\[]|\[[*?\[]\])*", pattern)
    return re.sub(r"\[([*?\[])\]", r"\1", found.group(0)) if found else ""


def signature(names: Iterable[str], formats: Sequence[FormatRule]) -> FormatRule | None:
    """The format that calls a folder with these names one acquisition."""
    there = [name.casefold() for name in names]
    for rule in formats:
        for pattern_set in rule.signatures:
            if all(any(fnmatchcase(name, one.casefold()) for name in there) for one in pattern_set):
                return rule
    return None


def _matching(names: Sequence[str], pattern: str) -> Iterator[str]:
    """Of sorted names those that a pattern matches, without trying them all."""
    prefix = literal_start(pattern)
    for number in range(bisect_left(names, prefix), len(names)):
        if not names[number].startswith(prefix):
            return
        if fnmatchcase(names[number], pattern):
            yield names[number]


def _take(left: dict[str, Entry], names: Sequence[str], members: Iterable[str]) -> list[str]:
    """Take out of ``left`` what the patterns match; ``names`` are its names, sorted, or more."""
    taken = []
    for pattern in members:
        for name in _matching(names, pattern):
            if left.pop(name, None) is not None:
                taken.append(name)
    return taken


def _keep(
    left: dict[str, Entry], names: Sequence[str], kept: Iterable[Item]
) -> Iterator[tuple[Item, list[str]]]:
    for item in sorted(kept, key=lambda item: (item.kind is AcquisitionKind.GROUP, item.name)):
        if item.kind is AcquisitionKind.GROUP:
            taken = _take(left, names, item.members)
            if taken:
                yield replace(item, names=tuple(sorted(taken))), taken
        else:
            entry = left.get(item.name)
            if entry is not None and entry.is_folder == (item.kind is AcquisitionKind.FOLDER):
                del left[item.name]
                yield item, [item.name]


def _whole_folders(left: dict[str, Entry], formats: Sequence[FormatRule]) -> Iterator[Item]:
    for entry in list(left.values()):
        for rule in formats if entry.is_folder else ():
            if any(fnmatchcase(entry.name.casefold(), one.casefold()) for one in rule.folder_names):
                del left[entry.name]
                yield Item(entry.name, AcquisitionKind.FOLDER, format=rule.id, why=rule.title)
                break


def _suffix_of(name: str, rule: FormatRule) -> str:
    folded = name.casefold()
    return next((one for one in rule.suffixes if folded.endswith(one) and len(folded) > len(one)), "")


def has_suffix(name: str, rule: FormatRule) -> bool:
    """Whether a name is that of a file which stands for an acquisition in this format."""
    return bool(_suffix_of(name, rule))


def _format_of(name: str, formats: Sequence[FormatRule]) -> str:
    return next((rule.id for rule in formats if _suffix_of(name, rule) and not rule.is_group), "")


def _drafts(left: dict[str, Entry], formats: Sequence[FormatRule]) -> list[_Draft]:
    made = []
    for rule in (rule for rule in formats if rule.is_group):
        for entry in left.values():
            suffix = "" if entry.is_folder else _suffix_of(entry.name, rule)
            if not suffix:
                continue
            stem = entry.name[: -len(suffix)]
            members = [glob.escape(entry.name)]
            members += [part.format(stem=glob.escape(stem)) for part in rule.parts]
            if any(len(one) > series.LONGEST for one in members):
                continue
            samples = [sample(part).format(stem=stem) for part in rule.parts]
            made.append(_Draft(rule, entry.name, stem, members, [entry.name, *samples]))
    return made


def sample(pattern: str) -> str:
    """A name that a pattern matches (``_[0-9]*`` gives ``_0x``)."""
    return re.sub(r"\[([^\]])[^\]]*\]", r"\1", pattern).replace("*", "x")


def _merge(drafts: list[_Draft]) -> list[_Draft]:
    """Make one of drafts that could take the same name. The one with the shortest name stands for them."""
    drafts = sorted(drafts, key=lambda draft: (draft.stem, draft.name))
    leader = list(range(len(drafts)))

    def leader_of(number: int) -> int:
        while leader[number] != number:
            number = leader[number]
        return number

    for number, one in enumerate(drafts):
        for later in range(number + 1, len(drafts)):
            other = drafts[later]
            # All patterns begin with the stem or one fixed sign before it: no common beginning, no overlap.
            if not other.stem.startswith(one.stem):
                break
            if _overlap(one, other):
                leader[leader_of(later)] = leader_of(number)
    merged: dict[int, _Draft] = {}
    for number, draft in enumerate(drafts):
        first = merged.setdefault(leader_of(number), drafts[leader_of(number)])
        if first is not draft:
            both = zip(draft.members, draft.samples, strict=True)
            first.members += [one for one, name in both if not holds(first.members, name)]
    return [draft for draft in merged.values() if len(draft.members) <= MOST_MEMBERS]


def _overlap(one: _Draft, other: _Draft) -> bool:
    return any(holds(one.members, name) for name in other.samples) or any(
        holds(other.members, name) for name in one.samples
    )


def _groups(
    left: dict[str, Entry], names: Sequence[str], formats: Sequence[FormatRule], taken: frozenset[str]
) -> list[tuple[Item, list[str]]]:
    drafts = [draft for draft in _merge(_drafts(left, formats)) if draft.name not in taken]
    found = [(draft, _take(left, names, draft.members)) for draft in drafts]
    # Parts whose name differs in upper and lower case only are named one by one.
    owners = {one.casefold(): pair for pair in found for one in pair[0].samples}
    for name in list(left):
        owner = owners.get(name.casefold())
        if owner is not None and len(owner[0].members) < MOST_MEMBERS:
            del left[name]
            owner[0].members.append(glob.escape(name))
            owner[1].append(name)
    return [
        (
            Item(
                draft.name,
                AcquisitionKind.GROUP,
                tuple(draft.members),
                draft.rule.id,
                f"{draft.rule.title}: {draft.name} and its parts",
            ),
            names_taken,
        )
        for draft, names_taken in found
    ]


def _orphans(left: dict[str, Entry], formats: Sequence[FormatRule]) -> Iterator[Item]:
    for entry in list(left.values()):
        for rule in formats:
            # A pattern that ends in "/" speaks of folders.
            patterns = [one.rstrip("/") for one in rule.orphans if one.endswith("/") == entry.is_folder]
            if any(fnmatchcase(entry.name.casefold(), one) for one in patterns):
                del left[entry.name]
                kind = AcquisitionKind.FOLDER if entry.is_folder else AcquisitionKind.FILE
                awaits = f"the {rule.suffixes[0]} file that it belongs to is not there yet"
                yield Item(entry.name, kind, (), rule.id, f"{rule.title}: a part alone", awaits)
                break


def _series(
    left: dict[str, Entry], formats: Sequence[FormatRule], reserved: frozenset[str]
) -> list[tuple[Item, list[str]]]:
    items: list[tuple[Item, list[str]]] = []
    for rule in (rule for rule in formats if rule.series):
        found: dict[series.Key, dict[str, tuple[str, ...]]] = {}
        for entry in left.values():
            parsed = None if entry.is_folder else series.parse(entry.name, counter=rule.series == "counter")
            if parsed is not None:
                found.setdefault(parsed.key, {})[entry.name] = parsed.numbers
        for key, numbered in found.items():
            members = series.patterns(key, numbered.values())
            if not members or key.title in reserved:
                continue
            for name in numbered:
                del left[name]
            item = Item(key.title, AcquisitionKind.GROUP, members, rule.id, f"{rule.title}: {key.title}")
            items.append((item, list(numbered)))
    return items
