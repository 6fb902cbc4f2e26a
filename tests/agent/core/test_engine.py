"""The whole core over real files, real sockets and real threads."""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import Future
from typing import Any

import pytest

from agent.core import commands
from agent.core.errors import AgentError
from agent.core.snapshot import CardGroup, CardState, LogOff
from server_bridge.contract import Target
from tests.agent.bridge_stub import BridgeStub, Refusal, Seen
from tests.agent.conftest import MARKER, Bench, until

TARGET = Target(group_id=3, group_name="Cytoskeleton", container_name="embryos", project_name="Actin")
OTHER = Target(group_id=3, group_name="Cytoskeleton", container_name="screen-12")


def done(future: Future[Any]) -> Any:
    return future.result(30)


def sign_in(bench: Bench, name: str = "alice") -> None:
    done(bench.engine.submit(commands.SignIn(name, bench.stub.persons[name])))
    until(
        lambda: bench.snapshot and bench.snapshot.person and bench.snapshot.person.username == name,
        f"{name} is signed in",
    )


def started(bench: Bench) -> Bench:
    bench.engine.start()
    until(
        lambda: bench.snapshot and bench.snapshot.shares and bench.snapshot.shares[0].last_answer_at,
        "the share was looked at",
    )
    return bench


def order_of(bench: Bench, title: str) -> str:
    card = bench.wait_for(title, lambda card: card.order_id, "an order")
    assert card.order_id is not None
    return card.order_id


