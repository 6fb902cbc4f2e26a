"""How fast a share may be read while a microscope writes onto it. Pure.

While any workstation acquires, all pulls from the share together go at the floor rate: a microscope that
loses frames cannot take them again, and a copy that comes later is only later. But a buffer that is full
stops the microscope for good, so from ``floor_until_fill`` on the rate rises as the buffer fills, and at
``full_from_fill`` it is the full one. Where the full rate has no limit there is no line to a number: the
rate then grows as one over what is left of the way, twice the floor at half of it, ten times at nine tenths.

There is no threshold at which the rate jumps but the lease's own beginning and end, and those do not flap:
a workstation goes on acquiring for at least a minute after the last thing it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from server_bridge.config import ShareConfig, SiteConfig
from server_bridge.orders import leases
from server_bridge.orders.leases import Beat

MIB = 1024.0 * 1024.0
_NAMED = 2


@dataclass(frozen=True, slots=True)
class ShareRate:
    """What holds for one share at one moment."""

    bytes_per_second: float | None
    """All pulls together; None: as fast as they go."""
    acquiring: tuple[str, ...] = ()
    """Workstations, by name."""
    fill: float | None = None
    slowed: str = ""
    """In words, where it is less than the full rate; else empty."""


def allowed(share: ShareConfig, *, is_acquiring: bool, fill: float | None) -> float | None:
    """Bytes per second, or None for no limit.

    Args:
        share: with the site's rates and limits.
        is_acquiring: whether any workstation's lease says so.
        fill: 0..1, how full the buffer is; None where nobody tells: it then counts as empty.
    """
    full = share.full_rate_mib_s * MIB or None
    if not is_acquiring:
        return full
    floor = share.floor_rate_mib_s * MIB
    way = ((fill or 0.0) - share.floor_until_fill) / (share.full_from_fill - share.floor_until_fill)
    if way <= 0:
        return floor
    if way >= 1:
        return full
    return floor / (1 - way) if full is None else floor + way * (full - floor)


def rate_of(site: SiteConfig, share: ShareConfig, beats: Iterable[Beat], now: datetime) -> ShareRate:
    """What the heartbeats make of a share's rate."""
    beats = list(beats)
    lease = site.limits.acquiring_lease_seconds
    names = leases.acquiring(beats, share.id, now, lease)
    room = leases.room(beats, share.id, now, lease)
    fill = room.fill if room is not None else None
    rate = allowed(share, is_acquiring=bool(names), fill=fill)
    is_less = bool(names) and rate != (share.full_rate_mib_s * MIB or None)
    return ShareRate(rate, names, fill, slowed_text(names) if is_less else "")


def slowed_text(names: tuple[str, ...]) -> str:
    """ "Slowed: Confocal SP8 is acquiring"."""
    if len(names) == 1:
        return f"Slowed: {names[0]} is acquiring"
    if len(names) <= _NAMED:
        return f"Slowed: {' and '.join(names)} are acquiring"
    return f"Slowed: {names[0]} and {len(names) - 1} others are acquiring"
