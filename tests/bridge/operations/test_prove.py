"""Proving again against real files and a real OMERO protocol: what holds, what is read, what is withdrawn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from server_bridge.contract import Condition, FreedReport, ReceiptStatus, Stage
from server_bridge.errors import Conflict, Unavailable
from server_bridge.orders.models import AuditEntry, utcnow
from server_bridge.pipeline import reproof
from server_bridge.retention.freed import record_freed
from server_bridge.retention.release import recheck
from server_bridge.retention.releaser import Releaser
from server_bridge.retention.reprove import prove_again
from tests.bridge.operations.conftest import Ferry, replace_by_copy
from tests.bridge.pipeline.world import World

pytestmark = pytest.mark.slow


def path_of(world: World, order_id: str, name: str = "a.tif") -> str:
    return f"{world.look(order_id).path}/{name}"


def managed(world: World, order_id: str, name: str = "a.tif") -> Path:
    return Path(str(world.files(order_id)[path_of(world, order_id, name)].managed_path))


def rot(path: Path) -> None:
    """Flip one bit and keep inode, size and time, as a disk that rots does."""
    before = path.stat()
    path.chmod(0o640)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))


def hold_is_over(world: World, order_id: str) -> None:
    with world.context.store.write() as session:
        order = world.context.store.get(session, order_id)
        assert order.proven_at is not None
        order.proven_at -= timedelta(days=2)


def audited(world: World, order_id: str) -> list[str]:
    with world.context.store.read() as session:
        return list(
            session.scalars(
                select(AuditEntry.action).where(AuditEntry.subject == order_id).order_by(AuditEntry.id)
            )
        )


def test_what_holds_is_told_and_changes_nothing(world: World, proven: str, ferry: Ferry) -> None:
    before = world.look(proven)
    code, out, err = ferry("prove", proven[:13])
    assert code == 0, out + err
    assert "2 of 2 files hold" in out
    assert "every proof holds" in out
    assert "1/1 orders, 2 files" in err
    # The list of checksums holds for the copy on the buffer and for the staged one.
    listed = subprocess.run(
        [sys.executable, "-m", "server_bridge.cli", "order", "receipts", proven, "--format", "sha1sum"],
        env={**os.environ, "FERRY_SITE": str(world.top / "site.toml")},
        capture_output=True,
        check=True,
    ).stdout
    for folder in (world.buffer, world.staged(proven, "")):
        done = subprocess.run(
            ["sha1sum", "-c", "--strict"], input=listed, cwd=folder, capture_output=True, check=True
        )
        assert done.stdout.count(b": OK\n") == 2
    code, out, _ = ferry("prove", proven, "--content", "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["orders"][0]["reproved"]) == (0, True, [])
    sizes = sum(
        world.staged(proven, path_of(world, proven, name)).stat().st_size for name in ("a.tif", "b.tif")
    )
    assert told["orders"][0]["bytes_read"] == sizes
    after = world.look(proven)
    assert (after.stage, after.revision) == (Stage.PROVEN, before.revision)


def test_moved_storage_is_proven_by_reading_and_may_be_released(
    world: World, proven: str, ferry: Ferry
) -> None:
    before = world.files(proven)[path_of(world, proven)]
    replace_by_copy(managed(world, proven), keep_time=False)
    code, out, _ = ferry("prove", proven, "--json")
    order = json.loads(out)["orders"][0]
    assert (code, order["held"], order["withdrawn"], order["problems"]) == (0, 2, False, [])
    assert [one["path"] for one in order["reproved"]] == [path_of(world, proven)]
    after = world.files(proven)[path_of(world, proven)]
    assert after.inode == managed(world, proven).stat().st_ino != before.inode
    assert (after.status, after.sha1, after.rule) == (
        ReceiptStatus.PROVEN,
        before.sha1,
        reproof.mark_reproved(int(managed(world, proven).stat().st_mtime)),
    )
    assert "order.reproved_by_hash" in audited(world, proven)
    # The second time nothing is read, and every later look of the bridge agrees.
    code, out, _ = ferry("prove", proven, "--json")
    assert (code, json.loads(out)["orders"][0]["bytes_read"]) == (0, 0)
    hold_is_over(world, proven)
    assert recheck(world.context, proven).released
    # Whatever touches the file afterwards is read again: the new inode has no staged name to vouch for it.
    os.utime(managed(world, proven), (1_000_000_000, 1_000_000_000))
    assert not recheck(world.context, proven).released
    code, out, _ = ferry("prove", proven, "--json")
    assert (code, len(json.loads(out)["orders"][0]["reproved"])) == (0, 1)
    assert recheck(world.context, proven).released


def test_other_bytes_under_another_inode_take_the_release_back(
    world: World, proven: str, ferry: Ferry
) -> None:
    hold_is_over(world, proven)
    assert recheck(world.context, proven).released
    original = managed(world, proven).read_bytes()
    replace_by_copy(managed(world, proven), data=original[:-1] + bytes([original[-1] ^ 1]))
    code, out, _ = ferry("prove", proven)
    assert code == 1
    assert "LOST" in out
    assert "[content_differs]" in out
    assert "withdrawn" in out
    order = world.look(proven)
    assert (order.stage, order.released_at) == (Stage.PROVING, None)
    assert world.files(proven)[path_of(world, proven)].status == ReceiptStatus.PENDING
    assert not recheck(world.context, proven).released
    assert audited(world, proven)[-1] == "order.proof_lost"


def test_rot_that_only_reading_shows_is_not_proven_again_without_reading(
    world: World, proven: str, ferry: Ferry
) -> None:
    hold_is_over(world, proven)
    file = managed(world, proven)
    good = file.read_bytes()
    rot(file)
    assert ferry("prove", proven)[0] == 0  # names, sizes and OMERO's rows are as they were
    code, out, _ = ferry("prove", proven, "--content")
    assert code == 1
    assert "[content_differs]" in out
    with world.running():
        order = world.wait_reason(proven, "content_differs")
        assert (order.stage, order.condition) == (Stage.PROVING, Condition.ATTENTION)
        world.retry(proven)
        world.wait(proven, lambda one: one.attempt > order.attempt and one.condition == Condition.ATTENTION)
        assert world.reason(proven) == "content_differs"
    assert not recheck(world.context, proven).released

    # The bytes come back from the buffer into the same file: proven, and on its way again.
    times = file.stat().st_mtime_ns
    with file.open("r+b") as out_file:
        out_file.write(good)
    os.utime(file, ns=(times, times))
    code, out, _ = ferry("prove", proven, "--json")
    found = json.loads(out)["orders"][0]
    assert (code, found["resumed"], found["withdrawn"]) == (0, True, False)
    with world.running():
        world.wait_proven(proven)
    assert world.files(proven)[path_of(world, proven)].status == ReceiptStatus.PROVEN
    assert recheck(world.context, proven).released


def test_an_order_that_stopped_because_its_storage_moved_goes_on(
    world: World, proven: str, ferry: Ferry
) -> None:
    hold_is_over(world, proven)
    replace_by_copy(managed(world, proven))
    with world.running():  # the periodic look comes first, and cannot know
        world.wait_reason(proven, "inode_differs")
    code, out, _ = ferry("prove", proven, "--json")
    assert (code, json.loads(out)["orders"][0]["resumed"]) == (0, True)
    with world.running():
        world.wait_stage(proven, Stage.RELEASED)
    assert world.files(proven)[path_of(world, proven)].rule.startswith("re-proved by SHA-1")


def test_what_is_worse_than_another_inode_is_named(world: World, proven: str, ferry: Ferry) -> None:
    managed(world, proven).unlink()
    other = managed(world, proven, "b.tif")
    other.chmod(0o640)
    with other.open("ab") as file:
        file.write(b"x")
    code, out, _ = ferry("prove", proven, "--json")
    found = json.loads(out)
    assert (code, found["ok"]) == (1, False)
    problems = {one["path"]: one["code"] for one in found["orders"][0]["problems"]}
    assert problems == {
        path_of(world, proven): "managed_missing",
        path_of(world, proven, "b.tif"): "size_differs",
    }
    assert found["orders"][0]["withdrawn"]
    assert world.look(proven).stage == Stage.PROVING


def test_a_disk_that_is_away_concludes_nothing(world: World, proven: str, ferry: Ferry) -> None:
    staging = world.site.staging_dir
    away = staging.with_name("staging-unmounted")
    staging.rename(away)
    staging.mkdir()
    try:
        with pytest.raises(Unavailable) as raised:
            prove_again(world.context, proven, "operator")
        code, out, err = ferry("prove", "--all", "--json")
    finally:
        staging.rmdir()
        away.rename(staging)
    assert raised.value.code == "disk_away"
    assert (code, json.loads(out)["not_checked"][proven]) == (1, "disk_away")
    assert "Mount it" in err
    assert world.look(proven).stage == Stage.PROVEN


def test_all_means_every_order_that_was_proven_and_one_needs_a_proof(
    world: World, other: str, proven: str, ferry: Ferry
) -> None:
    good, bad = other, proven
    managed(world, bad).unlink()
    (world.buffer / "alice" / "never.tif").write_bytes(b"x" * 100)
    never = world.order("alice/never.tif")
    code, out, _ = ferry("prove", "--all", "--json")
    told = {one["order"]: one for one in json.loads(out)["orders"]}
    assert code == 1
    assert (told[good]["holds"], told[bad]["holds"], never in told) == (True, False, False)
    with pytest.raises(Conflict):
        prove_again(world.context, never, "operator")
    assert ferry("prove", never)[0] == 1
    assert ferry("prove")[0] == 1
    assert ferry("prove", good, "--all")[0] == 1
    world.cancel(never)


def test_an_order_without_staged_names_is_proven_by_omeros_files(
    world: World, other: str, ferry: Ferry
) -> None:
    hold_is_over(world, other)
    assert recheck(world.context, other).released
    folder = world.buffer / world.look(other).path
    gone = tuple(world.manifest(world.look(other).path))
    shutil.rmtree(folder)
    record_freed(world.context, other, FreedReport(paths=gone), "storage")
    releaser, now = Releaser(world.context, apart=timedelta(seconds=1)), utcnow()
    for minute in range(6):
        releaser.tick(now + timedelta(minutes=2 * minute))
    assert world.look(other).stage == Stage.RETIRED
    assert not world.staged(other, path_of(world, other)).exists()

    code, out, _ = ferry("prove", other, "--content", "--json")
    found = json.loads(out)["orders"][0]
    assert (code, found["held"], found["reproved"]) == (0, 2, [])
    rot(managed(world, other))
    code, out, _ = ferry("prove", other, "--content", "--json")
    found = json.loads(out)["orders"][0]
    assert (code, [one["code"] for one in found["problems"]]) == (1, ["content_differs"])
    assert world.look(other).stage == Stage.RETIRED
    assert audited(world, other)[-1] == "order.proof_lost"

    # Deleted in OMERO: the receipts of what is left still hold.
    order = world.look(other)
    fileset = world.files(other)[path_of(world, other)].fileset_id
    assert fileset is not None
    with world.context.omero.as_person("alice", order.target["group_id"]) as session:
        session.delete("Fileset", fileset, order.target["group_id"], doing="deleting in a test")
    code, out, _ = ferry("prove", other, "--json")
    found = json.loads(out)["orders"][0]
    assert (code, [one["code"] for one in found["problems"]], found["held"]) == (1, ["fileset_missing"], 1)
