"""What a manifest may say, and what each new one does to its order."""

from __future__ import annotations

import gzip
import json
import unicodedata
from typing import Any

import pytest
from sqlalchemy import func, select

from server_bridge.contract import Condition, Stage
from server_bridge.errors import StaleAttempt
from server_bridge.mover.paths import staged_limit
from server_bridge.orders import manifest_reader
from server_bridge.orders.intake import share_path_limit
from server_bridge.orders.models import OrderFile
from tests.bridge.api.conftest import Bridge, Desk

RUN = "scope1/alice/run1"
FILE = (f"{RUN}/a.tif", 10, 1_700_000_000_000_000_000)


def put_raw(desk: Desk, order_id: str, body: bytes, revision: int = 1, **headers: str) -> Any:
    return desk.call(
        "PUT",
        f"/v1/orders/{order_id}/manifest?revision={revision}&sealed=true",
        content=body,
        headers={"Content-Type": "application/x-ndjson", **headers},
    )


def line(path: str) -> bytes:
    return json.dumps({"path": path, "size_bytes": 1, "mtime_ns": 1}).encode() + b"\n"


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        (["line\nbreak.tif"], "path_control", "break"),
        (["bell\a.tif"], "path_control", "bell"),
        (["esc\x1b[31m.tif"], "path_control", "esc"),
        (["x" * 252 + ".tif"], "name_too_long", "255"),
        ([".rsync-partial"], "path_reserved", ".rsync-partial"),
        ([".~tmp~/a.tif"], "path_reserved", ".~tmp~"),
        (["Cell.tif", "cell.tif"], "path_collision", "one name on some file systems"),
        (["A/x.tif", "a/y.tif"], "path_collision", "one name on some file systems"),
        (
            [unicodedata.normalize("NFC", "é.tif"), unicodedata.normalize("NFD", "é.tif")],
            "path_collision",
            "one name",
        ),
        (["a:b.tif", "a;b.tif"], "names_collide", "same name in OMERO"),
        (["a|b.tif", "a\\b.tif"], "names_collide", "same name in OMERO"),
        (["CON/x.tif", "CON_/x.tif"], "names_collide", "same name in OMERO"),
    ],
)
def test_a_name_that_would_make_trouble_is_refused_at_once_by_file_and_reason(
    bridge: Bridge, alice: Desk, names: list[str], code: str, said: str
) -> None:
    order_id, _ = alice.order()
    answer = alice.manifest(order_id, [(f"{RUN}/{name}", 1, 1) for name in names])
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), problem
    assert said in problem["detail"]
    assert problem["detail"].isprintable() and problem["title"] and problem["remedy"]
    with bridge.store.read() as session:
        assert session.scalar(select(func.count()).select_from(OrderFile)) == 0
    assert alice.state(order_id)["manifest_revision"] == 0


@pytest.mark.parametrize(
    "bad",
    [
        b'{"path": "scope1/alice/run1/latin1_\xe4.tif", "size_bytes": 1, "mtime_ns": 1}\n',
        b'{"path": "scope1/alice/run1/half\\udce4.tif", "size_bytes": 1, "mtime_ns": 1}\n',
    ],
)
def test_a_name_that_is_not_utf8_is_named_as_far_as_it_can_be_shown(alice: Desk, bad: bytes) -> None:
    order_id, _ = alice.order()
    problem = put_raw(alice, order_id, line(f"{RUN}/good.tif") + bad).json()
    assert problem["code"] == "path_not_utf8"
    assert ".tif" in problem["detail"] and "\\udce4" in problem["detail"]
    assert problem["remedy"]


@pytest.mark.parametrize(
    "name",
    [
        "-rf.tif",
        "#1.tif",
        ";x.tif",
        "a|b.tif",
        'it\'s "x".tif',
        "end ",
        "end.",
        "back\\slash",
        "🔬.tif",
        "~x",
        "$x",
    ],
)
def test_odd_names_that_omero_can_hold_are_taken_as_they_are(bridge: Bridge, alice: Desk, name: str) -> None:
    order_id, _ = alice.order()
    assert alice.manifest(order_id, [(f"{RUN}/{name}", 1, 1)]).status_code == 200
    assert [file.path for file in bridge.store.files(order_id)] == [f"{RUN}/{name}"]


