"""The bridge's memory of its staging disk: made at the first start, asked before anything touches staging.

The identity lies in the orders database and in the marker on the disk. A database that knows none (a new
site, or one from before markers) takes what the disk says, or marks the disk. Only one case is refused
there: orders whose files lie in staging, and a staging directory with nothing in it.
"""

from __future__ import annotations

import logging
import os
import uuid
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.mover import staging_disk
from server_bridge.mover.staging_disk import StagingAway
from server_bridge.orders import stages
from server_bridge.orders.models import Order, OrderFile, SiteFact, utcnow
from server_bridge.orders.store import Store

FACT = "staging_disk"

_log = logging.getLogger(__name__)


class Site(Protocol):
    """Whatever knows the site file and the orders."""

    @property
    def site(self) -> SiteConfig: ...

    @property
    def store(self) -> Store: ...


def staging_word(of: Site) -> str:
    """``ok``, ``missing`` or ``away``, for a probe; marks and concludes nothing."""
    if not of.site.staging_dir.is_dir():
        return "missing"
    with of.store.read() as session:
        known = _identity(session)
    try:
        if known is not None:
            staging_disk.require(of.site.staging_dir, known)
    except StagingAway:
        return "away"
    return "ok"


def require_staging(of: Site) -> None:
    """Return where the staging disk is there and is the remembered one.

    Raises:
        StagingAway: an outage: nothing may be written there, nothing concluded about what lies there.
        OSError: where a new site's disk cannot be marked.
    """
    top = of.site.staging_dir
    if not top.is_dir():
        raise StagingAway(
            f"{top} is not a folder.",
            remedy="Mount the staging disk; every order then goes on by itself.",
        )
    with of.store.read() as session:
        known = _identity(session)
    staging_disk.require(top, known if known is not None else _first_look(of))


def _identity(session: Session) -> str | None:
    fact = session.get(SiteFact, FACT)
    return None if fact is None else str(fact.value["identity"])


def _first_look(of: Site) -> str:
    top = of.site.staging_dir
    with of.store.write(notify=False) as session:
        # Two attempts may look for the first time at once: the second one finds what the first one wrote.
        known = _identity(session)
        if known is not None:
            return known
        identity = staging_disk.read_marker(top)
        if identity is None and _is_emptied(session, of.site):
            # Not marked: if this is the wrong disk, it must never become the right one by our own doing.
            identity = uuid.uuid4().hex
            _log.error("%s is empty, and orders have files there: it counts as away", top)
        elif identity is None:
            identity = staging_disk.make_marker(top)
            _log.info("%s is marked as the staging disk of this bridge", top)
        session.add(SiteFact(name=FACT, value={"identity": identity, "folder": str(top)}, at=utcnow()))
    return identity


def _is_emptied(session: Session, site: SiteConfig) -> bool:
    """Whether orders that are not over have files in staging, and staging has nothing in it."""
    with os.scandir(site.staging_dir) as entries:
        if next(entries, None) is not None:
            return False
    staged = (
        select(OrderFile.order_id)
        .join(Order, Order.id == OrderFile.order_id)
        .where(OrderFile.staged_at.is_not(None), Order.stage.not_in(sorted(stages.ENDS)))
    )
    return session.scalar(staged.limit(1)) is not None
