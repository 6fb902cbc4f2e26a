"""The application: routers, handlers and the waker of one context, put together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from fastapi import FastAPI

from server_bridge.api import (
    backups,
    changes,
    health,
    orders,
    persons,
    problems,
    receipts,
    releases,
    session,
    status,
    targets,
    workstation,
)
from server_bridge.api.dependencies import Parts
from server_bridge.api.directory import Bounded, Directory
from server_bridge.api.login_limits import LoginLimits
from server_bridge.api.middleware import Around
from server_bridge.api.waker import Waker
from server_bridge.context import Context
from server_bridge.human import version
from server_bridge.orders import feed
from server_bridge.orders.models import utcnow

ROUTERS = (
    session,
    workstation,
    persons,
    targets,
    changes,
    orders,
    receipts,
    releases,
    backups,
    health,
    status,
)
EXTRA_OMERO_SECONDS = 15.0
"""Beside one call's limit: a question is a login and a few calls."""


def _bare(contact: str, **more: Any) -> FastAPI:
    app = FastAPI(
        title="OMERO Ferry bridge",
        version=version(),
        description="From the microscope's buffer share into OMERO, in place and with proof.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        redirect_slashes=False,
        **more,
    )
    for module in ROUTERS:
        app.include_router(module.router)
    app.include_router(releases.listing)
    problems.install(app, contact)
    return app


def openapi_document() -> dict[str, Any]:
    """The API as an OpenAPI document; needs no site."""
    return _bare("").openapi()


def create_app(
    context: Context,
    *,
    directory: Directory | None = None,
    now: Callable[[], datetime] = utcnow,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Build the application.

    Args:
        context: site, orders, OMERO.
        directory: answers questions about people and places; None: from the context's OMERO.
        now, clock: for tests.
    """
    if directory is None:
        from server_bridge.api.omero_directory import OmeroDirectory

        directory = OmeroDirectory(context.omero)
    site, store = context.site, context.store

    def read_position(before: feed.Position | None) -> feed.Position:
        with store.read() as session:
            store.queues.refresh(session)
            return feed.position(session, before)

    waker = Waker(read_position)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        waker.start()
        try:
            yield
        finally:
            await waker.stop()

    app = _bare(site.contact, lifespan=lifespan)
    app.state.parts = Parts(
        context=context,
        directory=directory,
        bounded=Bounded(site.omero.call_timeout_seconds + EXTRA_OMERO_SECONDS),
        logins=LoginLimits(site.limits.login_attempts, site.limits.login_window_seconds, clock),
        waker=waker,
        now=now,
    )
    app.state.omero_sign = health.OmeroSign()
    app.add_middleware(Around)
    store.on_change(waker.nudge)
    return app
