"""Staff read where a quiet time is too short, and what the workstation does meanwhile."""

from __future__ import annotations

from server_bridge.contract import Heartbeat, QuietSuggestion
from server_bridge.operations.quiet_suggestions import lines_of
from server_bridge.orders.models import Workstation


def _workstation(*suggestions: QuietSuggestion) -> Workstation:
    beat = Heartbeat(quiet_suggestions=suggestions)
    return Workstation(name="Confocal SP8", heartbeat=beat.model_dump(mode="json"))


def _suggestion(**more: float) -> QuietSuggestion:
    facts = {"longest_pause_seconds": 540.0, "suggested_seconds": 720.0, "used_seconds": 720.0, **more}
    return QuietSuggestion.model_validate({"share": "confocal", "format": "czi", **facts})


def test_a_suggestion_is_a_sentence_with_the_number_to_set() -> None:
    (line,) = lines_of([_workstation(_suggestion())])
    assert line == (
        "Confocal SP8, share confocal: czi paused for up to 9:00 and went on (once). "
        "A quiet_seconds of 720 outlasts that. It waits so long by itself."
    )


def test_where_the_agent_waits_less_it_says_so() -> None:
    (line,) = lines_of(
        [_workstation(_suggestion(suggested_seconds=18000, used_seconds=1200, acquisitions=3))]
    )
    assert "in 3 acquisitions" in line and line.endswith(
        "By itself it waits 20:00; more is for you to decide."
    )


def test_without_a_heartbeat_or_a_suggestion_nothing_is_said() -> None:
    assert lines_of([_workstation(), Workstation(name="New", heartbeat=None)]) == []
