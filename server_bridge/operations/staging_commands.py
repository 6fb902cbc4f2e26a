"""`ferry-bridge staging`: folders of staging that belong to no living order, and giving one of them up."""

from __future__ import annotations

from typing import Annotated

import typer

from server_bridge.config import load_site
from server_bridge.context import build_context, open_store
from server_bridge.human import human_bytes
from server_bridge.operations.order_commands import OrderId, find
from server_bridge.operations.terminal import (
    JsonOption,
    SiteOption,
    moment,
    operator,
    say,
    say_json,
    table,
    told,
)
from server_bridge.orders.models import utcnow
from server_bridge.retention.leftovers import leftovers, measure

staging_app = typer.Typer(help="What lies in staging and belongs to no living order.", no_args_is_help=True)


@staging_app.command("list")
@told
def listed(site: SiteOption, as_json: JsonOption = False) -> None:
    """List folders of cancelled, discarded and unknown orders with their sizes. Nothing is ever collected."""
    config = load_site(site)
    found = [(one, measure(one.path)) for one in leftovers(config, open_store(config))]
    if as_json:
        say_json(
            [
                {
                    "path": one.path,
                    "share": one.share,
                    "order": one.order_id,
                    "state": one.state,
                    "files": size.files,
                    "bytes": size.size_bytes,
                    "last_names": size.last_names,
                }
                for one, size in found
            ]
        )
    elif not found:
        say("Staging holds nothing but living orders.")
    else:
        say(
            table(
                ["STATE", "FILES", "LAST NAMES", "SIZE", "FOLDER"],
                (
                    (one.state, size.files, size.last_names, human_bytes(size.size_bytes), one.path)
                    for one, size in found
                ),
            )
        )


@staging_app.command("drop")
@told
def drop(
    order_id: OrderId, site: SiteOption, note: Annotated[str, typer.Option(help="Why; it is audited.")]
) -> None:
    """Move the staged copy of a cancelled or discarded order into quarantine, as far as the buffer has it."""
    from server_bridge.retention.giving_up import drop_staging

    context = build_context(load_site(site))
    with context.store.read() as session:
        found = find(session, order_id)
    done = drop_staging(context, found.id, operator(), note, utcnow())
    moved = f"{done.files} files ({human_bytes(done.size_bytes)})"
    say(
        f"{moved} are in quarantine until {moment(done.keep_until)}; {done.kept} stay, because the buffer "
        "does not show them as they were pulled."
    )
