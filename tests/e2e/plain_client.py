"""A client of API v1 written from its documentation alone: plain JSON over `requests`, no code of ours.

What it can do is what another agent could do; it is the end-to-end tests' hand, not the product's.
"""

from __future__ import annotations

import gzip
import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

Json = dict[str, Any]


@dataclass(slots=True)
class PlainClient:
    """One workstation and at most one signed-in person."""

    url: str
    workstation: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex + uuid.uuid4().hex)
    token: str = ""

    def call(self, method: str, path: str, *, status: int | None = None, **kwargs: Any) -> Json:
        """One request; with ``status`` the answer must have exactly that code."""
        headers = dict(kwargs.pop("headers", {}))
        if self.workstation:
            headers["Ferry-Workstation"] = f"{self.workstation}:{self.key}"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        answer = requests.request(method, self.url + path, headers=headers, timeout=60, **kwargs)
        if status is None:
            assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        else:
            assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        found: Json = answer.json() if answer.content else {}
        return found

    def register(self, name: str) -> None:
        """Introduce this workstation; staff approve it elsewhere."""
        found = self.call("POST", "/v1/workstation", json={"name": name, "key": self.key})
        self.workstation = found["id"]

    def sign_in(self, username: str, password: str) -> Json:
        """Sign in; the token is used from then on. Returns the person."""
        found = self.call("POST", "/v1/session", json={"username": username, "password": password})
        self.token = found["token"]
        person: Json = found["person"]
        return person

    def order(
        self,
        share_top: Path,
        share: str,
        path: str,
        target: Json,
        *,
        order_id: str | None = None,
        seal: bool = True,
        kind: str = "",
    ) -> str:
        """Order what lies at ``path`` now, with its sealed manifest. Returns the order's id."""
        order_id = order_id or str(uuid.uuid4())
        kind = kind or kind_of(share_top, path)
        intent = {
            "share": share,
            "path": path,
            "kind": kind,
            "target": target,
            "first_seen_at": datetime.now(UTC).isoformat(),
        }
        self.call("PUT", f"/v1/orders/{order_id}", json=intent)
        if seal:
            self.seal(order_id, share_top, path)
        return order_id

    def seal(self, order_id: str, share_top: Path, path: str, revision: int = 1) -> Json:
        """Put the manifest of what lies there now, sealed."""
        return self.seal_listed(order_id, listing(share_top, path), revision)

    def seal_listed(self, order_id: str, files: list[tuple[str, int, int]], revision: int = 1) -> Json:
        """Put the manifest of what was listed before, sealed."""
        lines = [
            json.dumps({"path": name, "size_bytes": size, "mtime_ns": mtime}) for name, size, mtime in files
        ]
        return self.call(
            "PUT",
            f"/v1/orders/{order_id}/manifest?revision={revision}&sealed=true",
            data=gzip.compress(("\n".join(lines) + "\n").encode()),
            headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
        )

    def state(self, order_id: str) -> Json:
        """The order as the bridge tells it."""
        return self.call("GET", f"/v1/orders/{order_id}")

    def wait_until(
        self, order_id: str, wanted: Callable[[Json], object], seconds: float = 90.0, what: str = "the state"
    ) -> Json:
        """Poll the order until ``wanted`` holds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                state = self.state(order_id)
            except requests.ConnectionError:
                state = {}
            if state and wanted(state):
                return state
            assert time.monotonic() < deadline, f"{what} not reached in {seconds:.0f} s: {json.dumps(state)}"
            time.sleep(0.1)

    def wait_for_stage(self, order_id: str, *stages: str, seconds: float = 90.0) -> Json:
        """Poll until the order is in one of ``stages``; an order that needs somebody fails at once."""

        def reached(state: Json) -> bool:
            assert state["condition"] != "attention", json.dumps(state["reason"])
            return state["stage"] in stages

        return self.wait_until(order_id, reached, seconds, f"stage {'/'.join(stages)}")


def kind_of(share_top: Path, path: str) -> str:
    """What an order of what lies at ``path`` now is for."""
    return "folder" if (share_top / path).is_dir() else "file"


def listing(share_top: Path, path: str) -> list[tuple[str, int, int]]:
    """(path below the share, bytes, mtime in ns) of every file of an acquisition."""
    top = share_top / path
    if top.is_file():
        status = top.stat()
        return [(path, status.st_size, status.st_mtime_ns)]
    found = []
    for folder, _dirs, names in os.walk(top):
        for name in names:
            file = Path(folder, name)
            status = file.stat()
            found.append((file.relative_to(share_top).as_posix(), status.st_size, status.st_mtime_ns))
    return sorted(found)


def group_id(person: Json, name: str) -> int:
    """Id of the person's group of that name."""
    found: int = next(group["id"] for group in person["groups"] if group["name"] == name)
    return found
