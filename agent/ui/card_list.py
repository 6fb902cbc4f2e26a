"""The list of cards: keyboard first, smooth with hundreds of cards, one click to the action."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from PySide6.QtCore import QEvent, QItemSelectionModel, QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QAbstractItemView, QListView, QMenu, QWidget

from agent.core.snapshot import Card
from agent.ui.card_delegate import CardDelegate
from agent.ui.card_model import AnyIndex, CardModel
from agent.ui.card_text import OPEN_IN_OMERO
from agent.ui.texts import action_text
from server_bridge.contract import Target


class CardList(QListView):
    """Shows the cards of the newest snapshot and keeps the chosen one chosen."""

    chosen = Signal(str)
    """Card id of the current card; empty when there is none."""
    action = Signal(str, str)
    """Card id, action name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("cardList")
        self.setAccessibleName(self.tr("Acquisitions"))
        self.cards = CardModel(self)
        self.setModel(self.cards)
        self._delegate = CardDelegate(self)
        self._delegate.pressed.connect(self.action)
        self.setItemDelegate(self._delegate)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMouseTracking(True)
        self.verticalScrollBar().setSingleStep(24)

    def show_cards(self, cards: Sequence[Card], recents: Sequence[Target], now: datetime) -> None:
        """Show these cards; when nothing is chosen yet, choose the one that matters most."""
        self.cards.show(cards, recents, now)
        if self.current_card() is None:
            # Nothing was chosen yet, or what was chosen is gone and a heading has slipped into its place.
            first = self.cards.first_card()
            if first is None:
                self.chosen.emit("")
            else:
                self.choose(first.id)
                self.scrollToTop()

    def choose(self, card_id: str) -> None:
        """Make a card the current one and bring it into view."""
        index = self.cards.index_of(card_id)
        if index.isValid():
            self.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            self.scrollTo(index)

    def current_card(self) -> Card | None:
        row = self.cards.row(self.currentIndex())
        return row.card if row else None

    def currentChanged(self, current: AnyIndex, previous: AnyIndex) -> None:
        super().currentChanged(QModelIndex(current), QModelIndex(previous))  # type: ignore[arg-type]
        row = self.cards.row(current)
        self.chosen.emit(row.card.id if row and row.card else "")

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter does the most wanted action of the current card."""
        card = self.current_card()
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and card and card.actions:
            self.action.emit(card.id, card.actions[0])
            event.accept()
            return
        super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        card = self.current_card()
        if card is None:
            return
        menu = self.menu_for(card)
        if not menu.isEmpty():
            menu.popup(event.globalPos())

    def menu_for(self, card: Card) -> QMenu:
        """Return every action of a card as a menu, for the right button and the menu key."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if card.result_url:
            menu.addAction(self.tr("Open in OMERO"), partial(self.action.emit, card.id, OPEN_IN_OMERO))
        for name in card.actions:
            text = action_text(name, card)
            if text:
                menu.addAction(text.label, partial(self.action.emit, card.id, name))
        return menu

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        self._track(event.position().toPoint())

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        if self._delegate.hover("", ""):
            self.viewport().update()

    def _track(self, position: QPoint) -> None:
        index = self.indexAt(position)
        row = self.cards.row(index)
        button = self._delegate.button_at(self.visualRect(index), row, position) if row else None
        card_id = row.card.id if row and row.card else ""
        if self._delegate.hover(card_id, button.action if button else ""):
            self.viewport().update()
        shape = Qt.CursorShape.PointingHandCursor if button else Qt.CursorShape.ArrowCursor
        self.viewport().setCursor(shape)
