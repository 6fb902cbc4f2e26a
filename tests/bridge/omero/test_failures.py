"""What OMERO's client raises, in the bridge's words, and without a session key in them."""

from __future__ import annotations

import Glacier2
import Glacier2_Router_ice
import Ice
import omero
import omero.all
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.errors import (
    FerryError,
    NeedsAttention,
    NotFound,
    NotSignedIn,
    TransientFailure,
    Unavailable,
)
from server_bridge.omero.failures import clean, translate, translated

assert Glacier2_Router_ice
KEY = "0f3a2f8e-0000-4000-8000-1234567890ab"


class HiddenSessionNotExist(Ice.UserException):  # type: ignore[misc]
    """Stands for the slice class that ZeroC's own Glacier2 module hides behind one of its own."""

    def ice_name(self) -> str:
        return "Glacier2::SessionNotExistException"


@pytest.mark.parametrize(
    ("raised", "code", "family"),
    [
        (Ice.ConnectionRefusedException(), "omero_away", Unavailable),
        (Ice.ConnectionLostException(), "omero_away", TransientFailure),
        (Ice.DNSException(), "omero_away", Unavailable),
        (Ice.InvocationTimeoutException(), "omero_hung", Unavailable),
        (Ice.ConnectTimeoutException(), "omero_hung", TransientFailure),
        (omero.ClientError("Obtained null object prox"), "omero_hung", Unavailable),
        (Ice.ObjectNotExistException(), "omero_session_lost", TransientFailure),
        (omero.RemovedSessionException(), "omero_session_lost", Unavailable),
        (omero.SessionTimeoutException(), "omero_session_lost", Unavailable),
        (HiddenSessionNotExist(), "omero_session_lost", Unavailable),
        (Glacier2.PermissionDeniedException("no"), "wrong_password", NotSignedIn),
        (Glacier2.CannotCreateSessionException("no"), "sign_in_refused", NotSignedIn),
        (omero.SecurityViolation(None, None, "no"), "omero_forbids", NeedsAttention),
        (omero.ApiUsageException(None, None, "no"), "omero_error", TransientFailure),
        (omero.InternalException(None, None, "no"), "omero_error", TransientFailure),
        (omero.ValidationException(None, None, "no"), "omero_error", TransientFailure),
    ],
)
def test_each_exception_has_its_place(raised: Exception, code: str, family: type[FerryError]) -> None:
    found = translate(raised, "testing")
    assert found.code == code
    assert isinstance(found, family)
    assert found.remedy


def test_what_waits_for_omero_is_503_and_what_it_forbids_403() -> None:
    assert translate(Ice.ConnectionRefusedException(), "x").status == 503
    assert translate(omero.SecurityViolation(None, None, "no"), "x").status == 403


def test_no_cause_is_chained_since_a_traceback_would_show_the_key() -> None:
    with pytest.raises(FerryError) as raised, translated("testing"):
        raise omero.ApiUsageException(None, None, f"session {KEY} is bad")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert KEY not in str(raised.value)


def test_errors_of_our_own_pass_unchanged() -> None:
    mine = NotFound("mine")
    assert translate(mine, "testing") is mine


def test_programming_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), translated("testing"):
        _ = 1 / 0


@given(st.text(), st.uuids(), st.text())
def test_no_key_is_left_in_any_text(before: str, key: object, after: str) -> None:
    assert str(key) not in clean(f"{before}{key}{after}")
    assert str(key).upper() not in clean(f"{before}{str(key).upper()}{after}")
