"""The microscope first, over the whole core: told at once, paused and resumed, and an older bridge."""

from __future__ import annotations

import os
from typing import Any

import pytest

from agent.core import commands
from agent.core.errors import AgentError
from agent.core.snapshot import LogOff
from tests.agent.bridge_stub import BridgeStub
from tests.agent.conftest import Bench, share_json, until
from tests.agent.core.test_engine import TARGET, done, sign_in, started


def newest(bench: Bench) -> dict[str, Any]:
    beats = list(bench.stub.heartbeats)
    return beats[-1] if beats else {}


def said(bench: Bench, acquiring: bool) -> bool:
    beat = newest(bench)
    return bool(beat.get("shares")) and beat["shares"][0]["acquiring"] is acquiring


def rare_heartbeats(bench: Bench) -> None:
    """A new agent that beats by itself hardly ever."""
    bench.engine.stop()
    bench.new_engine(heartbeat_seconds=3600)


def test_the_bridge_hears_at_once_that_the_microscope_writes(bench: Bench) -> None:
    rare_heartbeats(bench)
    started(bench)
    until(lambda: said(bench, False), "a first heartbeat")
    bench.write("alice/run1/a.tif")
    until(lambda: said(bench, True), "told out of turn")
    assert len(bench.stub.heartbeats) <= 4, "and not with each look"


def test_a_lease_is_renewed_before_a_third_of_it_has_passed(bench: Bench) -> None:
    rare_heartbeats(bench)
    bench.stub.lease_seconds = 3
    started(bench)
    until(lambda: len(bench.stub.heartbeats) >= 4, "renewed though the setting says once in an hour")


def test_a_pause_stops_all_looks_and_is_told_shown_and_ended(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    done(bench.engine.submit(commands.Pause(1800)))
    beat = until(lambda: newest(bench).get("paused_for_seconds") and newest(bench), "it is told")
    assert 1700 < beat["paused_for_seconds"] <= 1800
    assert beat["paused_by"] == "alice"
    assert said(bench, True), "whoever paused said that the microscope comes first"
    shown = until(lambda: bench.snapshot and bench.snapshot.pause, "it is shown")
    assert shown.by == "alice"
    snapshot = bench.snapshot
    assert snapshot is not None and snapshot.acquiring
    assert snapshot.log_off.may is LogOff.NO and "paused until" in snapshot.log_off.detail
    looked = snapshot.shares[0].last_answer_at
    bench.write("alice/run2/a.tif")
    # As many presenter's rounds as would have made several looks (a tenth of a second each).
    count = len(bench.snapshots)
    until(lambda: len(bench.snapshots) >= count + 3, "time passes")
    assert bench.snapshot is not None and bench.snapshot.shares[0].last_answer_at == looked
    assert bench.card("run2") is None
    done(bench.engine.submit(commands.Resume()))
    bench.wait_for("run2", lambda card: card, "it is looked at again")
    until(lambda: newest(bench)["paused_for_seconds"] == 0, "the bridge hears it")
    assert bench.snapshot is not None and bench.snapshot.pause is None


def test_a_pause_ends_by_itself_and_everything_goes_on(bench: Bench) -> None:
    started(bench)
    done(bench.engine.submit(commands.Pause(1.5)))
    until(lambda: bench.snapshot and bench.snapshot.pause, "it began")
    bench.write("alice/run3/a.tif")
    bench.wait_for("run3", lambda card: card, "found after the pause")
    until(lambda: newest(bench).get("paused_for_seconds") == 0.0, "the bridge hears it")


def test_a_pause_survives_a_restart_of_the_agent(bench: Bench) -> None:
    started(bench)
    done(bench.engine.submit(commands.Pause(1800)))
    bench.engine.stop()
    bench.snapshots.clear()
    bench.new_engine().start()
    shown = until(lambda: bench.snapshot and bench.snapshot.pause, "it is still paused")
    assert shown.by == "", "nobody was signed in"


def test_a_pause_may_wait_for_the_acquisition_program(bench: Bench) -> None:
    bench.stub.shares = [share_json(rule={"depth": 2, "quiet_seconds": 0.6, "acquisition_programs": ["ZEN"]})]
    started(bench)
    with pytest.raises(AgentError, match="No acquisition program") as refused:
        done(bench.engine.submit(commands.Pause(None)))
    assert refused.value.code == "no_program_runs"
    bench.platform.programs = frozenset({"zen"})
    until(lambda: bench.snapshot and bench.snapshot.pause_programs == ("ZEN",), "it is offered")
    done(bench.engine.submit(commands.Pause(None)))
    beat = until(lambda: newest(bench).get("paused_for_programs") and newest(bench), "it is told")
    assert beat["paused_for_programs"] == ["ZEN"]
    bench.platform.programs = frozenset()
    until(lambda: bench.snapshot and bench.snapshot.pause is None, "it ends with the program")


def test_what_is_ordered_during_a_pause_goes_out_after_it(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run4/a.tif")
    card = bench.wait_for(
        "run4", lambda card: "ChooseTarget" in card.actions and card.finished_at, "finished"
    )
    done(bench.engine.submit(commands.Pause(1800)))
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = bench.wait_for("run4", lambda card: card.order_id, "an order").order_id
    assert order is not None
    count = len(bench.snapshots)
    until(lambda: len(bench.snapshots) >= count + 3, "time passes")
    assert not bench.stub.sealed(order), "no file list is made: that would be a look at the share"
    done(bench.engine.submit(commands.Resume()))
    until(lambda: bench.stub.sealed(order), "sealed afterwards")


def test_an_older_bridge_gets_a_heartbeat_that_it_understands(bench: Bench, stub: BridgeStub) -> None:
    stub.refuses_in_heartbeats = frozenset({"load", "paused_by", "paused_for_programs", "paused_for_seconds"})
    started(bench)
    beat = until(lambda: newest(bench), "a heartbeat that was taken")
    assert "load" not in beat and beat["shares"]
    assert bench.snapshot is not None and bench.snapshot.bridge.problem is None


def test_damaged_files_are_shown_and_told(bench: Bench) -> None:
    bench.engine.stop()
    (bench.platform.machine_dir() / "machine.sqlite3").write_bytes(b"\xa5" * 8192)
    bench.new_engine()
    started(bench)
    shown = bench.snapshot.damage if bench.snapshot else None
    assert shown is not None and shown.code == "machine_file_damaged"
    told = until(lambda: newest(bench).get("damage"), "it is told")
    assert "machine.sqlite3.damaged-" in told


def test_the_agents_own_load_is_shown_and_told(bench: Bench) -> None:
    started(bench)
    bench.write("alice/run5/a.tif")
    shown = until(lambda: bench.snapshot and bench.snapshot.load, "it is shown")
    assert shown.cpu_percent >= 0 and shown.entries > 0
    told = until(lambda: newest(bench).get("load"), "it is told")
    assert told["cpu_percent"] < 100 * (os.cpu_count() or 1)
