"""The bridge's one exception family.

What is raised in a step reaches the card on the screen unchanged: ``code`` is stable (the agent translates
by it), ``title`` says what is wrong, ``detail`` what was seen, ``remedy`` what to do and whom to ask.
"""

from __future__ import annotations

from server_bridge.contract import Problem, Reason


class FerryError(Exception):
    """Base of everything the bridge raises on purpose. ``status`` is HTTP's, where it meets the API."""

    status = 500
    code = "internal"
    title = "The bridge made a mistake"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str = "",
        title: str = "",
        remedy: str = "",
        status: int | None = None,
    ) -> None:
        self.code = code or type(self).code
        self.title = title or type(self).title
        self.detail = detail
        self.remedy = remedy
        self.status = type(self).status if status is None else status
        super().__init__(f"{self.code}: {self.title}{': ' + detail if detail else ''}")

    def problem(self, contact: str = "") -> Problem:
        """The error as the API answers it."""
        return Problem(
            status=self.status,
            code=self.code,
            title=self.title,
            detail=self.detail,
            remedy=self.remedy,
            contact=contact,
        )

    def reason(self, contact: str = "") -> Reason:
        """The error as it stands on an order."""
        return Reason(
            code=self.code, title=self.title, detail=self.detail, remedy=self.remedy, contact=contact
        )


class BadRequest(FerryError):
    """The request cannot be carried out as it stands; the caller corrects it."""

    status = 422
    code = "bad_request"
    title = "The request is not valid"


class NotSignedIn(FerryError):
    """No credentials, or ones that are no longer good; the caller signs in again."""

    status = 401
    code = "not_signed_in"
    title = "Please sign in"


class Forbidden(FerryError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"
    title = "You may not do this"


class NotFound(FerryError):
    """What the caller names is not there, or not for this caller to see."""

    status = 404
    code = "not_found"
    title = "Not found"


class Conflict(FerryError):
    """The state of the order or of another one forbids it; the text says which and whom to ask."""

    status = 409
    code = "conflict"
    title = "This does not fit what is already there"


class TooManyRequests(FerryError):
    """The caller tries too often; it waits."""

    status = 429
    code = "too_many_attempts"
    title = "Too many attempts"


class Unavailable(FerryError):
    """Something the bridge depends on does not answer; the caller tries again later."""

    status = 503
    code = "unavailable"
    title = "Something the bridge needs does not answer"


class ConfigurationError(FerryError):
    """The site file is wrong; the bridge does not start."""

    code = "configuration"
    title = "The site file needs attention"


class StepFailed(FerryError):
    """A step of an attempt did not succeed. Subclasses say what becomes of the order."""


class TransientFailure(StepFailed):
    """It may work later by itself: the order waits and tries again."""


class NeedsAttention(StepFailed):
    """It will not work by itself: the order goes to ``attention`` until somebody decides."""


class StaleAttempt(FerryError):
    """The order moved on without this attempt (cancelled, taken by a later one): stop, write nothing."""

    code = "stale_attempt"
    title = "The order moved on"
