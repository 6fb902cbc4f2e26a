"""One session of the service account, kept open for a moment between two uses.

Logging in costs a TLS handshake, a session in OMERO and some ten milliseconds of processor time, and the
steps of one order ask OMERO again and again within seconds. So the session that was used last stays open for
the next one to ask. It is never shared: whoever takes it has it alone, and a second one meanwhile opens
another.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from server_bridge.errors import FerryError
from server_bridge.omero.failures import OmeroHung, translated
from server_bridge.omero.session import Session

IDLE_SECONDS = 20.0

_log = logging.getLogger(__name__)


class KeptSession:
    """Holds at most one idle session; off until :meth:`on`. Thread-safe.

    Args:
        end: closes a session for good; never raises.
        idle_seconds: how long an unused session stays open.
    """

    def __init__(self, end: Callable[[Session], None], idle_seconds: float = IDLE_SECONDS) -> None:
        self._end = end
        self._idle_seconds = idle_seconds
        self._guard = threading.Lock()
        self._on = False
        self._session: Session | None = None
        self._timer: threading.Timer | None = None

    def on(self) -> None:
        """From now on keep what is given back."""
        with self._guard:
            self._on = True

    def off(self) -> None:
        """Keep nothing any more, and end what is kept."""
        with self._guard:
            self._on = False
        session = self._take()
        if session is not None:
            self._end(session)

    def take(self) -> Session | None:
        """The kept session, for the caller alone; None where there is none that still answers.

        Raises:
            OmeroHung: where it does not answer in time: a log-in would only wait once more.
        """
        session = self._take()
        if session is None:
            return None
        try:
            with translated("asking whether the session still lives"):
                session.factory.keepAlive(None)
        except OmeroHung:
            session.broken = True
            self._end(session)
            raise
        except FerryError as error:
            # OMERO was restarted, or ended it: that says nothing about the next log-in.
            _log.debug("the kept session is gone: %s", error)
            session.broken = True
            self._end(session)
            return None
        return session

    def give_back(self, session: Session) -> None:
        """Keep it for the next one who asks, or end it."""
        with self._guard:
            if self._on and not session.broken and self._session is None:
                self._session = session
                self._timer = threading.Timer(self._idle_seconds, self._expire, (session,))
                self._timer.name = "omero-kept-session"
                self._timer.daemon = True
                self._timer.start()
                return
        self._end(session)

    def _take(self) -> Session | None:
        with self._guard:
            session, self._session = self._session, None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return session

    def _expire(self, session: Session) -> None:
        with self._guard:
            if self._session is not session:
                return
            self._session = self._timer = None
        self._end(session)
