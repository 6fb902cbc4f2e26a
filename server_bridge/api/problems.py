"""Every error leaves as ``application/problem+json`` with a stable code, whom to ask, and no inner detail."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response

from server_bridge.contract import PROBLEM_MEDIA_TYPE, Problem
from server_bridge.errors import BadRequest, FerryError, NeedsAttention, NotFound, StepFailed, Unavailable
from server_bridge.observability import get_logger

log = get_logger("ferry.api")
RETRY_UNAVAILABLE_SECONDS = 5


def answer(error: FerryError, contact: str) -> Response:
    """The error as an HTTP answer."""
    headers = {}
    retry_after = getattr(error, "retry_after_seconds", None)
    if retry_after is None and error.status == 503:
        retry_after = RETRY_UNAVAILABLE_SECONDS
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _json(error.problem(contact), headers)


def _json(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(problem.model_dump_json(), problem.status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def from_validation(errors: Sequence[Any]) -> BadRequest:
    """pydantic's findings as one problem that names the fields; values (a password may be one) stay out."""
    found = []
    for item in errors:
        place = [str(part) for part in item.get("loc", ()) if part not in ("body", "query", "path", "header")]
        found.append(f"{'.'.join(place)}: {item.get('msg', 'not valid')}" if place else str(item.get("msg")))
    return BadRequest("; ".join(found[:10]), remedy="Correct the named fields.")


def database_trouble(error: SQLAlchemyError) -> Unavailable:
    """Why the database did not take a request, for whoever tries again later. Nothing of it was written.

    The words of SQLite and the five-digit states of PostgreSQL are the only facts there are.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    said, state = str(cause).lower(), str(getattr(cause, "sqlstate", None) or "")
    if "is full" in said or state == "53100":
        return Unavailable(
            "The disk of the bridge's database is full.",
            code="database_full",
            title="The bridge has no room for orders",
            remedy="Staff make room on the disk of the bridge's database; nothing that was accepted is lost.",
        )
    busy = isinstance(error, PoolTimeout) or "locked" in said or state in ("53300", "55P03", "57014", "40P01")
    if busy:
        return Unavailable(
            "The bridge's database does not take the request now.",
            code="database_busy",
            title="The bridge is busy",
            remedy="Try again in a moment.",
        )
    return Unavailable(
        "The bridge's database does not answer.",
        code="database_away",
        title="The bridge cannot reach its orders",
        remedy="Try again in a moment. If it stays, staff look at the bridge's log and database.",
    )


def install(app: FastAPI, contact: str) -> None:
    """Register the handlers."""

    async def on_ferry_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FerryError)
        if error.status == 500 and isinstance(error, StepFailed):
            # The words of a step, met in a request: the caller corrects it, or tries again later.
            error.status = 422 if isinstance(error, NeedsAttention) else 503
        if error.status >= 500:
            log.warning("refused", code=error.code, detail=error.detail, path=request.url.path)
        return answer(error, contact)

    async def on_validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(from_validation(error.errors()), contact)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return answer(
                NotFound(f"{request.method} {request.url.path}", title="There is nothing at this address"),
                contact,
            )
        code = {405: "method_not_allowed", 400: "bad_request", 413: "body_too_large"}.get(
            error.status_code, "http_error"
        )
        problem = Problem(status=error.status_code, code=code, title=str(error.detail), contact=contact)
        return _json(problem, dict(error.headers or {}))

    async def on_database(request: Request, error: Exception) -> Response:
        assert isinstance(error, SQLAlchemyError)
        trouble = database_trouble(error)
        log.error("the database refused", path=request.url.path, code=trouble.code, exc_info=error)
        return answer(trouble, contact)

    async def on_odd_text(_request: Request, error: Exception) -> Response:
        del error
        refused = BadRequest(
            "It holds a character that the bridge's database does not take.", remedy="Send no NUL characters."
        )
        return answer(refused, contact)

    async def on_anything(request: Request, error: Exception) -> Response:
        number = uuid.uuid4().hex[:12]
        log.error("unexpected error", error_id=number, path=request.url.path, exc_info=error)
        return answer(
            FerryError(
                f"Error {number}; the bridge's log has the details.",
                remedy="Try again. If it stays, tell the contact this number.",
            ),
            contact,
        )

    app.add_exception_handler(FerryError, on_ferry_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, on_database)
    app.add_exception_handler(DataError, on_odd_text)
    app.add_exception_handler(Exception, on_anything)
