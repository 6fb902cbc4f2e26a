"""When to show a toast, and what it says. Pure; the tray only shows it.

Few and never twice: what happens within a short while becomes one toast, a file that is merely open or still
being written never makes one, the first snapshot after the start makes none, and over a full-screen live view
none is shown: what needs the person is then told afterwards, what went well is not. While the microscope
acquires, good news stay on the cards as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from PySide6.QtCore import QCoreApplication

from agent.core.snapshot import Card, CardGroup, CardState, LogOff, Snapshot
from agent.ui.format import count, shorten
from agent.ui.texts import PROVEN_STATES

TITLE_CHARACTERS = 63
BODY_CHARACTERS = 255
"""Where Windows cuts (Qt passes both on unchanged)."""

BATCH_SECONDS = 5.0


class News(StrEnum):
    NEEDS_YOU = "needs-you"
    PROVEN = "proven"


@dataclass(frozen=True, slots=True)
class Toast:
    title: str
    body: str
    card_id: str = ""
    """The card to open when the toast is clicked."""


@dataclass(frozen=True, slots=True)
class Batch:
    """News that has not been told yet, oldest first."""

    needs_you: tuple[Card, ...] = ()
    proven: tuple[Card, ...] = ()
    may_log_off: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.needs_you or self.proven or self.may_log_off)

    def without_good_news(self) -> Batch:
        """Return what is still worth telling later."""
        return Batch(needs_you=self.needs_you)


def news_of(card: Card) -> News | None:
    """Return what a card is news of, if anything."""
    if card.group is CardGroup.NEEDS_YOU and card.state not in {CardState.WRITING, CardState.SETTLING}:
        return News.NEEDS_YOU
    return News.PROVEN if card.state in PROVEN_STATES else None


def collect(batch: Batch, before: Snapshot | None, after: Snapshot) -> Batch:
    """Return the batch with what is new in ``after``; what no longer holds is dropped from it."""
    now = {card.id: card for card in after.cards}
    batch = _still_true(batch, now)
    if before is None:
        return batch
    known = {card.id: news_of(card) for card in before.cards}
    fresh = [c for c in after.cards if (n := news_of(c)) is not None and known.get(c.id) is not n]
    told = {card.id for card in (*batch.needs_you, *batch.proven)}
    # A card that is done the first time it is seen is history, not news.
    proven = [c for c in fresh if news_of(c) is News.PROVEN and c.id in known and c.id not in told]
    needs = [c for c in fresh if news_of(c) is News.NEEDS_YOU and c.id not in told]
    log_off = batch.may_log_off
    if after.log_off.may is LogOff.YES and before.log_off.may is LogOff.NO:
        log_off = after.log_off.headline
    elif after.log_off.may is not LogOff.YES:
        log_off = ""
    return replace(
        batch,
        needs_you=(*batch.needs_you, *needs),
        proven=(*batch.proven, *proven),
        may_log_off=log_off,
    )


def _still_true(batch: Batch, now: Mapping[str, Card]) -> Batch:
    def holds(card: Card, wanted: News) -> bool:
        return card.id in now and news_of(now[card.id]) is wanted

    return replace(
        batch,
        needs_you=tuple(c for c in batch.needs_you if holds(c, News.NEEDS_YOU)),
        proven=tuple(c for c in batch.proven if holds(c, News.PROVEN)),
    )


def toast(batch: Batch) -> Toast | None:
    """Return one toast for the whole batch, or None when there is nothing to tell."""
    tr = QCoreApplication.translate
    if batch.is_empty:
        return None
    lines = []
    first = (*batch.needs_you, *batch.proven)[:1]
    if batch.needs_you:
        number = len(batch.needs_you)
        card = batch.needs_you[0]
        title = (
            tr("toast", "{title} needs you").format(title=shorten(card.title, 50))
            if number == 1
            else tr("toast", "{n} acquisitions need you").format(n=count(number))
        )
        lines.append(_why(card) if number == 1 else _names(batch.needs_you))
        if batch.proven:
            lines.append(_proven_sentence(batch.proven))
    elif batch.proven:
        title = _proven_sentence(batch.proven)
        if len(batch.proven) > 1:
            lines.append(_names(batch.proven))
    else:
        title = batch.may_log_off
    if batch.may_log_off and title != batch.may_log_off:
        lines.append(batch.may_log_off)
    return Toast(
        shorten(title, TITLE_CHARACTERS),
        shorten("\n".join(line for line in lines if line), BODY_CHARACTERS),
        first[0].id if first else "",
    )


def _why(card: Card) -> str:
    if card.reason is not None:
        return " ".join(part for part in (card.reason.title, card.reason.remedy) if part)
    return QCoreApplication.translate("toast", "Where should it go?")


def _proven_sentence(cards: tuple[Card, ...]) -> str:
    tr = QCoreApplication.translate
    if len(cards) == 1:
        return tr("toast", "{title} is in OMERO, proven").format(title=shorten(cards[0].title, 40))
    return tr("toast", "{n} acquisitions are in OMERO, proven").format(n=count(len(cards)))


def _names(cards: tuple[Card, ...]) -> str:
    shown = ", ".join(shorten(card.title, 40) for card in cards[:4])
    if len(cards) <= 4:
        return shown
    return QCoreApplication.translate("toast", "{names} and {n} more").format(names=shown, n=len(cards) - 4)
