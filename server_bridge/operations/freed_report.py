"""`ferry-bridge order freed`: storage staff's job says what it deleted, so that the order can end.

It is a report, never a permission: nothing is deleted here, and the bridge still lists the share itself,
twice, before it drops the staged names.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from server_bridge.config import load_site
from server_bridge.context import build_context
from server_bridge.contract import FreedReport
from server_bridge.errors import BadRequest
from server_bridge.human import human_bytes
from server_bridge.operations.order_commands import OrderId, find
from server_bridge.operations.terminal import SiteOption, operator, say, told
from server_bridge.retention.freed import record_freed


def paths_in(data: bytes) -> tuple[str, ...]:
    """The paths of a list with a NUL after each, as `ferry-bridge releases --format nul` writes it.

    Raises:
        BadRequest: for a list without any NUL: names may hold newlines, so lines cannot be trusted.
    """
    if not data.strip():
        return ()
    if b"\0" not in data:
        raise BadRequest(
            "The list has no NUL in it.",
            title="Not a NUL-separated list",
            remedy="Feed it the list of `ferry-bridge releases --format nul`, or use --all.",
        )
    return tuple(part.decode("utf-8", "surrogateescape") for part in data.split(b"\0") if part)


@told
def freed(
    order_id: OrderId,
    site: SiteOption,
    everything: Annotated[
        bool, typer.Option("--all", help="Every file of the order, instead of a list on stdin.")
    ] = False,
) -> None:
    """Report files as deleted on the buffer (a NUL-separated list on stdin, or --all)."""
    context = build_context(load_site(site))
    with context.store.read() as session:
        order = find(session, order_id)
    if everything:
        paths = tuple(file.path for file in context.store.files(order.id))
    else:
        paths = paths_in(sys.stdin.buffer.read())
    done = record_freed(context, order.id, FreedReport(paths=paths), operator())
    freed_now = human_bytes(done.freed_bytes)
    say(f"{freed_now} noted as deleted on the buffer; {done.remaining_files} files remain.")
