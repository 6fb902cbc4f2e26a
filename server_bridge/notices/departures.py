"""Asks OMERO now and then whom it still lets in, and carries out what follows for those it does not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from server_bridge.observability import get_logger
from server_bridge.orders import notices, people
from server_bridge.orders.models import Notice
from server_bridge.orders.store import Store

if TYPE_CHECKING:
    from server_bridge.omero.connection import Omero

EVERY = timedelta(minutes=10)

log = get_logger("ferry.notices")


class Departures:
    """One look asks OMERO a few bulk questions, whatever the number of people."""

    def __init__(self, store: Store, omero: Omero, contact: str, every: timedelta = EVERY) -> None:
        self._store = store
        self._omero = omero
        self._contact = contact
        self._every = every
        self._asked_at: datetime | None = None

    def look(self, now: datetime) -> None:
        """Ask when it is time, or when an attempt has just met somebody whom OMERO refuses.

        Raises:
            FerryError: as OMERO answers; then nothing is concluded.
        """
        with self._store.read() as session:
            still = people.standing_still(session)
            waiting = people.standing_still(session, untaken=True)
            names = people.to_ask_about(session, now)
            told = session.scalars(
                select(Notice.key).where(Notice.kind == people.KIND, Notice.withdrawn_at.is_(None))
            ).all()
        new = any(not any(key.startswith(people.prefix_of(name)) for key in told) for name in waiting)
        if new or self._asked_at is None or now - self._asked_at >= self._every:
            self._ask(names, still, now)
            self._asked_at = now
        over = [key for key in told if not key.startswith(tuple(map(people.prefix_of, waiting)))]
        if over:
            with self._store.write(notify=False) as session:
                for key in over:
                    notices.withdraw(session, now, prefix=key)

    def _ask(self, names: frozenset[str], still: frozenset[str], now: datetime) -> None:
        from server_bridge.omero.people import active_names, owner_names

        if not names:
            return
        service_user = self._omero.config.user
        with self._omero.service() as session:
            active = active_names(session, [*names, service_user])
            if service_user not in active:
                # It has just let this account in: an answer without it is no answer.
                log.warning("OMERO's list of active people lacks the service account; nothing is concluded")
                return
            gone = sorted(names - active)
            with self._store.read() as orders:
                groups = {group for name in gone for group in people.groups_of(orders, name)}
            owners = {group: owner_names(session, group) for group in sorted(groups)}
        for name in gone:
            hit = people.departed(self._store, name, owners, now, self._contact)
            if hit:
                log.warning("a person is no longer active in OMERO", orders=hit)
        for name in sorted(still & active):
            count = people.returned(self._store, name, now)
            log.info("a person is active in OMERO again", orders=count)
