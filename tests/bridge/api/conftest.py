"""The real application on a real SQLite; only OMERO is made up."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi.testclient import TestClient

from server_bridge.app import create_app
from server_bridge.config import SiteConfig
from server_bridge.context import Context
from server_bridge.orders import workstations
from server_bridge.orders.store import Store
from tests.bridge.api.fake_directory import FakeDirectory
from tests.bridge.bridge_site import make_site, make_store

Json = dict[str, Any]
TARGET: Json = {"group_id": 3, "container_id": 11}


@dataclass
class Bridge:
    """The application and what tests look at behind it."""

    site: SiteConfig
    store: Store
    directory: FakeDirectory
    http: TestClient

    def workstation(self, name: str = "scope-1", root: str = "scope1", approved: bool = True) -> Desk:
        desk = Desk(self, name)
        answer = self.http.post("/v1/workstation", json={"name": name, "key": desk.key})
        assert answer.status_code == 201, answer.text
        desk.id = answer.json()["id"]
        if approved:
            workstations.approve(self.store, self.site, name, {"conf": root}, "test")
        return desk


@dataclass
class Desk:
    """One workstation, and the person who signed in at it."""

    bridge: Bridge
    name: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    id: str = ""
    token: str = ""
    grant: Json = field(default_factory=dict)

    def headers(self, person: bool = True) -> dict[str, str]:
        found = {"Ferry-Workstation": f"{self.id}:{self.key}"} if self.id else {}
        if person and self.token:
            found["Authorization"] = f"Bearer {self.token}"
        return found

    def call(self, method: str, path: str, person: bool = True, **kwargs: Any) -> httpx.Response:
        headers = {**self.headers(person), **kwargs.pop("headers", {})}
        return cast(httpx.Response, self.bridge.http.request(method, path, headers=headers, **kwargs))

    def sign_in(self, username: str) -> Desk:
        answer = self.call(
            "POST",
            "/v1/session",
            person=False,
            json={"username": username, "password": f"{username}-pw"},
        )
        assert answer.status_code == 201, answer.text
        self.token, self.grant = answer.json()["token"], answer.json()["grant"]
        return self

    def order(
        self, path: str = "scope1/alice/run1", order_id: str | None = None, **more: Any
    ) -> tuple[str, httpx.Response]:
        order_id = order_id or str(uuid.uuid4())
        body = {
            "share": "conf",
            "path": path,
            "kind": "folder",
            "target": TARGET,
            "first_seen_at": datetime.now(UTC).isoformat(),
            **more,
        }
        return order_id, self.call("PUT", f"/v1/orders/{order_id}", json=body)

    def manifest(
        self, order_id: str, entries: list[tuple[str, int, int]], revision: int = 1, sealed: bool = True
    ) -> httpx.Response:
        lines = "".join(
            json.dumps({"path": path, "size_bytes": size, "mtime_ns": mtime}) + "\n"
            for path, size, mtime in entries
        )
        return self.call(
            "PUT",
            f"/v1/orders/{order_id}/manifest?revision={revision}&sealed={str(sealed).lower()}",
            content=gzip.compress(lines.encode()),
            headers={"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"},
        )

    def command(self, order_id: str, kind: str, **more: Any) -> httpx.Response:
        body = {"id": str(uuid.uuid4()), "kind": kind, **more}
        return self.call("POST", f"/v1/orders/{order_id}/commands", json=body)

    def state(self, order_id: str) -> Json:
        answer = self.call("GET", f"/v1/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        return cast(Json, answer.json())


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    site = make_site(tmp_path)
    store = make_store(site)
    directory = FakeDirectory()
    app = create_app(Context(site, store, cast(Any, None)), directory=directory)
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Bridge(site, store, directory, http)


@pytest.fixture
def alice(bridge: Bridge) -> Desk:
    """Alice at an approved workstation whose root is ``scope1``."""
    return bridge.workstation().sign_in("alice")
