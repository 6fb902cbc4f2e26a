"""Where a bridge can die: every instant between two things that must not come apart, by name.

A point is told by a function of the product and by what must be true of the call. The product knows nothing
of it: `tests.faults.bridge_with_points` wraps the functions in a bridge started for the purpose. A function
that is renamed makes that bridge refuse to start, so that no point is lost unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

Arguments = Mapping[str, Any]


class When(Enum):
    """On which side of the call the point lies."""

    BEFORE = "before"
    AFTER = "after"
    """The call came back; what it committed is on the disk."""


def _always(_value: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Point:
    """One instant. ``targets`` are ``module:function`` or ``module:Class.method``, as callers see them."""

    name: str
    what: str
    when: When
    targets: tuple[str, ...]
    given: Callable[[Arguments], bool] = _always
    """What must be true of the arguments, asked before the call."""
    gives: Callable[[Any], bool] = _always
    """What must be true of the result; for points after the call."""
    called_from: str = ""
    """The module that calls, where the function is everybody's."""


def _before(name: str, what: str, *targets: str, given: Callable[[Arguments], bool] = _always) -> Point:
    return Point(name, what, When.BEFORE, targets, given)


def _after(
    name: str,
    what: str,
    *targets: str,
    given: Callable[[Arguments], bool] = _always,
    gives: Callable[[Any], bool] = _always,
    called_from: str = "",
) -> Point:
    return Point(name, what, When.AFTER, targets, given, gives, called_from)


def _to(stage: str) -> Callable[[Arguments], bool]:
    return lambda given: bool(given["target"] == stage)


_STEPS = "server_bridge.pipeline.steps"
_ADVANCE = "server_bridge.orders.store:Store.advance"

POINTS: tuple[Point, ...] = (
    # -- what a client was not answered
    _after(
        "order.committed",
        "the order is in the table, the 201 is not sent",
        "server_bridge.orders.intake:accept",
        gives=lambda made: bool(made[1]),
    ),
    _after(
        "manifest.committed",
        "the manifest is in the table, the answer is not sent",
        "server_bridge.orders.manifests:put",
    ),
    _after(
        "command.committed",
        "the command is carried out, the answer is not sent",
        "server_bridge.orders.commands:give",
    ),
    _after(
        "recheck.done",
        "a release was checked again, the answer is not sent",
        "server_bridge.retention.release:recheck",
    ),
    _after(
        "freed.committed",
        "deleted files are noted, the answer is not sent",
        "server_bridge.retention.freed:record_freed",
    ),
    # -- the engine
    _after(
        "start.requeued",
        "what was running is queued again, the engine is not up",
        "server_bridge.orders.store:Store.requeue_running",
    ),
    _after(
        "claim.committed",
        "the order has an attempt that the engine does not know",
        "server_bridge.orders.store:Store.claim",
        gives=lambda number: number is not None,
    ),
    _after(
        "attempt.submitted",
        "the engine has the attempt and has not begun it",
        "server_bridge.pipeline.engine:Engine.submit",
    ),
    _after(
        "waiting.committed", "a failed attempt has written its wait", "server_bridge.orders.store:Store.wait"
    ),
    _after(
        "attention.committed",
        "a failed attempt has asked a person",
        "server_bridge.orders.store:Store.attention",
    ),
    # -- transfer
    _after("baseline.committed", "the order is pulling, and no file came", _ADVANCE, given=_to("pulling")),
    _after(
        "pull.first-file",
        "a file is in staging and its digest is in memory alone",
        f"{_STEPS}.pulling:DigestBook.add",
    ),
    _after(
        "pull.synced",
        "staging is on the disk, the digests are not committed",
        f"{_STEPS}.pulling:sync_filesystem",
    ),
    _after(
        "pull.digests-committed",
        "the digests are committed, the order is still pulling",
        f"{_STEPS}.pulling:DigestBook.commit",
        given=lambda given: bool(given["self"]._batch),
    ),
    _before(
        "verifying.before", "all is staged, the order is still pulling", _ADVANCE, given=_to("verifying")
    ),
    _after("verifying.after", "the order waits for its last look", _ADVANCE, given=_to("verifying")),
    _before(
        "target.before",
        "source and staging were looked at, no target is made",
        f"{_STEPS}.verifying:resolve",
    ),
    _after("target.after", "the target is made, the order is still verifying", f"{_STEPS}.verifying:resolve"),
    # -- import
    _before(
        "importing.before", "the instant before the point of no return", _ADVANCE, given=_to("importing")
    ),
    _after("importing.after", "the instant after it", _ADVANCE, given=_to("importing")),
    _after(
        "units.scanned",
        "the units are known and not persisted",
        f"{_STEPS}.units:scan_units",
        gives=bool,
    ),
    _after("units.persisted", "the units are persisted, none is imported", f"{_STEPS}.units:persist"),
    _before(
        "import.noted",
        "a unit is noted as being imported, no importer runs",
        f"{_STEPS}.importing:run_import",
    ),
    _after(
        "import.ended",
        "the importer has ended and nobody has looked into OMERO",
        f"{_STEPS}.importing:run_import",
    ),
    _after(
        "unit.adopted",
        "a unit is noted as imported, the order is still importing",
        f"{_STEPS}.unit_book:UnitBook.imported",
        given=lambda given: bool(given["found"]),
    ),
    _before(
        "debris.before",
        "what a dead import left is to be removed from OMERO",
        f"{_STEPS}.units_in_omero:remove_debris",
    ),
    _after(
        "debris.removed",
        "it is removed, which is written nowhere",
        f"{_STEPS}.units_in_omero:remove_debris",
    ),
    _after("proving.after", "every unit is in OMERO, no receipt is written", _ADVANCE, given=_to("proving")),
    # -- proof
    _after(
        "proof.synced",
        "the links are on the disk, the receipts are not committed",
        f"{_STEPS}.proving:sync_filesystem",
    ),
    _after(
        "receipts.committed",
        "the receipts are committed, the order is still proving",
        f"{_STEPS}.proving:_note",
    ),
    _after(
        "annotation.done",
        "OMERO has tags and key-values, the order is not proven",
        f"{_STEPS}.annotating:annotate",
    ),
    # -- letting go
    _after(
        "release.committed",
        "the order is released, which nobody was told",
        "server_bridge.retention.releaser:release",
        "server_bridge.retention.release:release",
        gives=bool,
    ),
    _after(
        "drop.before-unlink",
        "a staged link is to be dropped",
        "server_bridge.retention.reconcile:may_be_dropped",
        gives=bool,
    ),
    _after(
        "drop.unlinked",
        "a staged link is gone, which is written nowhere",
        "server_bridge.retention.reconcile:unlink_second_name",
        gives=bool,
    ),
    _after(
        "drop.committed",
        "the staged links are dropped and the order is retired",
        "server_bridge.retention.releaser:drop_links",
        gives=lambda made: bool(made.count),
    ),
    # -- the end of a process
    _before("stop.begun", "the bridge was told to end", "server_bridge.pipeline.service:Service.stop"),
    _after(
        "stop.attempts-ended",
        "the attempts ended, their orders are put back or not",
        "server_bridge.pipeline.live:LiveAttempts.stop",
    ),
)
