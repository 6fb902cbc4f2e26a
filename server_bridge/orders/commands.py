"""Commands on an order: each with its own UUID, idempotent, audited, refused with the reason.

:func:`decide` is pure and says what becomes of the order; :func:`give` reads, asks it, and writes in one
transaction. What a person may do next is :func:`offered`, which the API shows and `decide` enforces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from server_bridge.contract import (
    CommandKind,
    CommandRequest,
    CommandResult,
    Condition,
    ReceiptStatus,
    Stage,
)
from server_bridge.errors import BadRequest, Conflict, FerryError, Forbidden
from server_bridge.orders import stages, taking
from server_bridge.orders.callers import Caller, has_left, require_command
from server_bridge.orders.intake import WRITING, find_visible, waits_for_agent
from server_bridge.orders.manifests import import_started
from server_bridge.orders.models import ImportUnit, Order, OrderCommand, OrderFile, OrderProgress
from server_bridge.orders.store import Store


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides about a command."""

    stage: Stage
    condition: Condition
    sealed: bool
    """Whether the bridge can go on with it: sealed, or the bridge's own to seal."""
    asks_left_out: bool
    units_started: bool
    """Whether a unit has reached OMERO, or may have."""
    is_staff: bool = False
    person_left: bool = False
    """Whether the order stands still because its person is gone."""


@dataclass(frozen=True, slots=True)
class Move:
    """What a command does: the stages to go through (none: stay) and whether the running attempt loses it."""

    path: tuple[Stage, ...] = ()
    fences: bool = False
    new_person: bool = False
    """Whether the data becomes the taker's; otherwise she is only the one who is asked."""


def offered(facts: Facts) -> tuple[CommandKind, ...]:
    """The commands that would be carried out now; a UI shows exactly these."""
    kinds = set(stages.allowed_commands(facts.stage, facts.condition, asks_left_out=facts.asks_left_out))
    if facts.is_staff:
        kinds.add(CommandKind.DISCARD)
    if facts.person_left:
        kinds.add(CommandKind.TAKE_OVER)
    return tuple(
        kind for kind in CommandKind if kind in kinds and not isinstance(decide(kind, facts), FerryError)
    )


def decide(kind: CommandKind, facts: Facts) -> Move | FerryError:
    """What ``kind`` does to such an order, or why it is refused."""
    if kind is CommandKind.DISCARD:
        return _discard(facts)
    if facts.stage in (Stage.CANCELLED, Stage.DISCARDED):
        return _ended(facts.stage)
    if kind is CommandKind.TAKE_OVER:
        return _take_over(facts)
    allowed = stages.allowed_commands(facts.stage, facts.condition, asks_left_out=facts.asks_left_out)
    if kind in (CommandKind.CANCEL, CommandKind.RETARGET) and facts.stage not in stages.BEFORE_IMPORT:
        if kind not in allowed:
            return import_started()
        if facts.units_started:
            return Conflict(
                "A part of the data has reached OMERO, or may have.",
                code="units_in_omero",
                title="A part of it is in OMERO",
                remedy="Retry the order; what should not be in OMERO is deleted there afterwards.",
            )
    if kind not in allowed:
        return _not_now(kind, facts)
    match kind:
        case CommandKind.CANCEL:
            back = () if facts.stage in stages.BEFORE_IMPORT else (Stage.VERIFYING,)
            return Move((*back, Stage.CANCELLED), fences=True)
        case CommandKind.RETARGET:
            if facts.stage is Stage.IMPORTING:
                return Move((Stage.VERIFYING,), fences=True)
            # A pull does not depend on the target and goes on; verifying resolves the target and starts anew.
            return Move(fences=facts.stage is Stage.VERIFYING)
        case CommandKind.RETRY if not facts.sealed:
            return Conflict(
                "The workstation has not sealed it yet.",
                code="not_sealed",
                title="The acquisition is still being written",
                remedy=WRITING.remedy,
            )
    return Move()


def _discard(facts: Facts) -> Move | FerryError:
    if not facts.is_staff:
        return Forbidden(
            "Only the platform staff discard an order.",
            code="staff_only",
            title="Staff only",
            remedy="Cancel it, or ask the platform staff.",
        )
    if facts.stage not in {*stages.BEFORE_IMPORT, Stage.CANCELLED}:
        return _ended(facts.stage) if facts.stage is Stage.DISCARDED else import_started()
    return Move((Stage.DISCARDED,), fences=True)


