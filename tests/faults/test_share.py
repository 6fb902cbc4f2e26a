"""The buffer fails: gone, empty, locked, unreadable, still written. An outage is never read as a deletion."""

from __future__ import annotations

import pytest

from tests.e2e.plain_client import listing
from tests.faults.story import Story, eventually, staged_bytes
from tests.loopback.site import MARKER

pytestmark = pytest.mark.slow


def test_one_order_outlives_every_outage_of_its_share(story: Story) -> None:
    done = story.stack("alice/released.ome.tif")
    kept = story.order(done)
    story.client.wait_for_stage(kept, "released")
    path = story.stack("alice/patient.ome.tif")

    story.site.program("rsyncd").stop()
    order = story.order(path)
    state = story.told(order, "share_away", stage="accepted", condition="waiting")
    story.staff_say(order, state["reason"])

    (story.site.buffer / MARKER).unlink()
    story.site.start_rsyncd()
    story.told(order, "share_marker_missing", stage="accepted", condition="waiting")

    with story.unmounted_buffer():
        (story.site.buffer / "lost+found").mkdir()
        tries = story.client.state(order)["revision"]
        state = story.client.wait_until(
            order,
            lambda state: state["revision"] > tries + 1 and state["condition"] == "waiting",
            what="a look at the empty mount point",
        )
        assert state["reason"]["code"] == "share_marker_missing"
        assert state["sealed"], "the outage was taken for a source that changed"
        story.client.call("GET", f"/v1/orders/{kept}/release")
        assert story.client.state(kept)["stage"] == "released"
        assert staged_bytes(story.site, kept) > 0
        (story.site.buffer / "lost+found").rmdir()

    secret = story.site.top / "rsync.pass"
    right = secret.read_text(encoding="utf-8")
    secret.write_text("not-the-secret\n", encoding="utf-8")
    (story.site.buffer / MARKER).touch()
    state = story.told(order, "share_auth_failed", stage="accepted", condition="waiting")
    assert "not-the-secret" not in str(state)
    secret.write_text(right, encoding="utf-8")

    # Nobody retries it: once staff have corrected the secret, every order goes on by itself.
    story.proven(order)
    story.require_once(done, path)


def test_the_buffers_host_goes_away_in_the_middle_of_a_pull(story: Story) -> None:
    path = story.stack("alice/cut.ome.tif", frames=1, side=1024)
    with story.slow_buffer(1536):
        order = story.order(path)
        eventually(lambda: staged_bytes(story.site, order), 30, "the pull has begun")
        story.site.program("rsyncd").stop()
        story.told(order, "share_away", stage="pulling", condition="waiting")
    story.proven(order)
    story.require_once(path)


def test_a_buffer_emptied_in_the_middle_of_an_order_takes_nothing_from_staging(story: Story) -> None:
    folder = story.folder("alice/emptied", "a.ome.tif", "b.ome.tif")
    # OMERO is down: the order is pulled and cannot go on to the point of no return.
    story.site.program("sandbox").stop()
    order = story.order(folder)
    story.told(order, "omero_away", stage="verifying", condition="waiting")
    staged = staged_bytes(story.site, order)
    with story.unmounted_buffer():
        story.site.start_sandbox()
        state = story.told(order, "share_marker_missing", stage="verifying", condition="waiting")
        assert state["sealed"]
        assert staged_bytes(story.site, order) == staged
    story.proven(order)
    story.require_once(f"{folder}/a.ome.tif", f"{folder}/b.ome.tif")


def test_what_cannot_be_read_is_named_and_a_retry_brings_it(story: Story) -> None:
    folder = story.folder("alice/locked", "a.ome.tif", "inner/b.ome.tif")
    shut = story.site.buffer / folder / "inner"
    locked = story.site.buffer / folder / "a.ome.tif"
    order = story.order(folder, seal=False)
    listed = listing(story.site.buffer, folder)
    locked.chmod(0)
    shut.chmod(0)
    try:
        story.client.seal_listed(order, listed)
        state = story.told(order, "source_unreadable", stage="accepted", condition="attention")
        assert "inner" in state["reason"]["detail"]
        shut.chmod(0o755)
        story.command(order, "retry")
        state = story.told(order, "source_unreadable", stage="pulling", condition="attention")
        assert "a.ome.tif" in state["reason"]["detail"]
        story.staff_say(order, state["reason"])
    finally:
        shut.chmod(0o755)
        locked.chmod(0o644)
    story.command(order, "retry")
    story.proven(order)
    story.require_once(f"{folder}/a.ome.tif", f"{folder}/inner/b.ome.tif")


def test_a_source_that_changes_under_the_pull_waits_for_its_agent(story: Story) -> None:
    path = story.stack("alice/growing.ome.tif", frames=1, side=1024)
    with story.slow_buffer(1536):
        order = story.order(path)
        eventually(lambda: staged_bytes(story.site, order), 30, "the pull has begun")
        with (story.site.buffer / path).open("ab") as stream:
            stream.write(bytes(4096))
        state = story.told(order, "source_changed", stage="accepted", condition="waiting")
    assert not state["sealed"]
    assert not [name for name in story.held() if name == path]
    story.notes.take(story.site.buffer, story.site.buffer / path)
    story.client.seal(order, story.site.buffer, path, revision=state["manifest_revision"] + 1)
    story.proven(order)
    story.require_once(path)
