"""Key-value pairs as a small table that always has one empty row to type into."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from agent.ui.theme import colors_of
from server_bridge.contract import KeyValue

_VISIBLE_ROWS = 4


class _Placeholder(QStyledItemDelegate):
    """Writes "Key" and "Value" into the empty row."""

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        super().paint(painter, option, index)
        table = self.parent()
        if index.data() or not isinstance(table, KeyValueTable) or index.row() != table.rowCount() - 1:
            return
        painter.save()
        painter.setPen(QColor(colors_of(table).mute))
        painter.setFont(table.font())
        rect = option.rect.adjusted(9, 0, -6, 0)
        text = table.tr("Key") if index.column() == 0 else table.tr("Value")
        painter.drawText(rect, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)
        painter.restore()


class KeyValueTable(QTableWidget):
    """Edits key-value pairs; rows without a key are not sent."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 2, parent)
        self.setObjectName("keyValueTable")
        self.setAccessibleName(self.tr("Key-value pairs"))
        self.setHorizontalHeaderLabels([self.tr("Key"), self.tr("Value")])
        self.horizontalHeader().setVisible(False)
        self.verticalHeader().setVisible(False)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        self.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.setColumnWidth(0, 160)
        self.setEditTriggers(QAbstractItemView.EditTrigger.AllEditTriggers)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setItemDelegate(_Placeholder(self))
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 14)
        self.itemChanged.connect(self._edited)
        self.set_pairs(())

    @property
    def pairs(self) -> tuple[KeyValue, ...]:
        """Return the pairs that have a key."""
        rows = ((self._text(row, 0), self._text(row, 1)) for row in range(self.rowCount()))
        return tuple(KeyValue(key=key[:255], value=value[:10_000]) for key, value in rows if key)

    def keyless(self) -> bool:
        """Return whether a value stands without a key, which would be lost silently."""
        return any(self._text(r, 1) and not self._text(r, 0) for r in range(self.rowCount()))

    def set_pairs(self, pairs: Sequence[KeyValue]) -> None:
        self.blockSignals(True)
        self.setRowCount(0)
        for pair in pairs:
            self._append(pair.key, pair.value)
        self._append("", "")
        self.blockSignals(False)
        self._fit()
        self.changed.emit()

    def set_cell(self, row: int, column: int, text: str) -> None:
        """Write a cell as typing would."""
        item = self.item(row, column)
        if item is not None:
            item.setText(text)

    def _append(self, key: str, value: str) -> None:
        row = self.rowCount()
        self.insertRow(row)
        self.setItem(row, 0, QTableWidgetItem(key))
        self.setItem(row, 1, QTableWidgetItem(value))

    def _text(self, row: int, column: int) -> str:
        item = self.item(row, column)
        return item.text().strip() if item is not None else ""

    def _edited(self, item: QTableWidgetItem) -> None:
        last = self.rowCount() - 1
        if item.row() == last and item.text().strip():
            self.blockSignals(True)
            self._append("", "")
            self.blockSignals(False)
            self._fit()
        item.setToolTip(item.text())
        self.changed.emit()

    def _fit(self) -> None:
        rows = min(max(self.rowCount(), 1), _VISIBLE_ROWS)
        self.setFixedHeight(rows * self.verticalHeader().defaultSectionSize() + 2)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete removes the current row; Enter moves on instead of closing the dialog."""
        row = self.currentRow()
        if event.key() == Qt.Key.Key_Delete and 0 <= row < self.rowCount() - 1:
            self.removeRow(row)
            self._fit()
            self.changed.emit()
            return
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.editItem(self.currentItem())
            return
        super().keyPressEvent(event)
