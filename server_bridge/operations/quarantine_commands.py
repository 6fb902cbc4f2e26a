"""`ferry-bridge quarantine`: what was moved out of staging and until when it is kept; bringing it back."""

from __future__ import annotations

import typer
from sqlalchemy import func, select

from server_bridge.config import load_site
from server_bridge.context import build_context, open_store
from server_bridge.human import human_bytes
from server_bridge.operations.order_commands import NoteOption, OrderId, find, staff
from server_bridge.operations.terminal import JsonOption, SiteOption, moment, say, say_json, table, told
from server_bridge.orders.models import Order, QuarantinedFile

quarantine_app = typer.Typer(
    help="Staged files that are kept for a while before they are unlinked.", no_args_is_help=True
)


@quarantine_app.command("list")
@told
def listed(site: SiteOption, as_json: JsonOption = False) -> None:
    """List orders with files in quarantine."""
    with open_store(load_site(site)).read() as session:
        rows = session.execute(
            select(
                QuarantinedFile.order_id,
                Order.share,
                Order.path,
                Order.person,
                QuarantinedFile.why,
                func.count(),
                func.sum(QuarantinedFile.size_bytes),
                func.min(QuarantinedFile.keep_until, type_=QuarantinedFile.keep_until.type),
            )
            .join(Order, Order.id == QuarantinedFile.order_id)
            .where(QuarantinedFile.unlinked_at.is_(None))
            .group_by(QuarantinedFile.order_id, Order.share, Order.path, Order.person, QuarantinedFile.why)
            .order_by(func.min(QuarantinedFile.at))
        ).all()
    names = ("order", "share", "path", "person", "why", "files", "bytes", "keep_until")
    if as_json:
        say_json([dict(zip(names, row, strict=True)) for row in rows])
    elif not rows:
        say("Nothing is in quarantine.")
    else:
        say(
            table(
                ["ORDER", "WHY", "FILES", "SIZE", "KEPT UNTIL", "PERSON", "SHARE PATH"],
                (
                    (order[:8], why, files, human_bytes(int(size)), moment(until) if until else "for ever",
                     person, f"{share}:{path}")
                    for order, share, path, person, why, files, size, until in rows
                ),
            )
        )  # fmt: skip


@quarantine_app.command("restore")
@told
def restore(order_id: OrderId, site: SiteOption, note: NoteOption = "") -> None:
    """Bring an order's files back into staging; what was deleted in OMERO is imported again."""
    from server_bridge.retention.quarantine import restore as bring_back

    context = build_context(load_site(site))
    with context.store.read() as session:
        found = find(session, order_id)
    brought = bring_back(context, found.id, staff(), note)
    say(f"{found.id}: {brought.files} files ({human_bytes(brought.size_bytes)}) are in staging again.")
