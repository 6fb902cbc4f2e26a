"""What was promised to a person is on the disk: also after kill -9 in the middle of writing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from agent.core.database import DatabaseTooNew
from agent.core.outbox import EntryState, Outbox
from server_bridge.contract import AcquisitionKind, CommandKind, CommandRequest, OrderIntent, Target
from tests.agent.conftest import OwnPlatform

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TARGET = Target(group_id=3, container_name="embryos")

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from agent.core.outbox import Outbox
from agent.platform import select
from server_bridge.contract import AcquisitionKind, OrderIntent, Target
top = Path(sys.argv[1])
outbox = Outbox(top / "outbox.sqlite3", select(top, top))
target = Target(group_id=3, container_name="e")
intent = OrderIntent(share="s", path="a", kind=AcquisitionKind.FOLDER, target=target)
while True:
    order = uuid4()
    outbox.add(order, str(order), "alice", intent, "grant-of-" + str(order), datetime.now(UTC))
    sys.stdout.write(f"{order} order\\n"); sys.stdout.flush()
    outbox.put_manifest(order, sealed=True, content=b"c", body=b"b" * 5000, file_count=1, size_bytes=1)
    sys.stdout.write(f"{order} manifest\\n"); sys.stdout.flush()
"""


def intent(path: str = "alice/run1") -> OrderIntent:
    return OrderIntent(share="scope1", path=path, kind=AcquisitionKind.FOLDER, target=TARGET)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.sqlite3", OwnPlatform(tmp_path))


def test_a_kill_in_the_middle_of_writing_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(60)]
    writer.kill()
    lines += writer.stdout.readlines()
    writer.wait(10)
    writer.stdout.close()
    promised = [line.split() for line in lines if line.endswith("\n")]
    outbox = Outbox(tmp_path / "outbox.sqlite3", OwnPlatform(tmp_path))
    entries = {entry.id: entry for entry in outbox.entries()}
    for order_id, what in promised:
        entry = entries[UUID(order_id)]
        assert entry.state is EntryState.NEW and outbox.grant_of(entry) == f"grant-of-{order_id}"
        if what == "manifest":
            manifest = outbox.manifest(entry.id)
            assert manifest is not None and manifest.body == b"b" * 5000
    connection = sqlite3.connect(tmp_path / "outbox.sqlite3")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.skipif(sys.platform == "win32", reason="the folder's rights close it on Windows")
def test_the_file_with_grants_is_its_owners_alone(tmp_path: Path, outbox: Outbox) -> None:
    outbox.add(uuid4(), "acq", "alice", intent(), "grant", NOW)
    for file in tmp_path.glob("outbox.sqlite3*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_every_commit_waits_for_the_disk(outbox: Outbox) -> None:
    connection = outbox._database.connection()
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_newer_agents_file_is_not_touched(tmp_path: Path, outbox: Outbox) -> None:
    outbox.close()
    connection = sqlite3.connect(tmp_path / "outbox.sqlite3")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(DatabaseTooNew, match="99"):
        Outbox(tmp_path / "outbox.sqlite3", OwnPlatform(tmp_path))


def test_a_manifest_replaced_while_under_way_is_still_unconfirmed(outbox: Outbox) -> None:
    order = uuid4()
    outbox.add(order, "acq", "alice", intent(), "grant", NOW)
    outbox.put_manifest(order, sealed=True, content=b"1", body=b"1", file_count=1, size_bytes=1)
    under_way = outbox.manifest(order)
    outbox.put_manifest(order, sealed=False, content=b"2", body=b"2", file_count=1, size_bytes=1)
    assert under_way is not None
    outbox.confirm_manifest(under_way, NOW)
    assert outbox.unconfirmed_manifests() == {order}
    entry = outbox.entry(order)
    assert entry is not None and entry.accepted_content == b"1"


def test_revisions_only_grow(outbox: Outbox) -> None:
    order = uuid4()
    outbox.add(order, "acq", "alice", intent(), "grant", NOW)
    values = {"content": b"", "body": b"", "file_count": 0, "size_bytes": 0}
    first = outbox.put_manifest(order, sealed=False, **values)  # type: ignore[arg-type]
    second = outbox.put_manifest(order, sealed=False, at_least=9, **values)  # type: ignore[arg-type]
    third = outbox.put_manifest(order, sealed=False, at_least=2, **values)  # type: ignore[arg-type]
    assert (first, second, third) == (1, 9, 10)


def test_commands_wait_in_order_and_keep_their_refusal(outbox: Outbox) -> None:
    order = uuid4()
    outbox.add(order, "acq", "alice", intent(), "grant", NOW)
    requests = [CommandRequest(id=uuid4(), kind=kind) for kind in (CommandKind.RETRY, CommandKind.CANCEL)]
    for request in requests:
        outbox.add_command(order, request, NOW)
    assert [command.request for command in outbox.pending_commands()] == requests
    outbox.finish_command(requests[0].id, None)
    assert [command.request for command in outbox.pending_commands()] == requests[1:]
    assert outbox.command_refusal(requests[0].id) is None


def test_recents_are_each_persons_own_latest_first_and_bounded(outbox: Outbox) -> None:
    for number in range(20):
        target = TARGET.model_copy(update={"container_name": f"d{number}"})
        outbox.note_recent("alice", target, NOW.replace(minute=number))
    outbox.note_recent("bob", TARGET, NOW)
    names = [target.container_name for target in outbox.recents("alice")]
    assert names == [f"d{number}" for number in range(19, 7, -1)]
    assert outbox.recents("bob") == [TARGET]


def test_an_entry_does_not_show_its_grant(outbox: Outbox) -> None:
    order = uuid4()
    outbox.add(order, "acq", "alice", intent(), "grant.very.secret", NOW)
    assert "very.secret" not in repr(outbox.entries())
