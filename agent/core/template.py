"""What the folders of a path mean, by the rule's template. Pure, and the one place where a path is taken
apart.

A template names the levels below the root: ``{user}/{project}/{acquisition}``. A level may hold text and
more than one field (``{date}_{user}``). What it yields are suggestions: whose data it is, and where it may
go, is the bridge's to decide and the person's to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from agent.core.acquisition import Acquisition, root_of
from agent.core.formats.known import BY_ID
from server_bridge.contract import TargetKind, WorkstationShare

_FIELD = re.compile(r"\{([a-z]+)\}")


@dataclass(frozen=True, slots=True)
class TargetSuggestion:
    """What the target dialog begins with; every part may be empty."""

    person: str = ""
    """Whose folder it lies in. Only a hint: it gives nobody a right."""
    group_name: str = ""
    kind: TargetKind = TargetKind.DATASET
    project_name: str = ""
    container_name: str = ""
    tags: tuple[str, ...] = ()


@lru_cache(maxsize=64)
def _levels(template: str) -> tuple[re.Pattern[str], ...]:
    made = []
    for level in template.strip("/").split("/"):
        text, at, seen = "", 0, set[str]()
        for field in _FIELD.finditer(level):
            text += re.escape(level[at : field.start()])
            name = field.group(1)
            text += "(?:.+?)" if name in seen else f"(?P<{name}>.+?)"
            seen.add(name)
            at = field.end()
        made.append(re.compile(text + re.escape(level[at:]), re.IGNORECASE))
    return tuple(made)


def parse(template: str, path: str) -> dict[str, str]:
    """Field → text, for a path below the root.

    The last part is always the acquisition. What lies less deep than the template says yields the fields of
    the folders it has, what lies deeper those of the upper ones; a folder that does not fit its level yields
    nothing.
    """
    if not template.strip("/"):
        return {}
    parts = path.strip("/").split("/")
    found: dict[str, str] = {}
    levels = _levels(template)
    for level, part in zip(levels[:-1], parts[:-1], strict=False):
        match = level.fullmatch(part)
        if match is not None:
            found |= {name: text for name, text in match.groupdict().items() if name != "any"}
    last = levels[-1].fullmatch(parts[-1]) if len(parts) >= len(levels) else None
    if last is not None:
        found |= {name: text for name, text in last.groupdict().items() if name != "any"}
    return found | ({} if "acquisition" in found else {"acquisition": parts[-1]})


def title_of(name: str) -> str:
    """A container's name made of an acquisition's: without a suffix, and without the signs of a series."""
    suffixes = sorted((one for rule in BY_ID.values() for one in rule.suffixes), key=len, reverse=True)
    for suffix in (*suffixes, ".ome.zarr", ".zarr"):
        if name.casefold().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    plain = re.sub(r"(?:[_\-. ]+[A-Za-z]*)?\*.*$", "", name)
    return plain or name


def suggest(fields: Mapping[str, str], *, is_plate: bool) -> TargetSuggestion | None:
    """What a path's fields suggest; None where they say nothing and it is no plate."""
    if not fields:
        return TargetSuggestion(kind=TargetKind.SCREEN) if is_plate else None
    screen = is_plate or ("screen" in fields and "dataset" not in fields)
    project, dataset = fields.get("project", ""), fields.get("dataset", "")
    if screen:
        container, project = fields.get("screen", "") or project, ""
    else:
        container = dataset or title_of(fields.get("acquisition", ""))
    tag = fields.get("tag", "")
    return TargetSuggestion(
        person=fields.get("user", ""),
        group_name=fields.get("group", ""),
        kind=TargetKind.SCREEN if screen else TargetKind.DATASET,
        project_name=project[:255],
        container_name=container[:255],
        tags=(tag[:255],) if tag else (),
    )


def suggestion_for(found: Acquisition, share: WorkstationShare) -> TargetSuggestion | None:
    """What an acquisition's place and format suggest."""
    root = root_of(share)
    below = found.path[len(root) + 1 :] if root else found.path
    return suggest(parse(share.rule.template, below), is_plate=found.is_plate)
