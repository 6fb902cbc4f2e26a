"""Tags as chips, with completion from the tags the person may use; a new tag is just typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QLineEdit, QSizePolicy, QToolButton, QWidget

from agent.ui.flow_layout import FlowLayout
from agent.ui.search_popup import SearchPopup, Suggestion
from agent.ui.widgets import restyle
from server_bridge.contract import TagList


class TagField(QFrame):
    """Enter or a comma makes a chip, backspace in the empty field takes the last one away."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("tagField")
        self._tags: list[str] = []
        self._chips: list[QToolButton] = []
        self._flow = FlowLayout(self, spacing=5, stretch_last=True)
        self._flow.setContentsMargins(8, 5, 8, 5)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.field = QLineEdit()
        self.field.setPlaceholderText(self.tr("add…"))
        self.field.setAccessibleName(self.tr("Add a tag"))
        self.field.setMaxLength(255)
        self.field.setMinimumWidth(90)
        self._flow.addWidget(self.field)
        self.setFocusProxy(self.field)
        self.popup = SearchPopup(self.field, self._suggest)
        # The completer still writes into the field after telling what was picked: add it afterwards.
        self.popup.picked.connect(lambda tag: QTimer.singleShot(0, self, lambda: self.add(tag)))
        self.field.textEdited.connect(self._edited)
        self.field.installEventFilter(self)

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the chips, and what is typed but not yet made a chip."""
        typed = self.field.text().strip()
        return tuple(dict.fromkeys([*self._tags, *([typed] if typed else [])]))

    def set_tags(self, tags: Sequence[str]) -> None:
        for tag in list(self._tags):
            self.remove(tag)
        for tag in tags:
            self.add(tag)

    def set_search(self, search: Callable[[str], Future[TagList]] | None) -> None:
        self.popup.set_search(search)

    def add(self, tag: str) -> None:
        """Make a chip; a tag that is there already is not repeated."""
        self.field.clear()
        self.popup.close()
        name = tag.strip()
        if not name or name in self._tags:
            return
        chip = QToolButton()
        chip.setProperty("role", "chip")
        chip.setText(f"{name}  ×".replace("&", "&&"))
        chip.setToolTip(self.tr("Remove {tag}").format(tag=name))
        chip.setAccessibleName(self.tr("Tag {tag}, remove").format(tag=name))
        chip.clicked.connect(lambda: self.remove(name))
        self._flow.insert_widget(len(self._tags), chip)
        self._tags.append(name)
        self._chips.append(chip)
        chip.show()
        self.updateGeometry()
        self.changed.emit()

    def remove(self, tag: str) -> None:
        if tag not in self._tags:
            return
        position = self._tags.index(tag)
        self._flow.takeAt(position)
        self._tags.pop(position)
        chip = self._chips.pop(position)
        chip.hide()
        chip.deleteLater()
        self._flow.invalidate()
        self.updateGeometry()
        self.changed.emit()

    def _edited(self, text: str) -> None:
        if "," in text:
            for part in text.split(","):
                self.add(part)
        self.changed.emit()

    def _suggest(self, _query: str, result: TagList) -> Sequence[Suggestion]:
        return [Suggestion(tag, tag) for tag in result.items if tag not in self._tags]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.field:
            if event.type() in {QEvent.Type.FocusIn, QEvent.Type.FocusOut}:
                self.setProperty("focused", event.type() is QEvent.Type.FocusIn)
                restyle(self)
            elif isinstance(event, QKeyEvent) and event.type() is QEvent.Type.KeyPress:
                return self._key(event)
        return super().eventFilter(watched, event)

    def _key(self, event: QKeyEvent) -> bool:
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and self.field.text().strip():
            self.add(self.field.text())
            return True
        if event.key() == Qt.Key.Key_Backspace and not self.field.text() and self._tags:
            self.remove(self._tags[-1])
            return True
        return False
