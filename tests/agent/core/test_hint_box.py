"""The box between the system's notices and the scanner stays small, and forgets nothing by being full."""

from __future__ import annotations

import sys

from agent.core.hint_box import PLACES_KEPT, HintBox, Hints


def test_events_inside_one_acquisition_are_one_place() -> None:
    box = HintBox(levels=2)
    for number in range(100_000):
        box.add(f"alice/run1/deep/plane{number}.tif")
    taken = box.take(full=False)
    assert taken.places == {"alice/run1"} and not taken.everything
    assert box.take(full=False).places == frozenset()


def test_more_places_than_it_holds_mean_everything_and_take_no_memory() -> None:
    box = HintBox(levels=2)
    for number in range(100_000):
        box.add(f"alice/run{number}/plane.tif")
    assert box.everything and not box.has_places
    assert sys.getsizeof(box._places) < 1_000 * PLACES_KEPT
    assert box.take(full=False).everything, "a narrow pass does not answer it"
    assert box.everything
    assert box.take(full=True).everything and not box.everything


def test_a_place_is_found_by_every_folder_on_the_way() -> None:
    hints = Hints.of(["alice/run1", "stray.tif"])
    assert all(hints.below(path) for path in ("", "alice", "alice/run1", "stray.tif"))
    assert not any(hints.below(path) for path in ("alic", "alice/run", "alice/run10", "bob"))
