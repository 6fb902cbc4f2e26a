"""Cleaning the buffer by the whole core: asked, by policy, stopped, withdrawn, and on a share that goes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.core import commands, freeing
from agent.core.cleaner import Cleaner
from agent.core.cleaning_book import Job, JobState
from agent.core.errors import AgentError
from agent.core.snapshot import CardState
from agent.platform.base import Room
from tests.agent.bridge_stub import Refusal, Seen
from tests.agent.conftest import MARKER, Bench, share_json, until, workstation_share
from tests.agent.core.test_engine import TARGET, done, order_of, sign_in, started


def released(bench: Bench, title: str, count: int = 3) -> tuple[str, str, list[Path]]:
    """An acquisition that OMERO has and the bridge releases. Returns card, order and files."""
    paths = [bench.write(f"alice/{title}/{number}.tif") for number in range(count)]
    card = bench.wait_for(title, lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, title)
    sealed = until(lambda: bench.stub.sealed(order), "sealed")
    fields = ("path", "size_bytes", "mtime_ns")
    bench.stub.release_files[order] = [{name: one[name] for name in fields} for one in sealed["files"]]
    bench.stub.change(order, stage="released", condition="waiting", allowed_commands=[])
    bench.wait_for(title, lambda card: card.state is CardState.SAFE_TO_DELETE, "released")
    return card.id, order, paths


def cleaner_of(bench: Bench) -> Cleaner:
    found = bench.engine._cleaners.of("scope1")
    assert found is not None
    return found


def job(bench: Bench, order: str) -> Job | None:
    found = bench.snapshot.cleaning if bench.snapshot else ()
    return next((one for one in found if one.order_id == order), None)


def ended(bench: Bench, order: str, state: JobState) -> Job:
    def look() -> Job | None:
        found = job(bench, order)
        return found if found is not None and found.state is state else None

    return until(look, f"the job is {state.value}; it is {job(bench, order)}")  # type: ignore[return-value]


def reported(bench: Bench) -> set[str]:
    return {path for report in list(bench.stub.freed) for path in report["paths"]}


def slow_unlink(monkeypatch: pytest.MonkeyPatch, gate: Callable[[Path], None]) -> None:
    """Each file's deletion first passes the gate."""
    real = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".tif":
            gate(self)
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)


