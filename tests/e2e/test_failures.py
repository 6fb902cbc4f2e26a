"""What is refused, what is asked, and what a person's command does about it, through the API alone."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.e2e.plain_client import Json, PlainClient, group_id, listing
from tests.faults.story import Story, eventually, staged_bytes
from tests.loopback.site import SHARE, LoopbackSite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told_story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One site for the stories of this module, and Alice at her workstation."""
    with LoopbackSite(tmp_path_factory.mktemp("failures") / "site") as site:
        yield Story.begin(site)


@pytest.fixture
def story(told_story: Story) -> Iterator[Story]:
    """The module's site, all of it well before and after: a failed story must not fail the next."""
    yield told_story
    told_story.all_well()


def dataset(story: Story, group: str, name: str) -> Json:
    """A dataset of the training site."""
    group_number = group_id(story.person, group)
    found = story.client.call("GET", f"/v1/targets/containers?group={group_number}&kind=dataset")
    one: Json = next(item for item in found["items"] if item["name"] == name)
    return one


def intent(path: str, target: Json, **more: object) -> Json:
    return {"share": SHARE, "path": path, "kind": "file", "target": target, **more}


def test_a_dataset_of_another_group_never_gets_the_data(story: Story) -> None:
    path = story.stack("alice/other-group.ome.tif")
    beads = dataset(story, "Platform", "beads")
    wrong = {"group_id": group_id(story.person, "Cytoskeleton"), "container_id": beads["id"]}
    answer = story.client.call("PUT", f"/v1/orders/{uuid.uuid4()}", status=422, json=intent(path, wrong))
    assert answer["code"] in ("target_gone", "target_in_other_group")
    assert answer["title"] and answer["remedy"]


def test_groups_that_she_is_not_in_or_that_do_not_exist_are_refused(story: Story) -> None:
    path = story.stack("alice/no-group.ome.tif")
    bob = PlainClient(story.site.bridge_url)
    screens = group_id(bob.sign_in("bob", "bob-sandbox"), "Screens")
    for group in (screens, 999_999):
        target = {"group_id": group, "container_name": "mine"}
        answer = story.client.call("PUT", f"/v1/orders/{uuid.uuid4()}", json=intent(path, target), status=422)
        assert answer["code"] == "not_a_member"
        assert answer["title"] and answer["remedy"]


