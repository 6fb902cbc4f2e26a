"""Around every request: a limit on bodies, an id, the order's id on log lines, counters. Plain ASGI.

(Starlette's BaseHTTPMiddleware would hold one task more per waiting poll.)
"""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server_bridge.observability import REQUEST_SECONDS, REQUESTS, get_logger

log = get_logger("ferry.http")
MAX_JSON_BYTES = 4 * 1024**2
"""Of every body but a manifest's, which has a limit of its own."""
_ORDER = re.compile(r"^/v1/orders/([0-9a-fA-F-]{36})(?:/|$)")
_MANIFEST = re.compile(r"^/v1/orders/[^/]+/manifest$")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class Around:
    """The one middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        order = _ORDER.match(path)
        context = {"request": uuid.uuid4().hex[:12], **({"order": order[1].lower()} if order else {})}
        started, seen = time.monotonic(), {"status": 500, "bytes": 0}
        limited = not _MANIFEST.match(path)

        async def counted() -> Message:
            message = await receive()
            seen["bytes"] += len(message.get("body", b""))
            if limited and seen["bytes"] > MAX_JSON_BYTES:
                # FastAPI passes this one on; any other exception becomes "400 parsing failed".
                raise HTTPException(413, f"At most {MAX_JSON_BYTES} bytes.")
            return message

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                headers = [*message.get("headers", ()), (b"x-content-type-options", b"nosniff")]
                if path.startswith("/v1/"):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        with structlog.contextvars.bound_contextvars(**context):
            try:
                await self._app(scope, counted, watched)
            finally:
                self._note(scope, path, seen["status"], time.monotonic() - started)

    @staticmethod
    def _note(scope: Scope, path: str, status: int, seconds: float) -> None:
        # The route's template, not the path: an address anybody may invent must not become a metric.
        route = getattr(scope.get("route"), "path", "unknown")
        REQUESTS.labels(scope["method"], route, str(status)).inc()
        is_poll = scope["method"] == "GET" and route == "/v1/orders"
        if not is_poll:
            REQUEST_SECONDS.labels(scope["method"], route).observe(seconds)
        if path not in _QUIET:
            # Agents look again and again: reading that went well is told at DEBUG only.
            tell = log.debug if scope["method"] == "GET" and status < 400 else log.info
            tell("request", method=scope["method"], path=path, status=status, ms=round(seconds * 1000, 1))