def _take_over(facts: Facts) -> Move | FerryError:
    if not facts.person_left:
        return Conflict(
            "Its person is active in OMERO and a member of its group.",
            code="person_is_active",
            title="This order is somebody's",
            remedy="Ask that person. Only orders of people who left are taken over.",
        )
    if facts.stage in stages.BEFORE_IMPORT:
        return Move(fences=True, new_person=True)
    if facts.stage is Stage.IMPORTING and not facts.units_started:
        return Move((Stage.VERIFYING,), fences=True, new_person=True)
    # What OMERO holds of it belongs to the former person, and one order is one person's data.
    return Move(fences=True)


def _ended(stage: Stage) -> Conflict:
    return Conflict(
        f"The order is {stage.value}.",
        code="order_ended",
        title="This order has ended",
        remedy="Make a new order.",
    )


def _not_now(kind: CommandKind, facts: Facts) -> Conflict:
    return Conflict(
        f"{kind.value} does nothing for an order that is {facts.stage.value} and {facts.condition.value}.",
        code="command_not_now",
        title="Nothing to do",
        remedy="Look at the order's present state.",
    )


def facts_of(session: Session, order: Order, caller: Caller) -> Facts:
    """The facts of an order, read in this transaction."""
    return Facts(
        stage=Stage(order.stage),
        condition=Condition(order.condition),
        sealed=not waits_for_agent(order),
        asks_left_out=order.asks_left_out,
        units_started=bool(with_started_units(session, [order.id])),
        is_staff=caller.is_staff,
        person_left=has_left(order),
    )


def with_started_units(session: Session, ids: Sequence[str]) -> set[str]:
    """Those of the orders of which a unit has reached OMERO, or may have.

    A ``pending`` unit has not: the import step looks at OMERO after each try and puts a unit back only when
    there are no images of it (its ``fileset_id`` then names what the failed try left).
    """
    if not ids:
        return set()
    return set(
        session.scalars(
            select(ImportUnit.order_id)
            .where(ImportUnit.order_id.in_(ids), ImportUnit.state != "pending")
            .distinct()
        ).all()
    )


def find_repeat(session: Session, order_id: UUID, request: CommandRequest) -> CommandResult | None:
    """The first answer, if this very command was given before.

    Raises:
        Conflict: ``command_differs`` where the id belongs to another command.
    """
    found = session.get(OrderCommand, str(request.id))
    if found is None:
        return None
    if found.request_digest != _digest(request) or found.order_id != str(order_id):
        raise Conflict(
            f"Command {request.id} was another one.",
            code="command_differs",
            title="This command exists with other content",
            remedy="Give the new command an id of its own.",
        )
    return CommandResult.model_validate(found.result)


def require_complete(request: CommandRequest) -> None:
    """A command has what it needs and nothing that it would ignore.

    Raises:
        BadRequest: naming the field.
    """
    if (request.kind is CommandKind.RETARGET) != (request.target is not None):
        raise BadRequest(
            "target: retarget needs one, and nothing else takes one.",
            remedy="Send the new target with retarget.",
        )
    if request.paths and request.kind is not CommandKind.ACCEPT_LEFT_OUT:
        raise BadRequest("paths: only accept-left-out takes paths.")
    if request.taker and request.kind is not CommandKind.TAKE_OVER:
        raise BadRequest("taker: only take-over takes one.")
    if request.kind is CommandKind.DISCARD and not request.note.strip():
        raise BadRequest(
            "note: say why the data is discarded.", remedy="Discarding is audited: give the reason."
        )


def require_possible(session: Session, order: Order, request: CommandRequest, caller: Caller) -> Move:
    """What the command does to the order as it stands now; asks nobody but the orders.

    Raises:
        Conflict, Forbidden: why it does nothing.
    """
    if request.kind is CommandKind.TAKE_OVER:
        taking.require_taker(caller, request)
    decided = decide(request.kind, facts_of(session, order, caller))
    if isinstance(decided, FerryError):
        raise decided
    return decided


def give(
    store: Store, order_id: UUID, request: CommandRequest, caller: Caller, now: datetime
) -> CommandResult:
    """Carry out a command, or answer as the first time.

    Raises:
        NotFound, NotSignedIn, Forbidden, BadRequest, Conflict: nothing is written then.
    """
    require_complete(request)
    with store.write() as session:
        order = find_visible(session, order_id, caller)
        require_command(caller, order, request.kind)
        repeat = find_repeat(session, order_id, request)
        if repeat is not None:
            return repeat
        decided = require_possible(session, order, request, caller)
        was = {"person": order.person, "ordered_by": order.ordered_by}
        detail = _carry_out(store, session, order, request, decided, caller)
        result = CommandResult(
            id=request.id, order_id=UUID(order.id), kind=request.kind, done=True, detail=detail
        )
        session.add(
            OrderCommand(
                id=str(request.id),
                order_id=order.id,
                kind=request.kind,
                request_digest=_digest(request),
                by=caller.who,
                at=now,
                result=result.model_dump(mode="json"),
            )
        )
        more = {"was": was, "taker": order.ordered_by} if request.kind is CommandKind.TAKE_OVER else {}
        store.audit(
            session, caller.who, f"order.{request.kind.value}", order.id, note=request.note, detail=detail,
            **more,
        )  # fmt: skip
        return result


