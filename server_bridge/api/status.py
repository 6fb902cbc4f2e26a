"""The status page: what moves and what waits, by share and workstation, for a wall screen or a worried look.

It names no person and no file, so it needs no sign-in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse

from server_bridge.api.dependencies import PartsDep
from server_bridge.config import SiteConfig
from server_bridge.contract import AgentLoad, Condition, ShareCleaning, WorkstationStatus
from server_bridge.human import human_age, human_bytes, version
from server_bridge.notices import lifetime
from server_bridge.orders import leases, share_rates, stages
from server_bridge.orders.models import Order, Workstation
from server_bridge.orders.queue import NO_WORKSTATION

router = APIRouter(include_in_schema=False)
_pages = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "web" / "templates"), autoescape=True
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class Row:
    """One workstation's orders on one share."""

    workstation: str
    running: int
    queued: int
    waiting: int
    attention: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Station:
    """A workstation as the page shows it."""

    name: str
    state: str
    seen: str
    load: str
    cleaning: str
    """What its agent deletes on the buffers, where it may."""


def queues(session: Session, site: SiteConfig) -> dict[str, list[Row]]:
    """Orders on their way, by share and workstation."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    rows = session.execute(
        select(Order.share, Workstation.name, Order.condition, func.count(), func.sum(Order.size_bytes))
        .outerjoin(Workstation, Workstation.id == Order.workstation_id)
        .where(Order.stage.in_(sorted(stages.WORKED)))
        .group_by(Order.share, Workstation.name, Order.condition)
    )
    for share, name, condition, count, size in rows:
        found = counts[share, name or NO_WORKSTATION]
        found[condition] += count
        found["bytes"] += int(size or 0)
    titles = {share.id: share.title or share.id for share in site.shares}
    shown: dict[str, list[Row]] = {title: [] for title in titles.values()}
    for (share, name), found in sorted(counts.items()):
        shown.setdefault(titles.get(share, share), []).append(
            Row(
                name,
                found[Condition.RUNNING],
                found[Condition.QUEUED],
                found[Condition.WAITING],
                found[Condition.ATTENTION],
                found["bytes"],
            )
        )
    return shown


def stations(session: Session, site: SiteConfig, now: datetime) -> list[Station]:
    """Workstations with their last sign of life; an expired lease is no acquisition."""
    lease = site.limits.acquiring_lease_seconds
    beats = {beat.workstation_id: beat for beat in leases.book_of(session).beats(session, believed_seconds=0)}
    found = []
    for row in session.scalars(select(Workstation).order_by(Workstation.name)):
        if row.status == WorkstationStatus.REVOKED:
            continue
        age = now - row.last_seen_at if row.last_seen_at else None
        beat = beats.get(row.id)
        state, load, cleaning = row.status, "", ""
        if beat is not None and beat.holds(now, lease):
            load = load_text(beat.load)
            cleaning = "; ".join(cleaning_text(one, site) for one in beat.cleaning)
            if beat.is_paused(now) and beat.paused_until is not None:
                state = f"paused until {beat.paused_until:%H:%M} UTC"
            elif beat.acquiring:
                state = "acquiring"
        found.append(Station(row.name, state, human_age(age) if age is not None else "never", load, cleaning))
    return found


def load_text(load: AgentLoad | None) -> str:
    """What an agent costs its workstation: "0.4 % CPU, 12.0 kB/s"."""
    if load is None:
        return ""
    moved = "" if load.bytes_per_second is None else f", {human_bytes(int(load.bytes_per_second))}/s"
    return f"{load.cpu_percent:.1f} % CPU{moved}"


def cleaning_text(told: ShareCleaning, site: SiteConfig) -> str:
    """What an agent deletes on one share: "Confocal (released): 12.0 GB freed today, 40.1 GB released"."""
    share = site.share(told.share)
    parts = [f"{human_bytes(told.freed_bytes)} freed today", f"{human_bytes(told.released_bytes)} released"]
    if told.running or told.queued:
        parts.append(f"{told.queued + told.running} under way")
    if told.stayed_files:
        parts.append(f"{told.stayed_files} files stayed")
    return f"{share.title or share.id if share else told.share} ({told.mode}): {', '.join(parts)}"


def slowed(session: Session, site: SiteConfig, now: datetime) -> dict[str, str]:
    """By share's title: why its pulls are slowed, and to what."""
    beats = leases.book_of(session).beats(session, believed_seconds=0)
    found = {}
    for share in site.shares:
        rate = share_rates.rate_of(site, share, beats, now)
        if rate.slowed and rate.bytes_per_second is not None:
            most = human_bytes(int(rate.bytes_per_second))
            found[share.title or share.id] = f"{rate.slowed}; pulls take {most}/s at most."
    return found


def ageing(session: Session, site: SiteConfig, now: datetime) -> dict[str, tuple[int, int]]:
    """By share's title: how much is near the end of its time on the buffer, and how much is beyond it."""
    counts: dict[str, tuple[int, int]] = {}
    titles = {share.id: share.title or share.id for share in site.shares}
    for one in lifetime.aging(session, site, now):
        near, over = counts.get(titles[one.share], (0, 0))
        is_over = one.days_left(now) <= 0
        counts[titles[one.share]] = (near + (not is_over), over + is_over)
    return counts


@router.get("/", response_class=HTMLResponse)
def status_page(parts: PartsDep) -> HTMLResponse:
    """Queues by workstation."""
    now = parts.now()
    with parts.store.read() as session:
        page = _pages.get_template("status.html").render(
            site=parts.site.name,
            contact=parts.site.contact,
            version=version(),
            now=now,
            queues=queues(session, parts.site),
            stations=stations(session, parts.site, now),
            ageing=ageing(session, parts.site, now),
            slowed=slowed(session, parts.site, now),
            human_bytes=human_bytes,
        )
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"})
