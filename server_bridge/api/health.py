"""Is it alive, is it ready, what do its counters say. No names of people are told here."""

from __future__ import annotations

import time
from collections.abc import Iterable

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from server_bridge.api.dependencies import Parts, PartsDep
from server_bridge.api.retention_metrics import retention_registry
from server_bridge.api.share_metrics import share_registry
from server_bridge.contract import Condition, Health
from server_bridge.errors import FerryError
from server_bridge.human import version
from server_bridge.notices import mail_state
from server_bridge.observability import REGISTRY
from server_bridge.orders import stages
from server_bridge.orders.models import Notice, Order, Workstation, utcnow
from server_bridge.orders.store import Store
from server_bridge.staging import staging_word

router = APIRouter(tags=["health"])
OMERO_ANSWER_SECONDS = 15.0
"""How long one look at OMERO is believed: a probe every few seconds must not become logins."""


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health(status="ok", version=version())


class OmeroSign:
    """The last sign of life from OMERO, kept for a few seconds."""

    def __init__(self) -> None:
        self._at = float("-inf")
        self._said = ""

    async def look(self, parts: Parts) -> str:
        """``ok``, or the code of what is wrong."""
        if time.monotonic() - self._at > OMERO_ANSWER_SECONDS:
            self._at = time.monotonic()
            try:
                await parts.bounded.ask(parts.directory.ping, timeout_seconds=5.0)
                self._said = "ok"
            except FerryError as error:
                self._said = error.code
        return self._said


@router.get("/readyz")
async def readyz(request: Request, parts: PartsDep, response: Response) -> Health:
    """Ready to take orders (200, also while OMERO is away: ``degraded``), or not (503)."""
    checks = await run_in_threadpool(_own_checks, parts)
    down = any(said != "ok" for said in checks.values())
    checks["omero"] = await request.app.state.omero_sign.look(parts)
    if down:
        response.status_code = 503
    if parts.site.mail.host and not down:
        checks["mail"] = await run_in_threadpool(_mail, parts)
    degraded = any(checks.get(what, "ok") != "ok" for what in ("omero", "mail"))
    return Health(
        status="down" if down else "degraded" if degraded else "ok", version=version(), checks=checks
    )


def _own_checks(parts: Parts) -> dict[str, str]:
    checks = {"database": "ok", "staging": "ok"}
    try:
        with parts.store.read() as session:
            session.scalar(select(func.count()).select_from(Workstation))
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is "not ready"
        checks["database"] = type(error).__name__
    else:
        checks["staging"] = staging_word(parts)
    return checks


def _mail(parts: Parts) -> str:
    """``ok``, or the code of why no mail goes out."""
    with parts.store.read() as session:
        failing = mail_state.read(session).failing
    return failing.code if failing else "ok"


class OrdersCollector(Collector):
    """Orders by stage and condition and each workstation's last sign of life, read when they are asked
    for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The present figures."""
        orders = GaugeMetricFamily("ferry_orders", "Orders", labels=["stage", "condition"])
        size = GaugeMetricFamily("ferry_orders_bytes", "Bytes of orders on their way", labels=["share"])
        seen = GaugeMetricFamily(
            "ferry_workstation_silent_seconds", "Since the last heartbeat", labels=["workstation"]
        )
        oldest = GaugeMetricFamily(
            "ferry_oldest_attention_seconds", "Age of the oldest order that needs somebody"
        )
        needs = GaugeMetricFamily(
            "ferry_attention_standing", "Orders that need somebody now", labels=["code"]
        )
        told = GaugeMetricFamily("ferry_notices", "Notices that stand, by kind", labels=["kind"])
        unmailed = GaugeMetricFamily("ferry_notices_unmailed", "Standing notices that staff were not mailed")
        mail = GaugeMetricFamily("ferry_mail_failing", "1 while the mail server takes nothing")
        now = utcnow()
        with self._store.read() as session:
            for stage, condition, count in session.execute(
                select(Order.stage, Order.condition, func.count()).group_by(Order.stage, Order.condition)
            ):
                orders.add_metric([stage, condition], count)
            for share, total in session.execute(
                select(Order.share, func.sum(Order.size_bytes))
                .where(Order.stage.in_(sorted(stages.WORKED)))
                .group_by(Order.share)
            ):
                size.add_metric([share], total)
            for name, at in session.execute(select(Workstation.name, Workstation.last_seen_at)):
                if at is not None:
                    seen.add_metric([name], (now - at).total_seconds())
            since = session.scalar(
                select(func.min(Order.updated_at)).where(Order.condition == Condition.ATTENTION)
            )
            code = Order.reason["code"].as_string()
            for its_code, count in session.execute(
                select(code, func.count()).where(Order.condition == Condition.ATTENTION).group_by(code)
            ):
                needs.add_metric([its_code or "none"], count)
            standing = Notice.withdrawn_at.is_(None)
            for kind, count in session.execute(
                select(Notice.kind, func.count()).where(standing).group_by(Notice.kind)
            ):
                told.add_metric([kind], count)
            unsent = standing & Notice.for_staff.is_(True) & Notice.mailed_staff_at.is_(None)
            unmailed.add_metric([], session.scalar(select(func.count()).where(unsent)) or 0)
            mail.add_metric([], 1 if mail_state.read(session).failing else 0)
        oldest.add_metric([], (now - since).total_seconds() if since else 0.0)
        return [orders, size, seen, oldest, needs, told, unmailed, mail]


def orders_registry(store: Store) -> CollectorRegistry:
    """A registry of this application's own: two applications in one process must not add up."""
    registry = CollectorRegistry()
    registry.register(OrdersCollector(store))
    return registry


@router.get("/metrics", response_class=Response)
def metrics(parts: PartsDep) -> Response:
    """Prometheus' text format."""
    text = generate_latest(REGISTRY) + generate_latest(orders_registry(parts.store))
    text += generate_latest(retention_registry(parts.site, parts.store))
    text += generate_latest(share_registry(parts.site, parts.store))
    return Response(text, media_type=CONTENT_TYPE_LATEST)
