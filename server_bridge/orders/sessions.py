"""A person's sessions: the token she works with, and the submission grants that outlive it.

Signing out ends the token alone: the grants of the orders in her outbox live on until they expire, so that
logging off strands nothing. Revoking (staff, or OMERO's word) ends both. The grant *key* has to be kept as it
is, since the bridge must compute what it checks; the database file therefore has the state folder's mode.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from server_bridge.config import LimitsConfig
from server_bridge.contract import Person, SessionCreated, SubmissionGrant
from server_bridge.orders import keys
from server_bridge.orders.models import PersonSession
from server_bridge.orders.store import Store

TOUCH_EVERY = timedelta(minutes=5)
"""How exact ``last_used_at`` is; writing it on every request would cost a disk flush each."""


@dataclass(frozen=True, slots=True)
class Presence:
    """From when until when somebody was signed in at one workstation."""

    username: str
    since: datetime
    until: datetime

    def covers(self, moment: datetime, slack: timedelta = timedelta(0)) -> bool:
        """Whether she was signed in at ``moment``."""
        return self.since - slack <= moment <= self.until + slack


def sign_in(
    store: Store,
    person: Person,
    workstation_id: str | None,
    limits: LimitsConfig,
    now: datetime,
    address: str,
) -> SessionCreated:
    """Make a session for a person whom OMERO has just let in."""
    token, grant_key, session_id = keys.new_token(), keys.new_grant_key(), str(uuid.uuid4())
    expires_at = now + timedelta(hours=limits.session_hours)
    grants_expire_at = now + timedelta(days=limits.grant_days)
    with store.write(notify=False) as session:
        session.add(
            PersonSession(
                id=session_id,
                username=person.username,
                person=person.model_dump(mode="json"),
                token_digest=keys.digest(token),
                grant_key=grant_key,
                workstation_id=workstation_id,
                created_at=now,
                last_used_at=now,
                expires_at=expires_at,
                ended_at=None,
                grants_expire_at=max(grants_expire_at, expires_at),
                revoked_at=None,
            )
        )
        store.audit(
            session,
            person.username,
            "session.sign_in",
            session_id,
            address=address,
            workstation=workstation_id,
        )
    return SessionCreated(
        token=token,
        expires_at=expires_at,
        person=person,
        grant=SubmissionGrant(
            session_id=session_id, key=grant_key, expires_at=max(grants_expire_at, expires_at)
        ),
    )


def by_token(session: Session, token: str, now: datetime) -> PersonSession | None:
    """The session of that token, if it is good now."""
    found = session.scalars(
        select(PersonSession).where(PersonSession.token_digest == keys.digest(token))
    ).one_or_none()
    if found is None or found.revoked_at is not None or found.ended_at is not None or found.expires_at <= now:
        return None
    return found


def by_grant(session: Session, bearer: str, order_id: UUID, now: datetime) -> PersonSession | None:
    """The session behind ``grant.<session id>.<MAC>``, if it is good now and for exactly this order."""
    kind, _, rest = bearer.partition(".")
    session_id, _, mac = rest.partition(".")
    if kind != "grant" or not _is_id(session_id) or not mac:
        return None
    found = session.get(PersonSession, session_id)
    if found is None or found.revoked_at is not None or found.grants_expire_at <= now:
        return None
    expected = SubmissionGrant(session_id=found.id, key=found.grant_key, expires_at=found.grants_expire_at)
    return found if keys.same(expected.for_order(order_id), bearer) else None


def _is_id(given: str) -> bool:
    """Whether it can be an id of ours: PostgreSQL refuses to be asked for text with a NUL."""
    try:
        return str(uuid.UUID(given)) == given
    except ValueError:
        return False


def note_use(store: Store, session_id: str, last_used_at: datetime, now: datetime) -> None:
    """Remember that a session is in use, at most every few minutes."""
    if now - last_used_at < TOUCH_EVERY:
        return
    with store.write(notify=False) as session:
        found = session.get(PersonSession, session_id)
        if found is not None:
            found.last_used_at = now


def sign_out(store: Store, session_id: str, now: datetime) -> None:
    """End the token; the grants of orders already in an outbox live on. A repeat changes nothing."""
    with store.write(notify=False) as session:
        found = session.get(PersonSession, session_id)
        if found is not None and found.ended_at is None:
            found.ended_at = now
            store.audit(session, found.username, "session.sign_out", session_id)


def revoke_person(store: Store, username: str, by: str, now: datetime) -> int:
    """End every token and grant of a person. Returns how many sessions that ended."""
    with store.write(notify=False) as session:
        found = session.scalars(
            select(PersonSession).where(
                PersonSession.username == username,
                PersonSession.revoked_at.is_(None),
                or_(PersonSession.expires_at > now, PersonSession.grants_expire_at > now),
            )
        ).all()
        for row in found:
            row.revoked_at = now
        store.audit(session, by, "session.revoke", username, sessions=len(found))
        return len(found)


def presences(session: Session, workstation_id: str, around: datetime, slack: timedelta) -> list[Presence]:
    """Who was signed in at a workstation around a moment."""
    rows: Sequence[PersonSession] = session.scalars(
        select(PersonSession).where(
            PersonSession.workstation_id == workstation_id,
            PersonSession.created_at <= around + slack,
            PersonSession.expires_at >= around - slack,
        )
    ).all()
    found = [
        Presence(
            row.username,
            row.created_at,
            min(end for end in (row.expires_at, row.ended_at, row.revoked_at) if end is not None),
        )
        for row in rows
    ]
    return [presence for presence in found if presence.covers(around, slack)]
