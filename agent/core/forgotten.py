"""A sign-in that somebody forgot: when it ends, and the warning before. One shared PC, many people.

:func:`due` is pure: policy, input and clock come as arguments. :class:`ForgottenSignIn` looks once a second
while a warning stands, and signs out through the same door as the person herself would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, time, timedelta, tzinfo

from agent.core.clock import Clock
from agent.core.sign_in import Session, SignInDesk
from agent.core.snapshot import SignOutDue, SignOutWhy
from server_bridge.contract import Reason, SessionPolicy

WARNING = timedelta(seconds=60)
PUT_OFF = timedelta(hours=1)
"""How much longer "Stay signed in" lasts after the end of the day."""
TYPING_SECONDS = 30.0
"""Somebody who typed into a dialog this recently is not signed out under her hands."""
REST_SECONDS = 5.0


def stricter(site: SessionPolicy, idle_minutes: float | None, end_of_day: str | None) -> SessionPolicy:
    """The site's policy and this workstation's own settings: of each, what ends a sign-in sooner."""
    idle = [one for one in (site.idle_minutes, idle_minutes) if one is not None]
    ends = [one for one in (site.end_of_day, end_of_day) if one is not None]
    return SessionPolicy(idle_minutes=min(idle, default=None), end_of_day=min(ends, default=None))


def day_end_after(moment: datetime, clock_time: str, zone: tzinfo | None = None) -> datetime:
    """The first time after ``moment`` at which the local clock shows ``HH:MM``.

    Args:
        zone: The local zone; None: the machine's, with its summer time.
    """
    local = moment.astimezone(zone)
    wanted = time.fromisoformat(clock_time)
    for days in (0, 1):
        naive = datetime.combine(local.date() + timedelta(days=days), wanted)
        # Without a zone Python reads a naive time as this machine's local one, on that day.
        ending = naive.replace(tzinfo=zone) if zone is not None else naive.astimezone()
        if ending > local:
            break
    return ending.astimezone(moment.tzinfo)


def due(
    policy: SessionPolicy,
    session: Session,
    *,
    now: datetime,
    idle_seconds: float | None,
    put_off_until: datetime | None,
    zone: tzinfo | None = None,
) -> SignOutDue:
    """When this sign-in ends; the earliest of what applies.

    Args:
        idle_seconds: Since the last input in this desktop session; None where the system does not tell, and
            then idleness ends nothing.
        put_off_until: Until when she said she stays after the end of the day.
    """
    found = [SignOutDue(session.expires_at, SignOutWhy.EXPIRED)]
    if policy.idle_minutes is not None and idle_seconds is not None:
        found.append(
            SignOutDue(now + timedelta(seconds=policy.idle_minutes * 60 - idle_seconds), SignOutWhy.IDLE)
        )
    if policy.end_of_day is not None:
        ending = day_end_after(session.since, policy.end_of_day, zone)
        if put_off_until is not None and put_off_until > ending:
            ending = put_off_until
        found.append(SignOutDue(ending, SignOutWhy.END_OF_DAY))
    return min(found, key=lambda one: one.at)


def told(why: SignOutWhy) -> Reason:
    """What the window says afterwards, to whoever comes next: no name in it."""
    detail = {
        SignOutWhy.IDLE: "Nobody used this workstation for a while.",
        SignOutWhy.END_OF_DAY: "It is the end of the day on this workstation.",
        SignOutWhy.EXPIRED: "A sign-in lasts for a limited time.",
    }[why]
    return Reason(
        code="signed_out",
        title="The last person was signed out",
        detail=f"{detail} What was ordered goes on by itself.",
        remedy="Sign in to go on.",
    )


class ForgottenSignIn:
    """Runs :meth:`step` in one thread; the rest may be asked from any."""

    def __init__(
        self,
        *,
        desk: SignInDesk,
        clock: Clock,
        policy: Callable[[], SessionPolicy],
        idle_seconds: Callable[[], float | None],
        sign_out: Callable[[], None],
        changed: Callable[[], None],
        zone: tzinfo | None = None,
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._policy = policy
        self._idle_seconds = idle_seconds
        self._sign_out = sign_out
        self._changed = changed
        self._zone = zone
        self._lock = threading.Lock()
        self._put_off_until: datetime | None = None
        self._typed_at = float("-inf")
        self._warning: SignOutDue | None = None
        self._notice: Reason | None = None
        self._token = ""

    def warning(self) -> SignOutDue | None:
        """What is about to happen, within the last minute before it; None otherwise."""
        with self._lock:
            return self._warning

    def notice(self) -> Reason | None:
        """That somebody was signed out, until the next person signs in."""
        with self._lock:
            return self._notice

    def stay(self) -> None:
        """She stays after the end of the day. (Against idleness her click alone is input enough.)"""
        with self._lock:
            if self._warning is None or self._warning.why is SignOutWhy.END_OF_DAY:
                self._put_off_until = self._clock.now() + PUT_OFF
            self._warning = None
        self.step()
        self._changed()

    def typing(self) -> None:
        """She is typing into a dialog right now."""
        with self._lock:
            self._typed_at = self._clock.monotonic()

    def step(self) -> float:
        """Warn or sign out where it is time. Returns the seconds until the next look."""
        session = self._desk.held()
        now = self._clock.now()
        with self._lock:
            if session is None:
                self._token = ""
                self._put_off_until = None
            elif session.token != self._token:
                self._token = session.token
                self._put_off_until = self._notice = None
            put_off = self._put_off_until
            typing = self._clock.monotonic() - self._typed_at < TYPING_SECONDS
        if session is None:
            self._warn(None)
            return REST_SECONDS
        found = due(
            self._policy(),
            session,
            now=now,
            idle_seconds=self._idle_seconds(),
            put_off_until=put_off,
            zone=self._zone,
        )
        if found.at - now > WARNING:
            self._warn(None)
            return REST_SECONDS
        if found.at > now or (typing and found.may_stay):
            self._warn(found)
            return 1.0
        with self._lock:
            self._warning, self._token = None, ""
            self._notice = told(found.why)
        self._sign_out()
        self._changed()
        return REST_SECONDS

    def _warn(self, found: SignOutDue | None) -> None:
        with self._lock:
            before, self._warning = self._warning, found
        # Idleness is measured anew each second: the same minute, give or take a fraction of a second.
        if (before is None) != (found is None) or (before and found and before.why is not found.why):
            self._changed()
