"""Orders as they are shown: rows of the database become `contract.OrderState`, the same for every reader.

Made for many orders at a time: each table is asked once per page, whatever the page's length. Queues are
told by workstation, never by person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.contract import (
    CommandKind,
    Condition,
    OrderResult,
    OrderState,
    Progress,
    ProofSummary,
    QueuePlace,
    Reason,
    Receipt,
    ReceiptStatus,
    Stage,
    Target,
)
from server_bridge.orders import backup_stamps, commands, outages, stages
from server_bridge.orders.callers import Caller, has_left
from server_bridge.orders.intake import waits_for_agent
from server_bridge.orders.models import Order, OrderFile, OrderProgress, Workstation
from server_bridge.orders.queue import book_of

MOST_LEFT_OUT_SHOWN = 100
_PROOFS_KEPT = 5000
_PROOF_STAGES = {Stage.IMPORTING, Stage.PROVING, Stage.ANNOTATING, *stages.PROOF_STAGES}


def states(session: Session, site: SiteConfig, orders: Sequence[Order], caller: Caller) -> list[OrderState]:
    """The orders' states, in their order. The caller must be allowed to see each of them."""
    names = _workstation_names(session, orders)
    progress = progress_of(session, [order.id for order in orders if order.condition == Condition.RUNNING])
    proofs = _proofs(session, [order for order in orders if order.stage in _PROOF_STAGES])
    started = commands.with_started_units(
        session, [order.id for order in orders if order.stage == Stage.IMPORTING]
    )
    queued = {order.id for order in orders if is_queued(order)}
    places = book_of(session).places(session, queued) if queued else {}
    away = outages.reasons(session) if queued else {}
    waits = backup_waits(session, site, orders)
    return [
        _state(
            session, site, order, caller, names, progress, proofs, started, places, away, waits.get(order.id)
        )
        for order in orders
    ]


def backup_waits(session: Session, site: SiteConfig, orders: Sequence[Order]) -> dict[str, Reason]:
    """The proven orders among these that wait for a backup, and why."""
    asks = {share.id for share in site.shares if share.require_backup}
    ids = [order.id for order in orders if order.stage == Stage.PROVEN and order.share in asks]
    if not ids:
        return {}
    covered = backup_stamps.covered_until(session)
    return {
        order_id: reason.model_copy(update={"contact": site.contact})
        for order_id, at in backup_stamps.imported_at(session, ids).items()
        if (reason := backup_stamps.missing(at, covered)) is not None
    }


def _state(
    session: Session,
    site: SiteConfig,
    order: Order,
    caller: Caller,
    names: dict[str, str],
    progress: dict[str, Progress],
    proofs: dict[str, ProofSummary],
    started: set[str],
    places: dict[str, QueuePlace],
    away: dict[str, Reason],
    waits: Reason | None,
) -> OrderState:
    facts = commands.Facts(
        stage=Stage(order.stage),
        condition=Condition(order.condition),
        sealed=not waits_for_agent(order),
        asks_left_out=order.asks_left_out,
        units_started=order.id in started,
        is_staff=caller.is_staff,
        person_left=has_left(order),
    )
    share = site.share(order.share)
    not_before = None
    if order.proven_at is not None and share is not None and order.stage == Stage.PROVEN:
        not_before = order.proven_at + timedelta(days=share.hold_days)
    return OrderState(
        id=UUID(order.id),
        revision=order.revision,
        person=order.person,
        workstation=names.get(order.workstation_id or "", ""),
        share=order.share,
        path=order.path,
        kind=order.kind,
        members=tuple(order.members),
        label=order.label,
        target=Target.model_validate(order.target),
        stage=order.stage,
        condition=order.condition,
        reason=_reason(order, site, away) or waits,
        stage_since=order.stage_since,
        created_at=order.created_at,
        updated_at=order.updated_at,
        manifest_revision=order.manifest_revision,
        sealed=order.sealed,
        file_count=order.file_count,
        size_bytes=order.size_bytes,
        progress=progress.get(order.id),
        queue=places.get(order.id),
        result=OrderResult.model_validate(order.result) if order.result else None,
        proof=proofs.get(order.id),
        left_out=tuple(commands.left_out_paths(session, order.id, MOST_LEFT_OUT_SHOWN))
        if order.asks_left_out
        else (),
        allowed_commands=_allowed(facts, order, caller),
        proven_at=order.proven_at,
        released_at=order.released_at,
        release_not_before=not_before,
    )


