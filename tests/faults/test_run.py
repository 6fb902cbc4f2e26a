"""A short fault run, as `./dev faults` makes it; and what its report says of runs that went otherwise."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.checker.aftermath import Aftermath
from tests.faults.points import POINTS
from tests.faults.run import Report, run


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_site_that_is_broken_at_every_point_loses_doubles_and_releases_nothing_wrongly(
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("FERRY_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"FERRY_FAULT_SEED={seed}")  # pytest shows it where the run fails
    report = run(tmp_path / "site", minutes=0.5, seed=seed)
    print(report.table())
    assert report.ok, report.table()
    assert report.aftermath.proven > 0 and report.releases > 0 and report.aftermath.freed > 0
    assert sum(report.faults.values()) > 0


def _good() -> Report:
    return Report(seed=7, minutes=1, kills={point.name: 1 for point in POINTS})


def test_a_run_in_which_all_holds_is_good_and_says_how_to_repeat_it() -> None:
    report = _good()
    assert report.ok
    text = report.table()
    for line in ("lost 0", "doubled 0", "wrongly released 0"):
        assert line in text.splitlines()
    assert "./dev faults --minutes 1 --seed 7" in text
    assert all(point.name in text for point in POINTS)


def test_a_point_that_nobody_died_at_makes_a_run_worth_nothing() -> None:
    report = _good()
    del report.kills["release.committed"]
    assert not report.ok
    assert report.missed == ["release.committed"]
    assert "point never hit: release.committed" in report.table()


@pytest.mark.parametrize("what", ["lost", "doubled", "wrongly_released"])
def test_one_broken_promise_makes_a_run_bad(what: str) -> None:
    report = _good()
    setattr(report.aftermath, what, 1)
    assert not report.ok
    assert f"{what.replace('_', ' ')} 1" in report.table().splitlines()
    assert report.as_dict()[what] == 1


def test_what_did_not_end_is_a_problem() -> None:
    report = _good()
    report.aftermath = Aftermath(problems=["order 1 did not end: it is pulling"])
    assert not report.ok
    assert "problem: order 1 did not end: it is pulling" in report.table()
