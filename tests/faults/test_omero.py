"""OMERO fails: down, hung, killed, refusing, lying. An order waits for it, or asks, and is imported once."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.e2e.plain_client import PlainClient
from tests.faults.story import Story, eventually
from tests.loopback.processes import freeze
from tests.loopback.site import LoopbackSite

CALLS = "call_timeout_seconds = 10"

pytestmark = pytest.mark.slow


class ImpatientSite(LoopbackSite):
    """A bridge that calls OMERO hung after four seconds."""

    def write_site_file(self) -> None:
        super().write_site_file()
        text = self.site_file.read_text(encoding="utf-8")
        self.site_file.write_text(text.replace(CALLS, "call_timeout_seconds = 4"), encoding="utf-8")


@pytest.fixture(scope="module")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSite]:
    """As for the other stories, with an impatient bridge."""
    with ImpatientSite(tmp_path_factory.mktemp("omero") / "site") as running:
        yield running


def _filesets_of(story: Story, path: str) -> int:
    return story.held().count(path)


def test_an_order_outlives_an_omero_that_hangs_and_then_is_down(story: Story) -> None:
    path = story.stack("alice/down.ome.tif")
    order = story.order(path, seal=False)
    sandbox = story.site.program("sandbox")
    freeze(sandbox.pid)
    try:
        story.client.seal(order, story.site.buffer, path)
        story.told(order, "omero_hung", stage="verifying", condition="waiting")
        assert story.client.call("GET", "/healthz")["status"]
    finally:
        sandbox.kill()
    state = story.told(order, "omero_away", stage="verifying", condition="waiting")
    story.staff_say(order, state["reason"])
    credentials = {"username": "bob", "password": "bob-sandbox"}
    story.refused("POST", "/v1/session", 503, "omero_away", json=credentials)
    # Ordering does not depend on OMERO's uptime.
    other = story.order(story.stack("alice/ordered-meanwhile.ome.tif"))
    story.site.start_sandbox()
    signed_in = PlainClient(story.site.bridge_url).sign_in("bob", "bob-sandbox")
    assert signed_in["username"] == "bob"
    story.proven(order, other)
    story.require_once(path, "alice/ordered-meanwhile.ome.tif")


def test_a_hung_omero_that_comes_back_goes_on_where_it_was(story: Story) -> None:
    path = story.stack("alice/hung.ome.tif")
    story.fault("importFileset", "delay:2", match="hung.ome.tif")
    order = story.order(path)
    story.client.wait_for_stage(order, "importing")
    sandbox = story.site.program("sandbox")
    freeze(sandbox.pid)
    try:
        story.told(order, "omero_hung", stage="importing", condition="waiting")
        story.refused("POST", "/v1/session", 503, "omero_hung", json={"username": "bob", "password": "b"})
    finally:
        sandbox.signal(signal.SIGCONT)
    story.proven(order)
    story.require_once(path)


def test_an_import_that_breaks_off_twice_is_made_by_the_third_try(story: Story) -> None:
    path = story.stack("alice/twice.ome.tif")
    story.fault("link", "fail", count=2, match="twice")
    order = story.order(path)
    story.told(order, "import_failed", stage="importing", condition="waiting")
    story.proven(order)
    story.require_once(path)


def test_a_checksum_that_never_agrees_asks_somebody_and_is_never_proven(story: Story) -> None:
    path = story.stack("alice/wrong-hash.ome.tif")
    story.fault("hash", "wrong_hash", count=-1, match="wrong-hash")
    order = story.order(path)
    state = story.told(order, "checksum_mismatch", stage="importing", condition="attention")
    assert state["proven_at"] is None
    receipts = story.client.call("GET", f"/v1/orders/{order}/receipts")["receipts"]
    assert [receipt["status"] for receipt in receipts] == ["pending"]
    release = story.client.call("GET", f"/v1/orders/{order}/release")
    assert release["released"] is False and release["files"] == []
    story.clear_faults()
    story.command(order, "retry")
    story.proven(order)
    story.require_once(path)


def test_an_import_that_omero_itself_fails_twice_asks_twice_and_is_made_once_elsewhere(story: Story) -> None:
    path = story.stack("alice/server-fails.ome.tif")
    story.fault("step1", "fail", count=2, match="server-fails")
    order = story.order(path)
    state = story.told(order, "import_failed", stage="importing", condition="attention")
    story.staff_say(order, state["reason"])
    seen = state["revision"]
    story.command(order, "retry")
    story.client.wait_until(
        order,
        lambda state: state["condition"] == "attention" and state["revision"] > seen + 1,
        what="the second failure is told, too",
    )
    failed = story.empty_filesets()
    assert len(failed) == 2
    # A third try that does not even reach OMERO is told as such, and not taken for the first two.
    story.fault("link", "fail", match="server-fails")
    story.command(order, "retarget", target=story.target())
    story.told(order, "import_failed", stage="importing", condition="waiting")
    story.proven(order)
    # What OMERO reported as failed stays there until its administrator removes it, as the order said.
    assert story.empty_filesets() == failed
    story.administrator_deletes(*failed)
    story.require_once(path)


def test_omero_killed_before_the_upload_is_finished_is_imported_once_by_itself(story: Story) -> None:
    path = story.stack("alice/killed-early.ome.tif")
    story.fault("verifyUpload", "delay:5", match="killed-early")
    order = story.order(path)
    eventually(lambda: _filesets_of(story, path), 40, "the fileset is made")
    story.site.program("sandbox").kill()
    story.told(order, "omero_away", stage="importing", condition="waiting")
    story.clear_faults()
    story.site.start_sandbox()
    story.proven(order)
    story.require_once(path)


def test_omero_killed_while_it_makes_the_images_loses_and_doubles_nothing(story: Story) -> None:
    path = story.stack("alice/killed-late.ome.tif")
    story.fault("step2", "delay:30", match="killed-late")
    order = story.order(path)
    eventually(lambda: story.images_of(path), 40, "the first images are there")
    assert story.client.state(order)["stage"] == "importing"
    story.site.program("sandbox").kill()
    story.clear_faults()
    story.site.start_sandbox()
    story.proven(order)
    story.require_once(path)


def test_an_import_that_omero_forgot_asks_and_goes_on_when_its_remains_are_deleted(
    story: Story,
) -> None:
    path = story.stack("alice/forgotten.ome.tif")
    story.change_site("call_timeout_seconds = 4", "call_timeout_seconds = 4\nimport_stall_seconds = 3")
    story.restart_bridge()
    try:
        story.fault("step1", "delay:60", match="forgotten")
        order = story.order(path)
        eventually(lambda: _filesets_of(story, path), 40, "the fileset is made")
        story.site.program("sandbox").kill()
        story.clear_faults()
        story.site.start_sandbox()
        story.told(order, "import_unfinished", stage="importing", condition="attention")
        story.administrator_deletes(*story.empty_filesets())
        story.command(order, "retry")
        story.proven(order)
    finally:
        story.change_site("\nimport_stall_seconds = 3", "")
        story.restart_bridge()
    story.require_once(path)
