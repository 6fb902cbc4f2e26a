"""Which units share a run of the importer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.pipeline import import_batches
from server_bridge.pipeline.import_batches import Candidate, may_share, plan

SINGLE = Candidate(index=0, path="/staging/conf/order/run/image.tif", file_count=1, size_bytes=1 << 20)


def singles(count: int, **changes: object) -> list[Candidate]:
    return [replace(SINGLE, index=index, **changes) for index in range(count)]  # type: ignore[arg-type]


def indexes(units: list[Candidate]) -> list[list[int]]:
    return [[unit.index for unit in run] for run in plan(units)]


def test_ten_thousand_single_images_need_fifty_runs() -> None:
    assert len(plan(singles(10_000))) == 50


@pytest.mark.parametrize(
    "unit",
    [
        replace(SINGLE, plate=True),
        replace(SINGLE, has_check_sized=True),
        replace(SINGLE, failed_before=True),
        replace(SINGLE, file_count=import_batches.LARGEST_SET + 1),
    ],
)
def test_what_goes_alone(unit: Candidate) -> None:
    assert not may_share(unit)
    assert may_share(SINGLE)


def test_shared_runs_come_first_and_what_failed_before_comes_last() -> None:
    units = singles(5)
    units[0] = replace(units[0], failed_before=True)
    units[2] = replace(units[2], plate=True)
    assert indexes(units) == [[1, 3, 4], [2], [0]]


def test_large_files_fill_a_run_by_their_bytes() -> None:
    half = import_batches.MOST_DATA_BYTES // 2
    assert indexes(singles(5, size_bytes=half)) == [[0, 1], [2, 3], [4]]
    assert indexes(singles(2, size_bytes=3 * half)) == [[0], [1]]


def test_long_names_fill_a_run_by_the_length_of_its_arguments() -> None:
    path = "/" + "\u00b5" * 2000  # two bytes each
    for run in plan(singles(100, path=path)):
        assert sum(len(unit.path.encode()) + 1 for unit in run) <= import_batches.MOST_PATH_BYTES
    assert len(plan(singles(100, path=path))) > 1


def test_a_name_that_is_not_utf_8_can_be_planned() -> None:
    assert indexes(singles(2, path="/s/\udcff.tif")) == [[0, 1]]


@given(
    st.lists(
        st.builds(
            Candidate,
            index=st.just(0),
            path=st.text(min_size=1, max_size=30).map(lambda name: f"/{name}"),
            file_count=st.integers(1, 40),
            size_bytes=st.integers(0, import_batches.MOST_DATA_BYTES * 2),
            plate=st.booleans(),
            has_check_sized=st.booleans(),
            failed_before=st.booleans(),
        ),
        max_size=60,
    )
)
def test_every_unit_is_in_exactly_one_run_within_its_bounds(units: list[Candidate]) -> None:
    units = [replace(unit, index=index) for index, unit in enumerate(units)]
    runs = plan(units)
    assert sorted(unit.index for run in runs for unit in run) == list(range(len(units)))
    for run in runs:
        assert len(run) == 1 or all(may_share(unit) for unit in run)
        assert len(run) == 1 or sum(unit.size_bytes for unit in run) <= import_batches.MOST_DATA_BYTES
        assert len(run) <= import_batches.MOST_UNITS
