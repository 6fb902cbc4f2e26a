"""GET …/receipts: JSON as ever, and two files to keep."""

from __future__ import annotations

import csv
import io

from server_bridge.contract import ReceiptStatus
from server_bridge.orders.models import OrderFile
from tests.bridge.api.conftest import Bridge, Desk

FILES = [("scope1/alice/run1/a.tif", 10, 1), ("scope1/alice/run1/b \\ c.tif", 20, 2)]


def proven_order(bridge: Bridge, alice: Desk) -> str:
    order_id, _ = alice.order()
    assert alice.manifest(order_id, [*FILES, ("scope1/alice/run1/left.txt", 3, 3)]).status_code == 200
    with bridge.store.write() as session:
        for path, _, _ in FILES:
            file = session.get_one(OrderFile, (order_id, path))
            file.status, file.sha1, file.inode = ReceiptStatus.PROVEN, "a" * 40, 5
    return order_id


def test_the_checksum_list_holds_the_proven_files_and_is_a_download(bridge: Bridge, alice: Desk) -> None:
    order_id = proven_order(bridge, alice)
    answer = alice.call("GET", f"/v1/orders/{order_id}/receipts?format=sha1sum")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="receipts-{order_id[:8]}.sha1"'
    assert answer.text == (
        f"{'a' * 40}  scope1/alice/run1/a.tif\n\\{'a' * 40}  scope1/alice/run1/b \\\\ c.tif\n"
    )


def test_csv_and_json_hold_every_file(bridge: Bridge, alice: Desk) -> None:
    order_id = proven_order(bridge, alice)
    answer = alice.call("GET", f"/v1/orders/{order_id}/receipts?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    asked = alice.call("GET", f"/v1/orders/{order_id}/receipts?format=json").json()
    assert asked == alice.call("GET", f"/v1/orders/{order_id}/receipts").json()
    assert [(row["path"], row["status"]) for row in rows] == [
        (one["path"], one["status"]) for one in asked["receipts"]
    ]
    assert len(rows) == 3


def test_another_format_and_another_person_are_refused(bridge: Bridge, alice: Desk) -> None:
    order_id = proven_order(bridge, alice)
    assert alice.call("GET", f"/v1/orders/{order_id}/receipts?format=xlsx").status_code == 422
    bob = bridge.workstation("scope-2", "scope2").sign_in("bob")
    for form in ("csv", "sha1sum", "json"):
        answer = bob.call("GET", f"/v1/orders/{order_id}/receipts?format={form}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_order")
