"""annotating → proven: tags, key-values, description and provenance, then the result.

Written as the person, each looked for before it is added, so a repeat adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete

from server_bridge.contract import Condition, OrderResult, Stage
from server_bridge.human import version
from server_bridge.omero.annotate import Provenance, annotate
from server_bridge.orders import notices, stages, unit_rows
from server_bridge.orders.models import Order, OrderProgress, Workstation, utcnow
from server_bridge.orders.unit_rows import UnitRow
from server_bridge.pipeline.attempt import Attempt, Finished


def run(attempt: Attempt) -> None:
    """Annotate and finish.

    Raises:
        Finished: once the order is proven.
        NeedsAttention, Unavailable: where OMERO refuses or does not answer.
    """
    order, target = attempt.order, attempt.target
    with attempt.context.store.read() as rows:
        units = list(unit_rows.each(rows, attempt.order_id))
    attempt.reporter.report("annotate", units_total=len(units), last=True)
    provenance = _provenance(attempt, order)
    plates = [plate for unit in units for plate in unit.plate_ids]
    images = [image for unit in units if not unit.plate_ids for image in unit.image_ids]
    with attempt.context.omero.as_person(_writer(attempt, order), target.group_id) as session:
        # On plates where there are plates, on images otherwise; one order may hold both.
        if plates:
            annotate(session, [], plates, target, provenance)
        if images:
            annotate(session, images, [], target, provenance)
    attempt.check()
    _finish(attempt, result_of(order, units, attempt.context.site.omero.webclient_url))


def _writer(attempt: Attempt, order: Order) -> str:
    """As whom to annotate: whose data it is. Who took the order over does it where OMERO lets that person in
    no more (an owner of the group may annotate others' data there, unless the group is private)."""
    with attempt.context.store.read() as session:
        asked = notices.asked_person(session, order)
    if asked != order.person and attempt.context.omero.person(order.person) is None:
        return asked
    return order.person


def _provenance(attempt: Attempt, order: Order) -> Provenance:
    with attempt.context.store.read() as session:
        workstation = session.get(Workstation, order.workstation_id) if order.workstation_id else None
    return Provenance(
        order_id=order.id,
        workstation=workstation.name if workstation else "",
        share=order.share,
        path=order.path,
        acquired_at=order.first_seen_at,
        # A repeat must say the same: when the order reached this stage, not now.
        imported_at=order.stage_since,
        bridge_version=version(),
    )


def result_of(order: Order, units: Sequence[UnitRow], webclient_url: str) -> OrderResult:
    """The result as everybody sees it."""
    target = order.target
    link = ""
    if webclient_url:
        link = f"{webclient_url.rstrip('/')}/?show={target['kind']}-{target['container_id']}"
    return OrderResult(
        fileset_ids=tuple(sorted({unit.fileset_id for unit in units if unit.fileset_id is not None})),
        image_count=sum(len(unit.image_ids) for unit in units),
        plate_count=sum(len(unit.plate_ids) for unit in units),
        webclient_url=link,
    )


def _finish(attempt: Attempt, result: OrderResult) -> None:
    store = attempt.context.store
    with store.attempt_write(attempt.order_id, attempt.number) as (session, order):
        order.result = result.model_dump(mode="json")
        order.idle_tries = 0
        order.proven_at = order.proven_at or utcnow()
        session.execute(delete(OrderProgress).where(OrderProgress.order_id == order.id))
        store.set_stage(
            session,
            order,
            Stage.PROVEN,
            stages.Cause.ATTEMPT,
            who="bridge",
            text=f"proven: {result.image_count} images in {len(result.fileset_ids)} filesets",
            condition=Condition.QUEUED,
        )
    raise Finished
