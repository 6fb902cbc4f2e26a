"""The list's model: headings and cards as rows, moved with the least change from snapshot to snapshot.

A snapshot that leaves a card as it was leaves its row alone: no signal, no repaint, no new layout. The
selection follows the card, not the row number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from agent.core.snapshot import Card, CardGroup
from agent.ui.card_text import CardText, card_text
from agent.ui.texts import group_heading
from server_bridge.contract import Target

ROW = Qt.ItemDataRole.UserRole + 1
"""Role that returns the :class:`Row` itself, for the delegate."""

AnyIndex = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class Row:
    """A heading (``card`` is None) or a card."""

    group: CardGroup
    card: Card | None = None
    text: CardText | None = None
    count: int = 0

    @property
    def key(self) -> str:
        return f"card:{self.card.id}" if self.card else f"group:{self.group}"


class CardModel(QAbstractListModel):
    """Rows of the list, grouped as the snapshot says."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("cardModel")
        self._rows: list[Row] = []
        self._texts: dict[str, tuple[Card, CardText]] = {}
        """The words of each card as it was at the last snapshot."""
        self._said_at: tuple[object, ...] = ()

    def show(
        self, cards: Sequence[Card], recents: Sequence[Target] = (), now: datetime | None = None
    ) -> None:
        """Turn the rows into these cards, touching only what differs."""
        wanted = self._wanted(cards, recents, now or datetime.now(UTC))
        keys = {row.key for row in wanted}
        for index in range(len(self._rows) - 1, -1, -1):
            if self._rows[index].key not in keys:
                self.beginRemoveRows(QModelIndex(), index, index)
                del self._rows[index]
                self.endRemoveRows()
        for position, row in enumerate(wanted):
            self._place(position, row)

    def _place(self, position: int, row: Row) -> None:
        found = next((i for i in range(position, len(self._rows)) if self._rows[i].key == row.key), None)
        if found is None:
            self.beginInsertRows(QModelIndex(), position, position)
            self._rows.insert(position, row)
            self.endInsertRows()
            return
        if found != position:
            self.beginMoveRows(QModelIndex(), found, found, QModelIndex(), position)
            self._rows.insert(position, self._rows.pop(found))
            self.endMoveRows()
        if self._rows[position] != row:
            self._rows[position] = row
            index = self.index(position)
            self.dataChanged.emit(index, index)

    def _text(self, card: Card, recents: Sequence[Target], now: datetime) -> CardText:
        known = self._texts.get(card.id)
        if known is not None and known[0] == card:
            return known[1]
        return card_text(card, now, recents)

    def _wanted(self, cards: Sequence[Card], recents: Sequence[Target], now: datetime) -> list[Row]:
        # A card's words change with the card, with the last target, and, being times of day, by the minute.
        said_at = (tuple(recents), now.replace(second=0, microsecond=0))
        if said_at != self._said_at:
            self._said_at, self._texts = said_at, {}
        counts = Counter(card.group for card in cards)
        rows: list[Row] = []
        for group in CardGroup:
            if not counts[group]:
                continue
            rows.append(Row(group, count=counts[group]))
            rows.extend(
                Row(group, card, self._text(card, recents, now)) for card in cards if card.group is group
            )
        self._texts = {row.card.id: (row.card, row.text) for row in rows if row.card and row.text}
        return rows

    def row(self, index: AnyIndex) -> Row | None:
        """Return the row behind an index."""
        return self._rows[index.row()] if index.isValid() and index.row() < len(self._rows) else None

    def card(self, card_id: str) -> Card | None:
        return next((row.card for row in self._rows if row.card and row.card.id == card_id), None)

    def index_of(self, card_id: str) -> QModelIndex:
        """Return the index of a card, invalid when it is gone."""
        for number, row in enumerate(self._rows):
            if row.card and row.card.id == card_id:
                return self.index(number)
        return QModelIndex()

    def first_card(self) -> Card | None:
        return next((row.card for row in self._rows if row.card), None)

    # --- Qt's side ------------------------------------------------------------------------------------

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: B008 - Qt's own default
        return 0 if parent.isValid() else len(self._rows)

    def flags(self, index: AnyIndex) -> Qt.ItemFlag:
        row = self.row(index)
        if row is None or row.card is None:
            # Headings are skipped by the arrow keys and cannot be chosen.
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.row(index)
        if row is None:
            return None
        if role == ROW:
            return row
        if row.card is None or row.text is None:
            heading = f"{group_heading(row.group)} {row.count}"
            shown = {Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole}
            return heading if role in shown else None
        if role in {Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole}:
            return row.text.title
        if role == Qt.ItemDataRole.AccessibleDescriptionRole:
            return row.text.spoken()
        if role == Qt.ItemDataRole.ToolTipRole:
            lines = [row.text.title, row.card.path, row.text.word, row.card.target_text, row.text.right]
            if row.card.reason:
                lines += [row.card.reason.title, row.card.reason.detail]
            return "\n".join(dict.fromkeys(line for line in lines if line))
        return None
