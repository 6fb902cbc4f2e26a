"""The one table of stages, and its picture in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.contract import Condition, Stage
from server_bridge.errors import Conflict
from server_bridge.orders import stages

DOCS = Path(__file__).parents[3] / "docs" / "stages.md"


def test_the_picture_in_the_docs_is_the_table() -> None:
    found = re.search(r"```mermaid\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == stages.mermaid(), "replace the picture in docs/stages.md with stages.mermaid()"


def test_every_guard_and_end_is_told_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"`{stage.value}`" in text for stage in Stage)


@given(st.sampled_from(Stage), st.sampled_from(Stage), st.sampled_from(stages.Cause))
def test_whatever_the_table_does_not_name_is_refused(
    source: Stage, target: Stage, cause: stages.Cause
) -> None:
    named = any(
        (move.source, move.target) == (source, target) and cause in move.causes for move in stages.TRANSITIONS
    )
    if named:
        assert stages.check(source, target, cause).target is target
    else:
        with pytest.raises(Conflict):
            stages.check(source, target, cause)


def test_nothing_leaves_retired_and_every_stage_can_be_reached() -> None:
    reached = {Stage.ACCEPTED}
    for _ in Stage:
        reached |= {move.target for move in stages.TRANSITIONS if move.source in reached}
    assert reached == set(Stage)
    assert not [move for move in stages.TRANSITIONS if move.source is Stage.RETIRED]
    # Only out of quarantine, by staff.
    out = [(move.target, move.causes) for move in stages.TRANSITIONS if move.source is Stage.DISCARDED]
    assert out == [(Stage.PROVING, {stages.Cause.STAFF})]


def test_there_is_no_dead_end_for_an_order_that_needs_somebody() -> None:
    for stage in stages.WORKED:
        assert stages.allowed_commands(stage, Condition.ATTENTION), stage
