"""A small bridge on a real loopback socket that speaks the contract, remembers requests and can misbehave."""

from __future__ import annotations

import gzip
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from server_bridge.contract import SubmissionGrant

Json = dict[str, Any]


@dataclass(slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body as JSON."""
        found: Json = json.loads(self.body)
        return found


@dataclass(slots=True)
class Refusal:
    """What to answer instead: an HTTP status with a problem, nothing at all, or silence for some seconds."""

    status: int = 503
    code: str = "unavailable"
    title: str = "Later"
    detail: str = ""
    silent_seconds: float = 0.0
    cut: bool = False
    as_problem: bool = True


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@dataclass(slots=True)
class BridgeStub:
    """Its state is public: tests set it, and read what arrived."""

    shares: list[Json] = field(default_factory=list)
    approved: bool = True
    session_policy: Json = field(default_factory=dict)
    persons: dict[str, str] = field(
        default_factory=lambda: {"alice": "secret-of-alice", "bob": "bobs-word", "sam": "staff-word"}
    )
    staff: set[str] = field(default_factory=lambda: {"sam"})
    refuse: Callable[[Seen], Refusal | None] = lambda _seen: None
    seen: list[Seen] = field(default_factory=list)
    orders: dict[str, Json] = field(default_factory=dict)
    manifests: dict[str, list[Json]] = field(default_factory=dict)
    intents: dict[str, Json] = field(default_factory=dict)
    release_files: dict[str, list[Json]] = field(default_factory=dict)
    freed: list[Json] = field(default_factory=list)
    heartbeats: list[Json] = field(default_factory=list)
    lease_seconds: int = 120
    refuses_in_heartbeats: frozenset[str] = frozenset()
    """Fields that this bridge does not know."""
    sessions: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Token → (username, session id, grant key)."""
    ended: set[str] = field(default_factory=set)
    cursor: int = 0
    database: str = ""
    session_seconds: float = 3600.0
    longest_wait: float = 1.0
    """Of the feed's waiting poll, in seconds; short so that tests end soon."""
    workstation_key: str = ""
    now: Callable[[], datetime] = utc_now
    """Its clock; a test with time of its own brings that."""
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadingHTTPServer | None = None
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def now_text(self, seconds: float = 0.0) -> str:
        """Now, or some seconds from now, as the bridge writes it."""
        return (self.now() + timedelta(seconds=seconds)).isoformat()

    def __enter__(self) -> BridgeStub:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after :meth:`stop` on the same port again."""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                """Tests read :attr:`BridgeStub.seen` instead."""

            def _any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                seen = Seen(self.command, parts.path, query, dict(self.headers), self.rfile.read(length))
                status, body = stub._answer(seen)
                if status == 0:
                    self.close_connection = True
                    self.connection.close()
                    return
                data = json.dumps(body).encode() if body is not None else b""
                self.send_response(status)
                kind = "application/problem+json" if status >= 400 else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = _any  # noqa: N815 - http.server dictates the names

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                """A client that left is no news."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    # --- for tests ------------------------------------------------------------------------------------

    def change(self, order_id: str, **fields: Any) -> None:
        """Change an order as the bridge would, and tell the feed."""
        with self._lock:
            order = self.orders[order_id]
            self.cursor += 1
            order.update(
                fields, revision=order["revision"] + 1, updated_at=self.now_text(), _change=self.cursor
            )
            self._lock.notify_all()

    def lose_everything(self) -> None:
        """As after a restore from a backup that is older than all orders."""
        with self._lock:
            self.orders.clear()
            self.manifests.clear()
            self.cursor = 0

    def restore(self, forgets: bool = True, **fields: Any) -> None:
        """As `ferry-bridge restore` of an older backup does it: the feed goes on, and orders are behind.

        With ``forgets=False`` the orders are there, as ``fields`` say.
        """
        with self._lock:
            self.database = uuid.uuid4().hex
            self.manifests.clear()
            self.cursor += 100
            if forgets:
                self.orders.clear()
            for order in self.orders.values():
                order.update(fields, revision=1, _change=self.cursor)
            self._lock.notify_all()

    def requests(self, method: str, ending: str) -> list[Seen]:
        """Requests of that method whose path ends so."""
        return [seen for seen in list(self.seen) if seen.method == method and seen.path.endswith(ending)]

    def sealed(self, order_id: str) -> Json | None:
        """The order's latest manifest, if it is sealed."""
        found = self.manifests.get(order_id) or [{}]
        return found[-1] if found[-1].get("sealed") else None

    # --- answers --------------------------------------------------------------------------------------

    def _answer(self, seen: Seen) -> tuple[int, Json | None]:
        with self._lock:
            self.seen.append(seen)
        refusal = self.refuse(seen)
        if refusal is not None:
            time.sleep(refusal.silent_seconds)
            if refusal.cut:
                return 0, None
            if not refusal.as_problem:
                return refusal.status, {"html": "a proxy's page"}
            return refusal.status, self._problem(refusal.status, refusal.code, refusal.title, refusal.detail)
        with self._lock:
            return self._route(seen)

    @staticmethod
    def _problem(status: int, code: str, title: str = "", detail: str = "") -> Json:
        return {
            "status": status,
            "code": code,
            "title": title or code,
            "detail": detail,
            "remedy": "Do this.",
        }

    def _who(self, seen: Seen, order_id: str = "") -> str:
        bearer = seen.headers.get("Authorization", "").removeprefix("Bearer ")
        if bearer in self.sessions and bearer not in self.ended:
            return self.sessions[bearer][0]
        for username, session_id, key in self.sessions.values():
            grant = SubmissionGrant(session_id=session_id, key=key, expires_at=datetime.now(UTC))
            if order_id and bearer == grant.for_order(uuid.UUID(order_id)):
                return username
        return ""

    def _route(self, seen: Seen) -> tuple[int, Json | None]:
        match seen.method, seen.path.strip("/").split("/"):
            case "POST", ["v1", "session"]:
                return self._sign_in(seen.json)
            case "DELETE", ["v1", "session"]:
                self.ended.add(seen.headers["Authorization"].removeprefix("Bearer "))
                return 200, {}
            case "POST", ["v1", "workstation"]:
                self.workstation_key = seen.json["key"]
                return 201, self._workstation()
            case "GET", ["v1", "workstation"]:
                return 200, self._workstation()
            case "POST", ["v1", "workstation", "heartbeat"]:
                if self.refuses_in_heartbeats & seen.json.keys():
                    return 422, self._problem(422, "request_not_valid")
                self.heartbeats.append(seen.json)
                return 200, {"server_time": self.now_text(), "acquiring_lease_seconds": self.lease_seconds}
            case "GET", ["v1", "targets", kind]:
                if not self._who(seen):
                    return 401, self._problem(401, "not_signed_in")
                return 200, self._targets(kind, seen)
            case "GET", ["v1", "persons"]:
                found = [{"username": one} for one in self.persons if seen.query.get("q", "") in one]
                return 200, {"items": found}
            case "GET", ["v1", "persons", username]:
                return 200, self._person(username)
            case "GET", ["v1", "orders"]:
                return 200, self._feed(seen.query)
            case method, ["v1", "orders", order_id, *rest]:
                return self._order(method, order_id, rest, seen)
        return 404, self._problem(404, "no_such_route")

    def _sign_in(self, body: Json) -> tuple[int, Json]:
        if self.persons.get(body["username"]) != body["password"]:
            return 401, self._problem(401, "wrong_password", "Name or password is wrong")
        token, session_id, key = uuid.uuid4().hex, str(uuid.uuid4()), uuid.uuid4().hex
        self.sessions[token] = (body["username"], session_id, key)
        return 201, {
            "token": token,
            "expires_at": self.now_text(self.session_seconds),
            "person": self._person(body["username"]),
            "grant": {"session_id": session_id, "key": key, "expires_at": self.now_text(14 * 86400)},
        }

    def _person(self, username: str) -> Json:
        groups = [{"id": 3, "name": "Cytoskeleton", "permissions": "private"}]
        more = {"is_staff": True} if username in self.staff else {}
        return {"username": username, "default_group_id": 3, "groups": groups, **more}

    def _workstation(self) -> Json:
        status = "approved" if self.approved else "pending"
        shares = self.shares if self.approved else []
        return {
            "id": "ws-1",
            "name": "Confocal SP8",
            "status": status,
            "shares": shares,
            "session_policy": self.session_policy,
        }

    def _targets(self, kind: str, seen: Seen) -> Json:
        if kind == "tags":
            return {"items": ["LifeAct"]}
        one = {"id": 7, "kind": seen.query["kind"], "name": "embryos", "group_id": 3, "owner": "alice"}
        return {"items": [one]}

    def _feed(self, query: dict[str, str]) -> Json:
        after, deadline = int(query["after"]), time.monotonic() + min(float(query["wait"]), self.longest_wait)
        after = after if after <= self.cursor else 0
        while self.cursor <= after and (left := deadline - time.monotonic()) > 0:
            self._lock.wait(left)
        changed = [order for order in self.orders.values() if order["_change"] > after]
        return {"cursor": self.cursor, "orders": changed, "database": self.database}

    def _order(self, method: str, order_id: str, rest: list[str], seen: Seen) -> tuple[int, Json]:
        if method == "PUT" and not rest:
            return self._put_order(order_id, seen)
        if order_id not in self.orders:
            return 404, self._problem(404, "no_such_order")
        order = self.orders[order_id]
        match method, rest:
            case "GET", []:
                return 200, order
            case "PUT", ["manifest"]:
                return self._put_manifest(order_id, order, seen)
            case "POST", ["commands"]:
                if not self._who(seen, order_id):
                    return 401, self._problem(401, "not_signed_in")
                if seen.json["kind"] == "cancel":
                    self.change(order_id, stage="cancelled")
                if seen.json["kind"] == "retarget":
                    self.change(order_id, target=seen.json["target"])
                return 200, {
                    "id": seen.json["id"],
                    "order_id": order_id,
                    "kind": seen.json["kind"],
                    "done": True,
                }
            case "GET", ["release"]:
                files = self.release_files.get(order_id)
                return 200, {
                    "order_id": order_id,
                    "released": files is not None,
                    "checked_at": self.now_text(),
                    "valid_until": self.now_text(60),
                    "share": order["share"],
                    "files": files or [],
                    "reason": None if files is not None else {"code": "hold", "title": "Held"},
                }
            case "POST", ["freed"]:
                self.freed.append(seen.json)
                return 200, {"order_id": order_id, "freed_bytes": 0, "remaining_files": 0}
        return 404, self._problem(404, "no_such_route")

    def _put_order(self, order_id: str, seen: Seen) -> tuple[int, Json]:
        who = self._who(seen, order_id)
        if not who:
            return 401, self._problem(401, "not_signed_in")
        if order_id in self.orders:
            if self.intents[order_id] != seen.json:
                return 409, self._problem(409, "order_differs")
            return 200, self.orders[order_id]
        if seen.json.get("owner") and who not in self.staff:
            return 403, self._problem(403, "owner_is_staffs")
        place = (seen.json["share"], seen.json["path"])
        live = ("accepted", "pulling", "verifying", "importing", "proving", "annotating")
        if any((one["share"], one["path"]) == place and one["stage"] in live for one in self.orders.values()):
            return 409, self._problem(409, "place_taken")
        self.intents[order_id] = seen.json
        self.cursor += 1
        self.orders[order_id] = {
            "id": order_id,
            "revision": 1,
            "person": seen.json.get("owner") or who,
            "share": seen.json["share"],
            "path": seen.json["path"],
            "kind": seen.json["kind"],
            "members": seen.json.get("members", []),
            "target": seen.json["target"],
            "stage": "accepted",
            "condition": "waiting",
            "stage_since": self.now_text(),
            "created_at": self.now_text(),
            "updated_at": self.now_text(),
            "allowed_commands": ["cancel", "retarget"],
            "_change": self.cursor,
        }
        self._lock.notify_all()
        return 201, self.orders[order_id]

    def _put_manifest(self, order_id: str, order: Json, seen: Seen) -> tuple[int, Json]:
        if not self._who(seen, order_id):
            return 401, self._problem(401, "not_signed_in")
        revision, sealed = int(seen.query["revision"]), seen.query["sealed"] == "true"
        if revision <= order.get("manifest_revision", 0):
            return 409, self._problem(409, "manifest_revision")
        if order["stage"] not in ("accepted", "pulling", "verifying"):
            return 409, self._problem(409, "import_started")
        assert seen.headers["Content-Encoding"] == "gzip"
        files = [json.loads(line) for line in gzip.decompress(seen.body).splitlines()]
        self.manifests.setdefault(order_id, []).append(
            {"revision": revision, "sealed": sealed, "files": files}
        )
        size = sum(entry["size_bytes"] for entry in files)
        self.change(
            order_id,
            manifest_revision=revision,
            sealed=sealed,
            file_count=len(files),
            size_bytes=size,
            condition="queued" if sealed else "waiting",
        )
        return 200, {
            "order_id": order_id,
            "revision": revision,
            "sealed": sealed,
            "file_count": len(files),
            "size_bytes": size,
        }
