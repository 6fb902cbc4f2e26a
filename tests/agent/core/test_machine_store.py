"""What the machine's file keeps of a group, and what becomes of a file that an older agent wrote."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from agent.core.acquisition import Acquisition
from agent.core.machine_store import MIGRATIONS, MachineStore
from server_bridge.contract import AcquisitionKind

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SLIDE = Acquisition(
    id="one",
    share="conf",
    path="alice/img.vsi",
    kind=AcquisitionKind.GROUP,
    first_seen_at=NOW,
    person_then="alice",
    file_count=2,
    size_bytes=10,
    last_change_at=NOW,
    fingerprint=b"f",
    content=b"c",
    members=("img.vsi", "_img_"),
)


def test_a_groups_members_are_kept_and_follow_what_a_later_pass_found(tmp_path: Path) -> None:
    store = MachineStore(tmp_path / "machine.sqlite3")
    store.record([SLIDE], [], NOW)
    assert store.acquisition("one") == SLIDE
    grown = replace(SLIDE, members=("img.vsi", "_img_", "img.oex"))
    store.record([grown], [], NOW)
    assert store.acquisitions() == [grown]
    successor = store.acquisition(store.succeed(grown, "alice", NOW))
    assert successor is not None and successor.members == grown.members
    store.close()


def test_what_an_older_agent_found_has_no_members(tmp_path: Path) -> None:
    path = tmp_path / "machine.sqlite3"
    with sqlite3.connect(path) as old:
        for statement in MIGRATIONS[0].split(";\n"):
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
        old.execute(
            "INSERT INTO acquisitions (id, share, path, kind, first_seen_at, person_then, file_count,"
            " size_bytes, last_change_at, fingerprint, content) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            ("old", "conf", "run", "folder", NOW.isoformat(), "", 1, 1, NOW.isoformat(), b"f", b"c"),
        )
    store = MachineStore(path)
    (found,) = store.acquisitions()
    assert (found.path, found.members) == ("run", ())
    store.close()
