"""What the machine knows of one acquisition, and where a share's acquisitions lie."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent.core.formats.known import BY_ID
from agent.core.witness import Witness, waiting
from server_bridge.contract import AcquisitionKind, WorkstationShare

PARTS = "parts"
"""Name of the witness for a part whose file is not there yet."""
PLATE = "plate"
"""Name of the witness for data that says of itself that it is a plate."""
INCOMPLETE = "incomplete"
"""Name of the witness for what has been quiet for long and is not complete by its format's own account."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What the machine knows of one acquisition. Nothing in here is a person's order."""

    id: str
    share: str
    path: str
    kind: AcquisitionKind
    first_seen_at: datetime
    person_then: str
    """Who was signed in when it was first seen; empty where nobody or more than one was."""
    file_count: int
    size_bytes: int
    last_change_at: datetime
    fingerprint: bytes
    content: bytes
    finished_at: datetime | None = None
    override: str = ""
    override_at: datetime | None = None
    rests_since: datetime | None = None
    """Quiet time counts from here: later than the last change where nobody watched, or "not yet" was said."""
    quiet_needed_seconds: float = 0.0
    """What it has to rest; 0 where nobody judged it yet."""
    reopened_at: datetime | None = None
    """When it was last seen written again after it had been judged finished."""
    witnesses: tuple[Witness, ...] = ()
    """What else speaks for or against "finished"."""
    problem: str = ""
    """What kept us from looking into it."""
    successor_of: str = ""
    """The acquisition at the same place that OMERO took before this one changed."""
    members: tuple[str, ...] = ()
    """Of a group: shell patterns on the names of the entries in its folder, as an order has them."""
    format: str = ""
    """The format that was recognised (agent/core/formats); empty where none was."""

    @property
    def is_part(self) -> bool:
        """Whether it looks like a part of something whose file is not there yet."""
        return any(witness.name == PARTS for witness in waiting(self.witnesses))

    @property
    def is_plate(self) -> bool:
        """Whether OMERO will make a plate of it, as far as its format tells."""
        rule = BY_ID.get(self.format)
        return (rule is not None and rule.plate == "plate") or any(
            witness.name == PLATE for witness in self.witnesses
        )

    @property
    def is_incomplete(self) -> bool:
        """Whether only a person can say that it is finished."""
        return any(witness.name == INCOMPLETE for witness in waiting(self.witnesses))

    @property
    def holds(self) -> tuple[str, ...]:
        """Why it is not judged finished, besides the quiet time."""
        return tuple(witness.words for witness in waiting(self.witnesses))

    @property
    def title(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


def root_of(share: WorkstationShare) -> str:
    """The root below the share's top; empty for the top itself."""
    return share.root.strip("/").removeprefix("./").replace("/./", "/") if share.root not in (".", "") else ""


def join(prefix: str, name: str) -> str:
    """A share path."""
    return f"{prefix}/{name}" if prefix else name


def parent_of(path: str) -> str:
    """The folder a path lies in; empty for the share's top."""
    return path.rpartition("/")[0]


def ignored_names(share: WorkstationShare) -> tuple[str, ...]:
    """Patterns of files that are no acquisition and no sign of life."""
    return (*share.rule.ignore, *share.ignore_patterns, share.marker)
