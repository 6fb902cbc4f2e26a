"""One shared PC: what stays of a person who signs out, and what the next one finds."""

from __future__ import annotations

import logging
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from agent.core import commands
from agent.core.snapshot import CardGroup, CardState
from agent.platform.vault import LONGEST_SECRET
from server_bridge.contract import Person, SessionCreated, SessionPolicy, SubmissionGrant
from tests.agent.conftest import Bench, until
from tests.agent.core.test_engine import OTHER, TARGET, done, order_of, sign_in, started
from tests.agent.core.test_forgotten import Watch


def facts_in(file: Path) -> dict[str, str]:
    connection = sqlite3.connect(file)
    try:
        return dict(connection.execute("SELECT name, value FROM facts").fetchall())
    finally:
        connection.close()


def test_the_longest_name_fits_into_the_windows_vault(tmp_path: Path) -> None:
    watch = Watch(tmp_path, SessionPolicy())
    now = watch.clock.now()
    answer = SessionCreated(
        token="t" * 64,
        expires_at=now + timedelta(hours=12),
        person=Person(username="\N{GRINNING FACE}" * 255),
        grant=SubmissionGrant(session_id="s" * 36, key="k" * 64, expires_at=now + timedelta(days=14)),
    )
    watch.desk._keep(answer, now)
    kept = watch.desk._vault.get("session")
    assert kept is not None and len(kept.encode("utf-16-le")) // 2 <= LONGEST_SECRET
    restored = watch.desk.restore()
    assert restored is not None and (restored.token, restored.since) == ("t" * 64, now)


def test_idleness_signs_out_by_the_bridges_policy_and_leaves_nothing_of_her(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.stub.session_policy = {"idle_minutes": 30}
    started(bench)
    sign_in(bench)
    done(bench.engine.submit(commands.SetStandingTarget(TARGET)))
    bench.engine.targets.containers(3, "dataset").result(20)
    bench.write("x/run1/a.tif")
    order = order_of(bench, "run1")
    token = next(iter(bench.stub.sessions))
    bench.platform.idle = 1750.0
    bench.engine._forgotten.step()
    until(lambda: bench.snapshot and bench.snapshot.sign_out, "the warning")
    bench.platform.idle = 1801.0
    bench.engine._forgotten.step()
    until(lambda: bench.snapshot and bench.snapshot.person is None, "signed out")
    until(lambda: token in bench.stub.ended, "the bridge knows as well")
    assert bench.platform.own_vault.get("session") is None and bench.engine.desk.held() is None
    facts = facts_in(bench.platform.user_dir() / "outbox.sqlite3")
    assert not [name for name in facts if name == "person" or name.startswith("alice:")]
    assert bench.engine.targets._cache == {}
    assert until(lambda: bench.stub.sealed(order), "her order goes on by its grant")
    until(lambda: bench.snapshot and bench.card("run1") is None, "her card is gone from the screen")
    snapshot = bench.snapshot
    assert snapshot is not None and snapshot.standing_target is None
    assert snapshot.signed_out is not None and snapshot.signed_out.code == "signed_out"
    shown = repr(snapshot)
    assert "alice" not in shown and "embryos" not in shown
    for secret in (token, "secret-of-alice", "alice"):
        assert secret not in caplog.text


def test_the_next_person_takes_over_and_finds_nothing_of_the_first(bench: Bench) -> None:
    started(bench)
    sign_in(bench, "alice")
    done(bench.engine.submit(commands.SetStandingTarget(TARGET)))
    bench.write("x/hers/a.tif")
    hers = order_of(bench, "hers")
    first = next(iter(bench.stub.sessions))
    sign_in(bench, "bob")
    assert first in bench.stub.ended, "signed out at the bridge too: she is not here any more"
    until(lambda: bench.snapshot and bench.card("hers") is None, "her card is gone")
    assert bench.snapshot is not None and bench.snapshot.standing_target is None
    bench.write("x/his/a.tif")
    card = bench.wait_for("his", lambda card: card.state is CardState.NEEDS_TARGET, "bob's")
    assert card.person == "bob"
    done(bench.engine.submit(commands.ChooseTarget(card.id, OTHER)))
    his = order_of(bench, "his")
    assert until(lambda: bench.stub.sealed(hers) and bench.stub.sealed(his), "both go on")
    assert (bench.stub.orders[hers]["person"], bench.stub.orders[his]["person"]) == ("alice", "bob")


def test_from_now_on_of_another_day_is_not_taken_up_again(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    # A power cut: nobody signed out, and the sign-in is not there any more when she comes back.
    done(bench.engine.submit(commands.SetStandingTarget(TARGET)))
    bench.engine.stop()
    bench.platform.own_vault.delete("session")
    bench.snapshots.clear()
    bench.new_engine()
    started(bench)
    sign_in(bench)
    assert bench.snapshot is not None and bench.snapshot.standing_target is None


def test_what_is_being_written_is_shown_to_others_without_whose_it_is(bench: Bench) -> None:
    bench.stub.shares[0]["rule"]["quiet_seconds"] = 3600.0
    started(bench)
    sign_in(bench, "alice")
    bench.write("x/running/a.tif")
    card = bench.wait_for("running", lambda card: card.group is CardGroup.NOW, "being written")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order_of(bench, "running")
    done(bench.engine.submit(commands.SignOut()))
    seen = bench.wait_for("running", lambda card: not card.person, "seen by nobody in particular")
    assert seen.file_count == 1 and seen.id == card.id
    assert (seen.target, seen.order_id, seen.actions, seen.reason) == (None, None, (), None)