def test_an_overlapping_order_is_told_whom_to_ask_and_is_free_after_the_cancel(story: Story) -> None:
    folder = story.folder("alice/overlap", "a.ome.tif")
    first = story.order(folder, seal=False)
    for path in (folder, f"{folder}/a.ome.tif", "alice"):
        answer = story.refused(
            "PUT", f"/v1/orders/{uuid.uuid4()}", 409, "place_taken", json=intent(path, story.target())
        )
        assert "alice" in f"{answer['detail']} {answer['remedy']} {answer['contact']}"
    story.command(first, "cancel")
    second = story.order(folder)
    story.proven(second)
    # The same bytes once more only on an explicit wish.
    third = story.order(folder, seal=False)
    answer = story.refused(
        "PUT",
        f"/v1/orders/{third}/manifest?revision=1&sealed=true",
        409,
        "already_imported",
        data=_manifest(story, folder),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert second in answer["detail"]
    story.command(third, "cancel")
    story.require_once(f"{folder}/a.ome.tif")


def _manifest(story: Story, path: str) -> bytes:
    lines = [
        json.dumps({"path": name, "size_bytes": size, "mtime_ns": mtime})
        for name, size, mtime in listing(story.site.buffer, path)
    ]
    return ("\n".join(lines) + "\n").encode()


def test_a_file_that_nothing_covers_is_asked_and_accepted_by_name(story: Story) -> None:
    folder = story.plate("alice/notes-beside")
    story.note(f"{folder}/protocol.docx", b"PK\x03\x04 what was done that day")
    order = story.order(folder)
    state = story.told(order, "left_out", stage="proving", condition="attention")
    assert state["left_out"] == [f"{folder}/protocol.docx"]
    assert "accept-left-out" in state["allowed_commands"]
    story.staff_say(order, state["reason"])
    story.refused(
        "POST",
        f"/v1/orders/{order}/commands",
        422,
        "not_asked",
        json={"id": str(uuid.uuid4()), "kind": "accept-left-out", "paths": [f"{folder}/Thumbs.db"]},
    )
    story.command(order, "accept-left-out", paths=[f"{folder}/protocol.docx"])
    story.proven(order)
    receipts = story.client.call("GET", f"/v1/orders/{order}/receipts")["receipts"]
    status = {receipt["path"].rsplit("/", 1)[1]: receipt["status"] for receipt in receipts}
    assert status.pop("protocol.docx") == "left_out"
    assert (status.pop("Thumbs.db"), status.pop("desktop.ini")) == ("ignored", "ignored")
    assert set(status.values()) == {"proven"}
    rule = next(receipt["rule"] for receipt in receipts if receipt["status"] == "left_out")
    assert "alice" in rule
    story.require_once(f"{folder}/plate.companion.ome")


def test_a_target_is_changed_while_the_order_waits_and_after_it_was_deleted_in_omero(story: Story) -> None:
    path = story.stack("alice/retarget.ome.tif")
    group = group_id(story.person, "Cytoskeleton")
    made = story.client.call(
        "POST",
        "/v1/targets/containers",
        json={"kind": "dataset", "group_id": group, "name": "soon deleted"},
    )
    order = story.order(path, {"group_id": group, "container_id": made["id"]}, seal=False)
    story.administrator_deletes(made["id"], kind="Dataset")
    story.client.seal(order, story.site.buffer, path)
    state = story.told(order, "target_gone", stage="verifying", condition="attention")
    assert "retarget" in state["allowed_commands"]
    elsewhere = {"group_id": group_id(story.person, "Platform"), "container_name": "second thoughts"}
    foreign = {"group_id": 999_999, "container_name": "nowhere"}
    refused = story.command(order, "retarget", status=422, target=foreign)
    assert refused["code"] == "not_a_member"
    story.command(order, "retarget", target=elsewhere)
    story.proven(order)
    story.require_once(path)
    assert story.group_of(path) == "Platform"


def test_a_cancel_is_free_before_the_import_and_refused_with_the_reason_after_it(story: Story) -> None:
    path = story.stack("alice/cancel.ome.tif", side=1024)
    open_order = story.order(path, seal=False)
    story.command(open_order, "cancel")
    with story.slow_buffer(1024):
        order = story.order(path)
        eventually(lambda: staged_bytes(story.site, order), 30, "the pull has begun")
        assert story.client.state(order)["stage"] == "pulling"
        story.command(order, "cancel")
    assert story.client.state(order)["stage"] == "cancelled"
    ended = story.command(order, "retry", status=409)
    assert ended["code"] == "order_ended" and ended["remedy"]

    story.fault("wait", "delay:2", match="cancel.ome.tif")
    again = story.order(path)
    story.client.wait_for_stage(again, "importing")
    during = story.command(again, "cancel", status=409)
    assert during["code"] == "import_started" and during["detail"] and during["remedy"]
    story.proven(again)
    after = story.command(again, "cancel", status=409)
    assert after["code"] == "import_started" and after["remedy"]
    assert [story.client.state(one)["stage"] for one in (open_order, order)] == ["cancelled", "cancelled"]
    story.require_once(path)


def test_a_command_given_twice_is_carried_out_once(story: Story) -> None:
    order = story.order(story.stack("alice/repeat.ome.tif"), seal=False)
    request = {"id": str(uuid.uuid4()), "kind": "cancel"}
    first = story.client.call("POST", f"/v1/orders/{order}/commands", json=request)
    revision = story.client.state(order)["revision"]
    assert story.client.call("POST", f"/v1/orders/{order}/commands", json=request) == first
    assert story.client.state(order)["revision"] == revision
    other = {**request, "kind": "retry"}
    story.refused("POST", f"/v1/orders/{order}/commands", 409, "command_differs", json=other)


def test_paths_that_leave_the_share_or_the_workstations_root_are_refused(story: Story) -> None:
    target = story.target()
    for path in ("alice/../bob/x.tif", "/alice/x.tif", "alice//x.tif", "./alice/x.tif", "alice/x\u0000.tif"):
        answer = story.client.call("PUT", f"/v1/orders/{uuid.uuid4()}", status=422, json=intent(path, target))
        assert answer["code"] and answer["title"] and answer["remedy"], path
    order = story.order(story.stack("alice/inside.ome.tif"), seal=False)
    entry = {"path": "bob/outside.ome.tif", "size_bytes": 1, "mtime_ns": 1}
    answer = story.client.call(
        "PUT",
        f"/v1/orders/{order}/manifest?revision=1&sealed=true",
        status=422,
        data=json.dumps(entry).encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer["code"] and answer["title"] and answer["remedy"]
    story.command(order, "cancel")
