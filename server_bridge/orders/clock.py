"""How much time really passed, where the wall clock was set in between.

A hold of three days must not end because somebody set the clock five days ahead and back again: what was
deleted in between stays deleted. The kernel counts the seconds since the start of the machine, which no
setting of the clock changes. A look at both says by how much the clock leaped since the last look, which is
remembered in the database, so that a restart of the bridge in between hides nothing.

What cannot be known is counted so that a hold is too long, never too short: a virtual machine that stood
still was not there; across a restart of the *machine* only a step back shows, a step ahead is believed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from server_bridge.orders.models import SiteFact, utcnow
from server_bridge.orders.store import Store

FACT = "clock"
LEAP_SECONDS = 10.0
"""Less is a clock being disciplined."""
REMEMBER_SECONDS = 60.0
"""How often the present look is written; within one start of the machine any older one serves as well."""
LEAPS_KEPT = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """The clock and the kernel's count at one moment. ``boot`` names the start of the machine."""

    wall: datetime
    boot: str
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class Leap:
    """The clock was set: ``seconds`` ahead (negative: back); ``after`` is what it said then."""

    after: datetime
    seconds: float


def look_now() -> Look:
    """Read both clocks."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Look(utcnow(), boot, time.clock_gettime(time.CLOCK_BOOTTIME))


def leap_between(before: Look, now: Look) -> Leap | None:
    """The leap between two looks, if there was one. Pure."""
    seconds = (now.wall - before.wall).total_seconds()
    if now.boot == before.boot:
        seconds -= now.uptime_seconds - before.uptime_seconds
    else:
        seconds = min(0.0, seconds)
    return Leap(now.wall, seconds) if abs(seconds) >= LEAP_SECONDS else None


def lead_since(moment: datetime, leaps: Sequence[Leap]) -> timedelta:
    """By how much the clock is ahead of what really passed since ``moment``; never less than nothing. Pure.

    Args:
        moment: what the clock said then. A clock that was set back says some moments twice: of all places
            between the leaps where it may lie, the one with the longest wait decides.
        leaps: all that are known, in the order in which they happened.
    """
    lead, ahead = 0.0, 0.0
    slack = timedelta(seconds=LEAP_SECONDS)
    for index in reversed(range(len(leaps))):
        ahead += leaps[index].seconds
        until = leaps[index].after - timedelta(seconds=leaps[index].seconds) + slack
        since = leaps[index - 1].after - slack if index else moment
        if since <= moment <= until:
            lead = max(lead, ahead)
    return timedelta(seconds=lead)


def observe(store: Store, now: Look | None = None) -> tuple[Leap, ...]:
    """Look at the clock, remember it, and return every leap that is known."""
    now = now or look_now()
    with store.read() as session:
        before, leaps = _remembered(session)
    if before is not None and leap_between(before, now) is None:
        gone_by = now.uptime_seconds - before.uptime_seconds
        if now.boot == before.boot and gone_by < REMEMBER_SECONDS:
            return leaps
    return _remember(store, now)


def _remember(store: Store, now: Look) -> tuple[Leap, ...]:
    with store.write(notify=False) as session:
        before, leaps = _remembered(session)  # again: another process may have seen the same leap
        if before is not None and before.boot == now.boot and before.uptime_seconds > now.uptime_seconds:
            return leaps  # it looked later than we did
        leap = leap_between(before, now) if before is not None else None
        if leap is not None:
            leaps = (*leaps, leap)[-LEAPS_KEPT:]
            store.audit(session, "bridge", "clock.leap", FACT, seconds=round(leap.seconds, 1))
            _log.warning("the clock was set by %.0f s; holds count what really passed", leap.seconds)
        fact = session.get(SiteFact, FACT) or SiteFact(name=FACT)
        fact.at = now.wall
        fact.value = {
            "wall": now.wall.isoformat(),
            "boot": now.boot,
            "uptime_seconds": now.uptime_seconds,
            "leaps": [{"after": one.after.isoformat(), "seconds": one.seconds} for one in leaps],
        }
        session.add(fact)
    return leaps


def _remembered(session: Session) -> tuple[Look | None, tuple[Leap, ...]]:
    fact = session.get(SiteFact, FACT)
    if fact is None:
        return None, ()
    value: dict[str, Any] = fact.value
    look = Look(datetime.fromisoformat(value["wall"]), value["boot"], value["uptime_seconds"])
    return look, tuple(Leap(datetime.fromisoformat(one["after"]), one["seconds"]) for one in value["leaps"])
