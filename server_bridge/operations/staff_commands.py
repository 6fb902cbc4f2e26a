"""`ferry-bridge workstations`, `workstation …`, `session …`: who may use the bridge."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy import select

from server_bridge.config import load_site
from server_bridge.context import open_store
from server_bridge.errors import BadRequest
from server_bridge.operations import quiet_suggestions
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
from server_bridge.orders import leases, sessions
from server_bridge.orders import workstations as desk
from server_bridge.orders.leases import Beat
from server_bridge.orders.models import Workstation, utcnow

workstation_app = typer.Typer(help="Approve or revoke one workstation.", no_args_is_help=True)
session_app = typer.Typer(help="People's sessions.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Its name.", show_default=False)]


@told
def workstations(site: SiteOption, as_json: JsonOption = False) -> None:
    """List workstations: who waits for approval, who lives."""
    config, now = load_site(site), utcnow()
    with open_store(config).read() as session:
        rows = session.scalars(select(Workstation).order_by(Workstation.name)).all()
        lease = config.limits.acquiring_lease_seconds
        beats = {
            beat.workstation_id: beat
            for beat in leases.book_of(session).beats(session)
            if beat.holds(now, lease)
        }
    if as_json:
        say_json(
            [
                {
                    "id": row.id,
                    "name": row.name,
                    "status": row.status,
                    "roots": row.roots,
                    "hostname": row.hostname,
                    "agent_version": row.agent_version,
                    "last_seen_at": row.last_seen_at,
                    "now": _doing(beats.get(row.id), now),
                    "load": load.model_dump(mode="json")
                    if row.id in beats and (load := beats[row.id].load)
                    else None,
                }
                for row in rows
            ]
        )
    elif not rows:
        say("No workstation has registered yet: start the agent on one.")
    else:
        say(
            table(
                ["NAME", "STATUS", "ROOTS", "HOST", "AGENT", "LAST SEEN", "NOW"],
                (
                    (
                        row.name,
                        row.status,
                        " ".join(f"{share}={root}" for share, root in sorted(row.roots.items())) or "-",
                        row.hostname or "-",
                        row.agent_version or "-",
                        moment(row.last_seen_at),
                        _doing(beats.get(row.id), now) or "-",
                    )
                    for row in rows
                ),
            )
        )
        for line in quiet_suggestions.lines_of(rows):
            say(line)


def _doing(beat: Beat | None, now: datetime) -> str:
    """What its lease says, for as long as it is believed."""
    if beat is None:
        return ""
    if beat.is_paused(now) and beat.paused_until is not None:
        who = f" by {beat.paused_by}" if beat.paused_by else ""
        return f"paused{who} until {beat.paused_until:%H:%M} UTC"
    return f"acquiring onto {', '.join(sorted(beat.acquiring))}" if beat.acquiring else ""


def parse_roots(given: list[str]) -> dict[str, str]:
    """``SHARE=PATH`` arguments as a mapping.

    Raises:
        BadRequest: for one that is not of that form, or a share named twice.
    """
    roots: dict[str, str] = {}
    for item in given:
        share, equals, root = item.partition("=")
        if not share or not equals or not root:
            raise BadRequest(
                f"{item!r} is not SHARE=PATH.",
                title="Not a root",
                remedy="Write --root conf=scope1, or --root conf=. for the share's top.",
            )
        if share in roots:
            raise BadRequest(f"Share {share!r} is named twice.", title="One root per share")
        roots[share] = root
    return roots


@workstation_app.command("approve")
@told
def approve(
    name: NameArgument,
    site: SiteOption,
    root: Annotated[
        list[str], typer.Option(help="SHARE=PATH: where in that share its data lies.", show_default=False)
    ],
) -> None:
    """Approve a workstation, or give an approved one other roots."""
    config = load_site(site)
    row = desk.approve(open_store(config), config, name, parse_roots(root), operator())
    say(f"{row.name} is approved: {' '.join(f'{share}={path}' for share, path in row.roots.items())}")


@workstation_app.command("revoke")
@told
def revoke(name: NameArgument, site: SiteOption) -> None:
    """End a workstation's key. Its orders go on; its name may register anew."""
    row = desk.revoke(open_store(load_site(site)), name, operator())
    say(f"{row.name} is revoked.")


@session_app.command("revoke")
@told
def revoke_session(user: Annotated[str, typer.Argument(help="OMERO user name.")], site: SiteOption) -> None:
    """End every token and every submission grant of a person."""
    count = sessions.revoke_person(open_store(load_site(site)), user, operator(), utcnow())
    say(f"{user}: {count} session{'' if count == 1 else 's'} ended.")
