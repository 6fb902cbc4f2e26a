"""OMERO was restored from an older dump: what of ours did it lose, and bringing it back from staging.

Receipts of filesets that are not there are not believed from the moment this is found: releases are
withdrawn for all of them at once. Nothing is imported by itself, since a newer dump may still replace the
older one; when staff say so, each order looks first and imports only what is missing, and would recognise
what a newer dump brings back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from server_bridge.context import Context
from server_bridge.contract import Condition, Stage
from server_bridge.mover import staging
from server_bridge.omero import landmark
from server_bridge.omero.receipts import still_ours
from server_bridge.omero.session import Session as OmeroSession
from server_bridge.orders import commands, remembered, stages
from server_bridge.orders.models import ImportUnit, Order, OrderEvent, OrderFile
from server_bridge.pipeline import omero_watch
from server_bridge.pipeline.places import places_of

_ORDERS_AT_ONCE = 200
LOST_PROOF = "lost_proof"
"""How the history of a retired order says it."""


def lost_orders(
    context: Context, session: OmeroSession, *, proving_too: bool = False
) -> Iterator[tuple[str, Stage]]:
    """Orders with a receipt whose fileset is not in OMERO, oldest first; on demand also those that were
    proven and prove again.

    Raises:
        Unavailable, TransientFailure: where OMERO does not answer.
    """
    with context.store.read() as rows:
        wanted = list(
            rows.execute(
                select(Order.id, Order.stage)
                .where(
                    or_(
                        Order.stage.in_(sorted(stages.PROOF_STAGES)),
                        (Order.stage == Stage.PROVING) & Order.proven_at.is_not(None) & proving_too,
                    )
                )
                .order_by(Order.created_at, Order.id)
            )
        )
    for start in range(0, len(wanted), _ORDERS_AT_ONCE):
        piece = wanted[start : start + _ORDERS_AT_ONCE]
        with context.store.read() as rows:
            units = rows.execute(
                select(ImportUnit.order_id, ImportUnit.fileset_id, ImportUnit.client_path).where(
                    ImportUnit.order_id.in_([order_id for order_id, _stage in piece]),
                    ImportUnit.fileset_id.is_not(None),
                )
            ).all()
        ours = still_ours(session, ((unit.fileset_id, unit.client_path) for unit in units))
        lost = {unit.order_id for unit in units if (unit.fileset_id, unit.client_path) not in ours}
        yield from ((order_id, Stage(stage)) for order_id, stage in piece if order_id in lost)


def begin_watch(context: Context, session: OmeroSession) -> None:
    """Set the first landmark, with the orders for which it comes too late.

    Raises:
        Unavailable, TransientFailure: where OMERO does not answer.
    """
    newest = landmark.newest(session)
    if newest is not None:
        lost = lost_orders(context, session, proving_too=True)
        omero_watch.begin(context, newest, [order_id for order_id, _stage in lost])


def withdraw(context: Context, session: OmeroSession) -> list[str]:
    """Take proof and release back from every order of which something is lost. Returns their ids.

    A retired order stays what it is (it has no copy but OMERO's): its history and the audit say so, once.
    """
    store = context.store
    taken = []
    for order_id, _stage in lost_orders(context, session):
        with store.write() as rows:
            order = store.get(rows, order_id)
            if order.stage in (Stage.PROVEN, Stage.RELEASED):
                order.released_at = None
                text = "OMERO was restored from an older dump that does not hold it"
                store.set_stage(
                    rows,
                    order,
                    Stage.PROVING,
                    stages.Cause.RETENTION,
                    who="bridge",
                    text=f"proof lost: {text}",
                )
            elif order.stage != Stage.RETIRED or _is_told(rows, order_id) or not _on_disk(rows, order_id):
                continue  # what a person deleted after it was retired was unlinked, too
            else:
                store.event(rows, order, "bridge", f"{LOST_PROOF}: OMERO was restored without it", None)
                store.touch(rows, order)
            store.audit(rows, "bridge", "order.proof_lost", order_id, detail="omero_restored")
            taken.append(order_id)
    return taken


def _on_disk(rows: Session, order_id: str) -> bool:
    """Whether a managed file of the order is still there."""
    names = rows.scalars(
        select(OrderFile.managed_path).where(
            OrderFile.order_id == order_id, OrderFile.managed_path.is_not(None)
        )
    )
    return any(staging.look(name) is not None for name in names if name)


def _is_told(rows: Session, order_id: str) -> bool:
    found = rows.scalars(
        select(OrderEvent.id)
        .where(OrderEvent.order_id == order_id, OrderEvent.text.startswith(LOST_PROOF))
        .limit(1)
    ).first()
    return found is not None


@dataclass(frozen=True, slots=True)
class Loss:
    """One order of which OMERO lost something."""

    order_id: str
    person: str
    share: str
    path: str
    stage: Stage
    importable: bool
    """Whether everything it needs lies in staging."""
    on_disk: tuple[str, ...]
    """Managed names that are still there, where staging is not enough."""


def losses(context: Context, session: OmeroSession) -> list[Loss]:
    """Every order that lost something in a restore, whatever the bridge has done about it so far. None where
    OMERO's database is the one that we saw: what is missing then was deleted.
    """
    with context.store.read() as rows:
        doubted = remembered.recall(rows, remembered.RESTORED) is not None
        stopped = list(
            rows.execute(
                select(Order.id, Order.stage)
                .where(Order.stage == Stage.PROVING, Order.proven_at.is_not(None))
                .order_by(Order.created_at, Order.id)
            )
        )
    found = [order_id for order_id, _stage in lost_orders(context, session)] if doubted else []
    found += [order_id for order_id, _stage in stopped if _reason_is_lost(context, order_id)]
    seen = [_loss(context, order_id) for order_id in dict.fromkeys(found)]
    return [one for one in seen if one.stage is not Stage.RETIRED or one.on_disk]


def _reason_is_lost(context: Context, order_id: str) -> bool:
    return commands.lost_in_restore(context.store.order(order_id))


def _loss(context: Context, order_id: str) -> Loss:
    order = context.store.order(order_id)
    places = places_of(context.site, order.share, order.id)
    with context.store.read() as rows:
        members = rows.execute(
            select(OrderFile.path, OrderFile.managed_path).where(
                OrderFile.order_id == order_id, OrderFile.unit.is_not(None)
            )
        ).all()
    away = [one for one in members if staging.look(places.staged(one.path)) is None]
    return Loss(
        order_id=order.id,
        person=order.person,
        share=order.share,
        path=order.path,
        stage=Stage(order.stage),
        importable=not away,
        on_disk=tuple(
            one.managed_path
            for one in away
            if one.managed_path and staging.look(Path(one.managed_path)) is not None
        ),
    )


def import_again(context: Context, who: str, found: list[Loss]) -> list[str]:
    """Let every order that can be imported from staging be imported, and take the database as it is now.

    Returns the ids of the orders that go on.

    Raises:
        Unavailable, TransientFailure: where OMERO does not answer: then nothing was changed.
    """
    store = context.store
    with context.omero.service() as session:
        taken = []
        for loss in found:
            if not loss.importable or loss.stage is Stage.RETIRED:
                continue
            with store.write() as rows:
                order = store.get(rows, loss.order_id)
                if order.condition == Condition.RUNNING:
                    order.attempt += 1  # whatever it found belongs to the time before
                if order.stage in (Stage.PROVEN, Stage.RELEASED):
                    store.set_stage(
                        rows, order, Stage.PROVING, stages.Cause.STAFF, who=who, text="OMERO lost it"
                    )
                if order.stage != Stage.PROVING:
                    continue
                commands.import_again(order)
                text = "what OMERO lost is imported again from staging"
                store.set_condition(rows, order, Condition.QUEUED, who=who, text=text)
                store.audit(rows, who, "order.import_again", order.id)
                taken.append(order.id)
        omero_watch.accept(
            context, session, who, [one.order_id for one in found if one.order_id not in taken]
        )
    return taken


def go_on(context: Context) -> list[str]:
    """OMERO's database is the one that we saw again: orders that stopped for it look once more."""
    store = context.store
    with store.read() as rows:
        if remembered.recall(rows, remembered.RESTORED) is not None:
            return []
        stopped = rows.scalars(
            select(Order).where(Order.stage == Stage.PROVING, Order.condition == Condition.ATTENTION)
        ).all()
    taken = []
    for one in stopped:
        if not commands.lost_in_restore(one):
            continue
        with store.write() as rows:
            order = store.get(rows, one.id)
            if order.revision == one.revision:
                text = "OMERO's database is the one that held it again"
                store.set_condition(rows, order, Condition.QUEUED, who="bridge", text=text)
                taken.append(order.id)
    return taken
