"""What the bridge remembers of its mailing, in one row that every process can read: how it goes, what was
sent in the last hour, which mail is on its way at this moment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from server_bridge.contract import Reason
from server_bridge.orders.models import SiteFact

NAME = "mail"
HOUR = timedelta(hours=1)


class InFlight(BaseModel):
    """A mail that is being handed over; what stands here at a start was cut off by a kill."""

    model_config = ConfigDict(frozen=True)
    notices: tuple[int, ...]
    to_staff: bool
    at: datetime


class MailState(BaseModel):
    """The row."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    failing: Reason | None = None
    """Why no mail goes out now; ``since`` and ``next_try_at`` are filled in."""
    sent: tuple[datetime, ...] = ()
    """When mails went out in the last hour."""
    in_flight: InFlight | None = None

    def recent(self, now: datetime) -> tuple[datetime, ...]:
        """The mails of the hour before ``now``. A clock that was set back counts none of its future."""
        return tuple(at for at in self.sent if now - HOUR < at <= now)


def read(session: Session) -> MailState:
    """The present state; an empty one where nothing was mailed yet."""
    found = session.get(SiteFact, NAME)
    return MailState.model_validate(found.value) if found is not None else MailState()


def write(session: Session, state: MailState, now: datetime) -> None:
    """Replace the row, inside a `Store.write`."""
    value: dict[str, Any] = state.model_dump(mode="json")
    found = session.get(SiteFact, NAME)
    if found is None:
        session.add(SiteFact(name=NAME, value=value, at=now))
    else:
        found.value, found.at = value, now
