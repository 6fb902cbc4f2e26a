"""Orders: put the intent, put the manifest, command, look."""

from __future__ import annotations

import tempfile
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from server_bridge.api.dependencies import CallerDep, Parts, PartsDep, SomebodyDep
from server_bridge.api.targets import check_target
from server_bridge.contract import (
    AcquisitionKind,
    CommandKind,
    CommandRequest,
    CommandResult,
    ManifestAccepted,
    OrderIntent,
    OrderState,
    Target,
)
from server_bridge.errors import BadRequest
from server_bridge.observability import get_logger
from server_bridge.omero.paths import require_distinct
from server_bridge.orders import commands, intake, manifest_reader, manifests, taking, view
from server_bridge.orders.callers import Caller, require_command
from server_bridge.orders.models import Order

router = APIRouter(prefix="/v1/orders", tags=["orders"])
log = get_logger("ferry.api")
_SPOOL_BYTES = 1024**2


def _state(parts: Parts, order: Order, caller: Caller) -> OrderState:
    with parts.store.read() as session:
        # Read anew: the row in hand may be older than what its state is made of.
        fresh = parts.store.get(session, order.id)
        return view.states(session, parts.site, [fresh], caller)[0]


@router.put("/{order_id}", responses={201: {"model": OrderState}, 409: {}, 422: {}})
async def put_order(
    order_id: UUID, body: OrderIntent, parts: PartsDep, caller: CallerDep, response: Response
) -> OrderState:
    """Order an acquisition. The same request again is answered with the order's state (200), another one with
    409."""
    repeat = await run_in_threadpool(_look_first, parts, order_id, body, caller)
    if repeat is not None:
        return repeat
    await check_target(parts, caller, body.owner, body.target)
    order, is_new = await run_in_threadpool(
        intake.accept, parts.store, parts.site, order_id, body, caller, parts.now()
    )
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/orders/{order_id}"
    if is_new:
        log.info("order accepted", order=str(order_id), share=order.share, by=caller.who)
    return await run_in_threadpool(_state, parts, order, caller)


def _look_first(parts: Parts, order_id: UUID, body: OrderIntent, caller: Caller) -> OrderState | None:
    """A repeat's answer; for a new order everything that can refuse it without OMERO refuses here."""
    with parts.store.read() as session:
        order = intake.find_repeat(session, order_id, body, caller)
        if order is None:
            intake.admit(session, parts.site, order_id, body, caller, parts.now())
            return None
    return _state(parts, order, caller)


@router.put(
    "/{order_id}/manifest",
    openapi_extra={
        "requestBody": {
            "description": "NDJSON, one ManifestEntry a line; gzip by Content-Encoding, plain is taken.",
            "required": True,
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        }
    },
)
async def put_manifest(
    order_id: UUID,
    request: Request,
    parts: PartsDep,
    caller: CallerDep,
    revision: Annotated[int, Query(ge=1, le=manifests.MAX_REVISION)],
    sealed: bool,
) -> ManifestAccepted:
    """Replace the manifest; free until the import starts."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "identity", ""):
        raise BadRequest(f"Content-Encoding {encoding} is not taken; send gzip.", status=415)
    order = await run_in_threadpool(_order_to_change, parts, order_id, caller)
    total = 0
    # On disk beyond a megabyte: many workstations may seal at once, and the body is parsed in a thread.
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(parts.site.state_dir)) as body:
        async for chunk in request.stream():
            total += len(chunk)
            if total > manifest_reader.MAX_BODY_BYTES:
                raise manifest_reader.too_large()
            if total > _SPOOL_BYTES:
                await run_in_threadpool(body.write, chunk)
            else:
                body.write(chunk)
        body.seek(0)

        def take() -> ManifestAccepted:
            manifest = manifest_reader.read_manifest(
                body,
                gzipped=encoding == "gzip",
                sealed=sealed,
                order_path=order.path,
                kind=AcquisitionKind(order.kind),
                members=tuple(order.members),
                longest_path_bytes=intake.share_path_limit(parts.site, order.share),
            )
            require_distinct([entry.path for entry in manifest.entries])
            return manifests.put(parts.store, parts.site, order_id, manifest, revision, caller)

        return await run_in_threadpool(take)


def _order_to_change(parts: Parts, order_id: UUID, caller: Caller) -> Order:
    with parts.store.read() as session:
        order = intake.find_visible(session, order_id, caller)
        require_command(caller, order)
        return order


@router.post("/{order_id}/commands")
async def command(order_id: UUID, body: CommandRequest, parts: PartsDep, caller: CallerDep) -> CommandResult:
    """Cancel, retry, retarget, accept-left-out, discard, take-over. A repeat with the same id gets the first
    answer."""

    def repeated() -> tuple[CommandResult | None, Order]:
        with parts.store.read() as session:
            order = intake.find_visible(session, order_id, caller)
            require_command(caller, order, body.kind)
            done = commands.find_repeat(session, order_id, body)
            if done is None and body.kind is CommandKind.TAKE_OVER:
                commands.require_possible(session, order, body, caller)
            return done, order

    commands.require_complete(body)
    done, order = await run_in_threadpool(repeated)
    if done is not None:
        return done
    if body.kind is CommandKind.RETARGET and body.target is not None:
        await check_target(parts, caller, order.person, body.target)
    if body.kind is CommandKind.TAKE_OVER:
        taker = taking.taker_of(caller, body)
        person = await parts.bounded.ask(lambda: parts.directory.person(taker))
        taking.require_able(person, taker, Target.model_validate(order.target), caller)
    result = await run_in_threadpool(commands.give, parts.store, order_id, body, caller, parts.now())
    log.info("command", order=str(order_id), kind=body.kind.value, by=caller.who)
    return result


@router.get("/{order_id}")
def get_order(order_id: UUID, parts: PartsDep, caller: SomebodyDep) -> OrderState:
    """One order's state."""
    with parts.store.read() as session:
        order = intake.find_visible(session, order_id, caller)
        return view.states(session, parts.site, [order], caller)[0]
