"""`ferry-bridge order receipts`: what became of each file, for people, spreadsheets and `sha1sum -c`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from sqlalchemy import func, select

from server_bridge.config import load_site
from server_bridge.context import open_store
from server_bridge.contract import ReceiptStatus
from server_bridge.operations.order_commands import OrderId, find
from server_bridge.operations.terminal import SiteOption, told
from server_bridge.orders.models import Order, OrderFile
from server_bridge.orders.receipt_formats import ReceiptFormat, csv_lines, pages, sha1sum_lines
from server_bridge.orders.store import Store


@told
def receipts(
    order_id: OrderId,
    site: SiteOption,
    form: Annotated[
        ReceiptFormat,
        typer.Option("--format", help="sha1sum: run `sha1sum -c` in the share's top folder."),
    ] = ReceiptFormat.CSV,
) -> None:
    """Write an order's receipts: csv, json, or a list for `sha1sum -c`."""
    store = open_store(load_site(site))
    with store.read() as session:
        order = find(session, order_id)
    out = sys.stdout.buffer
    for text in export(store, order, form):
        # As bytes: names come out as they are on the share, whatever the terminal's locale.
        out.write(text.encode("utf-8", "surrogateescape"))
    out.flush()
    if form is ReceiptFormat.SHA1SUM and (missing := outside(store, order.id)):
        typer.echo(f"ferry-bridge: {missing} files have no proof in OMERO and are not listed.", err=True)


def export(store: Store, order: Order, form: ReceiptFormat) -> Iterator[str]:
    """The receipts in that format, piece by piece."""
    found = pages(store, order.id)
    match form:
        case ReceiptFormat.CSV:
            return csv_lines(order.id, order.share, found)
        case ReceiptFormat.SHA1SUM:
            return sha1sum_lines(found)
        case ReceiptFormat.JSON:
            return _json(store, order.id)


def _json(store: Store, order_id: str) -> Iterator[str]:
    """The document of the API's answer (contract.ReceiptList), one receipt a line."""
    yield f'{{"order_id": {json.dumps(order_id)}, "receipts": ['
    separator = "\n"
    for page in pages(store, order_id):
        lines = (json.dumps(one.model_dump(mode="json"), ensure_ascii=False) for one in page)
        yield separator + ",\n".join(lines)
        separator = ",\n"
    yield "\n]}\n"


def outside(store: Store, order_id: str) -> int:
    """How many files of the order are not proven to be in OMERO."""
    with store.read() as session:
        return (
            session.scalar(
                select(func.count())
                .select_from(OrderFile)
                .where(OrderFile.order_id == order_id, OrderFile.status != ReceiptStatus.PROVEN)
            )
            or 0
        )
