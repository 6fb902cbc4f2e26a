"""Whose data is it? Pure, and never a guess.

An acquisition is hers who was the only one signed in at this machine when it was first seen, or in whose own
folder it lies (staff's template names persons' folders). What was written while nobody, or more than one
person, was signed in is *unclaimed*: whoever says "it is mine" asks the bridge, which knows the folder rules
and who there is, and decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from agent.core.acquisition import Acquisition
from agent.core.template import suggestion_for
from server_bridge.contract import WorkstationShare


class Claim(StrEnum):
    MINE = "mine"
    UNCLAIMED = "unclaimed"
    SOMEBODY_ELSES = "somebody-elses"


WRITTEN_SLACK = timedelta(minutes=2)
"""How far the storage's clock may be from this machine's."""


def person_at_first_sight(present: Mapping[str, datetime], newest_write_at: datetime | None) -> str:
    """Who is taken to have made what is seen for the first time; empty where that is not sure.

    Args:
        present: Who is signed in at this machine, and since when.
        newest_write_at: The newest modification time in it. What was written before she signed in is found
            late (a new installation, a share that was away), and is not hers for being found now.
    """
    if len(present) != 1:
        return ""
    person, since = next(iter(present.items()))
    if newest_write_at is not None and newest_write_at < since - WRITTEN_SLACK:
        return ""
    return person


def unordered_owner(found: Acquisition, share: WorkstationShare | None, me: str) -> str:
    """Whose an acquisition without an order is, for the person who looks; empty where that is not known.

    A folder that has her name is hers, whoever sat there. One that has another name may be somebody's or
    nobody's: only the bridge knows who there is. What appeared while nobody was there, such as all that is
    old when the agent is installed, waits until somebody says that it is hers: it keeps nobody here.
    """
    named = suggestion_for(found, share) if share is not None and me and found.person_then else None
    if named is not None and named.person.casefold() == me.casefold():
        return me
    return found.person_then


def whose(person_then: str, ordered_by: str, me: str) -> Claim:
    """Decide for one person.

    Args:
        person_then: Who was signed in alone when it was first seen; empty where that is not known.
        ordered_by: Whose order it is; empty without an order. An order outweighs who sat there.
        me: The person who looks.
    """
    owner = ordered_by or person_then
    if not owner:
        return Claim.UNCLAIMED
    return Claim.MINE if me and owner == me else Claim.SOMEBODY_ELSES


def takes_standing_target(found: Acquisition, me: str, has_order: bool, since: datetime) -> bool:
    """Whether "from now on" applies: hers for sure, first seen since she said so, and not ordered yet.

    A part whose file is not there yet may become part of something else: it is not ordered for her.
    """
    return (
        bool(me)
        and not has_order
        and not found.successor_of
        and not found.is_part
        and found.person_then == me
        and found.first_seen_at >= since
    )
