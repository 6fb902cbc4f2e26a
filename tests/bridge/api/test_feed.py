"""The changes feed over a real server: waiting polls, cursors in commit order, other processes."""

from __future__ import annotations

import io
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import uvicorn

from server_bridge.api import changes
from server_bridge.app import create_app
from server_bridge.context import Context, open_store
from server_bridge.contract import (
    AcquisitionKind,
    CommandKind,
    CommandRequest,
    OrderIntent,
    Progress,
    Target,
)
from server_bridge.observability import POLLS_WAITING
from server_bridge.orders import commands, intake, manifest_reader, manifests, workstations
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Order, utcnow
from server_bridge.orders.store import Store
from tests.bridge.api.fake_directory import FakeDirectory
from tests.bridge.bridge_site import make_site

STAFF = Caller(username="staff", is_staff=True)


@dataclass
class Served:
    url: str
    store: Store
    server: uvicorn.Server
    app: Any

    def token(self, username: str) -> str:
        body = {"username": username, "password": f"{username}-pw"}
        answer = requests.post(f"{self.url}/v1/session", json=body, timeout=20)
        return cast(str, answer.json()["token"])

    def poll(self, token: str, **query: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"{self.url}/v1/orders", params=query, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return cast(dict[str, Any], answer.json())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    site = make_site(tmp_path)
    store = open_store(site)
    app = create_app(Context(site, store, cast(Any, None)), directory=FakeDirectory())
    with socket.create_server(("127.0.0.1", 0)) as port:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        yield Served(f"http://127.0.0.1:{port.getsockname()[1]}", store, server, app)
        app.state.parts.waker.release_from_signal()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def put(store: Store, site: Any, path: str, owner: str = "alice") -> str:
    order_id = uuid.uuid4()
    intent = OrderIntent(
        share="conf",
        path=path,
        kind=AcquisitionKind.FOLDER,
        target=Target(group_id=3, container_id=11),
        owner=owner,
    )
    intake.accept(store, site, order_id, intent, STAFF, utcnow())
    return str(order_id)


def site_of(served: Served) -> Any:
    return served.app.state.parts.site


def test_a_poll_waits_and_is_answered_by_the_change(served: Served) -> None:
    token = served.token("alice")
    cursor = served.poll(token)["cursor"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(served.poll, token, after=cursor, wait=25)
        time.sleep(0.5)
        assert not waiting.done()
        order_id = put(served.store, site_of(served), "run")
        page = waiting.result(20)
    assert [order["id"] for order in page["orders"]] == [order_id]
    assert page["cursor"] > cursor


def test_nothing_happens_and_the_poll_ends_empty(served: Served) -> None:
    page = served.poll(served.token("alice"), wait=0.3)
    assert (page["orders"], page["more"]) == ([], False)


def test_somebody_elses_change_does_not_end_a_poll_and_moves_the_cursor(served: Served) -> None:
    token = served.token("alice")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(served.poll, token, after=0, wait=2)
        time.sleep(0.3)
        put(served.store, site_of(served), "bobs", owner="bob")
        page = waiting.result(20)
    assert page["orders"] == []
    assert page["cursor"] >= 1


def test_changes_that_concern_others_cost_a_waiting_poll_no_look(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = served.token("alice")
    cursor = served.poll(token)["cursor"]
    looks: list[int] = []
    honest = changes._page

    def counted(*arguments: Any) -> Any:
        looks.append(1)
        return honest(*arguments)

    monkeypatch.setattr(changes, "_page", counted)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(served.poll, token, after=cursor, wait=25)
        time.sleep(0.5)
        for number in range(6):
            put(served.store, site_of(served), f"bobs{number}", owner="bob")
            time.sleep(0.3)
        others = len(looks)
        order_id = put(served.store, site_of(served), "mine")
        page = waiting.result(30)
    assert [order["id"] for order in page["orders"]] == [order_id]
    assert others <= 2, "one at its start, one more where the first look of all came after it"


def test_a_change_of_another_process_is_noticed(served: Served) -> None:
    token = served.token("alice")
    other = open_store(site_of(served))  # as the command line opens it: this one cannot nudge
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(served.poll, token, after=0, wait=25)
        time.sleep(0.3)
        order_id = put(other, site_of(served), "run")
        assert [order["id"] for order in waiting.result(20)["orders"]] == [order_id]
    other.engine.dispose()


def test_progress_ends_a_poll_that_asks_for_it_and_does_not_move_the_cursor(served: Served) -> None:
    token = served.token("alice")
    order_id = put(served.store, site_of(served), "run")
    bobs = put(served.store, site_of(served), "bobs", owner="bob")
    cursor = served.poll(token)["cursor"]
    with ThreadPoolExecutor() as pool:
        asks = pool.submit(served.poll, token, after=cursor, wait=25, progress_after=0)
        does_not = pool.submit(served.poll, token, after=cursor, wait=1.5)
        time.sleep(0.3)
        served.store.set_progress(bobs, Progress(step="pull", bytes_done=1, at=utcnow()))
        time.sleep(0.4)
        assert not asks.done(), "somebody else's progress"
        served.store.set_progress(order_id, Progress(step="pull", bytes_done=7, at=utcnow()))
        page = asks.result(20)
        assert does_not.result(20)["progress"] == {}
    assert page["progress"][order_id]["bytes_done"] == 7
    assert bobs not in page["progress"]
    assert page["cursor"] == cursor
    assert served.poll(token, after=cursor, progress_after=page["progress_at"])["progress"] == {}


def test_progress_goes_on_for_a_poller_when_the_clock_is_set_back(served: Served) -> None:
    token = served.token("alice")
    first, second = put(served.store, site_of(served), "one"), put(served.store, site_of(served), "two")
    ahead = utcnow() + timedelta(hours=5)
    served.store.set_progress(first, Progress(step="pull", bytes_done=1, at=ahead))
    seen = served.poll(token, progress_after=0)["progress_at"]
    assert seen >= ahead.timestamp() - 1
    for done in (2, 3):  # and so on, each told once
        served.store.set_progress(second, Progress(step="pull", bytes_done=done, at=utcnow()))
        page = served.poll(token, progress_after=seen)
        assert {key: one["bytes_done"] for key, one in page["progress"].items()} == {second: done}
        assert page["progress_at"] > seen
        seen = page["progress_at"]
    assert served.poll(token, progress_after=seen)["progress"] == {}


def test_a_reader_sees_every_change_in_commit_order_beside_concurrent_writers(served: Served) -> None:
    site = site_of(served)
    writers, each = 3, 12
    stores = [served.store, open_store(site), open_store(site)]
    done = threading.Event()
    seen: list[tuple[str, int]] = []
    cursors: list[int] = []
    token = served.token("staff")

    def read() -> None:
        cursor = 0
        while True:
            last = done.is_set()
            page = served.poll(token, after=cursor, wait=0 if last else 1, limit=5)
            cursors.append(page["cursor"])
            cursor = page["cursor"]
            seen.extend((order["id"], order["revision"]) for order in page["orders"])
            if last and not page["more"]:
                return

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(writers) as pool:
        paths = [f"w{writer}/run{number}" for number in range(each) for writer in range(writers)]
        ids = list(pool.map(lambda item: put(stores[item[0] % writers], site, item[1]), enumerate(paths)))
    done.set()
    reader.join(60)
    for store in stores[1:]:
        store.engine.dispose()
    assert not reader.is_alive()
    assert cursors == sorted(cursors)
    assert {order_id for order_id, _ in seen} == set(ids), "a change was lost"
    with served.store.read() as session:
        in_order = [row.id for row in session.query(Order).order_by(Order.change)]
    first_seen = list(dict.fromkeys(order_id for order_id, _ in seen))
    assert first_seen == in_order


def test_many_waiting_polls_hold_no_thread_and_the_bridge_answers_beside_them(served: Served) -> None:
    token = served.token("alice")
    cursor = served.poll(token)["cursor"]
    polls = 80  # twice the size of the thread pool that plain endpoints run in
    with ThreadPoolExecutor(polls) as pool:
        waiting = [pool.submit(served.poll, token, after=cursor, wait=25) for _ in range(polls)]
        deadline = time.monotonic() + 30
        while POLLS_WAITING._value.get() < polls and time.monotonic() < deadline:
            time.sleep(0.05)
        assert requests.get(f"{served.url}/readyz", timeout=20).json()["checks"]["database"] == "ok"
        pool_status = cast(Any, served.store.engine.pool)
        assert pool_status.checkedout() <= 1
        order_id = put(served.store, site_of(served), "run")
        for future in waiting:
            assert [order["id"] for order in future.result(30)["orders"]] == [order_id]


def test_stopping_answers_waiting_polls(served: Served) -> None:
    token = served.token("alice")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(served.poll, token, after=0, wait=25)
        time.sleep(0.5)
        served.app.state.parts.waker.release_from_signal()
        assert waiting.result(15)["orders"] == []


def test_a_cursor_of_another_database_starts_again(served: Served) -> None:
    order_id = put(served.store, site_of(served), "run")
    page = served.poll(served.token("alice"), after=10_000)
    assert [order["id"] for order in page["orders"]] == [order_id]


def test_the_workstations_key_reads_the_orders_made_at_it(served: Served) -> None:
    put(served.store, site_of(served), "run")
    key = uuid.uuid4().hex
    made = requests.post(f"{served.url}/v1/workstation", json={"name": "w", "key": key}, timeout=20).json()
    workstations.approve(served.store, site_of(served), "w", {"conf": "."}, "test")
    headers = {"Ferry-Workstation": f"{made['id']}:{key}"}
    page = requests.get(f"{served.url}/v1/orders", headers=headers, timeout=20).json()
    assert page["orders"] == []


def test_bad_queries_are_named(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.token('alice')}"}
    for name, value in (("wait", "26"), ("wait", "nan"), ("after", "-1"), ("limit", "0")):
        answer = requests.get(f"{served.url}/v1/orders", params={name: value}, headers=headers, timeout=20)
        assert answer.status_code == 422
        assert name in answer.json()["detail"]


def test_a_queued_order_is_told_again_when_the_queue_moves(served: Served) -> None:
    site, token = site_of(served), served.token("alice")
    ahead = put(served.store, site, "bobs", owner="bob")
    mine = put(served.store, site, "mine")
    for order_id, path in ((ahead, "bobs/a"), (mine, "mine/a")):
        line = io.BytesIO(f'{{"path": "{path}", "size_bytes": 1, "mtime_ns": 1}}'.encode())
        manifest = manifest_reader.read_manifest(
            line, gzipped=False, sealed=True, order_path=path.split("/")[0], kind=AcquisitionKind.FOLDER
        )
        manifests.put(served.store, site, uuid.UUID(order_id), manifest, 1, STAFF)
    page = served.poll(token)
    assert [(order["id"], order["queue"]) for order in page["orders"]] == [
        (mine, {"ahead": 1, "ahead_by_workstation": {"the bridge": 1}})
    ]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(served.poll, token, after=page["cursor"], wait=25)
        time.sleep(0.3)
        cancel = CommandRequest(id=uuid.uuid4(), kind=CommandKind.CANCEL)
        commands.give(served.store, uuid.UUID(ahead), cancel, STAFF, utcnow())
        after = waiting.result(20)
    assert [(order["id"], order["queue"]["ahead"]) for order in after["orders"]] == [(mine, 0)]