def test_an_acquisition_becomes_a_sealed_order_and_the_card_follows_the_bridge(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run1/a.tif")
    bench.write("alice/run1/Thumbs.db")
    card = bench.wait_for("run1", lambda card: card.state is CardState.NEEDS_TARGET, "it asks for a target")
    assert (card.person, card.group) == ("alice", CardGroup.NEEDS_YOU)
    assert bench.snapshot is not None and bench.snapshot.log_off.may is LogOff.NO
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run1")
    sealed = until(lambda: bench.stub.sealed(order), "a sealed manifest")
    # All files: the bridge compares with its own listing, which knows no patterns of ours.
    assert [entry["path"] for entry in sealed["files"]] == ["alice/run1/Thumbs.db", "alice/run1/a.tif"]
    status = (bench.share_top / "alice/run1/a.tif").stat()
    assert sealed["files"][1]["mtime_ns"] == status.st_mtime_ns
    bench.wait_for("run1", lambda card: card.state is CardState.QUEUED, "it is queued")
    until(lambda: bench.snapshot and bench.snapshot.log_off.may is LogOff.YES, "she may log off")
    bench.stub.change(order, stage="pulling", condition="running")
    bench.wait_for("run1", lambda card: card.state is CardState.COPYING, "it is being copied")
    bench.stub.change(order, stage="proven", condition="waiting")
    proven = bench.wait_for("run1", lambda card: card.state is CardState.PROVEN, "it is proven")
    assert proven.group is CardGroup.DONE and proven.id == card.id


def test_an_order_made_while_writing_is_open_first_and_sealed_when_it_rests(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    file = bench.write("alice/run2/a.tif")
    card = bench.wait_for("run2", lambda card: card.group is CardGroup.NOW, "it is being written")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run2")
    until(lambda: bench.stub.manifests.get(order), "an open manifest")
    assert bench.stub.manifests[order][0]["sealed"] is False
    file.write_bytes(b"y" * 5000)
    sealed = until(lambda: bench.stub.sealed(order), "a sealed manifest")
    assert sealed["files"][0]["size_bytes"] == 5000


def test_a_change_after_sealing_unseals_and_seals_the_new_content(bench: Bench) -> None:
    bench.stub.shares[0]["rule"]["quiet_seconds"] = 2.0
    started(bench)
    sign_in(bench)
    bench.write("alice/run3/a.tif")
    card = bench.wait_for("run3", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run3")
    until(lambda: bench.stub.sealed(order), "sealed")
    bench.write("alice/run3/b.tif")
    until(lambda: not bench.stub.sealed(order), "un-sealed at the bridge")
    assert bench.snapshot is not None
    until(
        lambda: (
            (bench.stub.sealed(order) or {}).get("files", []) and len(bench.stub.sealed(order)["files"]) == 2
        ),
        "sealed anew",
    )
    revisions = [manifest["revision"] for manifest in bench.stub.manifests[order]]
    assert revisions == sorted(set(revisions))


def test_when_the_bridge_saw_a_change_it_rests_again_and_is_sealed_anew(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run4/a.tif")
    card = bench.wait_for("run4", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run4")
    first = until(lambda: bench.stub.sealed(order), "sealed")
    bench.wait_for("run4", lambda card: card.state is CardState.QUEUED, "queued")
    bench.stub.change(order, sealed=False, stage="accepted", condition="waiting")
    until(
        lambda: (bench.stub.sealed(order) or {"revision": 0})["revision"] > first["revision"], "sealed anew"
    )


def test_what_changes_after_the_import_becomes_a_new_acquisition_that_says_so(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run5/a.tif")
    card = bench.wait_for("run5", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run5")
    until(lambda: bench.stub.sealed(order), "sealed")
    bench.stub.change(order, stage="importing", condition="running")
    bench.wait_for("run5", lambda card: card.state is CardState.IMPORTING, "importing")
    bench.write("alice/run5/later.tif")

    def successor() -> bool:
        cards = bench.snapshot.cards if bench.snapshot else ()
        return any(
            one.id != card.id and one.reason is not None and one.reason.code == "changed_after_import"
            for one in cards
        )

    until(successor, "a new card that says so")
    assert not any(len(m["files"]) == 2 for m in bench.stub.manifests[order])


def test_a_file_deleted_after_the_import_makes_no_new_acquisition(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run6/a.tif")
    gone = bench.write("alice/run6/b.tif")
    card = bench.wait_for("run6", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run6")
    until(lambda: bench.stub.sealed(order), "sealed")
    bench.stub.change(order, stage="proven", condition="waiting")
    gone.unlink()
    bench.wait_for("run6", lambda card: card.file_count == 1, "the scanner saw it")
    bench.wait_for("run6", lambda one: one.id == card.id and one.state is CardState.PROVEN, "still proven")


def test_a_refusal_stands_on_the_card_and_another_target_is_a_new_order(bench: Bench) -> None:
    def refuse(seen: Seen) -> Refusal | None:
        if seen.method == "PUT" and seen.path.count("/") == 3 and b"embryos" in seen.body:
            return Refusal(422, "target_not_writable", "You may not write there")
        return None

    bench.stub.refuse = refuse
    started(bench)
    sign_in(bench)
    bench.write("alice/run7/a.tif")
    card = bench.wait_for("run7", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    with pytest.raises(AgentError) as caught:
        done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    assert (caught.value.code, caught.value.remedy) == ("target_not_writable", "Do this.")
    refused = bench.wait_for("run7", lambda card: card.state is CardState.REFUSED, "refused")
    assert refused.reason is not None and refused.reason.title == "You may not write there"
    assert bench.snapshot is not None and bench.snapshot.log_off.may is LogOff.NO
    done(bench.engine.submit(commands.ChooseTarget(card.id, OTHER)))
    order = order_of(bench, "run7")
    assert until(lambda: bench.stub.sealed(order), "sealed")


def test_signing_out_strands_nothing_and_leaves_no_secret(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run8/a.tif")
    card = bench.wait_for("run8", lambda card: card.group is CardGroup.NOW, "being written")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run8")
    done(bench.engine.submit(commands.SignOut()))
    assert bench.platform.own_vault.get("session") is None
    until(lambda: bench.snapshot and bench.snapshot.person is None, "nobody is signed in")
    assert until(lambda: bench.stub.sealed(order), "sealed after the sign-out, by the order's own grant")
    with pytest.raises(AgentError, match="not_signed_in"):
        done(bench.engine.submit(commands.SetStandingTarget(TARGET)))
    for file in bench.top.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"secret-of-alice" not in content, file
            for token, (_user, _session, key) in bench.stub.sessions.items():
                assert token.encode() not in content and key.encode() not in content, file


def test_an_order_whose_grant_was_revoked_waits_for_its_person_and_then_goes_on(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.stub.refuse = lambda seen: Refusal(503) if seen.method == "PUT" else None
    bench.write("alice/run20/a.tif")
    card = bench.wait_for("run20", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    bench.stub.sessions.clear()
    bench.stub.refuse = lambda _seen: None
    asked = bench.wait_for("run20", lambda card: card.state is CardState.ATTENTION, "it asks her back")
    assert asked.reason is not None and asked.reason.code == "not_signed_in"
    assert bench.snapshot is not None and bench.snapshot.log_off.may is LogOff.NO
    sign_in(bench)
    order = order_of(bench, "run20")
    assert until(lambda: bench.stub.sealed(order), "sealed")


def test_data_that_is_in_omero_already_goes_again_only_by_consent(bench: Bench) -> None:
    def refuse(seen: Seen) -> Refusal | None:
        if seen.path.endswith("/manifest"):
            intent = bench.stub.intents[seen.path.split("/")[3]]
            if not intent["import_again"]:
                return Refusal(409, "already_imported", "This data is in OMERO already")
        return None

    bench.stub.refuse = refuse
    started(bench)
    sign_in(bench)
    bench.write("alice/run21/a.tif")
    card = bench.wait_for("run21", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    refused = bench.wait_for("run21", lambda card: card.state is CardState.REFUSED, "refused")
    assert refused.reason is not None and refused.reason.code == "already_imported"
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET, import_again=True)))
    bench.wait_for("run21", lambda card: card.state is CardState.QUEUED, "queued")
    stages = sorted(order["stage"] for order in bench.stub.orders.values())
    assert stages == ["accepted", "cancelled"]


def test_the_target_tree_is_there_offline_and_is_each_persons_own(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    targets = bench.engine.targets
    assert [group.name for group in targets.groups()] == ["Cytoskeleton"]
    online = targets.containers(3, "dataset").result(20)
    assert online.items[0].name == "embryos" and targets.tags(3, "").result(20).items == ("LifeAct",)
    bench.engine.stop()
    bench.stub.stop()
    bench.new_engine().start()
    offline = bench.engine.targets
    assert offline.containers(3, "dataset").result(20) == online
    with pytest.raises(AgentError, match="bridge_away"):
        offline.containers(3, "dataset", query="something never asked").result(20)
    done(bench.engine.submit(commands.SignOut()))
    with pytest.raises(AgentError, match="not_signed_in"):
        offline.containers(3, "dataset").result(20)
    assert offline.groups() == () and offline.recents() == ()


def test_offline_orders_survive_a_restart_and_go_out_when_the_bridge_is_back(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.stub.refuse = lambda seen: Refusal(503) if "/orders" in seen.path else None
    bench.write("alice/run9/a.tif")
    card = bench.wait_for("run9", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    bench.wait_for("run9", lambda card: card.state is CardState.SENDING, "kept in the outbox")
    assert bench.snapshot is not None and bench.snapshot.outbox_pending > 0
    bench.engine.stop()
    bench.stub.stop()
    bench.snapshots.clear()
    bench.new_engine().start()
    again = bench.wait_for("run9", lambda card: card.state is CardState.SENDING, "still there, same card")
    assert again.id == card.id
    until(
        lambda: bench.snapshot and bench.snapshot.log_off.may is LogOff.NO and bench.snapshot.person,
        "the sign-in is kept and she is told to wait",
    )
    bench.stub.refuse = lambda _seen: None
    bench.stub.start()
    order = order_of(bench, "run9")
    assert until(lambda: bench.stub.sealed(order), "sealed at last")
    assert len(bench.stub.orders) == 1


def test_orders_that_the_bridge_lost_are_put_again(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run10/a.tif")
    card = bench.wait_for("run10", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run10")
    until(lambda: bench.stub.sealed(order), "sealed")
    bench.wait_for("run10", lambda card: card.state is CardState.QUEUED, "queued")
    bench.stub.lose_everything()
    until(lambda: order in bench.stub.orders and bench.stub.sealed(order), "put and sealed again")


def test_from_now_on_orders_what_comes_next_and_nothing_of_before(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/before/a.tif")
    bench.wait_for("before", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.SetStandingTarget(TARGET)))
    bench.write("alice/after/a.tif")
    order = order_of(bench, "after")
    assert until(lambda: bench.stub.sealed(order), "sealed")
    assert bench.card("before") is not None and bench.card("before").order_id is None  # type: ignore[union-attr]
    assert bench.snapshot is not None
    assert bench.snapshot.standing_target_text == "Cytoskeleton › Actin › embryos"


def test_what_was_written_while_nobody_was_signed_in_is_unclaimed_until_somebody_says_so(
    bench: Bench,
) -> None:
    started(bench)
    bench.write("x/night/a.tif")
    card = bench.wait_for("night", lambda card: card.state is CardState.UNCLAIMED, "unclaimed")
    sign_in(bench)
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "night")
    assert until(lambda: bench.stub.sealed(order), "sealed")


def test_somebody_elses_data_is_not_hers_to_order_or_to_see_waiting(bench: Bench) -> None:
    started(bench)
    sign_in(bench, "alice")
    bench.write("alice/run11/a.tif")
    card = bench.wait_for("run11", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.SignOut()))
    sign_in(bench, "bob")
    until(lambda: bench.snapshot and bench.card("run11") is None, "bob does not see it")
    with pytest.raises(AgentError, match="not_yours"):
        done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    assert not bench.stub.orders


def test_done_now_seals_without_the_quiet_time(bench: Bench) -> None:
    bench.stub.shares[0]["rule"]["quiet_seconds"] = 3600.0
    started(bench)
    sign_in(bench)
    bench.write("alice/run12/a.tif")
    card = bench.wait_for("run12", lambda card: "DoneNow" in card.actions, "it can be called finished")
    assert card.witnesses[0].words.startswith("quiet 0:0")
    done(bench.engine.submit(commands.DoneNow(card.id)))
    finished = bench.wait_for("run12", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.NotYet(finished.id)))
    bench.wait_for("run12", lambda card: card.group is CardGroup.NOW, "not finished after all")


def test_cancel_ends_the_order_and_the_standing_target_does_not_bring_it_back(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    done(bench.engine.submit(commands.SetStandingTarget(TARGET)))
    bench.write("alice/run13/a.tif")
    order = order_of(bench, "run13")
    until(lambda: bench.stub.sealed(order), "sealed")
    bench.wait_for("run13", lambda card: "Cancel" in card.actions, "it can be cancelled")
    done(bench.engine.submit(commands.Cancel(bench.card("run13").id)))  # type: ignore[union-attr]
    cancelled = bench.wait_for("run13", lambda card: card.state is CardState.CANCELLED, "cancelled")
    assert cancelled.actions == ("ChooseTarget",)
    assert len(bench.stub.orders) == 1


def test_retargeting_is_a_command_on_the_same_order(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run14/a.tif")
    card = bench.wait_for("run14", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run14")
    done(bench.engine.submit(commands.ChooseTarget(card.id, OTHER)))
    bench.wait_for("run14", lambda card: card.target == OTHER, "the new target")
    assert list(bench.stub.orders) == [order]


def test_freeing_deletes_only_what_is_released_and_unchanged(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    paths = [bench.write(f"alice/run15/{name}.tif") for name in ("a", "b")]
    card = bench.wait_for("run15", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, "run15")
    sealed = until(lambda: bench.stub.sealed(order), "sealed")
    bench.stub.change(order, stage="released", condition="waiting", allowed_commands=[])
    bench.wait_for("run15", lambda card: "FreeSpace" in card.actions, "it may be deleted")
    done(bench.engine.submit(commands.FreeSpace((card.id,))))
    bench.wait_for("run15", lambda card: card.reason and card.reason.code == "hold", "the bridge said no")
    assert all(path.exists() for path in paths)
    files = [
        {"path": entry["path"], "size_bytes": entry["size_bytes"], "mtime_ns": entry["mtime_ns"]}
        for entry in sealed["files"]
    ]
    bench.stub.release_files[order] = files
    done(bench.engine.submit(commands.FreeSpace((card.id,))))
    until(lambda: not (bench.share_top / "alice/run15").exists(), "deleted")
    assert (bench.share_top / "alice").exists()
    until(lambda: bench.stub.freed, "the report")
    assert sorted(bench.stub.freed[-1]["paths"]) == ["alice/run15/a.tif", "alice/run15/b.tif"]
    bench.wait_for("run15", lambda card: card.state is CardState.FREED, "freed")


def test_a_workstation_that_is_not_approved_scans_nothing_and_says_so(bench: Bench) -> None:
    bench.stub.approved = False
    bench.write("alice/run16/a.tif")
    bench.engine.start()
    until(lambda: bench.snapshot and bench.snapshot.bridge.workstation_status == "pending", "it waits")
    sign_in(bench)
    assert bench.snapshot is not None and bench.snapshot.cards == ()
    assert bench.snapshot.log_off.may is LogOff.NO and "approved" in bench.snapshot.log_off.detail
    bench.stub.approved = True
    done(bench.engine.submit(commands.LookNow()))
    bench.wait_for("run16", lambda card: card.state is CardState.NEEDS_TARGET, "it is found")


def test_a_share_that_goes_away_takes_nothing_off_the_list_and_no_promise_is_made(bench: Bench) -> None:
    started(bench)
    sign_in(bench)
    bench.write("alice/run17/a.tif")
    bench.wait_for("run17", lambda card: card.state is CardState.NEEDS_TARGET, "finished")
    (bench.share_top / MARKER).unlink()
    shutil.rmtree(bench.share_top / "alice")
    until(lambda: bench.snapshot and not bench.snapshot.shares[0].answered, "the share is away")
    seen = len(bench.snapshots)
    until(lambda: len(bench.snapshots) > seen + 2, "some more looks")
    assert bench.card("run17") is not None
    assert bench.snapshot is not None and bench.snapshot.log_off.may is LogOff.NO
    assert bench.snapshot.shares[0].problem is not None


def test_heartbeats_tell_that_something_is_being_written_and_what_nobody_ordered(bench: Bench) -> None:
    started(bench)
    bench.write("alice/run18/a.tif")
    beat = until(
        lambda: next((beat for beat in list(bench.stub.heartbeats) if beat["unordered"]), None), "a heartbeat"
    )
    assert beat["unordered"][0]["path"] == "alice/run18"
    assert beat["shares"][0]["answered"] is True and beat["shares"][0]["free_bytes"] > 0


def test_a_second_agent_on_the_machine_leaves_the_scanning_to_the_first_but_shows_the_same(
    bench: Bench, stub: BridgeStub
) -> None:
    started(bench)
    bench.write("alice/run19/a.tif")
    bench.wait_for("run19", lambda card: card.state is CardState.UNCLAIMED, "unclaimed")
    first, other = bench.engine, bench.new_engine()
    first_id = bench.card("run19").id  # type: ignore[union-attr]
    bench.snapshots.clear()
    other.start()
    try:
        card = bench.wait_for("run19", lambda card: card.state is CardState.UNCLAIMED, "seen there as well")
        assert card.id == first_id
    finally:
        other.stop()
        first.stop()


def test_the_core_runs_without_qt() -> None:
    import subprocess

    program = (
        "import sys, importlib.abc\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] == 'PySide6': raise ImportError('blocked: ' + name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import agent.core.engine, agent.platform, agent.platform.windows\n"
        "agent.platform.select()\n"
        "import agent.headless\n"
        "assert not any(name.startswith('PySide6') for name in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert run.returncode == 0, run.stderr
