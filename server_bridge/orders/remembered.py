"""What the bridge remembers about its surroundings and its orders' rare turns: small facts by name.

For what is asked by its name alone; whatever is searched or sorted has a column of its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from server_bridge.orders.models import SiteFact

LANDMARK = "omero_landmark"
"""An event of OMERO's database that we saw (`server_bridge.omero.landmark`)."""
UNKNOWN_PAST = "omero_unknown_past"
"""Orders whose filesets were missing already when the landmark was set: it says nothing about them."""
RESTORED = "omero_restored"
"""Stands while OMERO's database is an older one than we saw."""


def source_gone_accepted(order_id: str) -> str:
    """Name of the fact that staff let an order go on without its source."""
    return f"source_gone:{order_id}"


def deleted_units(order_id: str) -> str:
    """Name of the fact that holds the units of an order that were deleted in OMERO."""
    return f"deleted_units:{order_id}"


def recall(session: Session, name: str) -> dict[str, Any] | None:
    """The fact's value; None where there is none."""
    found = session.get(SiteFact, name)
    return None if found is None else dict(found.value)


def remember(session: Session, name: str, value: dict[str, Any], now: datetime) -> None:
    """Write a fact, or write it anew."""
    found = session.get(SiteFact, name)
    if found is None:
        session.add(SiteFact(name=name, value=value, at=now))
    else:
        found.value, found.at = value, now


def forget(session: Session, name: str) -> bool:
    """Drop a fact. Returns whether there was one."""
    found = session.get(SiteFact, name)
    if found is None:
        return False
    session.delete(found)
    # Otherwise one that is remembered anew in this transaction would be dropped together with it.
    session.flush()
    return True
