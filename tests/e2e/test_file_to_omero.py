"""From files on the share to images in OMERO with proof, through nothing but the documented API."""

from __future__ import annotations

import threading
import uuid

import pytest

from tests.demo.microscope import Notes, plate_like, time_lapse
from tests.e2e.conftest import passwords, verdict
from tests.e2e.plain_client import PlainClient, group_id
from tests.loopback.site import MARKER, SHARE, LoopbackSite

pytestmark = pytest.mark.slow


def _write(site: LoopbackSite) -> Notes:
    notes = Notes()
    never = threading.Event()
    time_lapse(
        site.buffer, site.buffer / "alice/stack.ome.tif", notes, frames=3, side=256, seconds=0, stop=never
    )
    plate_like(site.buffer, site.buffer / "alice/plate", notes, fields=6, side=64, seconds=0, stop=never)
    return notes


def test_two_acquisitions_are_proven_released_and_freed(site: LoopbackSite, workstation: PlainClient) -> None:
    notes = _write(site)
    person = workstation.sign_in("alice", passwords("alice"))
    target = {
        "group_id": group_id(person, "Cytoskeleton"),
        "kind": "dataset",
        "container_name": "from the e2e test",
        "tags": ["LifeAct-GFP"],
        "key_values": [{"key": "Stage", "value": "24 hpf"}],
    }
    orders = [
        workstation.order(site.buffer, SHARE, path, target) for path in ("alice/stack.ome.tif", "alice/plate")
    ]
    for order in orders:
        workstation.wait_for_stage(order, "proven", "released")

    before = verdict(site, notes)
    assert before.problems == []
    assert before.files == before.same_inode == before.sha1_match == 26
    assert before.left_out == 2  # Thumbs.db and desktop.ini
    assert before.images == 7
    assert before.disk_ratio <= 1.10  # the plate's files are of a few blocks each

    receipts = workstation.call("GET", f"/v1/orders/{orders[1]}/receipts")["receipts"]
    assert {receipt["status"] for receipt in receipts} == {"proven", "ignored"}
    assert all(
        receipt["sha1"] == receipt["omero_sha1"] == notes.files[receipt["path"]][1]
        for receipt in receipts
        if receipt["status"] == "proven"
    )

    for order in orders:
        workstation.wait_for_stage(order, "released")
        release = workstation.call("GET", f"/v1/orders/{order}/release")
        assert release["released"] is True
        for file in release["files"]:
            (site.buffer / file["path"]).unlink()
        workstation.call(
            "POST",
            f"/v1/orders/{order}/freed",
            json={"paths": [file["path"] for file in release["files"]]},
        )
    assert "0 files remain" in site.ferry_bridge("order", "freed", orders[0], "--all")
    after_states = [workstation.wait_for_stage(order, "released", "retired") for order in orders]
    assert {state["stage"] for state in after_states} <= {"released", "retired"}
    assert (site.buffer / MARKER).exists()


def test_a_proof_that_no_longer_holds_withdraws_the_release(
    site: LoopbackSite, workstation: PlainClient
) -> None:
    notes = _write(site)
    person = workstation.sign_in("alice", passwords("alice"))
    target = {"group_id": group_id(person, "Cytoskeleton"), "container_name": "embryos"}
    order = workstation.order(site.buffer, SHARE, "alice/stack.ome.tif", target)
    workstation.wait_for_stage(order, "released")
    receipt = workstation.call("GET", f"/v1/orders/{order}/receipts")["receipts"][0]
    assert receipt["sha1"] == notes.files["alice/stack.ome.tif"][1]

    managed = site.managed / receipt["managed_path"]
    managed.unlink()

    release = workstation.call("GET", f"/v1/orders/{order}/release")
    assert release["released"] is False
    assert release["files"] == []
    assert release["reason"]["remedy"]


def test_bad_orders_are_refused_with_a_remedy_and_leave_nothing(
    site: LoopbackSite, workstation: PlainClient
) -> None:
    _write(site)
    wrong = workstation.call(
        "POST", "/v1/session", status=401, json={"username": "alice", "password": "guess"}
    )
    assert wrong["code"] == "wrong_password"
    person = workstation.sign_in("alice", passwords("alice"))
    good = {"group_id": group_id(person, "Cytoskeleton"), "container_name": "embryos"}

    def refused(path: str, target: dict[str, object], status: int) -> str:
        intent = {"share": SHARE, "path": path, "kind": "folder", "target": target}
        found = workstation.call("PUT", f"/v1/orders/{uuid.uuid4()}", status=status, json=intent)
        assert found["title"]
        assert found["remedy"] or found["detail"]
        code: str = found["code"]
        return code

    refused("../etc", good, 422)
    refused("/etc/passwd", good, 422)
    refused("bob/his-data", good, 403)
    refused("alice/plate", {**good, "group_id": 999_999}, 422)

    first = workstation.order(site.buffer, SHARE, "alice/plate", good, seal=False)
    assert refused("alice/plate", good, 409) == "place_taken"
    assert refused("alice", good, 409) == "place_taken"
    changed = {"share": SHARE, "path": "alice/plate", "kind": "file", "target": good}
    assert workstation.call("PUT", f"/v1/orders/{first}", status=409, json=changed)["code"] == "order_differs"
    listed = workstation.call("GET", "/v1/orders?after=0")["orders"]
    assert [order["id"] for order in listed] == [first]


def test_a_source_that_goes_on_changing_is_never_imported_half(
    site: LoopbackSite, workstation: PlainClient
) -> None:
    notes = _write(site)
    person = workstation.sign_in("alice", passwords("alice"))
    target = {"group_id": group_id(person, "Cytoskeleton"), "container_name": "embryos"}
    order = workstation.order(site.buffer, SHARE, "alice/plate", target, seal=False)
    late = site.buffer / "alice/plate/A01_f1_C1.tif"
    workstation.seal(order, site.buffer, "alice/plate")
    late.write_bytes(late.read_bytes() + b"one more line")

    state = workstation.wait_until(order, lambda state: not state["sealed"], what="the order is open again")
    assert state["stage"] == "accepted"
    assert state["reason"]["code"] == "source_changed"

    notes.take(site.buffer, late)
    workstation.seal(order, site.buffer, "alice/plate", revision=state["manifest_revision"] + 1)
    workstation.wait_for_stage(order, "proven", "released")
    found = verdict(site, notes)
    assert found.problems == []
    assert found.files == 25
