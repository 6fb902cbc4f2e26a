"""What a card says, as text and numbers: a pure function from a Card, painted by the delegate and read aloud.

Two lines and at most one bar: what and how much, then the state, where to, and how far or why not yet.
Numbers are the counters of the snapshot; where there is none, nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from PySide6.QtCore import QCoreApplication

from agent.core.snapshot import Card, CardGroup, CardState, Transfer
from agent.core.witness import waiting
from agent.ui import format as fmt
from agent.ui.texts import PROVEN_STATES, action_text, state_shape, state_word, tone
from agent.ui.theme import Tone
from server_bridge.contract import DeletionMode, Target

_tr = QCoreApplication.translate

OPEN_IN_OMERO = "OpenInOmero"
SAME_TARGET = "SameTarget"
SIGN_IN = "SignIn"
"""What the window does itself: open the result, open the dialog filled with the last target, sign in."""


@dataclass(frozen=True, slots=True)
class CardButton:
    action: str
    label: str
    hint: str
    primary: bool = False


@dataclass(frozen=True, slots=True)
class CardText:
    title: str
    amount: str
    word: str
    shape: str
    tone: Tone
    note: str
    """Second line, left: where to, or the question."""
    note_is_place: bool
    right: str
    """Second line, right: how far, or why not yet."""
    bar: float | None
    buttons: tuple[CardButton, ...]

    def spoken(self) -> str:
        """Return the card as one sentence for a screen reader."""
        parts = [self.word, self.note, self.right, self.amount]
        return ". ".join(part for part in parts if part)


def fraction(transfer: Transfer | None) -> float | None:
    """Return 0..1 of the running step, by the best counter there is, or None."""
    if transfer is None:
        return None
    if transfer.import_step:
        units = max(1, transfer.units_total)
        return min(1.0, (transfer.units_done + (transfer.import_step - 1) / 5) / units)
    for done, total in (
        (transfer.bytes_done, transfer.bytes_total),
        (transfer.files_done, transfer.files_total),
        (transfer.units_done, transfer.units_total),
    ):
        if total > 0:
            return min(1.0, done / total)
    return None


def queue_place(card: Card) -> str:
    """Return ``2 ahead, one from Spinning Disk 2`` or ``next``; empty when the bridge gave no place."""
    if card.ahead is None:
        return ""
    if card.ahead == 0:
        return _tr("card", "next in the queue")
    text = (
        _tr("card", "1 ahead")
        if card.ahead == 1
        else _tr("card", "{n} ahead").format(n=fmt.count(card.ahead))
    )
    sources = sorted(card.ahead_by_workstation.items(), key=lambda item: (-item[1], item[0]))
    if sources:
        name, number = sources[0]
        if number == card.ahead:
            return _tr("card", "{ahead}, from {name}").format(ahead=text, name=name)
        share = _tr("card", "one") if number == 1 else fmt.count(number)
        return _tr("card", "{ahead}, {number} from {name}").format(ahead=text, number=share, name=name)
    return text


def import_progress(transfer: Transfer) -> str:
    """Return ``step 3 of 5`` (OMERO's own) and which import unit, when there are several."""
    parts = []
    if transfer.units_total > 1:
        parts.append(
            _tr("card", "import {n} of {total}").format(
                n=min(transfer.units_done + 1, transfer.units_total), total=transfer.units_total
            )
        )
    if transfer.import_step:
        parts.append(_tr("card", "step {n} of 5").format(n=transfer.import_step))
    return " · ".join(parts)


def pace(transfer: Transfer) -> str:
    """Return ``112 MB/s · 4 min left``, as far as it is known."""
    parts = []
    if transfer.rate_bytes_per_second is not None:
        parts.append(fmt.rate(transfer.rate_bytes_per_second))
    if transfer.eta_seconds is not None:
        parts.append(fmt.time_left(transfer.eta_seconds))
    return " · ".join(parts)


def amount(card: Card) -> str:
    """Return ``6,144 files · 38.2 GB``, with "so far" while it is being written."""
    text = f"{fmt.files(card.file_count)} · {fmt.size(card.size_bytes)}"
    return _tr("card", "{amount} so far").format(amount=text) if card.state is CardState.WRITING else text


def _right(card: Card, now: datetime) -> str:
    transfer = card.transfer
    if card.state in {CardState.WRITING, CardState.SETTLING}:
        if card.witnesses:
            first, *others = card.witnesses
            return " · ".join(one.words for one in (first, *waiting(others)[:1]))
        if card.quiet_seconds is not None and card.quiet_needed_seconds is not None:
            return _tr("card", "quiet {done} of {needed}").format(
                done=fmt.countdown(card.quiet_seconds), needed=fmt.countdown(card.quiet_needed_seconds)
            )
    if card.state is CardState.QUEUED:
        parts = [queue_place(card)]
        if transfer and transfer.eta_seconds is not None:
            parts.append(_tr("card", "about {time}").format(time=fmt.duration(transfer.eta_seconds)))
        return " · ".join(part for part in parts if part)
    if card.state in {CardState.WAITING, CardState.REFUSED, CardState.ATTENTION} and card.reason:
        if card.state is CardState.WAITING and card.reason.next_try_at:
            return _tr("card", "next try {time}").format(time=fmt.clock(card.reason.next_try_at, now=now))
        return ""
    if card.state in PROVEN_STATES:
        parts = [fmt.images(card.image_count)] if card.image_count else []
        if card.state is CardState.PROVEN and card.leaves_buffer_at:
            parts.append(_tr("card", "may go on {day}").format(day=fmt.day(card.leaves_buffer_at)))
        if card.state is CardState.SAFE_TO_DELETE and card.deletion == DeletionMode.STORAGE:
            if card.released_at:
                released = _tr("card", "released {day}: storage staff delete it")
                parts.append(released.format(day=fmt.day(card.released_at)))
            else:
                parts.append(_tr("card", "storage staff delete it"))
        return " · ".join(parts)
    if transfer:
        if card.state is CardState.IMPORTING:
            return import_progress(transfer)
        if transfer.bytes_total:
            return fmt.size_of(transfer.bytes_done, transfer.bytes_total)
        if transfer.files_total:
            return _tr("card", "{done} of {files}").format(
                done=fmt.count(transfer.files_done), files=fmt.files(transfer.files_total)
            )
    return ""


def _note(card: Card, now: datetime) -> str:
    if card.state is CardState.NEEDS_TARGET:
        if card.finished_at:
            return _tr("card", "Finished {time}. Where should it go?").format(
                time=fmt.clock(card.finished_at, now=now)
            )
        return _tr("card", "Where should it go?")
    if card.state is CardState.UNCLAIMED:
        return _tr("card", "It is not sure whose this is. Is it yours?")
    if card.reason and card.state in {CardState.WAITING, CardState.REFUSED, CardState.ATTENTION}:
        return card.reason.title
    if card.state is CardState.NEEDS_NEWER_AGENT:
        return _tr("card", "The bridge knows a state that this agent does not")
    if card.state is CardState.COPYING and card.transfer and card.transfer.slowed:
        return card.transfer.slowed
    if card.state is CardState.QUEUED and card.reason:
        return card.reason.title
    return card.target_text


def _top_right(card: Card, now: datetime) -> str:
    if card.group is CardGroup.ON_ITS_WAY and card.transfer and card.state is CardState.COPYING:
        return pace(card.transfer) or amount(card)
    if card.group is CardGroup.DONE:
        proven = next((s.at for s in reversed(card.stations) if s.reached and s.at), None)
        at = proven or card.finished_at
        return fmt.clock(at, now=now) if at else amount(card)
    return amount(card)


def card_buttons(card: Card, recents: Sequence[Target]) -> tuple[CardButton, ...]:
    """Return the buttons that a card in the list carries: only where somebody must decide, two at most."""
    if card.group is not CardGroup.NEEDS_YOU:
        return ()
    buttons: list[CardButton] = [sign_in_button()] if needs_sign_in(card) else []
    for name in card.actions:
        text = action_text(name, card)
        if text is None:
            continue
        buttons.append(CardButton(name, text.label, text.hint, primary=not buttons))
        if name == "ChooseTarget" and recents and card.target is None:
            buttons.append(same_target_button(recents[0]))
    return tuple(buttons[:2])


def needs_sign_in(card: Card) -> bool:
    """Return whether the order only waits for its person to sign in again."""
    return card.reason is not None and card.reason.code == "not_signed_in"


def sign_in_button() -> CardButton:
    return CardButton(
        SIGN_IN,
        _tr("card", "Sign in"),
        _tr("card", "The order goes on as soon as its person is signed in"),
        primary=True,
    )


def same_target_button(recent: Target) -> CardButton:
    """Return the button that repeats the last target: one click, then one confirmation."""
    name = recent.container_name or _tr("card", "last time")
    return CardButton(
        SAME_TARGET,
        _tr("card", "Same as {name}").format(name=fmt.shorten(name, 24)),
        _tr("card", "Send it where the last one went: {name}").format(name=name),
    )


def card_text(card: Card, now: datetime, recents: Sequence[Target] = ()) -> CardText:
    """Return everything a card in the list shows. ``now`` only decides whether a day is named."""
    moving = card.group is CardGroup.ON_ITS_WAY and card.state is not CardState.QUEUED
    note = _note(card, now)
    return CardText(
        title=card.title,
        amount=_top_right(card, now),
        word=state_word(card.state),
        shape=state_shape(card.state),
        tone=tone(card),
        note=" · ".join(part for part in (card.whose, note) if part),
        note_is_place=not card.whose and note == card.target_text,
        right=_right(card, now),
        bar=fraction(card.transfer) if moving else None,
        buttons=card_buttons(card, recents),
    )
