"""Room on the buffer in words: what may go, what is going, what stayed, who deletes and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from PySide6.QtCore import QCoreApplication

from agent.core.cleaning_book import Job, JobState
from agent.core.snapshot import Card, CardState, ShareSnapshot, Snapshot
from agent.ui import format as fmt
from server_bridge.contract import CleaningMode, DeletionMode

_tr = QCoreApplication.translate
ASKED_TOGETHER = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Going:
    """What is being deleted, all jobs together."""

    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int

    @property
    def part(self) -> float:
        """0..1."""
        if self.bytes_total:
            return min(1.0, self.bytes_done / self.bytes_total)
        return min(1.0, self.files_done / self.files_total) if self.files_total else 0.0

    def text(self) -> str:
        """``12.4 of 38.2 GB · 1,204 of 6,144 files``."""
        of = _tr("cleaning", "{done} of {files}")
        files = of.format(done=fmt.count(self.files_done), files=fmt.files(self.files_total))
        return f"{fmt.size_of(self.bytes_done, self.bytes_total)} · {files}"


def freeable(snapshot: Snapshot, *, everybody: bool) -> list[Card]:
    """Return what this person may free, the longest proven first; her own unless she wants everybody's."""
    me = snapshot.person.username if snapshot.person else ""
    found = [card for card in snapshot.cards if "FreeSpace" in card.actions]
    return sorted(
        (card for card in found if everybody or card.person == me),
        key=lambda card: (card.proven_at is not None, card.proven_at or snapshot.at, card.id),
    )


def agent_deletes(snapshot: Snapshot) -> bool:
    """Whether there is a share on which this agent may delete at all."""
    return any(share.deletion == DeletionMode.AGENT for share in snapshot.shares)


def going(jobs: Iterable[Job]) -> Going | None:
    """Return how far the deleting is; None when nothing is being deleted.

    What was asked together counts together: the bar does not jump back when one of several is done.
    """
    jobs = list(jobs)
    live = [job for job in jobs if job.is_going]
    if not live:
        return None
    first = min(job.asked_at for job in live) - ASKED_TOGETHER
    over = [job for job in jobs if not job.is_going and job.asked_at >= first]
    done = [*live, *over]
    return Going(
        sum(job.files_done for job in done),
        sum(job.files_total for job in live) + sum(job.files_done for job in over),
        sum(job.bytes_done for job in done),
        sum(job.bytes_total for job in live) + sum(job.bytes_done for job in over),
    )


def place_name(share: str, shares: Sequence[ShareSnapshot]) -> str:
    """Return how a person calls a share: ``Z:``, or its title."""
    found = next((one for one in shares if one.share == share), None)
    if found is None:
        return share
    return found.where if found.where.endswith(":") else found.title


def amount(cards: Sequence[Card]) -> str:
    """``6,144 files, 38.2 GB``."""
    files = fmt.files(sum(card.file_count for card in cards))
    return f"{files}, {fmt.size(sum(card.size_bytes for card in cards))}"


def question(cards: Sequence[Card], shares: Sequence[ShareSnapshot]) -> str:
    """Return the one question before anything goes: what exactly, and what stays."""
    places = sorted({place_name(card.share, shares) for card in cards})
    if len(cards) == 1:
        what = _tr("cleaning", "Delete the copy of {title} on {place} ({amount})?")
    else:
        what = _tr("cleaning", "Delete the copies of these {n} acquisitions on {place} ({amount})?")
    rest = _tr("cleaning", "OMERO has them with proof and keeps them; only what lies on {place} goes.")
    if len(cards) == 1:
        rest = _tr("cleaning", "It is in OMERO with proof and stays there; only what lies on {place} goes.")
    words = {
        "title": cards[0].title,
        "n": fmt.count(len(cards)),
        "place": ", ".join(places),
        "amount": amount(cards),
    }
    return f"{what} {rest}".format(**words)


def job_text(job: Job, now: datetime) -> str:
    """Return where one job stands."""
    if job.reason is not None and job.state is not JobState.STOPPED:
        text = " ".join(part for part in (job.reason.title, job.reason.detail) if part)
        return _tr("cleaning", "{title}: {text}").format(title=job.title, text=text)
    if job.state is JobState.QUEUED:
        return _tr("cleaning", "{title}: waits for its turn").format(title=job.title)
    if job.state is JobState.RUNNING:
        return _tr("cleaning", "{title}: {done} of {files} gone").format(
            title=job.title, done=fmt.count(job.files_done), files=fmt.files(job.files_total)
        )
    gone = f"{fmt.files(job.files_done)}, {fmt.size(job.bytes_done)}"
    at = fmt.clock(job.ended_at, now=now) if job.ended_at else ""
    if job.state is JobState.STOPPED:
        return _tr("cleaning", "{title}: stopped {time}; gone: {gone}").format(
            title=job.title, time=at, gone=gone
        )
    by = "" if job.asked_by else " " + _tr("cleaning", "(by the site's rule)")
    text = _tr("cleaning", "{title}: freed {time}{by}: {gone}")
    return text.format(title=job.title, time=at, by=by, gone=gone)


def stayed_lines(job: Job) -> list[str]:
    """Return the files that stayed, each with its reason; more than are kept are counted."""
    lines = [f"{path}: {why}" for path, why in job.stayed.items()]
    more = job.stayed_count - len(lines)
    if more > 0:
        lines.append(_tr("cleaning", "and {n} more").format(n=fmt.count(more)))
    return lines


def policy_text(share: ShareSnapshot) -> str:
    """Return what the agent deletes by itself on a share; empty when it asks."""
    if share.clean is CleaningMode.RELEASED:
        text = _tr("cleaning", "{title}: what is released goes by itself, never while the microscope writes.")
    elif share.clean is CleaningMode.WHEN_LOW:
        text = _tr(
            "cleaning",
            "{title}: below {percent} % free, what is released goes by itself, the oldest first and never "
            "while the microscope writes.",
        )
    else:
        return ""
    return text.format(title=share.title, percent=f"{share.clean_below_percent:g}")


def leaves_text(card: Card, now: datetime) -> str:
    """Return who deletes the copy, and from when on; empty where there is nothing to tell."""
    if card.state is CardState.PROVEN and card.leaves_buffer_at and card.leaves_buffer_at > now:
        return _tr("cleaning", "The copy may go on {day} at the earliest.").format(
            day=fmt.day(card.leaves_buffer_at)
        )
    if card.state is not CardState.SAFE_TO_DELETE:
        return ""
    parts = []
    if card.released_at:
        parts.append(_tr("cleaning", "Released on {day}.").format(day=fmt.day(card.released_at)))
    if card.deletion == DeletionMode.STORAGE:
        parts.append(
            _tr("cleaning", "Storage staff delete it ({schedule}).").format(schedule=card.deletion_schedule)
            if card.deletion_schedule
            else _tr("cleaning", "Storage staff delete it.")
        )
    elif card.clean is CleaningMode.RELEASED:
        parts.append(_tr("cleaning", "The agent deletes it by itself."))
    elif card.clean is CleaningMode.WHEN_LOW:
        parts.append(_tr("cleaning", "The agent deletes it by itself when the share has little room."))
    if card.lifetime_ends_at:
        parts.append(
            _tr("cleaning", "Its time on the buffer ends on {day}.").format(
                day=fmt.day(card.lifetime_ends_at)
            )
        )
    return " ".join(parts)
