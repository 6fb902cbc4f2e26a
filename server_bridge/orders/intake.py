"""Accepting an order: everything that can refuse it refuses before one row is written.

An order that was answered 201 is on the disk (``synchronous=FULL``). The client's UUID makes a repeat
harmless: it is compared with the digest of the first request and answered with the order's state, whatever
has happened to it since.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from server_bridge.config import ShareConfig, SiteConfig
from server_bridge.contract import Condition, OrderIntent, Reason, Stage
from server_bridge.errors import BadRequest, Conflict, Forbidden, NotFound
from server_bridge.mover import paths
from server_bridge.orders import authority, overlap, places, sessions
from server_bridge.orders.callers import Caller, require_writer
from server_bridge.orders.models import Order, PersonSession
from server_bridge.orders.store import Store

WRITING = Reason(
    code="writing",
    title="Still being written",
    detail="The acquisition is not finished yet.",
    remedy="Nothing to do: it comes over when the workstation has seen it rest.",
)


WATCHED = Reason(
    code="watching",
    title="The bridge looks whether it rests",
    detail="No workstation seals this order: the bridge lists the place itself.",
    remedy="Nothing to do: it comes over when two listings are equal and nothing in it is young.",
)
LATER_FIELDS = frozenset({"seal"})
"""Fields that orders of earlier bridges did not have: with their default they leave the digest as it was.
(``members`` too: the contract says them only where there are any.)"""


def waits_for_agent(order: Order) -> bool:
    """Whether nobody but a workstation can bring this order on."""
    return not order.sealed and order.seal != "bridge"


@dataclass(frozen=True, slots=True)
class Admission:
    """What the checks found: whose data it is, and on which ground she may order it."""

    person: str
    ground: authority.Ground


def request_digest(intent: OrderIntent) -> str:
    """SHA-256 of a request in one spelling: a repeat with reordered fields is the same request."""
    fields = intent.model_dump(mode="json")
    for name in LATER_FIELDS:
        if fields[name] == OrderIntent.model_fields[name].default:
            del fields[name]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def find_repeat(session: Session, order_id: UUID, intent: OrderIntent, caller: Caller) -> Order | None:
    """The order, if this request made it; None for a new id.

    Raises:
        Conflict: ``order_differs`` where the id is taken by another request.
    """
    order = session.get(Order, str(order_id))
    if order is None:
        return None
    if order.request_digest != request_digest(intent) or not caller.may_see(order):
        raise Conflict(
            f"Order {order_id} was made by another request.",
            code="order_differs",
            title="This order exists with other content",
            remedy="Make a new order, or change this one by its commands.",
        )
    return order


def share_path_limit(site: SiteConfig, share: str) -> int:
    """How many bytes a share path may have, so that its staged absolute path still fits PATH_MAX."""
    prefix = site.staging_dir / share / "00000000-0000-0000-0000-000000000000"
    return paths.staged_limit(prefix)


def require_share(site: SiteConfig, share_id: str) -> ShareConfig:
    """The share of that id.

    Raises:
        BadRequest: ``unknown_share``.
    """
    share = site.share(share_id)
    if share is None:
        raise BadRequest(
            f"This site has no share {share_id!r}.",
            code="unknown_share",
            title="Unknown share",
            remedy="Ask the platform staff which shares there are.",
        )
    return share


def admit(
    session: Session, site: SiteConfig, order_id: UUID, intent: OrderIntent, caller: Caller, now: datetime
) -> Admission:
    """Check a new order against everything the bridge itself knows; writes nothing.

    Raises:
        Forbidden, BadRequest, Conflict, mover.paths.PathRefused: whatever refuses it.
    """
    require_writer(caller)
    share = require_share(site, intent.share)
    paths.require_path(intent.path, share_path_limit(site, share.id))
    if intent.owner and intent.owner != caller.username and not caller.is_staff:
        raise Forbidden(
            "Only the platform staff order for somebody else.",
            code="owner_is_staffs",
            title="You may order for yourself only",
            remedy="Leave the owner empty, or ask the platform staff.",
        )
    if intent.seal == "bridge" and not caller.is_staff:
        raise Forbidden(
            "Only the platform staff order data that no workstation seals.",
            code="seal_is_staffs",
            title="Your workstation seals your orders",
            remedy="Order from the workstation, or ask the platform staff.",
        )
    if intent.members:
        _require_group(intent, share)
    seen = intent.first_seen_at
    if seen is not None and seen.tzinfo is None:
        raise BadRequest("first_seen_at has no time zone.", remedy="Send it in UTC.")
    if seen is not None and seen > now + authority.CLOCK_SLACK:
        raise BadRequest(
            f"It was first seen at {seen.isoformat()}, and it is {now.isoformat()} here.",
            code="clock_differs",
            title="The workstation's clock is ahead",
            remedy="Set the workstation's clock.",
        )
    ground = authority.decide(_question(session, share, intent, caller, seen))
    wanted = overlap.Place(intent.path, intent.members)
    places.require_free(session, str(order_id), share.id, wanted, caller)
    return Admission(person=intent.owner or caller.username, ground=ground)


def _require_group(intent: OrderIntent, share: ShareConfig) -> None:
    """A group's patterns are names that can be, none reaches the share's marker, and an agent seals it.

    Raises:
        BadRequest: ``group_needs_agent`` or ``members_not_valid``.
        mover.paths.PathRefused: for a pattern that no name could match.
    """
    if intent.seal == "bridge":
        raise BadRequest(
            "Entries that only belong together by their names are told apart by a workstation's rules.",
            code="group_needs_agent",
            title="The bridge itself seals files and folders only",
            remedy="Order it from its workstation, or order the folder that it lies in.",
        )
    for pattern in intent.members:
        paths.require_path(pattern)
    if intent.holds(share.marker):
        raise BadRequest(
            f"Its patterns match the share's own marker file {share.marker!r}.",
            code="members_not_valid",
            title="The group's patterns match too much",
            remedy="Staff make the workstation's rule narrower.",
        )


def _question(
    session: Session, share: ShareConfig, intent: OrderIntent, caller: Caller, seen: datetime | None
) -> authority.Question:
    workstation = caller.workstation if caller.at_approved_workstation else None
    root = workstation.roots.get(share.id) if workstation else None
    present = (
        sessions.presences(session, workstation.id, seen, authority.CLOCK_SLACK)
        if workstation and seen
        else []
    )
    group_folder = intent.path.rpartition("/")[0] if intent.members else None
    where = intent.path if group_folder is None else group_folder
    folder = authority.folder_person(where, root, share.person_folder) if root else ""
    own = session.get(PersonSession, caller.session_id) if caller.session_id else None
    return authority.Question(
        username=caller.username,
        is_staff=caller.is_staff,
        path=intent.path,
        root=root,
        person_folder=share.person_folder,
        unclaimed=share.unclaimed,
        first_seen_at=seen,
        presences=present,
        folder_person_is_known=bool(folder) and _is_known(session, folder),
        signed_in_here=bool(own and workstation and own.workstation_id == workstation.id),
        group_folder=group_folder,
        holds_others_folder=bool(
            intent.members and root and not folder and _holds_others(session, share, root, intent, caller)
        ),
    )


def _holds_others(
    session: Session, share: ShareConfig, root: str, intent: OrderIntent, caller: Caller
) -> bool:
    """Whether a group that lies above the persons' folders takes in one that is somebody else's."""
    if "{user}" not in share.person_folder:
        return False
    names = {*session.scalars(select(PersonSession.username).distinct()).all()}
    names |= {*session.scalars(select(Order.person).distinct()).all()}
    group = overlap.Place(intent.path, intent.members)
    return any(
        overlap.holds(group, authority.folder_of(name, root, share.person_folder))
        for name in names
        if authority.fold(name) != authority.fold(caller.username)
    )


def _is_known(session: Session, folded_name: str) -> bool:
    """Whether somebody of that name has ever signed in here or owns an order."""
    # lower() of SQLite folds ASCII only; OMERO user names are ASCII in practice (LDAP uid), and a name that
    # is not found here is only judged by the other rules.
    names = session.scalars(
        select(PersonSession.username)
        .where(or_(func.lower(PersonSession.username) == folded_name, PersonSession.username == folded_name))
        .limit(1)
    ).first()
    if names is not None:
        return True
    return (
        session.scalars(select(Order.id).where(func.lower(Order.person) == folded_name).limit(1)).first()
        is not None
    )


def accept(
    store: Store, site: SiteConfig, order_id: UUID, intent: OrderIntent, caller: Caller, now: datetime
) -> tuple[Order, bool]:
    """Write the order. Returns it, and whether it is new (a concurrent repeat is not).

    Raises:
        Forbidden, BadRequest, Conflict: as :func:`admit`, which is asked again inside the transaction, since
            another order may have taken the place meanwhile.
    """
    with store.write() as session:
        repeat = find_repeat(session, order_id, intent, caller)
        if repeat is not None:
            return repeat, False
        admission = admit(session, site, order_id, intent, caller, now)
        order = Order(
            id=str(order_id),
            person=admission.person,
            ordered_by=caller.username,
            workstation_id=caller.workstation.id if caller.workstation else None,
            share=intent.share,
            path=intent.path,
            kind=intent.kind,
            members=list(intent.members),
            label=intent.label,
            first_seen_at=intent.first_seen_at,
            target=intent.target.model_dump(mode="json"),
            import_again=intent.import_again,
            request_digest=request_digest(intent),
            stage=Stage.ACCEPTED,
            condition=Condition.WAITING,
            reason=None,
            stage_since=now,
            next_try_at=None,
            attempt=0,
            idle_tries=0,
            revision=0,
            change=0,
            manifest_revision=0,
            manifest_digest="",
            sealed=False,
            file_count=0,
            size_bytes=0,
            asks_left_out=False,
            seal=intent.seal,
            listing_digest="",
            listed_at=None,
            result=None,
            created_at=now,
            updated_at=now,
            proven_at=None,
            released_at=None,
            freed_at=None,
        )
        session.add(order)
        session.flush()
        watched = intent.seal == "bridge"
        store.set_condition(
            session,
            order,
            Condition.WAITING,
            who=caller.who,
            text="ordered",
            reason=WATCHED if watched else WRITING,
            next_try_at=now if watched else None,
        )
        store.audit(
            session,
            caller.who,
            "order.accept",
            order.id,
            person=order.person,
            ground=admission.ground,
            share=order.share,
            path=order.path,
            workstation=order.workstation_id,
            seal=order.seal,
        )
        return order, True


def find_visible(session: Session, order_id: UUID | str, caller: Caller) -> Order:
    """The order, if the caller may see it.

    Raises:
        NotFound: in the same words where it is not there and where it is somebody else's.
    """
    order = session.get(Order, str(order_id))
    if order is None or not caller.may_see(order):
        raise NotFound(f"There is no order {order_id}.", code="no_such_order", title="Unknown order")
    return order