def _allowed(facts: commands.Facts, order: Order, caller: Caller) -> tuple[str, ...]:
    offered = commands.offered(facts)
    return tuple(
        kind.value
        for kind in offered
        if (caller.may_take_over(order) if kind is CommandKind.TAKE_OVER else caller.may_command(order))
    )


def _reason(order: Order, site: SiteConfig, away: dict[str, Reason]) -> Reason | None:
    if order.reason:
        reason = Reason.model_validate(order.reason)
    elif (
        is_queued(order) and (found := outages.reason_for(away, Stage(order.stage), order.share)) is not None
    ):
        reason = found
    else:
        return None
    return reason if reason.contact else reason.model_copy(update={"contact": site.contact})


def is_queued(order: Order) -> bool:
    """Whether the order stands in a queue and only waits for its turn."""
    return order.sealed and order.condition == Condition.QUEUED and Stage(order.stage) in stages.WORKED


def _workstation_names(session: Session, orders: Sequence[Order]) -> dict[str, str]:
    ids = {order.workstation_id for order in orders if order.workstation_id}
    if not ids:
        return {}
    rows = session.execute(select(Workstation.id, Workstation.name).where(Workstation.id.in_(sorted(ids))))
    return {row.id: row.name for row in rows}


def progress_of(session: Session, ids: Sequence[str]) -> dict[str, Progress]:
    """The running counters of those orders."""
    if not ids:
        return {}
    rows = session.scalars(select(OrderProgress).where(OrderProgress.order_id.in_(ids))).all()
    return {row.order_id: Progress.model_validate(row.progress) for row in rows}


def _proofs(session: Session, orders: Sequence[Order]) -> dict[str, ProofSummary]:
    """Counted in the database while receipts are being written; once an order is proven, its counts change
    with its revision only and are remembered (hundreds of agents look at them after a restart)."""
    known: dict[tuple[str, int], ProofSummary] = session.info.get("proofs", {})
    found = {
        order.id: summary
        for order in orders
        if order.stage in stages.PROOF_STAGES
        and (summary := known.get((order.id, order.revision))) is not None
    }
    counted = _count_proofs(session, [order.id for order in orders if order.id not in found])
    if len(known) > _PROOFS_KEPT:
        known.clear()
    known.update(
        ((order.id, order.revision), counted[order.id])
        for order in orders
        if order.stage in stages.PROOF_STAGES and order.id in counted
    )
    return found | counted


def _count_proofs(session: Session, ids: Sequence[str]) -> dict[str, ProofSummary]:
    if not ids:
        return {}
    rows = session.execute(
        select(OrderFile.order_id, OrderFile.status, func.count())
        .where(OrderFile.order_id.in_(ids))
        .group_by(OrderFile.order_id, OrderFile.status)
    ).all()
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for order_id, status, count in rows:
        counts[order_id][ReceiptStatus(status).value] = count
    return {
        order_id: ProofSummary.model_validate({"files": sum(found.values()), **found})
        for order_id, found in counts.items()
    }


def receipt(row: OrderFile) -> Receipt:
    """One file's receipt. ``same_inode`` is what the proving step committed: it stores device and inode only
    where staged and managed names were one."""
    return Receipt(
        path=row.path,
        size_bytes=row.size_bytes,
        mtime_ns=row.mtime_ns,
        status=ReceiptStatus(row.status),
        rule=row.rule,
        sha1=row.sha1,
        omero_sha1=row.omero_sha1,
        fileset_id=row.fileset_id,
        original_file_id=row.original_file_id,
        managed_path=row.managed_path,
        same_inode=row.status == ReceiptStatus.PROVEN and row.inode is not None,
        proven_at=row.proven_at,
    )
