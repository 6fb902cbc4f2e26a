"""Taking an order over: who may, on what OMERO said a moment ago, and what becomes hers."""

from __future__ import annotations

from server_bridge.contract import CommandRequest, Person, Target
from server_bridge.errors import BadRequest, Forbidden
from server_bridge.orders import targets
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Order


def taker_of(caller: Caller, request: CommandRequest) -> str:
    """Who takes an order over: whom staff name, or the caller herself."""
    return request.taker or caller.username


def require_taker(caller: Caller, request: CommandRequest) -> None:
    """Only staff give an order to somebody else than themselves.

    Raises:
        Forbidden: ``taker_is_staffs``.
    """
    if request.taker and request.taker != caller.username and not caller.is_staff:
        raise Forbidden(
            "Only the platform staff give an order to somebody else.",
            code="taker_is_staffs",
            title="You may take it over for yourself only",
            remedy="Leave the taker empty, or ask the platform staff.",
        )


def hand_over(order: Order, taker: str, *, new_person: bool) -> None:
    """Make the order the taker's, and with ``new_person`` the data. Her workstation knows nothing of it, and
    the grants of the former person are dead: what is not sealed yet is sealed by the bridge."""
    order.ordered_by = taker
    if new_person:
        order.person = taker
    if not order.sealed:
        order.seal = "bridge"


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
