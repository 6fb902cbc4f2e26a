"""The bridge's ways into OMERO: a sign-in, the service account's view, and a session as a person.

Measured traps this module is built around (the tests hold each):

* With default properties a call to a hung server never returns. Every client here gets
  ``Ice.Default.InvocationTimeout`` and ``Ice.Override.CloseTimeout``, and connecting is bounded as well.
* ``BlitzGateway.suConn`` gives a session that dies after 60 s whatever it does. Sessions as a person are made
  by the session service with no time to live and an idle time only, and are kept alive while in use.
* BlitzGateway sends a wrong password twice, which counts twice against an account lock; a plain client sends
  it once. It also answers ``False`` to some failures and raises others; a plain client always raises.
* A soft close leaves a session living until it times out; sessions are ended for good here.

Every use has its own client (a log-in takes about 20 ms), so nothing here is shared between threads; inside
one ``with`` the same connection serves all calls. The running bridge keeps one session of the service account
open for the next use (`server_bridge.omero.kept`).

The service account is a restricted administrator with the privilege ``Sudo`` and nothing else, member of no
other group. OMERO's documentation says that such an account reads the data of all groups ("access to all
groups and data of all users"). [infer: read, not measured with a Java OMERO.server.] Should a site's server
show it less, use ``as_person`` for her own filesets: `server_bridge.omero.receipts` takes either session.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import Ice
import omero
import omero.all
import omero.sys
from omero.rtypes import unwrap

from server_bridge.config import OmeroConfig, read_secret
from server_bridge.contract import Person, PersonList
from server_bridge.errors import NeedsAttention, NotSignedIn
from server_bridge.omero.failures import OmeroForbids, ServiceRefused, describe, translated
from server_bridge.omero.kept import KeptSession
from server_bridge.omero.people import find_person, list_people
from server_bridge.omero.session import ALL_GROUPS, Session

__all__ = ["ALL_GROUPS", "Omero", "Session"]

_log = logging.getLogger(__name__)
AGENT = "omero-ferry"
_CONNECT_TRIES = 3  # omero.client tries three times where connecting times out
# A bound on the close of a connection to a server that no longer answers (without: over a minute).
_CLOSE_MS = 3_000

# The gateway logs every server error with the whole object graph, the client every retry.
logging.getLogger("omero.gateway").setLevel(logging.CRITICAL)
logging.getLogger("omero.client").setLevel(logging.ERROR)


class Omero:
    """One OMERO server, as the site file describes it. Cheap to make; opens nothing until it is used."""

    def __init__(self, config: OmeroConfig) -> None:
        self.config = config
        self._kept = KeptSession(lambda session: _end(session.client, session))

    def keep_service_session(self) -> None:
        """Keep one session of the service account open between uses, until :meth:`let_go`."""
        self._kept.on()

    def let_go(self) -> None:
        """End the session that is kept, and keep none any more."""
        self._kept.off()

    # -- people -----------------------------------------------------------------------------------------

    def login(self, username: str, password: str) -> Person:
        """Let a person in by her OMERO password, which is sent once and not kept.

        Raises:
            NotSignedIn: ``wrong_password`` (OMERO tells unknown names and wrong passwords apart for nobody),
                ``sign_in_refused`` for an account that is not active.
            Unavailable: ``omero_away``, ``omero_hung``.
        """
        refusal = NotSignedIn(
            "OMERO does not accept this name with this password.",
            code="wrong_password",
            title="Name or password is wrong",
            remedy="Use the name and password of OMERO.web.",
        )
        if not username.strip() or not password or "\0" in username + password:
            raise refusal
        with self._open(username, password, "signing in") as session:
            # OMERO takes a session key as name and password alike: that is no proof of a password.
            if session.username.casefold() != username.casefold() or session.username == "guest":
                session.joined = True
                raise refusal
            person = find_person(session, session.username)
        if person is None:
            raise NotSignedIn(
                f"{username} is not an active user of OMERO.",
                code="sign_in_refused",
                title="OMERO lets nobody in under this name",
                remedy="Ask the OMERO administrator whether the account is active.",
            )
        return person

    def person(self, username: str) -> Person | None:
        """A person as OMERO knows her now; None for a name it does not know or that was deactivated."""
        with self.service() as session:
            return find_person(session, username)

    def people(self, text: str, limit: int) -> PersonList:
        """Active persons whose name holds ``text``."""
        with self.service() as session:
            return list_people(session, text, limit)

    def ping(self) -> None:
        """Log in as the service account and out again. Raises Unavailable, ServiceRefused."""
        with self.service() as session:
            session.event_context()

    # -- sessions ---------------------------------------------------------------------------------------

    @contextmanager
    def service(self) -> Iterator[Session]:
        """The service account's session; it reads over all groups and writes nothing.

        Raises:
            ServiceRefused: for a wrong password or an account that may not log in.
            Unavailable: where OMERO does not answer.
            ConfigurationError: for a secret file that cannot be used.
        """
        session = self._kept.take() or self._service_session()
        session.read_group = ALL_GROUPS
        try:
            yield session
        except BaseException:
            # Whatever it was, nobody else shall meet it.
            _end(session.client, session)
            raise
        self._kept.give_back(session)

    def _service_session(self) -> Session:
        config = self.config
        password = read_secret(config.password_file)
        try:
            return self._connected(config.user, password, "logging in as the service account")
        except NotSignedIn as error:
            raise ServiceRefused(
                f"{config.user}: {error.detail}",
                remedy=f"Correct the account {config.user!r} in OMERO, or {config.password_file}.",
            ) from None

    @contextmanager
    def as_person(self, username: str, group_id: int | None = None) -> Iterator[Session]:
        """A session as this person in this group (None: her default group), made by the service account.

        It has no time to live; it ends at exit, or ``session_idle_seconds`` after a kill -9 of the bridge.

        Raises:
            NeedsAttention: ``no_such_person`` for a name that is unknown or deactivated, ``not_a_member``,
                ``no_sudo`` where the service account lacks the privilege.
            Unavailable: where OMERO does not answer, or refuses the service account.
        """
        with self.service() as service:
            person = find_person(service, username)
            key = self._sudo(service, person, username, group_id)
        # Three signs of life per idle time, at most one a minute.
        pause_seconds = min(60.0, self.config.session_idle_seconds / 3)
        with (
            self._open(key, key, f"joining the session of {username}") as session,
            _kept_alive(session, pause_seconds),
        ):
            yield session

    def _sudo(self, service: Session, person: Person | None, username: str, group_id: int | None) -> str:
        if person is None:
            raise NeedsAttention(
                f"OMERO knows no active {username!r}.",
                code="no_such_person",
                title="OMERO does not know this person",
                remedy="Let the OMERO administrator activate the account, or let staff take the order over.",
            )
        principal = omero.sys.Principal()
        principal.name = person.username
        principal.eventType = "User"
        if group_id is not None:
            group = next((group for group in person.groups if group.id == group_id), None)
            if group is None:
                raise NeedsAttention(
                    f"{person.username} is not a member of OMERO group {group_id}.",
                    code="not_a_member",
                    title="Not a group of this person",
                    remedy="Choose another group, or ask the OMERO administrator for the membership.",
                )
            principal.group = group.name
        idle_ms = int(self.config.session_idle_seconds * 1000)
        try:
            with translated(f"opening a session for {person.username}"):
                made = service.factory.getSessionService().createSessionWithTimeouts(principal, 0, idle_ms)
        except OmeroForbids as error:
            raise NeedsAttention(
                error.detail,
                code="no_sudo",
                title="The bridge may not act for this person",
                remedy=f"Give the account {self.config.user!r} the privilege Sudo in OMERO.",
            ) from None
        return str(unwrap(made.uuid))

    # -- connecting -------------------------------------------------------------------------------------

    def client_properties(self) -> dict[str, str]:
        """Ice properties that bound every call, connect and close in time."""
        timeout_ms = int(self.config.call_timeout_seconds * 1000)
        return {
            "omero.host": self.config.host,
            "omero.port": str(self.config.port),
            "Ice.Default.InvocationTimeout": str(timeout_ms),
            "Ice.Override.ConnectTimeout": str(max(500, min(5_000, timeout_ms // _CONNECT_TRIES))),
            "Ice.Override.CloseTimeout": str(min(_CLOSE_MS, timeout_ms)),
        }

    @contextmanager
    def _open(self, name: str, password: str, doing: str) -> Iterator[Session]:
        session = self._connected(name, password, doing)
        try:
            yield session
        finally:
            _end(session.client, session)

    def _connected(self, name: str, password: str, doing: str) -> Session:
        """An open session; the caller ends it."""
        with translated(doing):
            client = omero.client(pmap=self.client_properties())
        try:
            client.setAgent(AGENT)
            with translated(doing):
                client.createSession(name, password)
            return Session(client, self.config)
        except BaseException:
            _end(client, None)
            raise


@contextmanager
def _kept_alive(session: Session, pause_seconds: float) -> Iterator[None]:
    """Give signs of life while the session is in use.

    The client library's own keep-alive gives up for good at its first failure; this one goes on, so that a
    minute without network does not cost a session that an import of hours depends on.
    """
    done = threading.Event()

    def ping() -> None:
        while not done.wait(pause_seconds):
            try:
                session.factory.keepAlive(None)
            except Ice.Exception as error:
                _log.debug("no sign of life could be given: %s", describe(error))

    thread = threading.Thread(target=ping, name="omero-keep-alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        # A call that hangs ends by its own time limit; nobody waits for it.
        thread.join(1.0)


def _end(client: Any, session: Session | None) -> None:
    """End the session for good and close the connection, within bounds; failures here change nothing."""
    try:
        if session is not None and not session.joined and not session.broken:
            client.destroySession(session.key)
    except (Ice.Exception, omero.ClientError) as error:
        _log.debug("the session could not be ended: %s", describe(error))
    try:
        client.closeSession()
    except (Ice.Exception, AttributeError) as error:
        # With a session that is gone already there is nothing to do; a failed log-in ends here, too.
        # AttributeError: the client asks every exception for a message that Ice's own do not have.
        _log.debug("closing failed: %s", describe(error))
