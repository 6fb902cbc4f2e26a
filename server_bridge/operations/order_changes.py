"""`ferry-bridge order take-over` and `order accept-left-out`: what staff decide in a person's place.

The same commands as `POST /v1/orders/{id}/commands`: the same question to OMERO, the same refusals and audit.
"""

from __future__ import annotations

import uuid
from typing import Annotated
from uuid import UUID

import typer

from server_bridge.config import load_site
from server_bridge.context import build_context, open_store
from server_bridge.contract import CommandKind, CommandRequest, Target
from server_bridge.human import plain
from server_bridge.operations.order_commands import NoteOption, OrderId, find, staff
from server_bridge.operations.terminal import SiteOption, say, told
from server_bridge.orders import commands, taking
from server_bridge.orders.models import utcnow


@told
def take_over(
    order_id: OrderId,
    site: SiteOption,
    taker: Annotated[
        str, typer.Option("--as", help="OMERO user name of who takes it.", show_default=False, metavar="USER")
    ],
    note: NoteOption = "",
) -> None:
    """Give an order whose person left to another member of its OMERO group."""
    context = build_context(load_site(site))
    request = CommandRequest(id=uuid.uuid4(), kind=CommandKind.TAKE_OVER, taker=taker, note=note)
    with context.store.read() as session:
        order = find(session, order_id)
        commands.require_possible(session, order, request, staff())
    taking.require_able(context.omero.person(taker), taker, Target.model_validate(order.target), staff())
    result = commands.give(context.store, UUID(order.id), request, staff(), utcnow())
    say(plain(f"{order.id}: {result.detail}"))


@told
def accept_left_out(
    order_id: OrderId,
    site: SiteOption,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files of the order's `left out`; none: all of them.", show_default=False),
    ] = None,
    note: NoteOption = "",
) -> None:
    """Accept that files of an order stay outside OMERO; they may then be deleted with the rest."""
    store = open_store(load_site(site))
    with store.read() as session:
        order = find(session, order_id)
    request = CommandRequest(
        id=uuid.uuid4(), kind=CommandKind.ACCEPT_LEFT_OUT, paths=tuple(paths or ()), note=note
    )
    result = commands.give(store, UUID(order.id), request, staff(), utcnow())
    say(plain(f"{order.id}: {result.detail}"))
