"""An outage that lasts is told once per kind and place, not once per order, and so is its end.

What waits is read from the orders: a night of maintenance stands on ten thousand of them with one reason. A
fault of the site's own settings is told at once (nothing but staff ends it), an outage when it has lasted
for a while. Orders that try again stand on *running* for a moment: an outage is over only when no order has
waited for it for some minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server_bridge.contract import Condition, Reason
from server_bridge.observability import get_logger
from server_bridge.orders import notices, stages
from server_bridge.orders.models import Notice, Order
from server_bridge.orders.store import Store
from server_bridge.pipeline.backoff import OUTAGES, SITE_FAULTS

KIND, KIND_OVER = "outage", "over"
QUIET = timedelta(minutes=10)
"""An attempt that fails again takes its time (stalled transfers, calls without an answer)."""

OF_ONE_ORDER = frozenset({"omero_busy", "order_busy"})
"""These pass with the order's own work; what does not pass of them gets a reason of its own."""
_SAME = {"omero_hung": "omero_away", "omero_session_lost": "omero_away", "stalled": "share_away"}
_OF_THE_SITE = ("omero_", "staging_", "configuration", "program_missing")

log = get_logger("ferry.notices")


@dataclass(frozen=True, slots=True)
class Standing:
    """One outage as the orders show it now."""

    code: str
    """Of its kind: a hung OMERO and one that is away are one outage."""
    place: str
    """The share; empty where it is the whole site's."""
    since: datetime
    orders: int
    reason: Reason

    @property
    def key(self) -> str:
        return notices.key_of(KIND, self.code, self.place, "")


def place_of(code: str, share: str) -> str:
    """Where an outage of that code is: OMERO, staging and the settings are the same for every share."""
    return "" if code.startswith(_OF_THE_SITE) else share


def merge(found: Iterable[tuple[str, int, Reason]]) -> list[Standing]:
    """Outages from (share, number of orders, the oldest of their reasons); the longest first."""
    merged: dict[str, Standing] = {}
    for share, count, reason in found:
        if reason.since is None:
            continue
        code = _SAME.get(reason.code, reason.code)
        one = Standing(code, place_of(code, share), reason.since, count, reason)
        known = merged.get(one.key)
        if known is not None:
            first = min(known, one, key=lambda standing: standing.since)
            one = Standing(code, one.place, first.since, known.orders + count, first.reason)
        merged[one.key] = one
    return sorted(merged.values(), key=lambda standing: (standing.since, standing.key))


def due(standing: Standing, now: datetime, after: timedelta) -> bool:
    """Whether staff should hear of it now."""
    return standing.code in SITE_FAULTS or now - standing.since >= after


def read(session: Session) -> list[Standing]:
    """The outages that orders wait for."""
    code, since = Order.reason["code"].as_string(), Order.reason["since"].as_string()
    rows = session.execute(
        select(Order.share, func.count(), func.min(since), code)
        .where(
            Order.condition == Condition.WAITING,
            Order.stage.in_(sorted(stages.WORKED)),
            Order.next_try_at.is_not(None),
            code.in_(sorted((OUTAGES | SITE_FAULTS) - OF_ONE_ORDER)),
        )
        .group_by(Order.share, code)
    ).all()
    found = []
    for share, count, oldest, its_code in rows:
        words = session.scalars(
            select(Order.reason).where(Order.share == share, code == its_code, since == oldest).limit(1)
        ).first()
        if words:
            found.append((share, count, Reason.model_validate(words)))
    return merge(found)


class OutageWatch:
    """Tells staff of outages. Remembers only when each was last seen; the rest stands in the notices."""

    def __init__(self, store: Store, after: timedelta, quiet: timedelta = QUIET) -> None:
        self._store = store
        self._after = after
        self._quiet = quiet
        self._seen: dict[str, datetime] | None = None

    def look(self, now: datetime) -> None:
        """Tell what is due, withdraw what is over."""
        with self._store.read() as session:
            standing = read(session)
            rows = session.execute(
                select(Notice.key, Notice.mailed_staff_at).where(
                    Notice.kind == KIND, Notice.withdrawn_at.is_(None)
                )
            )
            told = {row.key: row.mailed_staff_at for row in rows}
        if self._seen is None:
            # The bridge has just started, and its orders have not tried again yet.
            self._seen = dict.fromkeys(told, now)
        self._seen |= {one.key: now for one in standing}
        new = [one for one in standing if one.key not in told and due(one, now, self._after)]
        over = [key for key in told if now - self._seen.get(key, now) >= self._quiet]
        self._seen = {key: at for key, at in self._seen.items() if key in told or now - at < self._quiet}
        if new or over:
            self._write(now, new, over, told)

    def _write(
        self, now: datetime, new: list[Standing], over: list[str], told: Mapping[str, datetime | None]
    ) -> None:
        with self._store.write(notify=False) as session:
            for one in new:
                notices.withdraw(session, now, prefix=_over(one.key))
                notices.post(session, now, key=one.key, kind=KIND, reason=_words(one))
            for key in over:
                was = session.scalars(select(Notice).where(Notice.key == key)).one()
                was.withdrawn_at = now
                if told[key] is not None:
                    notices.post(
                        session,
                        now,
                        key=notices.key_of(KIND_OVER, key),
                        kind=KIND_OVER,
                        reason=_end(was, now),
                    )
        for one in new:
            log.warning("an outage lasts", code=one.code, share=one.place or "all", orders=one.orders)
        for key in over:
            log.info("an outage is over", outage=key)


def _over(key: str) -> str:
    return notices.key_of(KIND_OVER, key)


def _words(one: Standing) -> Reason:
    where = f"Share {one.place}: " if one.place else ""
    waiting = "1 order waits." if one.orders == 1 else f"{one.orders} orders wait."
    return one.reason.model_copy(
        update={
            "title": f"{where}{one.reason.title}",
            "detail": f"{waiting} {one.reason.detail}".strip(),
            "remedy": f"{one.reason.remedy} The orders go on by themselves.".strip(),
            "since": one.since,
            "next_try_at": None,
        }
    )


def _end(was: Notice, now: datetime) -> Reason:
    words = Reason.model_validate(was.reason)
    return words.model_copy(
        update={
            "title": f"Over: {words.title}",
            "detail": "No order waits for it any more.",
            "remedy": "Nothing to do.",
            "since": now,
        }
    )
