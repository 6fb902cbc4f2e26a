"""May this person take an order over? Pure, on what OMERO said of her a moment ago."""

from __future__ import annotations

from server_bridge.contract import Person, Target
from server_bridge.errors import BadRequest, Forbidden
from server_bridge.orders import targets
from server_bridge.orders.callers import Caller


def require_able(person: Person | None, taker: str, target: Target, caller: Caller) -> None:
    """The taker is active and a member of the order's group; if she asks for herself, she owns it still.

    Raises:
        BadRequest: ``no_such_person``, ``not_a_member``.
        Forbidden: ``not_group_owner`` where she was its owner when she signed in, and is no more.
    """
    if person is None:
        raise BadRequest(
            f"OMERO knows no active {taker!r}.",
            code="no_such_person",
            title="OMERO does not know this person",
            remedy="Check the name as it is spelt in OMERO.",
        )
    group = targets.require_member(person, target)
    if not caller.is_staff and not group.is_owner:
        raise Forbidden(
            f"{taker} is no owner of group {group.name!r}.",
            code="not_group_owner",
            title="You do not own this OMERO group",
            remedy="Ask an owner of the group, or the platform staff.",
        )
