"""The kill points: each is where the product is, fires once, and on its own side of the call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.faults.armed import Book
from tests.faults.bridge_with_points import _wrapped, find, wrap_all
from tests.faults.points import POINTS, Point, When


@pytest.mark.parametrize("target", sorted({target for point in POINTS for target in point.targets}))
def test_every_target_is_a_function_of_the_product(target: str) -> None:
    holder, name = find(target)
    assert callable(getattr(holder, name))


def test_points_have_names_of_their_own_and_say_what_is_true_there() -> None:
    assert len({point.name for point in POINTS}) == len(POINTS)
    assert all(point.what and len(point.what) <= 58 for point in POINTS)


def test_a_target_that_is_gone_is_refused(tmp_path: Path) -> None:
    gone = Point("gone", "nowhere", When.BEFORE, ("server_bridge.orders.store:Store.no_such",))
    with pytest.raises(LookupError, match="no_such"):
        wrap_all(Book(tmp_path), [gone])


def test_a_pass_is_counted_where_arguments_and_result_fit(tmp_path: Path) -> None:
    book = Book(tmp_path)
    seen: list[str] = []

    def advance(target: str, fails: bool = False) -> bool:
        seen.append(f"{target} {book.passes()['before']} {book.passes()['after']}")
        return not fails

    before = Point("before", "x", When.BEFORE, ("x",), given=lambda given: bool(given["target"] == "a"))
    after = Point("after", "x", When.AFTER, ("x",), gives=bool)
    elsewhere = Point("elsewhere", "x", When.AFTER, ("x",), called_from="another.module")
    wrapped = _wrapped(advance, [before, after, elsewhere], book)
    assert wrapped("a") is True
    assert wrapped(target="b") is True
    assert wrapped("a", fails=True) is False
    assert seen == ["a 1 0", "b 1 1", "a 2 2"]
    assert book.passes() == {"before": 2, "after": 2}


def test_an_armed_point_kills_at_its_countdown_and_once(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.arm("here", 3)
    program = (
        "import sys; from pathlib import Path; from tests.faults.armed import Book\n"
        "for number in range(5): Book(Path(sys.argv[1])).passed('here'); print(number, flush=True)"
    )

    def passes() -> SimpleNamespace:
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
        return SimpleNamespace(code=done.returncode, said=done.stdout.split())

    assert passes() == SimpleNamespace(code=-9, said=["0", "1"])
    assert (book.passes()["here"], book.kills()["here"]) == (3, 1)
    assert passes() == SimpleNamespace(code=0, said=["0", "1", "2", "3", "4"])
    book.arm("here")
    book.disarm()
    assert passes().code == 0