def _carry_out(
    store: Store, session: Session, order: Order, request: CommandRequest, move: Move, caller: Caller
) -> str:
    text = {
        CommandKind.CANCEL: "cancelled",
        CommandKind.RETRY: "try again now",
        CommandKind.RETARGET: "new target",
        CommandKind.ACCEPT_LEFT_OUT: "files left out of OMERO",
        CommandKind.DISCARD: "discarded",
        CommandKind.TAKE_OVER: f"taken over by {taking.taker_of(caller, request)}",
    }[request.kind]
    if request.note:
        text += f": {request.note}"
    still_asked = False
    if request.kind is CommandKind.ACCEPT_LEFT_OUT:
        still_asked = _accept_left_out(session, order, request.paths, caller)
    if request.kind is CommandKind.TAKE_OVER:
        taking.hand_over(order, taking.taker_of(caller, request), new_person=move.new_person)
    if request.target is not None:
        order.target = request.target.model_dump(mode="json")
    if request.kind is CommandKind.RETRY and caller.is_staff and lost_in_restore(order):
        import_again(order)
        text += " (what OMERO lost is imported again)"
    if move.fences:
        order.attempt += 1
        session.execute(delete(OrderProgress).where(OrderProgress.order_id == order.id))
    order.idle_tries = 0
    return _move(store, session, order, move, text, still_asked, caller)


def lost_in_restore(order: Order) -> bool:
    """Whether the order stopped because OMERO was restored from a dump that does not hold it."""
    return (order.reason or {}).get("code") == "omero_restored"


def import_again(order: Order) -> None:
    """Staff's consent that missing filesets of a proven order are imported again from staging: as if it had
    never been proven. What is there is found again by its client path, so nothing is doubled."""
    order.proven_at = order.released_at = None


def _move(
    store: Store, session: Session, order: Order, move: Move, text: str, still_asked: bool, caller: Caller
) -> str:
    cause = stages.Cause.STAFF if caller.is_staff else stages.Cause.PERSON
    for stage in move.path:
        store.set_stage(session, order, stage, cause, who=caller.who, text=text)
    if move.path:
        return text
    if still_asked or (order.condition == Condition.RUNNING and not move.fences):
        store.event(session, order, caller.who, text)
        store.touch(session, order)
    elif not waits_for_agent(order):
        store.set_condition(session, order, Condition.QUEUED, who=caller.who, text=text)
    else:
        store.set_condition(session, order, Condition.WAITING, who=caller.who, text=text, reason=WRITING)
    return text


def _accept_left_out(session: Session, order: Order, named: tuple[str, ...], caller: Caller) -> bool:
    """Mark the asked files (or the named ones among them). Returns whether some are still asked about."""
    asked = set(left_out_paths(session, order.id))
    unknown = sorted(set(named) - asked)
    if unknown:
        raise BadRequest(
            f"paths: nobody asked about {unknown[0]!r}.",
            code="not_asked",
            title="Not one of the files in question",
            remedy="Name files from the order's left_out.",
        )
    taken = sorted(set(named) or asked)
    for start in range(0, len(taken), 400):
        session.execute(
            update(OrderFile)
            .where(OrderFile.order_id == order.id, OrderFile.path.in_(taken[start : start + 400]))
            .values(status=ReceiptStatus.LEFT_OUT.value, rule=f"accepted by {caller.who}"[:255])
        )
    order.asks_left_out = bool(asked - set(taken))
    return order.asks_left_out


def left_out_paths(session: Session, order_id: str, limit: int | None = None) -> list[str]:
    """Files that no fileset and no pattern covers."""
    return list(
        session.scalars(
            select(OrderFile.path)
            .where(
                OrderFile.order_id == order_id,
                OrderFile.unit.is_(None),
                OrderFile.status == ReceiptStatus.PENDING,
            )
            .order_by(OrderFile.path)
            .limit(limit)
        ).all()
    )


def _digest(request: CommandRequest) -> str:
    # A field that is younger than commands in the table is left out where it is not used.
    young = {"taker"} if not request.taker else set()
    text = json.dumps(request.model_dump(mode="json", exclude=young), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
