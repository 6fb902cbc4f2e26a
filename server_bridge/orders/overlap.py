"""Which two places of one share can be ordered at once. Pure; names as the storage compares them.

Between files and folders the paths decide. A group holds entries of a folder by patterns, so two groups of
one folder may be apart or share a file, and their patterns alone do not always say which: what is certain is
refused at once (:func:`collide`), and what only might be (:func:`may_share`) is decided by the files that
each of them names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server_bridge.contract import is_member
from server_bridge.orders.authority import fold
from server_bridge.orders.models import Order

_SINGLE = re.compile(r"\[([^!\]])\]|\[(\])\]")
"""A set of one character, which is how a pattern spells ``[``, ``*`` or ``?`` itself."""
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Place:
    """What an order is for: a file or folder, or a group by its name and its members' patterns."""

    path: str
    members: tuple[str, ...] = ()


def place_of(order: Order) -> Place:
    """The place of an order."""
    return Place(order.path, tuple(order.members or ()))


def overlaps(left: str, right: str) -> bool:
    """Whether two paths of one share name the same place, or one lies in the other."""
    a, b = fold(left), fold(right)
    return a == b or a.startswith(b + "/") or b.startswith(a + "/")


def collide(left: Place, right: Place) -> bool:
    """Whether two places are one, or certainly share something."""
    if not left.members and not right.members:
        return overlaps(left.path, right.path)
    if fold(left.path) == fold(right.path):
        return True
    if not right.members:
        return _group_meets(left, right.path)
    if not left.members:
        return _group_meets(right, left.path)
    if _folder(left) == _folder(right):
        return _names_meet(left, right) or _names_meet(right, left)
    return holds(left, right.path) or holds(right, left.path)


def may_share(left: Place, right: Place) -> bool:
    """Whether the two places can share a file: for all that collide, and for groups of one folder."""
    return collide(left, right) or bool(left.members and right.members and _folder(left) == _folder(right))


def holds(group: Place, path: str) -> bool:
    """Whether a path lies in one of a group's entries, as the storage compares names."""
    above, parts = group.path.split("/")[:-1], path.split("/")
    if len(parts) <= len(above) or fold("/".join(parts[: len(above)])) != fold("/".join(above)):
        return False
    return _has(group, parts[len(above)])


def _folder(group: Place) -> str:
    return fold(group.path).rpartition("/")[0]


def _group_meets(group: Place, path: str) -> bool:
    """Whether a file or folder lies at, above or in a group."""
    folder, folded = _folder(group), fold(path)
    return folder == folded or folder.startswith(f"{folded}/") or holds(group, path)


def _has(group: Place, name: str) -> bool:
    # As it is spelt, too: a set such as [A-Z] is another one once it is folded.
    folded = tuple(fold(pattern) for pattern in group.members)
    return is_member(name, group.members) or is_member(fold(name), folded)


def _names_meet(one: Place, other: Place) -> bool:
    """Whether a name or a whole pattern that one group spells out is the other's, too."""
    patterns, others = ({fold(pattern) for pattern in group.members} for group in (one, other))
    names = [name for pattern in one.members if (name := _plain_name(pattern)) is not None]
    return bool(patterns & others) or any(_has(other, name) for name in names)


def _plain_name(pattern: str) -> str | None:
    """The one name that a pattern without wildcards stands for; None for all others."""
    if _WILD.search(_SINGLE.sub("", pattern)):
        return None
    return _SINGLE.sub(lambda found: found[1] or found[2], pattern)
