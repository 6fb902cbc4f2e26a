"""The database is locked, full or away: the API says 503 and when to come again, and a 201 stays true."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from server_bridge.api.problems import database_trouble
from server_bridge.app import create_app
from server_bridge.config import SiteConfig
from server_bridge.context import Context
from server_bridge.orders import database
from tests.bridge.api.conftest import Bridge
from tests.bridge.api.fake_directory import FakeDirectory
from tests.bridge.bridge_site import make_site, make_store
from tests.databases import Cluster, wait_ready
from tests.loopback.small_disk import on_small_disk

ROOT = Path(__file__).parents[3]


@contextmanager
def bridge_of(site: SiteConfig) -> Iterator[Bridge]:
    """The application of a site, as the fixture of this folder makes it."""
    store, directory = make_store(site), FakeDirectory()
    app = create_app(Context(site, store, cast(Any, None)), directory=directory)
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Bridge(site, store, directory, http)
    store.engine.dispose()


def require_told(answer: Any, code: str) -> None:
    """A problem with a remedy, and the time to come again."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["remedy"]
    assert int(answer.headers["Retry-After"]) > 0


class _Said(Exception):
    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationalError("x", {}, _Said("database is locked")), "database_busy"),
        (OperationalError("x", {}, _Said("database or disk is full")), "database_full"),
        (OperationalError("x", {}, _Said("disk I/O error")), "database_away"),
        (OperationalError("x", {}, _Said("could not extend file", "53100")), "database_full"),
        (OperationalError("x", {}, _Said("sorry, too many clients already", "53300")), "database_busy"),
        (OperationalError("x", {}, _Said("terminating connection", "57P01")), "database_away"),
        (OperationalError("x", {}, _Said("connection refused")), "database_away"),
        (InterfaceError("x", {}, _Said("the connection is closed")), "database_away"),
        (PoolTimeout("QueuePool limit reached"), "database_busy"),
    ],
)
def test_what_the_database_says_is_told_apart(error: Any, code: str) -> None:
    assert database_trouble(error).code == code


def test_a_database_locked_by_somebody_else_is_busy_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 200)
    site = make_site(tmp_path, database_url="")
    with bridge_of(site) as bridge:
        desk = bridge.workstation().sign_in("alice")
        seen = {"first_seen_at": datetime.now(UTC).isoformat()}
        before, answer = desk.order("scope1/alice/before", **seen)
        assert answer.status_code == 201
        with closing(sqlite3.connect(site.state_dir / "ferry.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused, answer = desk.order("scope1/alice/refused")
            require_told(answer, "database_busy")
            require_told(desk.manifest(before, [("scope1/alice/before/a", 1, 1)]), "database_busy")
            # Who only reads does not wait for the one who writes.
            assert desk.state(before)["stage"] == "accepted"
            other.execute("ROLLBACK")
        assert desk.call("GET", f"/v1/orders/{refused}").status_code == 404
        assert desk.order("scope1/alice/refused", refused)[1].status_code == 201
        assert desk.order("scope1/alice/before", before, **seen)[1].status_code == 200


def test_postgresql_goes_and_comes_back_under_the_api(tmp_path: Path, cluster: Cluster) -> None:
    site = make_site(tmp_path, database_url=cluster.create("api"))
    with bridge_of(site) as bridge:
        desk = bridge.workstation().sign_in("alice")
        before, answer = desk.order("scope1/alice/before")
        assert answer.status_code == 201
        # A connection that died in the pool is replaced without anybody noticing.
        assert cluster.end_connections("api") >= 1
        assert desk.state(before)["stage"] == "accepted"
        cluster.stop("immediate")
        try:
            refused, answer = desk.order("scope1/alice/refused")
            require_told(answer, "database_away")
            require_told(desk.call("GET", f"/v1/orders/{before}"), "database_away")
            assert bridge.http.get("/readyz").status_code == 503
            assert bridge.http.get("/healthz").status_code == 200
        finally:
            cluster.start()
        wait_ready(cluster)
        assert desk.state(before)["stage"] == "accepted", "what was answered with 201 survives a crash"
        assert desk.order("scope1/alice/refused", refused)[1].status_code == 201


def test_text_that_postgresql_does_not_take_is_the_callers_to_correct(
    tmp_path: Path, cluster: Cluster
) -> None:
    site = make_site(tmp_path, database_url=cluster.create("odd"))
    with bridge_of(site) as bridge:
        desk = bridge.workstation().sign_in("alice")
        _, answer = desk.order("scope1/alice/run", label="a\0b")
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] == "bad_request"
        assert desk.order("scope1/alice/run", label="a b")[1].status_code == 201


FULL = """
import json, os, sys, uuid
from pathlib import Path
from tests.bridge.api.test_database_faults import bridge_of
from tests.bridge.bridge_site import make_site
from tests.loopback.small_disk import fill

top = Path(sys.argv[1])
filler = top / "state" / "filler"
told, accepted = [], []
with bridge_of(make_site(top, database_url="")) as bridge:
    desk = bridge.workstation().sign_in("alice")

    def order(number):
        order_id, answer = desk.order(f"scope1/alice/run {number}")
        code = answer.json().get("code", "")
        told.append([order_id, answer.status_code, code, "Retry-After" in answer.headers])
        return answer.status_code

    for number in range(3):
        assert order(number) == 201
    fill(filler)  # somebody else takes the disk to its last byte
    # The space that the WAL has already is used up first.
    refused = []
    for number in range(3, 4000):
        if order(number) != 201:
            refused.append(number)
            break
    assert refused, "the disk never became full"
    assert order(refused[0] + 1) == 503
    state = desk.call("GET", f"/v1/orders/{told[0][0]}").status_code
    filler.unlink()
    assert order(refused[0] + 2) == 201
    print(json.dumps({"told": told, "read_while_full": state}), flush=True)
    (top / "kept").write_bytes((top / "state" / "ferry.sqlite3").read_bytes())
    wal = top / "state" / "ferry.sqlite3-wal"
    (top / "kept-wal").write_bytes(wal.read_bytes() if wal.exists() else b"")
    os._exit(0)  # no closing, no checkpoint: as after kill -9
"""


def test_a_full_disk_is_told_and_every_201_is_on_it(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    done = subprocess.run(
        on_small_disk(tmp_path / "state", "3m", [sys.executable, "-c", FULL, str(tmp_path)]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    story = json.loads(done.stdout.splitlines()[-1])
    told = story["told"]
    refused = [one for one in told if one[1] != 201]
    assert [one[1:] for one in refused] == [[503, "database_full", True]] * 2
    assert story["read_while_full"] == 200
    with closing(sqlite3.connect(tmp_path / "kept")) as kept:
        assert kept.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        there = {row[0] for row in kept.execute("SELECT id FROM orders")}
    assert there == {one[0] for one in told if one[1] == 201}
    assert len(there) >= 4
    assert all(uuid.UUID(one) for one in there)
