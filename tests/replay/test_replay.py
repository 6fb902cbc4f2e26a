"""The short microscopes in the suite; and the replay itself: it notices where a precaution is missing."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from agent.core import clerk, judgement, settle
from agent.core.pauses import Longest
from server_bridge.contract import AcquisitionRule
from tests.agent.bridge_stub import BridgeStub
from tests.replay.player import Player
from tests.replay.report import line_of, summary_lines
from tests.replay.scenario import Microscope, load, schedule, seconds_of
from tests.replay.verdict import Outcome, Result, summarise

EVERY = {one.name: one for one in load()}


def play(name: str, folder: Path, seed: int = 1) -> Result:
    with BridgeStub() as stub:
        return Player(EVERY[name], folder, stub, seed).play()


@pytest.mark.parametrize("name", [one.name for one in EVERY.values() if one.short])
def test_nothing_is_finished_too_early_and_nothing_missed(name: str, tmp_path: Path) -> None:
    result = play(name, tmp_path)
    assert result.good, line_of(result)


def test_there_are_more_than_twenty_five_and_each_names_its_source() -> None:
    assert len([one for one in EVERY.values() if not one.control]) >= 25
    assert all(one.models and one.source for one in EVERY.values())


@pytest.fixture
def unwatched_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "WATCHED_GAP_SECONDS", float("inf"))


@pytest.mark.usefixtures("unwatched_time_counts")
@pytest.mark.parametrize("name", ["machine-asleep"])
def test_it_notices_when_time_that_nobody_watched_counts_as_rest(name: str, tmp_path: Path) -> None:
    assert play(name, tmp_path).outcome is Outcome.TOO_EARLY


def test_it_notices_when_pauses_are_not_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned(quiet_seconds: float, _longest: float) -> float:
        return quiet_seconds

    monkeypatch.setattr(judgement, "learned_seconds", learned)
    assert play("learned-pause", tmp_path).outcome is Outcome.TOO_EARLY


def test_it_notices_when_nobody_asks_who_has_a_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = settle.Witness("open", settle.WitnessState.OK, "not asked")
    monkeypatch.setattr(judgement, "probe", lambda *_: fine)
    assert play("dragged-in-slowly", tmp_path).outcome is Outcome.TOO_EARLY


def test_it_notices_when_junk_counts_as_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clerk, "ignored_names", lambda _share: ())
    assert play("looked-at-in-explorer", tmp_path).outcome is Outcome.NEEDLESS


def test_it_notices_when_an_acquisition_is_never_seen_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = settle.judge

    def never(*args: object, **kwargs: object) -> settle.Verdict:
        verdict = real(*args, **kwargs)  # type: ignore[arg-type]
        return settle.Verdict(False, verdict.quiet_seconds, verdict.needed_seconds, verdict.witnesses)

    monkeypatch.setattr(judgement, "judge", never)
    result = play("nd2-preallocated", tmp_path)
    assert result.outcome is Outcome.MISSED and result.missed == ("movie.nd2",)


# --- the player's own parts ---------------------------------------------------------------------------


def _microscope(**more: object) -> Microscope:
    data: dict[str, object] = {
        "name": "one",
        "models": "m",
        "source": "s",
        "format": "f",
        "habit": "h",
        "steps": [{"at": "0:10", "do": "append", "path": "a{n}", "every": "1:00", "times": 10}],
        "expect": [],
        **more,
    }
    return Microscope.model_validate(data)


def test_durations_are_read_as_people_write_them() -> None:
    assert [seconds_of(text) for text in ("1:05:00", "3:40", "0:00.5", 7, "-3:00")] == [
        3900,
        220,
        0.5,
        7,
        -180,
    ]


def test_a_seed_gives_the_same_schedule_and_another_one_another() -> None:
    one = _microscope()
    assert schedule(one, 1) == schedule(one, 1)
    assert schedule(one, 1) != schedule(one, 2)
    moments, _faults = schedule(one, 1)
    assert [moment.path for moment in moments] == [f"a{n}" for n in range(10)]
    gaps = [after.at - before.at for before, after in itertools.pairwise(moments)]
    assert all(50 < gap < 70 for gap in gaps)


def test_a_writer_that_waits_is_late_by_as_long_as_it_waited() -> None:
    fault = {"at": "5:30", "what": "share-away", "lasts": "10:00", "writes": "wait"}
    late, _faults = schedule(_microscope(faults=[fault]), 1)
    usual, _faults = schedule(_microscope(), 1)
    assert [round(one.at - other.at) for one, other in zip(late, usual, strict=True)] == [0] * 6 + [600] * 4


def _result(microscope: Microscope, **more: object) -> Result:
    facts: dict[str, object] = {
        "files": 1,
        "imports": 1,
        "delays": (305.0,),
        "premature_seals": 0,
        "unsealed": 0,
        "doubts": 0,
        "too_early": (),
        "missed": (),
        "needless": (),
        "simulated_seconds": 3600.0,
        "passes": 500,
    }
    return Result(microscope=microscope, **{**facts, **more})  # type: ignore[arg-type]


def test_a_control_has_to_come_too_early_and_does_not_count_as_one() -> None:
    control = _microscope(control=True)
    noticed = summarise([_result(_microscope()), _result(control, too_early=("a after 0:05:51",))])
    assert noticed.good and noticed.too_early == 0 and noticed.controls_noticed == 1
    assert not summarise([_result(_microscope()), _result(control)]).good


@pytest.mark.parametrize("wrong", ["too_early", "missed", "needless"])
def test_one_wrong_microscope_is_a_bad_run(wrong: str) -> None:
    results = [_result(_microscope()), _result(_microscope(), **{wrong: ("a",)})]
    assert not summarise(results).good
    text = "\n".join(summary_lines(results, 1, 2.0))
    assert "2 microscopes, 2:00:00 simulated in 2 s (seed 1)" in text
    assert f"finished too early {int(wrong == 'too_early')}" in text
    assert f"missed {int(wrong == 'missed')}" in text


def test_learned_pauses_are_of_the_rule_that_the_microscopes_use() -> None:
    """The scenario about learning rests on the default: were it longer, nothing would have to be learned."""
    assert AcquisitionRule().quiet_seconds < Longest("czi", 540, 1).seconds
