"""`ferry-bridge omero-restored`: what an older dump of OMERO lost, and bringing it back from staging."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from server_bridge.config import load_site
from server_bridge.context import build_context
from server_bridge.human import plain
from server_bridge.operations.terminal import (
    JsonOption,
    SiteOption,
    operator,
    say,
    say_json,
    table,
    told,
)

if TYPE_CHECKING:
    from server_bridge.retention.omero_lost import Loss


@told
def omero_restored(
    site: SiteOption,
    again: Annotated[
        bool,
        typer.Option(
            "--import-again", help="Import what OMERO lost from staging, and take OMERO as it is now."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List orders whose data OMERO lost when it was restored from an older dump."""
    from server_bridge.pipeline import omero_watch
    from server_bridge.retention import omero_lost

    context = build_context(load_site(site))
    with context.omero.service() as session:
        omero_watch.look(context, session)
        found = omero_lost.losses(context, session)
    taken = omero_lost.import_again(context, operator(), found) if again else []
    if as_json:
        say_json({"lost": [asdict(one) for one in found], "imported_again": taken})
        return
    if not found:
        say("OMERO's database is the one that the bridge saw: nothing was lost by a restore.")
    else:
        say(table(["ORDER", "STAGE", "FROM STAGING", "PERSON", "SHARE PATH"], map(_line, found)))
    for one in found:
        if not one.importable:
            say(
                plain(
                    f"\n{one.order_id}: staging holds no copy any more (lost_proof). Still on OMERO's disk:"
                )
            )
            for path in one.on_disk[:20] or ("nothing",):
                say(plain(f"  {path}"))
            if len(one.on_disk) > 20:
                say(f"  … and {len(one.on_disk) - 20} more; --json names all")
    if again:
        say(f"\n{len(taken)} orders are imported again; OMERO's database is taken as it is now.")
    elif any(one.importable for one in found):
        say("\nNothing was changed. --import-again brings back what staging holds.")


def _line(loss: Loss) -> tuple[object, ...]:
    return (
        loss.order_id[:8],
        loss.stage,
        "yes" if loss.importable else "no",
        loss.person,
        f"{loss.share}:{loss.path}",
    )
