"""The one table of stages: what may follow what, who may cause it, and under which guard.

Everything that changes a stage goes through :func:`check` and a compare-and-set in
:mod:`server_bridge.orders.store`; the table is drawn in the docs by :func:`mermaid`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server_bridge.contract import CommandKind, Condition, Stage
from server_bridge.errors import Conflict


class Cause(StrEnum):
    """Who moves an order."""

    ATTEMPT = "attempt"
    PERSON = "person"
    AGENT = "agent"
    STAFF = "staff"
    RETENTION = "retention"


@dataclass(frozen=True, slots=True)
class Transition:
    source: Stage
    target: Stage
    causes: frozenset[Cause]
    guard: str


def _t(source: Stage, target: Stage, guard: str, *causes: Cause) -> Transition:
    return Transition(source, target, frozenset(causes), guard)


S, C = Stage, Cause
TRANSITIONS: tuple[Transition, ...] = (
    _t(S.ACCEPTED, S.PULLING, "the manifest is sealed and equals the bridge's own listing", C.ATTEMPT),
    _t(S.PULLING, S.VERIFYING, "every file is staged with size, mtime and SHA-1", C.ATTEMPT),
    _t(S.PULLING, S.ACCEPTED, "the source changed: writing again", C.ATTEMPT, C.AGENT),
    _t(S.VERIFYING, S.ACCEPTED, "the source changed: writing again", C.ATTEMPT, C.AGENT),
    _t(
        S.VERIFYING,
        S.IMPORTING,
        "the source was listed again and is unchanged; OMERO allows the target",
        C.ATTEMPT,
    ),
    _t(
        S.IMPORTING,
        S.VERIFYING,
        "no unit has reached OMERO and no importer runs",
        C.ATTEMPT,
        C.PERSON,
        C.STAFF,
    ),
    _t(S.IMPORTING, S.PROVING, "every import unit has a fileset with images", C.ATTEMPT),
    _t(S.PROVING, S.IMPORTING, "a unit's fileset is missing", C.ATTEMPT),
    _t(S.PROVING, S.ANNOTATING, "every file has a receipt or a rule", C.ATTEMPT),
    _t(S.PROVING, S.DISCARDED, "it was deleted in OMERO; the staged copy is in quarantine", C.ATTEMPT),
    _t(S.ANNOTATING, S.PROVEN, "tags and key-values are in OMERO", C.ATTEMPT),
    _t(S.PROVEN, S.PROVING, "a proof no longer holds", C.RETENTION, C.STAFF),
    _t(S.PROVEN, S.RELEASED, "hold days are over and the backup stamp, if any, is newer", C.RETENTION),
    _t(S.RELEASED, S.PROVING, "a proof no longer holds", C.RETENTION, C.STAFF),
    _t(S.RELEASED, S.RETIRED, "the buffer copy is gone and the staged links are dropped", C.RETENTION),
    *(
        _t(stage, S.CANCELLED, "before the import", C.PERSON, C.STAFF)
        for stage in (S.ACCEPTED, S.PULLING, S.VERIFYING)
    ),
    *(
        _t(stage, S.DISCARDED, "named and audited", C.STAFF)
        for stage in (S.ACCEPTED, S.PULLING, S.VERIFYING, S.CANCELLED)
    ),
    _t(S.DISCARDED, S.PROVING, "staff brought the staged copy back out of quarantine", C.STAFF),
)
_TABLE = {(t.source, t.target): t for t in TRANSITIONS}

ENDS = frozenset({S.RETIRED, S.CANCELLED, S.DISCARDED})
"""Nothing runs for these and their place on the share is free again."""
BEFORE_IMPORT = frozenset({S.ACCEPTED, S.PULLING, S.VERIFYING})
"""Cancel and new manifests are free here; ``importing`` is the point of no return."""
TRANSFER_STAGES = frozenset({S.ACCEPTED, S.PULLING})
IMPORT_STAGES = frozenset({S.VERIFYING, S.IMPORTING, S.PROVING, S.ANNOTATING})
WORKED = TRANSFER_STAGES | IMPORT_STAGES
"""Stages in which the dispatcher starts attempts."""
PROOF_STAGES = frozenset({S.PROVEN, S.RELEASED, S.RETIRED})


def check(source: Stage, target: Stage, cause: Cause) -> Transition:
    """Return the transition, or refuse it.

    Raises:
        Conflict: where the table does not allow ``cause`` to move an order from ``source`` to ``target``.
    """
    found = _TABLE.get((source, target))
    if found is None or cause not in found.causes:
        raise Conflict(
            f"An order in stage {source.value} cannot become {target.value} by {cause.value}.",
            code="stage_forbids",
            title="The order is too far for this",
            remedy="Look at the order's present state; it says what can be done.",
        )
    return found


def allowed_commands(
    stage: Stage, condition: Condition, *, asks_left_out: bool = False
) -> tuple[CommandKind, ...]:
    """What a person may order next; a UI shows exactly these."""
    allowed: list[CommandKind] = []
    if stage in BEFORE_IMPORT:
        allowed += [CommandKind.CANCEL, CommandKind.RETARGET]
    if stage in WORKED and condition in (Condition.ATTENTION, Condition.WAITING):
        allowed.append(CommandKind.RETRY)
    if stage is Stage.IMPORTING and condition is Condition.ATTENTION:
        allowed += [CommandKind.CANCEL, CommandKind.RETARGET]
    if asks_left_out:
        allowed.append(CommandKind.ACCEPT_LEFT_OUT)
    return tuple(allowed)


def mermaid() -> str:
    """The table as a Mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2", "    [*] --> accepted"]
    lines += [f"    {t.source.value} --> {t.target.value}: {t.guard}" for t in TRANSITIONS]
    lines += [f"    {end.value} --> [*]" for end in sorted(ENDS)]
    return "\n".join(lines) + "\n"