def test_what_stays_is_named_and_the_rest_goes(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run1")
    later = paths[1].stat().st_mtime + 60
    os.utime(paths[1], (later, later))
    done(bench.engine.submit(commands.FreeSpace((card,))))
    found = ended(bench, order, JobState.DONE)
    assert found.stayed_count == 1 and "written to" in found.stayed["alice/run1/1.tif"]
    assert [path.exists() for path in paths] == [False, True, False]
    until(lambda: reported(bench) == {"alice/run1/0.tif", "alice/run1/2.tif"}, "the report")
    shown = bench.wait_for("run1", lambda card: card.reason is not None, "the reason")
    # The second where the scan saw the change before the job ended: it is a new acquisition then.
    assert shown.reason is not None and shown.reason.code in ("files_stayed", "changed_after_import")


def test_a_hung_share_holds_up_no_other_command_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run2")
    cleaner_of(bench)._stuck_seconds = 0.2
    gate, hangs = threading.Event(), threading.Event()

    def hang(_path: Path) -> None:
        hangs.set()
        gate.wait()

    slow_unlink(monkeypatch, hang)
    try:
        for _click in range(8):  # twice as many as there are threads for commands
            done(bench.engine.submit(commands.FreeSpace((card,))))
        until(hangs.is_set, "the share hangs")
        done(bench.engine.submit(commands.LookNow()))

        def told() -> bool:
            found = job(bench, order)
            return found is not None and found.reason is not None and found.reason.code == "share_stuck"

        until(told, "the window says so")
        assert paths[0].exists()
    finally:
        gate.set()
    ended(bench, order, JobState.DONE)
    assert not any(path.exists() for path in paths)


def test_it_can_be_stopped_and_tells_exactly_what_went(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.core.cleaner.TELL_SECONDS", 0.0)
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run3", 5)
    second, gate = threading.Event(), threading.Event()
    passed: list[Path] = []

    def wait_at_second(path: Path) -> None:
        passed.append(path)
        if len(passed) == 2:
            second.set()
            gate.wait()

    slow_unlink(monkeypatch, wait_at_second)
    done(bench.engine.submit(commands.FreeSpace((card,))))
    until(second.is_set, "the second file")
    done(bench.engine.submit(commands.StopFreeing()))
    gate.set()
    ended(bench, order, JobState.STOPPED)
    gone = {f"alice/run3/{path.name}" for path in paths if not path.exists()}
    assert len(gone) == 2
    until(lambda: reported(bench) == gone, "the report")
    shown = bench.wait_for("run3", lambda card: "FreeSpace" in card.actions, "it may be asked again")
    assert shown.state is CardState.SAFE_TO_DELETE
    monkeypatch.undo()
    done(bench.engine.submit(commands.FreeSpace((card,))))
    until(lambda: not (bench.share_top / "alice/run3").exists(), "the rest")


def test_a_release_withdrawn_in_between_deletes_nothing_more_and_reports_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run4")
    first, gate = threading.Event(), threading.Event()

    def wait_after_first(path: Path) -> None:
        if path.name == paths[1].name:
            first.set()
            gate.wait()

    slow_unlink(monkeypatch, wait_after_first)
    times = iter([True])
    real = freeing._is_over
    monkeypatch.setattr(
        freeing, "_is_over", lambda release, now: real(release, now) or (gate.is_set() and next(times, False))
    )
    done(bench.engine.submit(commands.FreeSpace((card,))))
    until(first.is_set, "the first file is gone")
    files = bench.stub.release_files.pop(order)

    def refuse(seen: Seen) -> Refusal | None:
        if seen.path.endswith("/freed") and order not in bench.stub.release_files:
            return Refusal(409, "not_released", "Not released")
        return None

    bench.stub.refuse = refuse
    gate.set()
    until(
        lambda: (found := job(bench, order)) and found.reason is not None and found.reason.code == "hold",
        "the bridge says no",
    )
    assert paths[2].exists() and not bench.stub.freed
    found = job(bench, order)
    assert found is not None and found.state is JobState.QUEUED and not found.may_delete
    # The report is kept: it is a fact that those files are gone.
    assert bench.engine._outbox.freed_reports()
    bench.stub.release_files[order] = files
    bench.engine._sender._reports_rest.clear()
    done(bench.engine.submit(commands.LookNow()))
    until(lambda: reported(bench) == {"alice/run4/0.tif", "alice/run4/1.tif"}, "the report")
    assert paths[2].exists()


def test_a_share_that_goes_in_the_middle_is_an_outage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run5")
    monkeypatch.setattr("agent.core.cleaner.AGAIN", timedelta(0))
    away = bench.share_top.with_name("away")

    def go_away(path: Path) -> None:
        if path.name == paths[1].name:
            bench.share_top.rename(away)
            bench.share_top.mkdir()

    slow_unlink(monkeypatch, go_away)
    done(bench.engine.submit(commands.FreeSpace((card,))))
    until(lambda: (away / MARKER).exists(), "the share goes")
    until(
        lambda: (
            (found := job(bench, order)) and found.reason is not None and found.reason.code == "share_away"
        ),
        "it says that the share is away",
    )
    assert reported(bench) <= {"alice/run5/0.tif"}
    assert (away / "alice/run5/1.tif").exists() and (away / "alice/run5/2.tif").exists()
    monkeypatch.undo()
    bench.share_top.rmdir()
    away.rename(bench.share_top)
    ended(bench, order, JobState.DONE)
    until(lambda: reported(bench) == {f"alice/run5/{n}.tif" for n in range(3)}, "all of it, once it is back")


def test_what_came_back_after_it_was_freed_stays(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run6")
    status, content = paths[0].stat(), paths[0].read_bytes()

    def unreported(seen: Seen) -> Refusal | None:
        return Refusal(503) if seen.path.endswith("/freed") else None

    bench.stub.refuse = unreported
    done(bench.engine.submit(commands.FreeSpace((card,))))
    ended(bench, order, JobState.DONE)
    # The same name, size and time; the bridge does not know yet that the first one went.
    bench.write("alice/run6/0.tif", content)
    os.utime(paths[0], ns=(status.st_mtime_ns, status.st_mtime_ns))
    bench.engine._cleaning.ask([bench.engine._machine.order(order)], "alice")  # type: ignore[list-item]
    until(lambda: len(bench.stub.requests("GET", "/release")) >= 2, "the bridge is asked again")
    ended(bench, order, JobState.DONE)
    assert paths[0].exists()


def policy(bench: Bench, **more: Any) -> None:
    bench.stub.shares = [share_json(**more)]


def test_the_policy_frees_what_is_released_without_being_asked(bench: Bench) -> None:
    policy(bench, clean="released")
    started(bench)
    sign_in(bench)
    _card, order, paths = released(bench, "run7")
    found = ended(bench, order, JobState.DONE)
    assert found.asked_by == "" and not any(path.exists() for path in paths)
    until(lambda: len(reported(bench)) == 3, "the report")

    def beat() -> bool:
        told = bench.stub.heartbeats[-1]["cleaning"][0]
        return bool(told["mode"] == "released" and told["freed_bytes"] == 300)

    until(beat, "staff see it")


def test_the_policy_waits_while_the_microscope_writes_and_a_person_does_not(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run8")
    policy(bench, quiet_seconds=600.0)
    bench.engine._station.look_now()
    until(lambda: bench.engine._places()["scope1"].share.rule.quiet_seconds == 600, "the new rule is known")
    bench.write("alice/running/a.tif")
    until(lambda: bench.stub.heartbeats[-1]["shares"][0]["acquiring"], "it acquires")
    policy(bench, quiet_seconds=600.0, clean="released")
    bench.engine._station.look_now()
    until(lambda: bench.engine._places()["scope1"].share.clean == "released", "the new rule is known")
    cleaner_of(bench).wake()
    count = len(bench.snapshots)
    until(lambda: len(bench.snapshots) >= count + 3, "time passes")
    assert all(path.exists() for path in paths) and job(bench, order) is None
    done(bench.engine.submit(commands.FreeSpace((card,))))
    ended(bench, order, JobState.DONE)
    assert not any(path.exists() for path in paths)


def test_an_older_agents_rule_is_to_ask() -> None:
    share = workstation_share().model_copy(update={"clean": "by-the-moon"})
    assert share.cleaning == "ask"


def test_somebody_elses_copy_is_not_hers_to_free_nor_to_stop(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run9")
    done(bench.engine.submit(commands.SignOut()))
    sign_in(bench, "bob")
    with pytest.raises(AgentError, match="alice"):
        done(bench.engine.submit(commands.FreeSpace((card,))))
    assert all(path.exists() for path in paths)
    assert job(bench, order) is None


def test_when_low_frees_the_oldest_until_there_is_room(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    _card, older, old = released(bench, "run10")
    _card, newer, new = released(bench, "run11")
    bench.stub.change(older, proven_at=bench.stub.now_text(-900))
    bench.stub.change(newer, proven_at=bench.stub.now_text(-600))
    until(lambda: all(bench.engine._machine.order(one).proven_at for one in (older, newer)), "told")  # type: ignore[union-attr]
    bench.platform.room = lambda _path: Room(60 if not old[0].exists() else 10, 100)  # type: ignore[method-assign]
    policy(bench, clean="when-low", clean_below_percent=20.0)
    bench.engine._station.look_now()
    ended(bench, older, JobState.DONE)
    cleaner_of(bench).wake()
    count = len(bench.snapshots)
    until(lambda: len(bench.snapshots) >= count + 3, "time passes")
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in new) and job(bench, newer) is None


def test_the_right_to_delete_withdrawn_in_the_middle_ends_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run12")
    first, gate = threading.Event(), threading.Event()

    def wait_at_first(_path: Path) -> None:
        first.set()
        gate.wait()

    slow_unlink(monkeypatch, wait_at_first)
    done(bench.engine.submit(commands.FreeSpace((card,))))
    until(first.is_set, "it begins")
    policy(bench, deletion="storage")
    bench.engine._station.look_now()
    until(lambda: bench.engine._places()["scope1"].share.deletion == "storage", "staff took it away")
    gate.set()
    ended(bench, order, JobState.STOPPED)
    gone = {f"alice/run12/{path.name}" for path in paths if not path.exists()}
    assert len(gone) == 1
    until(lambda: reported(bench) == gone, "the report")
    shown = bench.wait_for("run12", lambda card: card.deletion == "storage", "storage staff delete now")
    assert shown.actions == ()


def test_a_pause_stops_it_after_the_file_it_is_at_and_its_end_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run13")
    first, gate = threading.Event(), threading.Event()

    def wait_at_first(_path: Path) -> None:
        first.set()
        gate.wait()

    slow_unlink(monkeypatch, wait_at_first)
    done(bench.engine.submit(commands.FreeSpace((card,))))
    until(first.is_set, "it begins")
    done(bench.engine.submit(commands.Pause(600)))
    gate.set()

    def waits() -> bool:
        found = job(bench, order)
        return found is not None and found.reason is not None and found.reason.code == "paused_at_microscope"

    until(waits, "it says why it waits")
    assert sum(path.exists() for path in paths) == 2
    done(bench.engine.submit(commands.Resume()))
    ended(bench, order, JobState.DONE)
    assert not any(path.exists() for path in paths)
    until(lambda: len(reported(bench)) == 3, "the report")


def test_an_order_that_the_bridge_forgot_is_not_asked_about_for_ever(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    card, order, paths = released(bench, "run14")
    book = bench.engine._book
    bench.stub.refuse = lambda seen: Refusal(404, "no_such_order") if "/release" in seen.path else None
    done(bench.engine.submit(commands.FreeSpace((card,))))
    ended(bench, order, JobState.REFUSED)
    found = book.job(order)
    assert found is not None and not found.begun and all(path.exists() for path in paths)
