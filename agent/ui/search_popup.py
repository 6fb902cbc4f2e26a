"""Search as you type for a line edit: debounced, never blocking, late answers of old questions dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QEvent, QModelIndex, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QCompleter, QLineEdit, QListView

from agent.core.errors import AgentError
from agent.ui.relay import deliver

DEBOUNCE_MS = 200
_DATA = Qt.ItemDataRole.UserRole + 1


@dataclass(frozen=True, slots=True)
class Suggestion:
    text: str
    data: Any
    hint: str = ""
    enabled: bool = True


class SearchPopup(QObject):
    """Asks ``search(query)`` while a person types and lists what comes back under the field."""

    picked = Signal(object)
    """``Suggestion.data`` of what the person picked."""
    answered = Signal(str, object)
    """Query, result."""
    failed = Signal(str, object)
    """Query, AgentError."""

    def __init__(self, field: QLineEdit, suggest: Callable[[str, Any], Sequence[Suggestion]]) -> None:
        super().__init__(field)
        self.setObjectName("searchPopup")
        self._field = field
        self._suggest = suggest
        self._search: Callable[[str], Future[Any]] | None = None
        self._question = 0
        self._model = QStandardItemModel(self)
        self._completer = QCompleter(self._model, self)
        self._completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        self._completer.setWidget(field)
        self._completer.setMaxVisibleItems(9)
        popup = QListView()
        popup.setObjectName("popup")
        popup.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        popup.setTextElideMode(Qt.TextElideMode.ElideRight)
        popup.setUniformItemSizes(True)
        self._completer.setPopup(popup)
        self._popup = popup
        self._completer.activated[QModelIndex].connect(self._activated)  # type: ignore[index]
        self._timer = QTimer(self)
        self._timer.setObjectName("searchDebounce")
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._ask)
        field.textEdited.connect(self._edited)
        field.installEventFilter(self)

    def set_search(self, search: Callable[[str], Future[Any]] | None) -> None:
        """Ask this from now on; what was asked before is forgotten."""
        self._search = search
        self._question += 1
        self._timer.stop()
        self._model.clear()

    def look_now(self) -> None:
        """Ask at once, without opening the list unless the field has the focus."""
        self._timer.stop()
        self._ask()

    def close(self) -> None:
        self._popup.hide()

    def _edited(self) -> None:
        self._question += 1
        self._timer.start()

    def _ask(self) -> None:
        if self._search is None:
            return
        self._question += 1
        question = self._question
        query = self._field.text().strip()

        def answer(result: Any) -> None:
            if question == self._question:
                self._fill(query, result)
                self.answered.emit(query, result)

        def fail(error: AgentError) -> None:
            if question == self._question:
                self._model.clear()
                self.failed.emit(query, error)

        deliver(self._search(query), self, answer, fail)

    def _fill(self, query: str, result: Any) -> None:
        self._model.clear()
        for suggestion in self._suggest(query, result):
            item = QStandardItem(suggestion.text)
            item.setData(suggestion.data, _DATA)
            item.setToolTip(suggestion.hint or suggestion.text)
            item.setEnabled(suggestion.enabled)
            self._model.appendRow(item)
        if self._model.rowCount() and self._field.hasFocus():
            self._completer.complete()
        else:
            self.close()

    def suggestions(self) -> list[str]:
        """Return what the list offers now."""
        return [self._model.item(row).text() for row in range(self._model.rowCount())]

    def pick(self, row: int) -> None:
        """Pick a row as a click on it would."""
        self._activated(self._completer.completionModel().index(row, 0))

    def _activated(self, index: QModelIndex) -> None:
        data = index.data(_DATA)
        if data is not None:
            self._question += 1
            self._timer.stop()
            self.picked.emit(data)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._field and event.type() is QEvent.Type.MouseButtonRelease:
            self.look_now()
        return super().eventFilter(watched, event)
