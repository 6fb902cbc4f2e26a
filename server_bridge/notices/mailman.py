"""Mails what stands in the notices. A thread of its own: a mail server that hangs holds up nothing but mail.

Each notice is mailed **at most once**. It is marked before the mail is handed over, and the mark is taken
back only when the server certainly does not have it. A kill -9 in between (or a connection that breaks while
the server acknowledges) may therefore lose a mail, and never sends one twice: whoever gets the same alarm
again and again stops reading alarms, and what a lost mail was about still stands on the card, on the status
page and in ``ferry-bridge notices``. Such a loss is told in the log and counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from server_bridge.config import MailConfig, SiteConfig, is_address
from server_bridge.contract import Person, Reason
from server_bridge.errors import FerryError
from server_bridge.notices import digest, mail_state, mailer
from server_bridge.notices.digest import STAFF, Batch, Item
from server_bridge.notices.outages import KIND_OVER
from server_bridge.observability import MAILS, get_logger
from server_bridge.orders.models import Notice, Order, utcnow
from server_bridge.orders.store import Store

EVERY_SECONDS = 10.0
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
ASK_AGAIN = timedelta(minutes=2)
"""For an address, where OMERO did not answer."""

log = get_logger("ferry.mail")
FindPerson = Callable[[str], Person | None]


@dataclass(frozen=True, slots=True)
class _Pause:
    failures: int
    until: datetime


class Mailman:
    """Use :meth:`start`, or :meth:`turn` for one look."""

    def __init__(
        self, site: SiteConfig, store: Store, find_person: FindPerson, *, every_seconds: float = EVERY_SECONDS
    ) -> None:
        self._site = site
        self._store = store
        self._find_person = find_person
        self._every = every_seconds
        self._pauses: dict[str | None, _Pause] = {}
        """By recipient; None: the mail server itself."""
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def _config(self) -> MailConfig:
        return self._site.mail

    def start(self) -> None:
        """Begin, where the site has a mail server."""
        if self._config.host:
            self._thread = threading.Thread(target=self._loop, name="mailman", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End. A mail that is being handed over is not waited for long: it is marked already."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def _loop(self) -> None:
        begun = False
        while not self._ending.wait(self._every):
            try:
                if not begun:
                    self.find_lost(utcnow())
                    begun = True
                self.turn(utcnow())
            except SQLAlchemyError as error:
                log.warning("mail pauses, the notices cannot be reached", error=str(error))
            except Exception:
                # The loop must outlive one bad turn; what was not mailed stands in the notices.
                log.exception("a turn of the mailman failed")

    def find_lost(self, now: datetime) -> int:
        """At start: say what a kill cut off. Returns the number of notices that may not have been mailed."""
        with self._store.write(notify=False) as session:
            state = mail_state.read(session)
            if state.in_flight is None:
                return 0
            mail_state.write(session, state.model_copy(update={"in_flight": None}), now)
        count = len(state.in_flight.notices)
        MAILS.labels("unsure").inc()
        log.warning(
            "the bridge was ended while it handed a mail over: it may be lost", notices=count,
            to="staff" if state.in_flight.to_staff else "a person",
        )  # fmt: skip
        return count

    def turn(self, now: datetime) -> int:
        """Send what is due. Returns how many mails went out."""
        if not self._config.host or self._pauses_now(None, now):
            return 0
        with self._store.read() as session:
            due = digest.batches(read_items(session), now, timedelta(minutes=self._config.digest_minutes))
        sent = 0
        for batch in due:
            if self._ending.is_set() or self._pauses_now(None, now):
                break
            if self._pauses_now(batch.recipient, now):
                continue
            with self._store.read() as session:
                if len(mail_state.read(session).recent(now)) >= self._config.max_per_hour:
                    break
            sent += self._deliver(batch, now)
        return sent

    def _pauses_now(self, recipient: str | None, now: datetime) -> bool:
        pause = self._pauses.get(recipient)
        return pause is not None and now < pause.until

    def _deliver(self, batch: Batch, now: datetime) -> int:
        addresses = self._addresses(batch.recipient, now)
        if addresses is None:
            return 0
        if not addresses:
            self._hand_to_staff(batch, now)
            return 0
        marked = self._mark(batch, now)
        if not marked:
            return 0
        try:
            message = digest.compose(
                self._site.name,
                Batch(batch.recipient, tuple(marked)),
                sender=self._config.sender,
                recipients=addresses,
                now=now,
                status_url=self._config.status_url,
                contact=self._site.contact,
            )
            done = mailer.send(self._config, message, addresses)
        except mailer.AddressRefused as error:
            self._unmark(batch.recipient, marked, now)
            if batch.recipient != STAFF:
                log.warning("the mail server refuses a person's address; staff are told", code=error.code)
                self._hand_to_staff(batch, now)
            else:
                self._fail(batch.recipient, error, now)
            return 0
        except FerryError as error:
            self._unmark(batch.recipient, marked, now)
            of_one = isinstance(error, mailer.MailFailed) and error.of_recipient
            self._fail(batch.recipient if of_one else None, error, now)
            return 0
        self._note_sent(batch.recipient, marked, done, now)
        return 1

    def _addresses(self, recipient: str, now: datetime) -> list[str] | None:
        """Where to write; nothing: there is no usable address; None: nobody knows now."""
        if recipient == STAFF:
            return list(self._config.staff)
        try:
            person = self._find_person(recipient)
        except FerryError as error:
            log.info("no address for now", code=error.code)
            self._pauses[recipient] = _Pause(1, now + ASK_AGAIN)
            return None
        return [person.email] if person is not None and is_address(person.email) else []

    # --- what is written ------------------------------------------------------------------------------

    def _mark(self, batch: Batch, now: datetime) -> list[Item]:
        """Mark before sending. Returns what is still to be told."""
        by_id = {item.id: item for item in batch.items}
        marked = []
        with self._store.write(notify=False) as session:
            for row in self._rows(session, list(by_id)):
                told = row.mailed_staff_at if batch.recipient == STAFF else row.mailed_person_at
                if row.withdrawn_at is None and told is None and row.at == by_id[row.id].at:
                    _set_told(row, batch.recipient, now)
                    marked.append(by_id[row.id])
            if marked:
                state = mail_state.read(session)
                flight = mail_state.InFlight(
                    notices=tuple(item.id for item in marked), to_staff=batch.recipient == STAFF, at=now
                )
                mail_state.write(session, state.model_copy(update={"in_flight": flight}), now)
        return marked

    def _unmark(self, recipient: str, marked: Sequence[Item], now: datetime) -> None:
        """The server does not have it, for certain."""
        with self._store.write(notify=False) as session:
            for row in self._rows(session, [item.id for item in marked]):
                told = row.mailed_staff_at if recipient == STAFF else row.mailed_person_at
                if told == now:
                    _set_told(row, recipient, None)
            state = mail_state.read(session)
            mail_state.write(session, state.model_copy(update={"in_flight": None}), now)

    def _hand_to_staff(self, batch: Batch, now: datetime) -> None:
        """Nobody can write to this person: what is for her alone goes to staff."""
        with self._store.write(notify=False) as session:
            for row in self._rows(session, [item.id for item in batch.items]):
                row.for_staff, row.mailed_person_at = True, now

    def _note_sent(
        self, recipient: str, marked: Sequence[Item], done: mailer.Delivery, now: datetime
    ) -> None:
        with self._store.write(notify=False) as session:
            if recipient == STAFF:
                for row in self._rows(session, [item.id for item in marked if item.kind == KIND_OVER]):
                    row.withdrawn_at = now
            sent = (*mail_state.read(session).recent(now), now)
            mail_state.write(session, mail_state.MailState(sent=sent), now)
        self._pauses.pop(None, None)
        self._pauses.pop(recipient, None)
        MAILS.labels("unsure" if done.unsure else "sent").inc()
        if done.unsure:
            log.warning("the mail server broke off while it took a mail; it is not sent again")
        for words in done.refused.values():
            log.warning("the mail server refused one of several addresses", said=words)
        log.info("mailed", notices=len(marked), to="staff" if recipient == STAFF else "a person")

    def _fail(self, whose: str | None, error: FerryError, now: datetime) -> None:
        """Back off, from the server or from one recipient, and say so where staff look."""
        known = self._pauses.get(whose)
        failures = known.failures + 1 if known else 1
        until = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
        self._pauses[whose] = _Pause(failures, until)
        MAILS.labels("failed").inc()
        log.warning("no mail goes out", code=error.code, detail=error.detail, next_try_at=until.isoformat())
        with self._store.write(notify=False) as session:
            state = mail_state.read(session)
            since = state.failing.since if state.failing else None
            words: Reason = error.reason(self._site.contact).model_copy(
                update={"since": since or now, "next_try_at": until}
            )
            mail_state.write(session, state.model_copy(update={"failing": words}), now)

    @staticmethod
    def _rows(session: Session, ids: Sequence[int]) -> list[Notice]:
        found: list[Notice] = []
        for start in range(0, len(ids), 400):
            found += session.scalars(select(Notice).where(Notice.id.in_(ids[start : start + 400]))).all()
        return found


def _set_told(row: Notice, recipient: str, at: datetime | None) -> None:
    if recipient == STAFF:
        row.mailed_staff_at = at
    else:
        row.mailed_person_at = at


def read_items(session: Session) -> list[Item]:
    """The standing notices that somebody has not been mailed yet."""
    rows = session.execute(
        select(Notice, Order.share, Order.path)
        .outerjoin(Order, Order.id == Notice.order_id)
        .where(
            Notice.withdrawn_at.is_(None),
            or_(
                Notice.for_staff.is_(True) & Notice.mailed_staff_at.is_(None),
                (Notice.person != "") & Notice.mailed_person_at.is_(None),
            ),
        )
        .order_by(Notice.at, Notice.id)
    ).all()
    return [
        Item(
            id=row.id,
            kind=row.kind,
            at=row.at,
            reason=Reason.model_validate(row.reason),
            person=row.person,
            for_staff=row.for_staff,
            person_told=row.mailed_person_at is not None,
            staff_told=row.mailed_staff_at is not None,
            about=f"{share}:{path}, order {row.order_id}" if row.order_id else "",
        )
        for row, share, path in rows
    ]
