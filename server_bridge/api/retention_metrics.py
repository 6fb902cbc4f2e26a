"""Gauges about what is kept: quarantine, staging that belongs to no living order, the newest backup's age."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from server_bridge.config import SiteConfig
from server_bridge.orders import backup_stamps, remembered
from server_bridge.orders.models import QuarantinedFile, utcnow
from server_bridge.orders.store import Store
from server_bridge.retention.leftovers import leftovers


class RetentionCollector(Collector):
    """Read when they are asked for; folders of staging are counted, never measured."""

    def __init__(self, site: SiteConfig, store: Store) -> None:
        self._site = site
        self._store = store

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The present figures."""
        kept = GaugeMetricFamily("ferry_quarantine_bytes", "Bytes of files in quarantine")
        left = GaugeMetricFamily(
            "ferry_staging_leftovers", "Folders of staging that belong to no living order", labels=["state"]
        )
        backup = GaugeMetricFamily(
            "ferry_backup_age_seconds", "Since the newest reported backup of ManagedRepository began"
        )
        restored = GaugeMetricFamily(
            "ferry_omero_restored", "1 while OMERO's database is an older one than the bridge saw"
        )
        with self._store.read() as session:
            size = session.scalar(
                select(func.sum(QuarantinedFile.size_bytes)).where(QuarantinedFile.unlinked_at.is_(None))
            )
            covered = backup_stamps.covered_until(session)
            doubted = remembered.recall(session, remembered.RESTORED) is not None
        kept.add_metric([], float(size or 0))
        counts: dict[str, int] = {}
        for one in leftovers(self._site, self._store):
            counts[one.state] = counts.get(one.state, 0) + 1
        for state, count in sorted(counts.items()):
            left.add_metric([state], count)
        if covered is not None:
            backup.add_metric([], (utcnow() - covered).total_seconds())
        restored.add_metric([], float(doubted))
        return [kept, left, backup, restored]


def retention_registry(site: SiteConfig, store: Store) -> CollectorRegistry:
    """A registry of this application's own."""
    registry = CollectorRegistry()
    registry.register(RetentionCollector(site, store))
    return registry
