"""What is away right now, for everybody whose order stands in a queue because of it.

While a share or OMERO is away the orders that need it stay queued as they are (see
:mod:`server_bridge.pipeline.outage`). Their own rows say nothing of it, so that ten thousand of them are not
rewritten; one row per thing that is away says it, and it is shown with each.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from server_bridge.contract import Reason, Stage
from server_bridge.orders import stages
from server_bridge.orders.models import SiteFact, utcnow

OMERO = "omero"
LOOKS_AT_SHARE = stages.TRANSFER_STAGES | {Stage.VERIFYING}
_PREFIX = "outage "


def share_need(share: str) -> str:
    """The name of what an order needs of a share."""
    return f"share {share}"


def needs(stage: Stage, share: str) -> tuple[str, ...]:
    """What must be there for the next attempt of an order at that stage."""
    of_share = (share_need(share),) if stage in LOOKS_AT_SHARE else ()
    return (*of_share, OMERO) if stage in stages.IMPORT_STAGES else of_share


def note(session: Session, need: str, reason: Reason) -> None:
    """Say that it is away."""
    value = {"need": need, "reason": reason.model_dump(mode="json")}
    session.merge(SiteFact(name=_name(need), value=value, at=utcnow()))


def forget(session: Session, need: str | None = None) -> None:
    """It is back; without a name: nothing is known to be away."""
    which = SiteFact.name == _name(need) if need is not None else SiteFact.name.startswith(_PREFIX)
    session.execute(delete(SiteFact).where(which))


def reasons(session: Session) -> dict[str, Reason]:
    """What is away, and why."""
    rows = session.scalars(select(SiteFact).where(SiteFact.name.startswith(_PREFIX))).all()
    return {str(row.value["need"]): Reason.model_validate(row.value["reason"]) for row in rows}


def reason_for(away: dict[str, Reason], stage: Stage, share: str) -> Reason | None:
    """Why an order at that stage stands still; None where nothing that it needs is away."""
    return next((away[need] for need in needs(stage, share) if need in away), None)


def _name(need: str) -> str:
    # A share's id alone may fill the column.
    return f"{_PREFIX}{hashlib.sha256(need.encode()).hexdigest()[:32]}"
