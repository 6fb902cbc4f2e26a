"""Orders follow acquisitions: pure decisions, held over every order of events."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import listing, manifests
from agent.core.clerk import Step, decide
from agent.core.errors import ShareAway
from agent.core.outbox import EntryState, StoredManifest
from tests.agent.conftest import MARKER, workstation_share
from tests.agent.core.test_cards import ENTRY, FOUND, ORDER, state

SEALED = StoredManifest(ORDER, 1, True, b"c", b"", 1, 1, True)


@pytest.mark.parametrize("entry_state", [EntryState.REFUSED, EntryState.WITHDRAWN])
def test_nothing_is_made_for_what_was_refused_or_withdrawn(entry_state: EntryState) -> None:
    assert decide(FOUND, replace(ENTRY, state=entry_state), None, None, True) is Step.NOTHING


@pytest.mark.parametrize("stage", ["cancelled", "discarded", "retired", "teleporting"])
def test_nothing_is_made_for_an_order_that_is_over_or_not_understood(stage: str) -> None:
    changed = replace(FOUND, content=b"other")
    assert decide(changed, ENTRY, state(stage), SEALED, True) is Step.NOTHING


def test_what_omero_took_is_compared_and_never_sealed_again() -> None:
    changed = replace(FOUND, content=b"other")
    for stage in ("importing", "proving", "annotating", "proven", "released"):
        assert decide(changed, ENTRY, state(stage), SEALED, True) is Step.COMPARE
        assert decide(FOUND, ENTRY, state(stage), SEALED, True) is Step.NOTHING


def test_the_bridges_doubt_outweighs_our_seal() -> None:
    doubted = state("accepted", "waiting", sealed=False)
    assert decide(FOUND, ENTRY, doubted, SEALED, True) is Step.REST_AGAIN
    older = state("accepted", "waiting", sealed=False, manifest_revision=0)
    assert decide(FOUND, ENTRY, older, SEALED, True) is Step.NOTHING, (
        "what it said before our seal is old news"
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["write", "finish", "clerk", "clerk-due", "confirm", "doubt"]), max_size=40),
)
def test_no_order_of_events_leaves_a_seal_on_content_that_is_not_there(events: list[str]) -> None:
    """After each of the clerk's rounds a sealed manifest is of what lies there, finished."""
    content, finished, manifest, entry = 0, False, None, replace(ENTRY, accepted_sealed=False)
    bridge_sealed: bool | None = None
    for event in [*events, "finish", "clerk", "clerk", "finish", "clerk", "clerk"]:
        found = replace(
            FOUND, content=bytes([content % 256]), finished_at=FOUND.finished_at if finished else None
        )
        if event == "write":
            content, finished = content + 1, False
        elif event == "finish":
            finished = True
        elif event == "confirm" and manifest is not None:
            manifest = replace(manifest, confirmed=True)
            entry = replace(
                entry,
                accepted_sealed=manifest.sealed,
                accepted_content=manifest.content,
                accepted_revision=manifest.revision,
            )
            bridge_sealed = manifest.sealed
        elif event == "doubt" and bridge_sealed:
            bridge_sealed = False
        elif event.startswith("clerk"):
            known = None
            if bridge_sealed is not None:
                known = state("accepted", sealed=bridge_sealed, manifest_revision=entry.accepted_revision)
            step = decide(found, entry, known, manifest, event == "clerk-due")
            if step in (Step.OPEN, Step.SEAL):
                revision = (manifest.revision if manifest else 0) + 1
                manifest = StoredManifest(ORDER, revision, step is Step.SEAL, found.content, b"", 1, 1, False)
            elif step is Step.REST_AGAIN:
                entry, finished = replace(entry, accepted_sealed=False, accepted_content=None), False
            if manifest is not None and manifest.sealed and step is not Step.REST_AGAIN:
                assert finished and manifest.content == found.content
    assert manifest is not None and manifest.sealed and manifest.content == bytes([content % 256])


def test_a_manifest_is_made_between_two_looks_at_the_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MARKER).touch()
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / "a.tif").write_bytes(b"x")
    share = workstation_share()
    built = manifests.build(tmp_path, share, "run1", judged=False)
    assert manifests.lines_of(built.body).keys() == {"run1/a.tif"}
    real = listing.walk

    def walk_and_lose(*args: object, **kwargs: object) -> Iterator[listing.FileSeen]:
        (tmp_path / MARKER).unlink()
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "walk", walk_and_lose)
    with pytest.raises(ShareAway):
        manifests.build(tmp_path, share, "run1", judged=False)


def test_news_is_what_was_added_or_changed_not_what_went(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    (tmp_path / "run1").mkdir()
    for name in ("a", "b"):
        (tmp_path / "run1" / name).write_bytes(b"x")
    share = workstation_share()
    before = manifests.build(tmp_path, share, "run1", judged=False).body
    (tmp_path / "run1" / "b").unlink()
    assert not manifests.has_news(before, manifests.build(tmp_path, share, "run1", judged=False).body)
    (tmp_path / "run1" / "b").write_bytes(b"other")
    assert manifests.has_news(before, manifests.build(tmp_path, share, "run1", judged=False).body)


@pytest.mark.skipif(sys.platform == "win32", reason="every name is Unicode on Windows")
def test_a_name_that_is_no_unicode_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / "bad\udcff.tif").write_bytes(b"x")
    with pytest.raises(manifests.NotOrderable) as caught:
        manifests.build(tmp_path, workstation_share(), "run1", judged=False)
    assert caught.value.remedy == "Rename the file."


def test_junk_and_a_time_that_the_storage_rounded_are_no_news(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    (tmp_path / "run1").mkdir()
    file = tmp_path / "run1" / "a"
    file.write_bytes(b"x")
    os.utime(file, ns=(10_500_000_000, 10_500_000_000))
    share = workstation_share()
    before = manifests.build(tmp_path, share, "run1", judged=False).body
    os.utime(file, ns=(10_000_000_000, 10_000_000_000))
    (tmp_path / "run1" / "Thumbs.db").write_bytes(b"x")
    after = manifests.build(tmp_path, share, "run1", judged=False).body
    assert manifests.has_news(before, after)
    assert not manifests.has_news(before, after, ignore=("Thumbs.db",), tolerance_ns=2_000_000_000)
    os.utime(file, ns=(20_000_000_000, 20_000_000_000))
    later = manifests.build(tmp_path, share, "run1", judged=False).body
    assert manifests.has_news(before, later, ignore=("Thumbs.db",), tolerance_ns=2_000_000_000)