def test_a_path_fits_into_staging_or_is_refused(bridge: Bridge, alice: Desk) -> None:
    limit = share_path_limit(bridge.site, "conf")
    assert limit == staged_limit(bridge.site.staging_dir / "conf" / ("x" * 36))
    order_id, _ = alice.order()
    room = limit - len(RUN.encode())
    deep = RUN + ("/" + "d" * 199) * (room // 200)
    exact = deep + "/" + "f" * (limit - len(deep) - 1)
    assert len(exact) == limit
    assert alice.manifest(order_id, [(exact + "f", 1, 1)]).json()["code"] == "path_too_long"
    assert alice.manifest(order_id, [(exact, 1, 1)]).status_code == 200


def test_an_open_manifest_after_a_sealed_one_unseals(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    alice.manifest(order_id, [FILE])
    assert alice.state(order_id)["condition"] == "queued"
    assert alice.manifest(order_id, [FILE], revision=2, sealed=False).status_code == 200
    state = alice.state(order_id)
    assert (state["sealed"], state["condition"], state["reason"]["code"]) == (False, "waiting", "writing")
    row = bridge.store.order(order_id)
    assert bridge.store.due(row.updated_at, frozenset({Stage.ACCEPTED}), 10) == []
    # The same files sealed again are another content than the open ones.
    assert alice.manifest(order_id, [FILE], revision=2).json()["code"] == "manifest_revision"
    assert alice.manifest(order_id, [FILE], revision=3).status_code == 200
    assert alice.state(order_id)["condition"] == "queued"


@pytest.mark.parametrize("stage", [Stage.PULLING, Stage.VERIFYING])
def test_an_open_manifest_takes_the_order_from_the_attempt_that_runs(
    bridge: Bridge, alice: Desk, stage: Stage
) -> None:
    order_id, _ = alice.order()
    alice.manifest(order_id, [FILE])
    store = bridge.store
    number = store.claim(order_id, store.order(order_id).updated_at)
    assert number is not None
    store.advance(order_id, number, Stage.PULLING, "pulling", keep_running=True)
    if stage is Stage.VERIFYING:
        store.advance(order_id, number, stage, "verifying", keep_running=True)
    assert alice.manifest(order_id, [FILE], revision=2, sealed=False).status_code == 200
    state = alice.state(order_id)
    assert (state["stage"], state["condition"], state["sealed"]) == ("accepted", "waiting", False)
    with pytest.raises(StaleAttempt):
        store.advance(order_id, number, Stage.IMPORTING, "too late", keep_running=True)
    assert store.order(order_id).condition == Condition.WAITING


def test_a_body_beyond_its_limits_is_refused_while_it_arrives(
    bridge: Bridge, alice: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, _ = alice.order()
    monkeypatch.setattr(manifest_reader, "MAX_BODY_BYTES", 100_000)
    long = b"".join(line(f"{RUN}/{number}.tif") for number in range(3_000))
    answer = put_raw(alice, order_id, long)
    assert (answer.status_code, answer.json()["code"]) == (413, "manifest_too_large")
    monkeypatch.setattr(manifest_reader, "MAX_UNPACKED_BYTES", 1_000_000)
    bomb = gzip.compress(b"\n" * 50_000_000)
    assert len(bomb) < 100_000
    answer = put_raw(alice, order_id, bomb, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (413, "manifest_too_large")
    assert put_raw(alice, order_id, line(FILE[0]), **{"Content-Encoding": "br"}).status_code == 415
    assert alice.state(order_id)["manifest_revision"] == 0
    assert put_raw(alice, order_id, line(FILE[0])).status_code == 200


def test_a_longer_manifest_than_one_batch_replaces_another(bridge: Bridge, alice: Desk) -> None:
    order_id, _ = alice.order()
    first = [(f"{RUN}/{number:05}.tif", 1, 1) for number in range(6_000)]
    assert alice.manifest(order_id, first).status_code == 200
    second = [(path, size + (number == 5), mtime) for number, (path, size, mtime) in enumerate(first[:5_500])]
    assert alice.manifest(order_id, second, revision=2).json()["file_count"] == 5_500
    rows = {(file.path, file.size_bytes, file.mtime_ns) for file in bridge.store.files(order_id)}
    assert rows == set(second)
