"""Which notices go into whose next mail, and how that mail reads. Pure.

A notice waits for ``digest_minutes``: what comes meanwhile goes into the same mail, and what is withdrawn
meanwhile is never mailed. Then everything that stands for that recipient goes, also what has just come.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from server_bridge.contract import Reason
from server_bridge.human import plain

STAFF = ""
"""The recipient of what concerns staff: no user name is empty."""
MOST_SHOWN = 40
HEADINGS = {
    "attention": "These orders need somebody",
    "people": "People who can no longer sign in to OMERO",
    "workstation": "Workstations that somebody should look at",
    "outage": "Outages and settings that hold orders up",
    "over": "It is over",
    "lifetime": "Time on the buffer comes to its end",
}
_WIDTH = 76


@dataclass(frozen=True, slots=True)
class Item:
    """One notice, as a mail needs it."""

    id: int
    kind: str
    at: datetime
    reason: Reason
    person: str = ""
    for_staff: bool = True
    person_told: bool = False
    staff_told: bool = False
    about: str = ""
    """What it is about, in words: share and path, the order."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one recipient is told in one mail."""

    recipient: str
    """OMERO user name, or :data:`STAFF`."""
    items: tuple[Item, ...]


def batches(items: Iterable[Item], now: datetime, wait: timedelta) -> list[Batch]:
    """The mails that are due; staff first, since they can help where a person cannot be reached."""
    waiting: dict[str, list[Item]] = {}
    for item in items:
        if item.for_staff and not item.staff_told:
            waiting.setdefault(STAFF, []).append(item)
        if item.person and not item.person_told:
            waiting.setdefault(item.person, []).append(item)
    return [
        Batch(recipient, tuple(sorted(found, key=lambda item: (item.at, item.id))))
        for recipient, found in sorted(waiting.items())
        if min(item.at for item in found) + wait <= now
    ]


def compose(
    site_name: str,
    batch: Batch,
    *,
    sender: str,
    recipients: Sequence[str],
    now: datetime,
    status_url: str = "",
    contact: str = "",
) -> EmailMessage:
    """The mail. Whatever a name or a detail holds, it ends no header and drives no terminal."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = f"{plain(site_name)}: {_subject(batch.items)}"
    message["From"] = Address(f"OMERO Ferry, {plain(site_name)}", addr_spec=sender)
    message["To"] = ", ".join(recipients)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = make_msgid(domain=sender.partition("@")[2])
    # Out-of-office answers would come back to nobody.
    message["Auto-Submitted"] = "auto-generated"
    text = "\n".join(_body(batch, status_url, contact)) + "\n"
    message.set_content(text, cte="quoted-printable")
    return message


def _subject(items: Sequence[Item]) -> str:
    if len(items) == 1:
        return plain(items[0].reason.title)[:120]
    urgent = sum(item.kind == "attention" for item in items)
    return f"{len(items)} notices" + (f", {urgent} orders need somebody" if urgent > 1 else "")


def _body(batch: Batch, status_url: str, contact: str) -> Iterable[str]:
    shown = batch.items[:MOST_SHOWN]
    for kind in sorted({item.kind for item in shown}, key=_place_of):
        heading = HEADINGS.get(kind, "Notices")
        yield from (heading, "-" * len(heading), "")
        for item in shown:
            if item.kind == kind:
                yield from _item(item)
    if len(batch.items) > MOST_SHOWN:
        yield from (f"... and {len(batch.items) - MOST_SHOWN} more.", "")
    if status_url:
        yield from (f"Status: {plain(status_url)}", "")
    if contact:
        yield f"Questions: {plain(contact)}"
    if batch.recipient == STAFF:
        yield "On the bridge's host: `ferry-bridge notices`, `ferry-bridge orders`."
    yield "Nothing was deleted. This mail was written by a program."


def _place_of(kind: str) -> tuple[int, str]:
    order = list(HEADINGS)
    return (order.index(kind) if kind in order else len(order), kind)


def _item(item: Item) -> Iterable[str]:
    reason = item.reason
    yield f"* {plain(reason.title)} [{plain(reason.code)}]"
    facts = [
        ("", item.about),
        ("", reason.detail),
        ("since", _moment(reason.since or item.at)),
        ("what to do", reason.remedy),
        ("whom to ask", reason.contact),
    ]
    for name, value in facts:
        if value:
            # Lists and paths stay whole: only the words between are wrapped.
            yield from textwrap.wrap(
                (f"{name}: " if name else "") + plain(value), _WIDTH, initial_indent="  ",
                subsequent_indent="    ", break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    yield ""


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
