"""Receipts as files that other programs read: CSV, and a checksum list for `sha1sum -c`.

Receipts are read page by page, each in a short transaction, so that an order of a million files takes no
memory and a slow reader holds no connection.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from sqlalchemy import select

from server_bridge.contract import Receipt, ReceiptStatus
from server_bridge.orders import view
from server_bridge.orders.models import OrderFile
from server_bridge.orders.store import Store

PAGE = 2000
CSV_COLUMNS = (
    "order",
    "share",
    "path",
    "size_bytes",
    "mtime_ns",
    "status",
    "rule",
    "sha1",
    "omero_sha1",
    "fileset_id",
    "original_file_id",
    "managed_path",
    "same_inode",
    "proven_at",
)


class ReceiptFormat(StrEnum):
    JSON = "json"
    CSV = "csv"
    SHA1SUM = "sha1sum"


def pages(store: Store, order_id: str, page: int = PAGE) -> Iterator[list[Receipt]]:
    """All receipts of an order by path, in lists of at most ``page``. Never one list that is empty."""
    after: str | None = None
    while True:
        with store.read() as session:
            asked = select(OrderFile).where(OrderFile.order_id == order_id)
            if after is not None:
                asked = asked.where(OrderFile.path > after)
            rows = session.scalars(asked.order_by(OrderFile.path).limit(page)).all()
        if not rows:
            return
        yield [view.receipt(row) for row in rows]
        after = rows[-1].path


def csv_lines(order_id: str, share: str, receipts: Iterable[list[Receipt]]) -> Iterator[str]:
    """CSV (RFC 4180 quoting, lines end with LF), its header first; one piece of text a page."""
    yield _csv([CSV_COLUMNS])
    for page in receipts:
        yield _csv(_row(order_id, share, receipt) for receipt in page)


def _csv(rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    # All text is quoted: by itself Python 3.11 does not quote a lone carriage return, which ends a line for
    # every reader.
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return out.getvalue()


def _row(order_id: str, share: str, receipt: Receipt) -> list[object]:
    return [
        order_id,
        share,
        receipt.path,
        receipt.size_bytes,
        receipt.mtime_ns,
        receipt.status.value,
        receipt.rule,
        receipt.sha1 or "",
        receipt.omero_sha1 or "",
        receipt.fileset_id or "",
        receipt.original_file_id or "",
        receipt.managed_path or "",
        "yes" if receipt.same_inode else "no",
        receipt.proven_at.isoformat() if receipt.proven_at else "",
    ]


def sha1sum_lines(receipts: Iterable[list[Receipt]]) -> Iterator[str]:
    """What `sha1sum -c` reads, for the proven files alone: names are share paths, so that it is run in the
    share's top folder, or in the order's folder in staging. No comments: not every reader knows them.
    """
    for page in receipts:
        yield "".join(
            sha1sum_line(receipt.sha1, receipt.path)
            for receipt in page
            if receipt.status is ReceiptStatus.PROVEN and receipt.sha1
        )


def sha1sum_line(sha1: str, name: str) -> str:
    """One line as GNU coreutils writes it: a name with backslash, newline or carriage return is escaped, and
    a backslash before the digest says so."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if escaped == name else "\\"
    return f"{mark}{sha1}  {escaped}\n"


def file_name(order_id: str, form: ReceiptFormat) -> str:
    """What a download is called."""
    ending = "sha1" if form is ReceiptFormat.SHA1SUM else form.value
    return f"receipts-{order_id[:8]}.{ending}"
