"""Gauges about the microscopes: who acquires, who paused, what the pulls may take, what the agents cost."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from server_bridge.config import SiteConfig
from server_bridge.orders import share_rates
from server_bridge.orders.models import utcnow
from server_bridge.orders.store import Store


class ShareCollector(Collector):
    """Read from the leases when they are asked for; what has expired counts no more."""

    def __init__(self, site: SiteConfig, store: Store) -> None:
        self._site = site
        self._store = store

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The present figures."""
        acquiring = GaugeMetricFamily(
            "ferry_share_acquiring", "Workstations that acquire onto the share", labels=["share"]
        )
        limit = GaugeMetricFamily(
            "ferry_share_rate_limit_bytes",
            "What all pulls from the share may take per second; absent: no limit",
            labels=["share"],
        )
        fill = GaugeMetricFamily(
            "ferry_share_fill_ratio", "How full the share is, as its workstations tell", labels=["share"]
        )
        paused = GaugeMetricFamily(
            "ferry_workstation_paused", "1 while somebody at it has paused", labels=["workstation"]
        )
        cpu = GaugeMetricFamily(
            "ferry_agent_cpu_percent", "Of one core, in the agent's last minute", labels=["workstation"]
        )
        moved = GaugeMetricFamily(
            "ferry_agent_bytes_per_second", "Read and written by the agent", labels=["workstation"]
        )
        now, lease = utcnow(), self._site.limits.acquiring_lease_seconds
        with self._store.read() as session:
            beats = self._store.leases.beats(session, believed_seconds=0)
        for share in self._site.shares:
            rate = share_rates.rate_of(self._site, share, beats, now)
            acquiring.add_metric([share.id], len(rate.acquiring))
            if rate.bytes_per_second is not None:
                limit.add_metric([share.id], rate.bytes_per_second)
            if rate.fill is not None:
                fill.add_metric([share.id], rate.fill)
        for beat in beats:
            if not beat.holds(now, lease):
                continue
            paused.add_metric([beat.workstation], float(beat.is_paused(now)))
            if beat.load is not None:
                cpu.add_metric([beat.workstation], beat.load.cpu_percent)
                if beat.load.bytes_per_second is not None:
                    moved.add_metric([beat.workstation], beat.load.bytes_per_second)
        return [acquiring, limit, fill, paused, cpu, moved]


def share_registry(site: SiteConfig, store: Store) -> CollectorRegistry:
    """A registry of this application's own."""
    registry = CollectorRegistry()
    registry.register(ShareCollector(site, store))
    return registry
