"""What becomes of an order whose attempt failed: wait and try again, or ask a person. Pure.

Four classes. An *outage* (share away, OMERO away, disk full) is nobody's fault in the order: it waits for as
long as it takes, so that a night of maintenance needs nobody's click per order in the morning. A *site fault*
(the buffer refuses our key, staging is mounted read-only) waits in the same way: no order can go on before
staff corrected it, and then every order does; they are told once, not once per order
(`server_bridge.notices.outages`). Other passing failures are tried a few times; when several tries in a row
bring not one new byte or unit, a person is asked. The rest is a person's from the start.

The wait grows by itself: the next pause is as long as the order has been waiting for this reason (which
doubles it each time), between the site's base and cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from server_bridge.config import LimitsConfig
from server_bridge.contract import Condition
from server_bridge.errors import FerryError, TransientFailure, Unavailable

OUTAGE_CAP_SECONDS = 300.0
"""An outage ends at some moment of its own: looking more rarely than this would only add waiting."""

OUTAGES = frozenset(
    {
        "share_away",
        "share_marker_missing",
        "share_busy",
        "stalled",
        "staging_full",
        "staging_away",
        "staging_read_only",
        "disk_full",
        "disk_read_only",
        "not_one_mount",
        "managed_repository_away",
        "managed_repository_access",
        "order_busy",
        "orphans_remain",
        "omero_busy",
        "omero_away",
        "omero_hung",
        "omero_session_lost",
        "omero_full",
        "gone_in_omero",
        "source_going",
    }
)

SITE_FAULTS = frozenset(
    {
        "share_auth_failed",
        "share_host_key",
        "share_unknown",
        "ssh_configuration",
        "rsync_refused",
        "rsync_incompatible",
        "rsync_usage",
        "staging_unwritable",
        "program_missing",
        "configuration",
        "omero_service_account",
    }
)
"""The site's own settings are wrong, whatever the order. Faults of single files are not among them."""


_LEAST, _MOST = 0.85, 1.15
"""The pause is spread between these, so that many orders do not knock at the same moment."""
_SLACK = timedelta(hours=1)


def longest_pause(limits: LimitsConfig) -> timedelta:
    """No order waits longer than this for its next try; one that seems to was written before the clock was
    set back."""
    return timedelta(seconds=limits.retry_cap_seconds * _MOST) + _SLACK


class Failure(Enum):
    """How an error is treated."""

    OUTAGE = "outage"
    SITE = "site"
    PASSING = "passing"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the order. ``progressed`` resets its count of idle tries."""

    condition: Condition
    delay_seconds: float = 0.0
    progressed: bool = False


def classify(error: FerryError) -> Failure:
    """The class of an error.

    Some codes name an outage where the site as a whole is concerned, and a person's task where one import
    failed by it: the family decides between the two.
    """
    if error.code in SITE_FAULTS:
        return Failure.SITE
    if isinstance(error, Unavailable):
        return Failure.OUTAGE
    if isinstance(error, TransientFailure):
        return Failure.OUTAGE if error.code in OUTAGES else Failure.PASSING
    return Failure.PERSON


def decide(
    failure: Failure,
    *,
    waited_seconds: float,
    idle_tries: int,
    progressed: bool,
    limits: LimitsConfig,
    spread: float,
) -> Decision:
    """Decide.

    Args:
        failure: class of the error.
        waited_seconds: since the order first failed for this reason without a break.
        idle_tries: failed tries in a row before this one that brought nothing.
        progressed: whether this try brought a byte, a file or a unit.
        limits: of the site.
        spread: 0..1, random: keeps many orders from knocking at the same moment.
    """
    if failure is Failure.PERSON:
        return Decision(Condition.ATTENTION)
    if failure is Failure.PASSING and not progressed and idle_tries + 1 >= limits.idle_tries:
        return Decision(Condition.ATTENTION)
    cap = limits.retry_cap_seconds
    waits_for_others = failure in (Failure.OUTAGE, Failure.SITE)
    if waits_for_others:
        cap = min(cap, OUTAGE_CAP_SECONDS)
    waited = 0.0 if progressed else waited_seconds
    delay = min(cap, max(limits.retry_base_seconds, waited))
    return Decision(
        Condition.WAITING,
        delay_seconds=delay * (_LEAST + (_MOST - _LEAST) * spread),
        progressed=progressed or waits_for_others,
    )
