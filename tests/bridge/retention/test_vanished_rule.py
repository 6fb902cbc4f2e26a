"""Deleted, restored, or nothing to act upon: every fact that does not fit forbids the quarantine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server_bridge.errors import NeedsAttention, TransientFailure
from server_bridge.pipeline.vanished import Lost, Verdict, error, judge

NAMES = st.sampled_from([(), ("/x/a.tif",)])


@given(
    same=st.sampled_from([True, False, None]),
    taken=st.sampled_from([(), (7,)]),
    emptied=st.sampled_from([(), (8,)]),
    twice=st.booleans(),
    left=NAMES,
    linked=NAMES,
)
def test_only_all_facts_together_are_a_deletion(
    same: bool | None,
    taken: tuple[int, ...],
    emptied: tuple[int, ...],
    twice: bool,
    left: tuple[str, ...],
    linked: tuple[str, ...],
) -> None:
    seen = Lost(same, taken, emptied, twice, left, linked)
    verdict = judge(seen)
    clean = same is True and twice and not (taken or emptied or left or linked)
    assert (verdict is Verdict.DELETED) == clean
    assert (verdict is Verdict.RESTORED) == (same is False or bool(taken))
    if verdict not in (Verdict.DELETED, Verdict.RESTORED):
        told = error(verdict, seen, "Fileset 7")
        # Only the first look is the bridge's own affair; everything else needs somebody.
        assert isinstance(told, TransientFailure if verdict is Verdict.LOOK_AGAIN else NeedsAttention)
        assert told.detail and told.title and told.remedy
