"""`ferry-bridge notices`, `mail-test`, `aging`, `discard-unordered`: what people should hear of, and what
staff do about data that grows too old on a buffer."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import select

from server_bridge.config import is_address, load_site
from server_bridge.context import open_store
from server_bridge.contract import Reason
from server_bridge.errors import BadRequest, ConfigurationError, NotFound
from server_bridge.human import human_bytes, plain
from server_bridge.notices import digest, lifetime, mail_state, mailer
from server_bridge.notices.digest import STAFF, Batch, Item
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
from server_bridge.orders import places
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Notice, utcnow
from server_bridge.orders.overlap import Place

NEVER = "-"


@told
def notices(
    site: SiteOption,
    all_: Annotated[bool, typer.Option("--all", help="Withdrawn ones too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what somebody should hear of, and whether it was mailed."""
    config = load_site(site)
    with open_store(config).read() as session:
        wanted = select(Notice).order_by(Notice.at, Notice.id)
        rows = session.scalars(wanted if all_ else wanted.where(Notice.withdrawn_at.is_(None))).all()
        state = mail_state.read(session)
    if as_json:
        say_json({"mail": state.model_dump(mode="json"), "notices": [_as_json(row) for row in rows]})
        return
    if not config.mail.host:
        say("Nobody is mailed: the site file has no [mail].")
    elif state.failing is not None:
        reason = state.failing
        say(plain(f"No mail goes out: {reason.title} [{reason.code}] {reason.detail}"))
        say(plain(f"  since {moment(reason.since)}, next try {moment(reason.next_try_at)}. {reason.remedy}"))
    if not rows:
        say("No notices.")
        return
    say(table(["SINCE", "KIND", "PERSON", "MAILED", "STAFF MAILED", "ORDER", "WHAT"], map(_line, rows)))


def _line(row: Notice) -> list[object]:
    reason = Reason.model_validate(row.reason)
    over = f" (withdrawn {moment(row.withdrawn_at)})" if row.withdrawn_at else ""
    return [
        moment(row.at),
        row.kind,
        row.person or NEVER,
        moment(row.mailed_person_at) if row.person else NEVER,
        moment(row.mailed_staff_at) if row.for_staff else NEVER,
        row.order_id[:8] if row.order_id else NEVER,
        f"{reason.title} [{reason.code}]{over}",
    ]


def _as_json(row: Notice) -> dict[str, object]:
    return {
        "key": row.key,
        "kind": row.kind,
        "at": row.at.isoformat(),
        "order_id": row.order_id,
        "person": row.person,
        "for_staff": row.for_staff,
        "reason": row.reason,
        "withdrawn_at": row.withdrawn_at.isoformat() if row.withdrawn_at else None,
        "mailed_person_at": row.mailed_person_at.isoformat() if row.mailed_person_at else None,
        "mailed_staff_at": row.mailed_staff_at.isoformat() if row.mailed_staff_at else None,
    }


@told
def mail_test(
    address: Annotated[str, typer.Argument(help="Where to.", show_default=False)], site: SiteOption
) -> None:
    """Send one mail, now, as the bridge would."""
    config = load_site(site)
    if not config.mail.host:
        raise ConfigurationError(
            "The site file has no [mail] with a host.", title="No mail server", remedy="Add [mail]."
        )
    if not is_address(address):
        raise BadRequest(f"{address!r} is no plain mail address.", title="Not an address")
    now = utcnow()
    reason = Reason(code="mail_test", title="A test", detail=f"Sent by {operator()} with mail-test.")
    message = digest.compose(
        config.name,
        Batch(STAFF, (Item(0, "test", now, reason),)),
        sender=config.mail.sender,
        recipients=[address],
        now=now,
        status_url=config.mail.status_url,
        contact=config.contact,
    )
    done = mailer.send(config.mail, message, [address])
    if done.unsure:
        raise mailer.MailFailed("The server broke off before it said that it has the mail.")
    say(f"{config.mail.host} took the mail for {address}.")


@told
def aging(
    site: SiteOption,
    share: Annotated[str, typer.Option(help="Only this share.", show_default=False)] = "",
    as_json: JsonOption = False,
) -> None:
    """List data that is not proven in OMERO and near the end of its time on its buffer, or beyond it."""
    config = load_site(site)
    now = utcnow()
    with open_store(config).read() as session:
        found = [one for one in lifetime.aging(session, config, now) if share in ("", one.share)]
    if as_json:
        say_json(
            [
                {
                    "share": one.share,
                    "path": one.path,
                    "since": one.since.isoformat(),
                    "expires_at": one.ends_at.isoformat(),
                    "days_left": round(one.days_left(now), 2),
                    "size_bytes": one.size_bytes,
                    "person": one.person,
                    "order_id": one.order_id,
                    "stage": one.stage,
                }
                for one in found
            ]
        )
    elif not found:
        say("Nothing comes to the end of its time on a buffer within two weeks.")
    else:
        say(
            table(
                ["DAYS LEFT", "ENDS", "SIZE", "PERSON", "STATE", "SHARE PATH"],
                (
                    (
                        f"{one.days_left(now):.1f}",
                        f"{one.ends_at:%Y-%m-%d}",
                        human_bytes(one.size_bytes),
                        one.person or NEVER,
                        f"{one.stage} {one.order_id[:8]}" if one.order_id else "not ordered",
                        f"{one.share}:{one.path}",
                    )
                    for one in found
                ),
            )
        )


@told
def discard_unordered(
    share: Annotated[str, typer.Argument(help="The share's id.", show_default=False)],
    path: Annotated[str, typer.Argument(help="The acquisition, below the share's top.", show_default=False)],
    site: SiteOption,
    reason: Annotated[str, typer.Option(help="Why; it is audited.", show_default=False)],
) -> None:
    """Give up data that nobody ordered, named and audited. Nothing is deleted or released by this."""
    from server_bridge.mover.listing import list_source
    from server_bridge.mover.paths import require_path
    from server_bridge.pipeline.sources import source_of
    from server_bridge.processes.runner import ProcessRunner

    config = load_site(site)
    found = config.share(share)
    if found is None:
        raise NotFound(f"This site has no share {share!r}.", title="Unknown share")
    if not reason.strip():
        raise BadRequest("Say why the data is given up.", remedy="Discarding is audited: give the reason.")
    require_path(path)
    store = open_store(config)
    with store.read() as session:
        members = lifetime.members_told(session, config, share, path)
        place = Place(path, members)
        places.require_free(session, "", share, place, Caller(username=operator(), is_staff=True))
    listing = list_source(
        source_of(found),
        path,
        ProcessRunner(),
        members=members,
        marker=found.marker,
        rsync=config.rsync,
        stall_seconds=found.stall_seconds,
    )
    if not listing.is_complete:
        raise BadRequest(
            "Some of it cannot be read, or vanished while it was listed.",
            title="The data cannot be listed as a whole",
            remedy="Look at permissions on the share, then try again.",
        )
    files = [(name, entry.size_bytes, int(entry.mtime_s)) for name, entry in listing.entries.items()]
    digest_ = lifetime.record_discard(
        store, share, path, files, by=operator(), reason=reason.strip(), now=utcnow()
    )
    size = human_bytes(listing.total_bytes)
    say(plain(f"{share}:{path}: {len(files)} files, {size}, given up; list {digest_[:12]} is in the audit."))
    say("Nothing was deleted. Whoever deletes it on the buffer does so on this word, not on a release.")
