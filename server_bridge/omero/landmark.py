"""Is OMERO's database still the one that we saw, or an older one that was restored?

Numbers cannot say it: ids of deleted filesets are gone as well, and a restored database hands the lost ids
out again. An event can. OMERO writes one for each change, with its time, and never deletes any [infer: read
in the schema, no server was at hand], so an event that we saw is either still there, unchanged, or the
database is not the one in which we saw it. As events only grow, one that stands also vouches for everything
that was committed before it: what is missing *then* was deleted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from server_bridge.omero.session import ALL_GROUPS, Session


@dataclass(frozen=True, slots=True)
class Landmark:
    """One event of OMERO's."""

    event_id: int
    time_ms: int

    def as_json(self) -> dict[str, Any]:
        """For keeping."""
        return asdict(self)


def from_json(value: dict[str, Any] | None) -> Landmark | None:
    """What :meth:`Landmark.as_json` gave."""
    return None if value is None else Landmark(int(value["event_id"]), int(value["time_ms"]))


def newest(session: Session) -> Landmark | None:
    """The newest event; None where OMERO has none.

    Raises:
        Unavailable, TransientFailure: where OMERO does not answer.
    """
    found = session.rows(
        "select e.id, e.time from Event e order by e.id desc",
        group=ALL_GROUPS,
        page=(0, 1),
        doing="reading the newest event",
    )
    return Landmark(int(found[0][0]), int(found[0][1])) if found else None


def stands(session: Session, landmark: Landmark) -> bool:
    """Whether that very event is there.

    Raises:
        Unavailable, TransientFailure: where OMERO does not answer.
    """
    found = session.rows(
        "select e.id, e.time from Event e where e.id = :id",
        {"id": landmark.event_id},
        group=ALL_GROUPS,
        doing="looking for an event",
    )
    return [Landmark(int(one[0]), int(one[1])) for one in found] == [landmark]
