"""Dropping staged names under any mixture of facts: the last name of some bytes is never unlinked."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server_bridge.context import Context
from server_bridge.contract import Condition, ReceiptStatus, Stage
from server_bridge.omero.proof import look
from server_bridge.orders.models import Order, OrderFile, utcnow
from server_bridge.retention import reconcile
from server_bridge.retention.reconcile import APART, Sighting, drop_links, unlink_second_name
from tests.bridge.bridge_site import make_site, make_store

AT = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Facts:
    """One file: where it is, and what the table says."""

    in_first: bool
    in_second: bool
    status: ReceiptStatus
    freed: bool
    staged: str
    """``linked`` with OMERO's file, a ``copy``, or ``none``."""
    managed: bool


FILES = st.lists(
    st.builds(
        Facts,
        in_first=st.booleans(),
        in_second=st.booleans(),
        status=st.sampled_from([ReceiptStatus.PROVEN, ReceiptStatus.PROVEN, *ReceiptStatus]),
        freed=st.sampled_from([True, True, False]),
        staged=st.sampled_from(["linked", "linked", "copy", "none"]),
        managed=st.sampled_from([True, True, False]),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    site = make_site(tmp_path)
    return Context(site, make_store(site), cast(Any, None))


def build(context: Context, facts: list[Facts], stage: Stage, freed: bool) -> tuple[str, Path, Path]:
    """An order of these files, its staging folder and OMERO's."""
    order_id, now = str(uuid.uuid4()), utcnow()
    staging = context.site.staging_dir / "conf" / order_id
    managed = context.site.state_dir.parent / "managed" / order_id
    staging.mkdir(parents=True)
    managed.mkdir(parents=True)
    with context.store.write() as session:
        session.add(
            Order(
                id=order_id,
                person="alice",
                ordered_by="alice",
                share="conf",
                path=".",
                kind="folder",
                target={"group_id": 3, "container_id": 1},
                request_digest="0" * 64,
                stage=stage,
                condition=Condition.QUEUED,
                stage_since=now,
                change=0,
                created_at=now,
                updated_at=now,
                freed_at=now if freed else None,
            )
        )
        session.flush()
        for number, one in enumerate(facts):
            name = f"f{number}"
            (managed / name).write_bytes(name.encode() * 9)
            inode = (managed / name).stat().st_ino
            if one.staged == "linked":
                (staging / name).hardlink_to(managed / name)
            elif one.staged == "copy":
                (staging / name).write_bytes(name.encode() * 9)
            if not one.managed:
                (managed / name).unlink()
            session.add(
                OrderFile(
                    order_id=order_id,
                    path=name,
                    size_bytes=18,
                    mtime_ns=0,
                    status=one.status.value,
                    managed_path=str(managed / name),
                    inode=inode,
                    freed_at=now if one.freed else None,
                )
            )
    return order_id, staging, managed


def sightings(facts: list[Facts], apart: timedelta) -> tuple[Sighting, Sighting]:
    return (
        Sighting(AT, frozenset(f"f{n}" for n, one in enumerate(facts) if one.in_first)),
        Sighting(AT + apart, frozenset(f"f{n}" for n, one in enumerate(facts) if one.in_second)),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    facts=FILES,
    apart=st.sampled_from([APART, APART * 2, APART - timedelta(seconds=1), timedelta(0)]),
    cap=st.sampled_from([0, 1, 2, 100]),
    stage=st.sampled_from([Stage.RELEASED, Stage.RELEASED, Stage.PROVEN, Stage.PROVING]),
    freed=st.sampled_from([True, True, False]),
)
def test_a_pass_drops_exactly_what_all_five_conditions_allow(
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    facts: list[Facts],
    apart: timedelta,
    cap: int,
    stage: Stage,
    freed: bool,
) -> None:
    monkeypatch.setattr(reconcile, "CAP_PER_PASS", cap)
    order_id, staging, managed = build(context, facts, stage, freed)
    before = {one.name for one in staging.iterdir()}
    contents = {one.name: one.read_bytes() for top in (staging, managed) for one in top.iterdir()}
    first, second = sightings(facts, apart)
    done = drop_links(context, order_id, first, second, APART)

    may_go = {
        f"f{number}"
        for number, one in enumerate(facts)
        if stage is Stage.RELEASED
        and freed
        and apart >= APART
        and not (one.in_first or one.in_second)
        and one.status is ReceiptStatus.PROVEN
        and one.freed
        and one.staged == "linked"
        and one.managed
    }
    gone = before - {one.name for one in staging.iterdir()}
    assert gone <= may_go
    assert len(gone) == done.count == min(cap, len(may_go))
    # Whatever happened: no byte lost its last name, and OMERO's side was not touched.
    after = {one.name: one.read_bytes() for top in (staging, managed) for one in top.iterdir()}
    assert after == contents
    # A restart forgets the sightings; the same listings again finish the work and drop nothing else.
    for _again in facts:
        drop_links(context, order_id, first, second, APART)
    if cap:
        assert before - {one.name for one in staging.iterdir()} == may_go
    left = [
        one for number, one in enumerate(facts)
        if one.status is ReceiptStatus.PROVEN and one.staged != "none" and f"f{number}" not in may_go
    ]  # fmt: skip
    retired = context.store.order(order_id).stage == Stage.RETIRED
    assert retired == (stage is Stage.RELEASED and freed and not left and (bool(cap) or not may_go))


def test_a_name_that_became_another_file_since_the_look_stays(tmp_path: Path) -> None:
    staged, managed = tmp_path / "staged", tmp_path / "managed"
    managed.write_bytes(b"proven")
    staged.hardlink_to(managed)
    seen = look(staged)
    assert seen is not None
    # Exchanged between look and unlink: by a copy, a link to elsewhere, a folder, nothing.
    staged.unlink()
    assert not unlink_second_name(staged, seen)
    staged.write_bytes(b"proven")
    assert not unlink_second_name(staged, seen)
    staged.unlink()
    staged.symlink_to(managed)
    assert not unlink_second_name(staged, seen)
    assert staged.is_symlink()
    staged.unlink()
    staged.mkdir()
    assert not unlink_second_name(staged, seen)
    staged.rmdir()
    # The other name went: this one is the last.
    staged.hardlink_to(managed)
    managed.unlink()
    assert not unlink_second_name(staged, seen)
    assert staged.read_bytes() == b"proven"
    os.link(staged, managed)
    assert unlink_second_name(staged, seen)
    assert managed.read_bytes() == b"proven"


def test_a_folder_exchanged_for_a_link_is_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "a").write_bytes(b"x")
    os.link(folder / "a", tmp_path / "managed")
    seen = look(folder / "a")
    assert seen is not None
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert not unlink_second_name(folder / "a", seen)
    assert (elsewhere / "a").exists()
