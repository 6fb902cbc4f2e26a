"""Which of the share's patterns covers a file that no import unit takes. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from server_bridge.config import PatternConfig
from server_bridge.contract import ReceiptStatus

NOT_ATTACHED = "this version attaches no files; it stays on the buffer"


def covering_rule(path: str, patterns: PatternConfig) -> tuple[ReceiptStatus, str] | None:
    """Status and rule of a file outside OMERO, or None where a person must be asked.

    Patterns are held against the path and the name without regard to case (Windows writes ``Thumbs.db`` and
    ``THUMBS.DB``). What protects most wins: keep before attach before ignore. Attaching is not built yet:
    such a file is *kept*, and its rule says so, because calling it attached would release it.
    """
    if (found := _first_match(path, patterns.keep)) is not None:
        return ReceiptStatus.KEPT, f"keep: {found}"
    if (found := _first_match(path, patterns.attach)) is not None:
        return ReceiptStatus.KEPT, f"attach: {found} ({NOT_ATTACHED})"
    if (found := _first_match(path, patterns.ignore)) is not None:
        return ReceiptStatus.IGNORED, f"ignore: {found}"
    return None


def is_covered(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns matches the path or its name."""
    return _first_match(path, patterns) is not None


def _first_match(path: str, patterns: tuple[str, ...]) -> str | None:
    folded = path.casefold()
    name = folded.rpartition("/")[2]
    for pattern in patterns:
        if fnmatchcase(folded, pattern.casefold()) or fnmatchcase(name, pattern.casefold()):
            return pattern
    return None
