"""Who is signed in, and what is kept of it.

The password goes to the bridge and is forgotten. The short-lived token and the grant key go to the system's
vault (local to this machine, per Windows user), so that a restart of the agent is no new sign-in; where there
is no safe vault they stay in memory and the person is told. Signing out forgets both. What was already
ordered goes on: each outbox entry has its own grant.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import ValidationError

from agent.core.bridge_client import BridgeClient, Credentials
from agent.core.clock import Clock
from agent.core.errors import AgentError, BridgeAway, BridgeRefused
from agent.core.outbox import Outbox
from agent.platform.base import Vault
from server_bridge.contract import Person, SessionCreated, SessionRequest, SubmissionGrant

log = logging.getLogger(__name__)
ENTRY = "session"
PERSON_FACT = "person"
"""The person's name and groups are no secret; the vault has no room for many groups."""
NOT_KEPT = "This sign-in did not fit into the system's store: after a restart you sign in again."


class NotSignedIn(AgentError):
    """What was asked needs a person."""

    code = "not_signed_in"
    title = "Please sign in"


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """A signed-in person. Not shown in logs."""

    token: str
    expires_at: datetime
    person: Person
    grant: SubmissionGrant
    since: datetime
    """When she signed in."""


class SignInDesk:
    """The one place that knows the token."""

    def __init__(self, vault: Vault, outbox: Outbox, clock: Clock) -> None:
        self._vault = vault
        self._outbox = outbox
        self._clock = clock
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._kept = True

    @property
    def notice(self) -> str:
        """What the person should know about where her session is kept; empty normally."""
        return self._vault.notice or ("" if self._kept else NOT_KEPT)

    @property
    def persistent(self) -> bool:
        """Whether a restart of the agent keeps the sign-in."""
        return self._vault.persistent and self._kept

    def restore(self) -> Session | None:
        """Take up the session that the vault holds, if it is still good."""
        text = self._vault.get(ENTRY)
        person_text = self._outbox.fact(PERSON_FACT)
        if not text or not person_text:
            return None
        try:
            kept = json.loads(text)
            person = Person.model_validate_json(person_text)
            session = Session(
                token=str(kept["token"]),
                expires_at=datetime.fromisoformat(kept["expires_at"]),
                person=person,
                grant=SubmissionGrant(
                    session_id=str(kept["session_id"]),
                    key=str(kept["key"]),
                    expires_at=datetime.fromisoformat(kept["grant_expires_at"]),
                ),
                # An older agent kept none: then the evening after this start is the first that counts.
                since=(datetime.fromisoformat(kept["since"]) if "since" in kept else self._clock.now()),
            )
        except (ValueError, KeyError, TypeError, ValidationError):
            # Written by another version: nothing in it is needed, she signs in again.
            log.warning("the kept session could not be read")
            self.forget()
            return None
        if kept.get("username") != person.username or session.expires_at <= self._clock.now():
            self.forget()
            return None
        with self._lock:
            self._session = session
        return session

    def held(self) -> Session | None:
        """The session, also one that has expired and was not cleared away yet."""
        with self._lock:
            return self._session

    def current(self) -> Session | None:
        """The session, if it has not expired."""
        session = self.held()
        return session if session is not None and session.expires_at > self._clock.now() else None

    def require(self) -> Session:
        """The session.

        Raises:
            NotSignedIn: where there is none.
        """
        session = self.current()
        if session is None:
            raise NotSignedIn(remedy="Sign in with your OMERO name and password.")
        return session

    def sign_in(self, client: BridgeClient, username: str, password: str, workstation: str) -> Session:
        """Sign in through the bridge; whoever was signed in before is signed out there and here.

        Args:
            workstation: ``<id>:<key>`` or empty; with it the session counts as being at this workstation.

        Raises:
            BridgeRefused, BridgeAway: as the bridge says.
        """
        request = SessionRequest(username=username, password=password)
        answer = client.sign_in(request, Credentials(workstation=workstation))
        session = Session(answer.token, answer.expires_at, answer.person, answer.grant, self._clock.now())
        before = self.held()
        self._clear_away(before)
        self._keep(answer, session.since)
        with self._lock:
            self._session = session
        if before is not None:
            self._end_at_bridge(client, before, workstation)
        return session

    def _keep(self, answer: SessionCreated, since: datetime) -> None:
        self._outbox.set_fact(PERSON_FACT, answer.person.model_dump_json())
        kept = {
            "username": answer.person.username,
            "token": answer.token,
            "expires_at": answer.expires_at.isoformat(),
            "session_id": answer.grant.session_id,
            "key": answer.grant.key,
            "grant_expires_at": answer.grant.expires_at.isoformat(),
            "since": since.isoformat(),
        }
        try:
            self._vault.set(ENTRY, json.dumps(kept, separators=(",", ":"), ensure_ascii=False))
            self._kept = True
        except ValueError as error:
            log.warning("the session is kept in memory only: %s", error)
            self._kept = False
            self._vault.delete(ENTRY)

    def sign_out(self, client: BridgeClient | None, workstation: str) -> None:
        """Forget token and grant key, here first; the bridge is told if it answers."""
        session = self.current()
        self.forget()
        if session is not None and client is not None:
            self._end_at_bridge(client, session, workstation)

    @staticmethod
    def _end_at_bridge(client: BridgeClient, session: Session, workstation: str) -> None:
        try:
            client.sign_out(Credentials(workstation=workstation, bearer=session.token))
        except (BridgeAway, BridgeRefused) as error:
            # The token is gone from this machine; at the bridge it expires by itself.
            log.info("the bridge was not told about the sign-out: %s", error.code)

    def forget(self) -> None:
        """Drop everything that could act for the person, or tells more of her than that she ordered."""
        with self._lock:
            session, self._session = self._session, None
        self._clear_away(session)

    def _clear_away(self, session: Session | None) -> None:
        self._vault.delete(ENTRY)
        self._outbox.drop_fact(PERSON_FACT)
        if session is not None:
            self._outbox.drop_facts_of(session.person.username)

    def grant_for(self, order_id: UUID) -> str:
        """The narrow grant of one order, also offline.

        Raises:
            NotSignedIn: where nobody is signed in.
        """
        return self.require().grant.for_order(order_id)
