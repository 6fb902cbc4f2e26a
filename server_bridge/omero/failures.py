"""What OMERO's client library raises, in the bridge's own words: one place, for every call.

Two traps shape it. ``Glacier2.SessionNotExistException`` cannot be caught by that name (ZeroC's own module
hides the slice class), so it is told apart by its slice name. And Ice puts the session key into the
texts of its exceptions (a proxy's identity *is* the key), so texts are cleaned and the cause is not chained:
a traceback in a log must not let anybody into OMERO.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import Glacier2
import Ice
import omero

from server_bridge.errors import FerryError, NeedsAttention, NotSignedIn, TransientFailure, Unavailable

_log = logging.getLogger(__name__)
_KEY = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONGEST_DETAIL = 500


class OmeroAway(Unavailable, TransientFailure):
    """OMERO cannot be reached: orders wait and try again, requests are answered 503."""

    code = "omero_away"
    title = "OMERO cannot be reached"


class OmeroHung(OmeroAway):
    """OMERO accepted the connection and did not answer in time."""

    code = "omero_hung"
    title = "OMERO does not answer"


class OmeroSessionLost(OmeroAway):
    """The session ended under us (expired, closed by an administrator, server restarted)."""

    code = "omero_session_lost"
    title = "The OMERO session ended"


class OmeroFault(TransientFailure):
    """OMERO answered with an error of its own; it may be gone at the next try."""

    status = 502
    code = "omero_error"
    title = "OMERO reported an error"


class OmeroForbids(NeedsAttention):
    """OMERO's permissions do not allow it; somebody has to change something."""

    status = 403
    code = "omero_forbids"
    title = "OMERO does not allow this"


class ServiceRefused(Unavailable, NeedsAttention):
    """The bridge's own account cannot be used; staff must act."""

    code = "omero_service_account"
    title = "OMERO refuses the bridge's own account"


_AWAY_REMEDY = "Nothing to do: the bridge tries again by itself. If it lasts, ask the OMERO administrator."
_AWAY = (
    Ice.SyscallException,
    Ice.DNSException,
    Ice.CloseConnectionException,
    Ice.ForcedCloseConnectionException,
    Ice.ConnectionNotValidatedException,
    Ice.CommunicatorDestroyedException,
)
_LOST = (omero.SessionException, Ice.ObjectNotExistException)
_HIDDEN_LOST = "Glacier2::SessionNotExistException"


def clean(text: str) -> str:
    """``text`` on one line, without anything that looks like a session key, at most 500 characters."""
    return " ".join(_KEY.sub("…", text).split())[:_LONGEST_DETAIL]


def slice_name(error: BaseException) -> str:
    """The slice name of an Ice exception, whatever Python calls its class; empty for others."""
    return str(error.ice_name()) if isinstance(error, Ice.Exception) else ""


def describe(error: BaseException) -> str:
    """What OMERO said, in one clean line (server exceptions carry it in ``message`` or ``reason``)."""
    said = getattr(error, "message", None) or getattr(error, "reason", None) or str(error)
    return clean(f"{type(error).__name__}: {said}")


def translate(error: BaseException, doing: str) -> FerryError:
    """The bridge's error for what OMERO's client raised while ``doing`` (a phrase: "listing datasets")."""
    said = f"While {doing}: {describe(error)}"
    if isinstance(error, FerryError):
        return error
    if isinstance(error, Ice.TimeoutException) or (
        isinstance(error, omero.ClientError) and "null object prox" in str(error)
    ):
        return OmeroHung(said, remedy=_AWAY_REMEDY)
    if isinstance(error, _AWAY):
        return OmeroAway(said, remedy=_AWAY_REMEDY)
    if isinstance(error, _LOST) or slice_name(error) == _HIDDEN_LOST:
        return OmeroSessionLost(said, remedy=_AWAY_REMEDY)
    if isinstance(error, Glacier2.PermissionDeniedException):
        return NotSignedIn(
            "OMERO does not accept this name with this password.",
            code="wrong_password",
            title="Name or password is wrong",
            remedy="Use the name and password of OMERO.web.",
        )
    if isinstance(error, omero.SecurityViolation):
        return OmeroForbids(said, remedy="Choose another place, or ask the OMERO administrator.")
    if isinstance(error, Glacier2.CannotCreateSessionException):
        return NotSignedIn(
            said,
            code="sign_in_refused",
            title="OMERO lets nobody in under this name",
            remedy="Ask the OMERO administrator whether the account is active.",
        )
    return OmeroFault(
        said, remedy="The bridge tries again by itself. If it lasts, ask the OMERO administrator."
    )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise what happens inside in the bridge's own family; session keys stay out of text and traceback."""
    try:
        yield
    except (Ice.Exception, omero.ClientError, omero.CmdError) as error:
        _log.debug("omero call failed while %s: %s", doing, describe(error))
        raise translate(error, doing) from None
