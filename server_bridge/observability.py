"""Logs and counters: one place that sets them up, so that every line of every part looks alike.

Log lines go to stderr as JSON (or readable, on a terminal) and carry the order's id wherever one is being
worked on: wrap the work in :func:`working_on`. Secrets never reach a log call; a last sieve drops
well-known keys anyway.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# A second series per counter, which says only when it was made.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
"""The bridge's own counters; a part adds its own here under the prefix ``ferry_``."""

REQUESTS = Counter(
    "ferry_http_requests", "Requests answered", ["method", "route", "status"], registry=REGISTRY
)
REQUEST_SECONDS = Histogram(
    "ferry_http_request_seconds",
    "Time to answer; polls of the changes feed wait on purpose and are left out",
    ["method", "route"],
    registry=REGISTRY,
)
LOGINS = Counter("ferry_sign_ins", "Sign-ins by outcome", ["outcome"], registry=REGISTRY)
ATTENTION = Counter(
    "ferry_attention", "Orders that came to need somebody, by the reason's code", ["code"], registry=REGISTRY
)
MAILS = Counter(
    "ferry_mails", "Mails by outcome: sent, failed, unsure (broken off at the end)", ["outcome"],
    registry=REGISTRY,
)  # fmt: skip
POLLS_WAITING = Gauge("ferry_feed_polls_waiting", "Polls that wait for a change", registry=REGISTRY)

_SECRET_KEYS = frozenset({"password", "token", "key", "grant", "authorization", "session_key", "secret"})


def _without_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in _SECRET_KEYS & event.keys():
        event[name] = "(not logged)"
    return event


def configure_logging(style: Literal["auto", "json", "console"] = "auto", level: str = "INFO") -> None:
    """Send the bridge's and its libraries' log lines to stderr in one form."""
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Alembic and omero.gateway tell every start and every login at INFO; uvicorn's access lines are ours
    # already.
    for name in ("alembic", "omero", "omero.gateway", "uvicorn.access", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A logger whose lines carry the context of :func:`working_on`."""
    return structlog.stdlib.get_logger(name)


@contextmanager
def working_on(order_id: str, **more: object) -> Iterator[None]:
    """Put the order's id (and ``more``) on every log line of this thread or task inside the block."""
    with structlog.contextvars.bound_contextvars(order=order_id, **more):
        yield
