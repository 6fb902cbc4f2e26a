"""Who asks: a person, a workstation, or both, as the API and the command line proved it.

A caller is a value: it was authenticated once, elsewhere, and what it may see and order is decided here from
its facts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from server_bridge.contract import CommandKind, Condition, Group
from server_bridge.errors import Forbidden, NotFound, NotSignedIn
from server_bridge.orders import stages
from server_bridge.orders.models import Order
from server_bridge.orders.notices import DEACTIVATED

LEFT = frozenset({DEACTIVATED, "not_a_member"})
"""Codes of orders whose person is gone from OMERO, or from the order's group."""


def has_left(order: Order) -> bool:
    """Whether an order stands still because its person is gone: then somebody else may take it over."""
    return (
        order.condition == Condition.ATTENTION
        and order.stage in stages.WORKED
        and str((order.reason or {}).get("code")) in LEFT
    )


@dataclass(frozen=True, slots=True)
class KnownWorkstation:
    """A workstation that showed its key. ``roots``: share id → root below the share's top."""

    id: str
    name: str
    approved: bool
    roots: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Caller:
    """A person (``username``), a workstation, or a person at a workstation.

    ``granted_order`` is set where a submission grant speaks for her: then it is that order or nothing.
    """

    username: str = ""
    is_staff: bool = False
    groups: tuple[Group, ...] = ()
    session_id: str = ""
    workstation: KnownWorkstation | None = None
    granted_order: UUID | None = None

    @property
    def who(self) -> str:
        """How history and audit name the caller."""
        if self.username:
            return self.username
        return f"workstation {self.workstation.name}" if self.workstation else "nobody"

    @property
    def at_approved_workstation(self) -> bool:
        """Whether an approved workstation vouches for this request."""
        return self.workstation is not None and self.workstation.approved

    def is_for(self, order_id: str) -> bool:
        """Whether a grant, if that is what speaks, speaks for this order."""
        return self.granted_order is None or str(self.granted_order) == order_id

    def may_see(self, order: Order) -> bool:
        """A person sees her own orders, staff all; a workstation's key those made at that workstation, a
        group's owner those into it whose person is gone."""
        if not self.is_for(order.id):
            return False
        if self.username and (self.is_staff or self.username in (order.person, order.ordered_by)):
            return True
        if self.may_take_over(order):
            return True
        workstation = self.workstation
        return workstation is not None and workstation.approved and order.workstation_id == workstation.id

    @property
    def owned_groups(self) -> frozenset[int]:
        """The OMERO groups that the caller owned when she signed in."""
        return frozenset(group.id for group in self.groups if group.is_owner)

    def may_take_over(self, order: Order) -> bool:
        """Whether this order may become the caller's: its person is gone, and staff or an owner of its group
        asks."""
        if not self.username or not self.is_for(order.id) or not has_left(order):
            return False
        return self.is_staff or order.target.get("group_id") in self.owned_groups

    def may_command(self, order: Order) -> bool:
        """Whether the caller may change this order: hers, or staff; the workstation's key alone may not."""
        if not self.username or not self.is_for(order.id):
            return False
        if self.is_staff:
            return True
        return self.at_approved_workstation and self.username in (order.person, order.ordered_by)


def require_person(caller: Caller) -> None:
    """A person's word is needed.

    Raises:
        NotSignedIn: where only a workstation's key, or nothing, was shown.
    """
    if not caller.username:
        raise NotSignedIn(remedy="Sign in with your OMERO name and password.")


def require_staff(caller: Caller, detail: str) -> None:
    """The platform staff alone.

    Raises:
        Forbidden: ``staff_only``, with ``detail``.
    """
    if not caller.is_staff:
        raise Forbidden(detail, code="staff_only", title="Staff only", remedy="Ask the platform staff.")


def require_writer(caller: Caller) -> None:
    """A person at an approved workstation, or staff.

    Raises:
        NotSignedIn: without a person.
        Forbidden: for a person who is not staff, without an approved workstation.
    """
    require_person(caller)
    if caller.is_staff or caller.at_approved_workstation:
        return
    if caller.workstation is not None:
        raise Forbidden(
            f"{caller.workstation.name} waits for the platform staff's approval.",
            code="workstation_not_approved",
            title="This workstation is not approved yet",
            remedy="Ask the platform staff to approve it.",
        )
    raise Forbidden(
        "Orders are made at an approved workstation.",
        code="workstation_needed",
        title="This is not an approved workstation",
        remedy="Order from the workstation's own agent.",
    )


def require_seen(caller: Caller, order: Order) -> None:
    """Hide what is not the caller's as if it were not there.

    Raises:
        NotFound: the same words as for an order that does not exist.
    """
    if not caller.may_see(order):
        raise NotFound(f"There is no order {order.id}.", code="no_such_order", title="Unknown order")


def require_command(caller: Caller, order: Order, kind: CommandKind | None = None) -> None:
    """The caller may change this order; by ``kind`` where it is one of the commands.

    Raises:
        NotFound: where she may not even see it.
        NotSignedIn, Forbidden: where she may see it only.
    """
    require_seen(caller, order)
    require_writer(caller)
    if not caller.may_command(order) and not (kind is CommandKind.TAKE_OVER and caller.may_take_over(order)):
        raise Forbidden(
            "It is somebody else's order.",
            code="not_your_order",
            title="This is not your order",
            remedy="Ask the person who made it, or the platform staff.",
        )
