"""The left side of the target dialog: what was chosen lately; one click fills everything."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from agent.ui.target_draft import place_text, target_text
from agent.ui.widgets import ElidedLabel, label
from server_bridge.contract import Target


class RecentList(QWidget):
    """Lists recent targets, latest first."""

    picked = Signal(object)
    """The target."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("recentPane")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 18, 14, 14)
        column.setSpacing(6)
        heading = label(self.tr("Recent"), "small")
        heading.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        heading.setContentsMargins(6, 0, 0, 0)
        column.addWidget(heading)
        self.none = label(self.tr("What you choose here is offered again next time."), "small", wrap=True)
        self.none.setContentsMargins(6, 0, 6, 0)
        self.none.setAlignment(Qt.AlignmentFlag.AlignTop)
        column.addWidget(self.none)
        self.list = QListWidget()
        self.list.setObjectName("recents")
        self.list.setAccessibleName(self.tr("Recent targets"))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.currentRowChanged.connect(self._current)
        self.list.itemClicked.connect(lambda item: self._current(self.list.row(item)))
        column.addWidget(self.list, 1)
        # Keeps the heading on top while there is no list to fill the pane.
        column.addStretch(0)
        self._targets: tuple[Target, ...] = ()

    def show_targets(self, targets: Sequence[Target]) -> None:
        self._targets = tuple(targets)
        self.list.blockSignals(True)
        self.list.clear()
        for target in self._targets:
            self._add(target)
        self.list.setCurrentRow(-1)
        self.list.blockSignals(False)
        self.none.setVisible(not self._targets)
        self.list.setVisible(bool(self._targets))

    def _add(self, target: Target) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(10, 7, 10, 7)
        column.setSpacing(1)
        name = ElidedLabel(target.container_name or f"#{target.container_id}", "name")
        extra = [place_text(target)]
        if target.tags or target.key_values:
            extra.append(", ".join([*target.tags, *(pair.value for pair in target.key_values)]))
        place = ElidedLabel(" · ".join(extra), "small")
        column.addWidget(name)
        column.addWidget(place)
        for part in (content, name, place):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        item = QListWidgetItem(self.list)
        item.setData(Qt.ItemDataRole.AccessibleTextRole, target_text(target))
        item.setToolTip(target_text(target))
        item.setSizeHint(QSize(100, content.sizeHint().height()))
        self.list.setItemWidget(item, content)

    def choose(self, row: int) -> None:
        """Mark a row and fill the form with it."""
        self.list.setCurrentRow(row)

    def unmark(self) -> None:
        """The form no longer equals what was picked."""
        self.list.blockSignals(True)
        self.list.setCurrentRow(-1)
        self.list.blockSignals(False)

    def _current(self, row: int) -> None:
        if 0 <= row < len(self._targets):
            self.picked.emit(self._targets[row])
