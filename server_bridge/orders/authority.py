"""Whose data is it? Default deny: what no rule gives to a person, she may not order.

The rules, first match decides:

1. Staff may order anything on any share, also for somebody else (``owner``).
2. Everybody else stays strictly below her workstation's root in that share.
3. Her own folder by the share's folder rule (``person_folder = "{user}"``) is hers; the folder of somebody
   else whom the bridge knows is not, whoever was signed in.
4. Data that this workstation first saw while she was signed in at it is hers.
5. With ``unclaimed = "signed-in"``, data first seen while nobody was signed in there may be ordered by a
   person who signed in at that workstation.

Pure: time and facts come as arguments. When the data was first seen is the workstation's word: whoever
holds an approved workstation's key could lie about it, which is why staff approve workstations one by one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from server_bridge.errors import FerryError, Forbidden
from server_bridge.mover import paths
from server_bridge.orders.sessions import Presence

LONGEST_NAME = 255
"""Characters of an account's name in OMERO."""
CLOCK_SLACK = timedelta(seconds=60)
"""How far a workstation's clock may be off. It only helps where nobody else was signed in at that moment."""


class Ground(StrEnum):
    """Why a person may order this data."""

    STAFF = "staff"
    FOLDER = "folder"
    PRESENT = "present"
    UNCLAIMED = "unclaimed"


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that decides, and nothing else."""

    username: str
    is_staff: bool
    path: str
    root: str | None
    """The workstation's root in this share; None: it has none there, or no approved workstation asks."""
    person_folder: str
    unclaimed: Literal["staff", "signed-in"]
    first_seen_at: datetime | None
    presences: Sequence[Presence]
    """Who was signed in at this workstation around ``first_seen_at``."""
    folder_person_is_known: bool = False
    """Whether :func:`folder_person` names somebody the bridge knows."""
    signed_in_here: bool = False
    """Whether this person's session was made at this workstation."""
    group_folder: str | None = None
    """Of a group: the folder that its entries lie in. It says whose they are; a group's name says nothing."""
    holds_others_folder: bool = False
    """Of a group: whether the folder of somebody else whom the bridge knows is one of its entries."""


def fold(name: str) -> str:
    """A name as Windows and most storage compare it: letter case and accents' form do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def folder_person(path: str, root: str, person_folder: str) -> str:
    """Whose folder ``path`` lies in by the share's rule, as the folder spells it; empty: in nobody's."""
    if "{user}" not in person_folder or not paths.is_below(path, root):
        return ""
    below = path if root == "." else path[len(root) :].lstrip("/")
    parts, pattern = below.split("/"), person_folder.strip("/").split("/")
    if not below or len(parts) < len(pattern):
        return ""
    user = ""
    for part, wanted in zip(parts, pattern, strict=False):
        if "{user}" not in wanted:
            if fold(part) != fold(wanted):
                return ""
            continue
        before, _, after = wanted.partition("{user}")
        found = re.fullmatch(re.escape(fold(before)) + "(.+)" + re.escape(fold(after)), fold(part))
        if found is None:
            return ""
        user = found[1]
    # No account of OMERO has a longer name (its column holds 255 characters): that folder is nobody's.
    return user if len(user) <= LONGEST_NAME else ""


def folder_of(username: str, root: str, person_folder: str) -> str:
    """Where that person's own folder lies by the share's rule; empty where the rule names none."""
    if "{user}" not in person_folder:
        return ""
    below = person_folder.strip("/").replace("{user}", username)
    return below if root == "." else f"{root}/{below}"


def decide(question: Question) -> Ground:
    """Return on which ground the person may order.

    Raises:
        Forbidden: ``share_not_yours``, ``outside_root`` or ``not_your_data``, saying whom to ask.
    """
    if question.is_staff:
        return Ground.STAFF
    if question.root is None:
        raise Forbidden(
            "Staff gave this workstation no root in this share.",
            code="share_not_yours",
            title="This workstation may not use this share",
            remedy="Ask the platform staff.",
        )
    inside = question.root == "." or question.path.startswith(question.root + "/")
    if not inside:
        raise Forbidden(
            f"{paths.shown(question.path)!r} is not below {question.root!r}.",
            code="outside_root",
            title="This lies outside the workstation's folder",
            remedy="Order it from the workstation that it belongs to.",
        )
    where = question.path if question.group_folder is None else question.group_folder
    folder = folder_person(where, question.root, question.person_folder)
    if folder and folder == fold(question.username):
        return Ground.FOLDER
    if folder and question.folder_person_is_known:
        raise _not_hers("It lies in somebody else's folder.")
    if question.holds_others_folder:
        raise _not_hers("One of its entries is somebody else's folder.")
    seen = question.first_seen_at
    if seen is None:
        raise _not_hers("Nobody knows when it was first seen here.")
    present = {presence.username for presence in question.presences if presence.covers(seen)}
    if not present:
        present = {presence.username for presence in question.presences if presence.covers(seen, CLOCK_SLACK)}
    if question.username in present:
        return Ground.PRESENT
    if present:
        raise _not_hers("Somebody else was signed in when this workstation first saw it.")
    if question.unclaimed == "signed-in" and question.signed_in_here:
        return Ground.UNCLAIMED
    raise _not_hers("Nobody was signed in when this workstation first saw it.")


def _not_hers(detail: str) -> FerryError:
    return Forbidden(
        detail,
        code="not_your_data",
        title="This is not known to be your data",
        remedy="Ask the platform staff: they can order it for you.",
    )
