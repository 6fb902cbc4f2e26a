"""What became of each file: as JSON, as CSV, or as a list for `sha1sum -c`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from server_bridge.api.dependencies import PartsDep, SomebodyDep
from server_bridge.contract import ReceiptList
from server_bridge.orders import intake
from server_bridge.orders.receipt_formats import (
    ReceiptFormat,
    csv_lines,
    file_name,
    pages,
    sha1sum_lines,
)

router = APIRouter(prefix="/v1/orders", tags=["orders"])


@router.get(
    "/{order_id}/receipts",
    response_model=ReceiptList,
    responses={
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "text/plain": {"schema": {"type": "string"}},
            }
        }
    },
)
def receipts(
    order_id: UUID,
    parts: PartsDep,
    caller: SomebodyDep,
    form: Annotated[ReceiptFormat, Query(alias="format")] = ReceiptFormat.JSON,
) -> ReceiptList | Response:
    """What became of each file. ``sha1sum`` lists the proven files, named from the share's top."""
    with parts.store.read() as session:
        order = intake.find_visible(session, order_id, caller)
    found = pages(parts.store, order.id)
    match form:
        case ReceiptFormat.JSON:
            return ReceiptList(order_id=order_id, receipts=tuple(one for page in found for one in page))
        case ReceiptFormat.CSV:
            return _download(order.id, form, csv_lines(order.id, order.share, found), "text/csv")
        case ReceiptFormat.SHA1SUM:
            return _download(order.id, form, sha1sum_lines(found), "text/plain")


def _download(order_id: str, form: ReceiptFormat, text: Iterator[str], media_type: str) -> Response:
    return StreamingResponse(
        (piece.encode("utf-8", "surrogateescape") for piece in text),
        media_type=f"{media_type}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{file_name(order_id, form)}"'},
    )
