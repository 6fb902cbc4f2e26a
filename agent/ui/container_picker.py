"""The field for a project, dataset or screen: pick an existing one while typing, or name a new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Literal

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from agent.core.errors import AgentError
from agent.ui import format as fmt
from agent.ui.search_popup import SearchPopup, Suggestion
from agent.ui.target_draft import Choice
from agent.ui.widgets import ElidedLabel, label
from server_bridge.contract import Container, ContainerList

ContainerKind = Literal["project", "dataset", "screen"]


class NameField(QLineEdit):
    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter ends the field, it does not send: half a name must never become a new dataset."""
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.focusNextChild()
            return
        super().keyPressEvent(event)


class ContainerPicker(QWidget):
    """Label, field and what is known about the choice; ``choice`` is always the truth."""

    changed = Signal()
    trouble = Signal(object)
    """AgentError of a search that failed."""

    def __init__(self, kind: ContainerKind, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = kind
        self._choice = Choice()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        head = QHBoxLayout()
        self.caption = label(role="fieldLabel")
        self.note = ElidedLabel(role="small")
        self.note.setAlignment(Qt.AlignmentFlag.AlignRight)
        head.addWidget(self.caption)
        head.addWidget(self.note, 1)
        column.addLayout(head)
        self.field = NameField()
        self.field.setMaxLength(255)
        self.field.setClearButtonEnabled(True)
        self.caption.setBuddy(self.field)
        column.addWidget(self.field)
        self.popup = SearchPopup(self.field, self._suggest)
        self.popup.picked.connect(self._picked)
        self.popup.answered.connect(self._answered)
        self.popup.failed.connect(self._failed)
        self.field.textChanged.connect(self._text_changed)
        self.set_kind(kind)

    @property
    def choice(self) -> Choice:
        return self._choice

    def set_kind(self, kind: ContainerKind) -> None:
        self.kind = kind
        caption, hint = {
            "project": (self.tr("Project (optional)"), self.tr("none")),
            "dataset": (self.tr("Dataset"), self.tr("search, or type a new name")),
            "screen": (self.tr("Screen"), self.tr("search, or type a new name")),
        }[kind]
        self.caption.setText(caption)
        self.field.setPlaceholderText(hint)
        self.field.setAccessibleName(caption)

    def set_search(self, search: Callable[[str], Future[ContainerList]] | None) -> None:
        self.popup.set_search(search)

    def set_choice(self, choice: Choice) -> None:
        """Fill the field; a choice that OMERO has not been asked about is looked up quietly."""
        self._choice = choice
        self.field.blockSignals(True)
        self.field.setText(choice.name or (f"#{choice.id}" if choice.id is not None else ""))
        self.field.setCursorPosition(0)
        self.field.blockSignals(False)
        self._say()
        self.changed.emit()

    def clear(self) -> None:
        if not self._choice.is_empty or self.field.text():
            self.set_choice(Choice())

    def _text_changed(self, text: str) -> None:
        name = text.strip()
        self._choice = Choice(name=name, looking=bool(name))
        self._say()
        self.changed.emit()

    def _suggest(self, query: str, result: ContainerList) -> Sequence[Suggestion]:
        suggestions = [self._suggestion(item) for item in result.items]
        exact = any(item.name == query for item in result.items)
        if query and not exact:
            text = self.tr("New: {name}").format(name=query)
            suggestions.append(Suggestion(text, Choice(name=query)))
        if result.truncated:
            text = self.tr("…more: type to narrow")
            suggestions.append(Suggestion(text, None, enabled=False))
        return suggestions

    def _suggestion(self, item: Container) -> Suggestion:
        facts = []
        if item.child_count is not None:
            facts.append(self._children(item.child_count))
        if item.owner:
            facts.append(item.owner)
        if not item.may_add:
            facts.append(self.tr("you may not add"))
        text = f"{item.name}   {' · '.join(facts)}".rstrip()
        return Suggestion(text, Choice.of(item), hint=text)

    def _children(self, count: int) -> str:
        if self.kind == "dataset":
            return fmt.images(count)
        if self.kind == "screen":
            many, one = self.tr("{n} plates"), self.tr("1 plate")
        else:
            many, one = self.tr("{n} datasets"), self.tr("1 dataset")
        return one if count == 1 else many.format(n=fmt.count(count))

    def _picked(self, choice: Choice) -> None:
        self.set_choice(choice)
        self.popup.close()

    def _answered(self, query: str, result: ContainerList) -> None:
        """Settle what stands in the field: an existing one of exactly this name, or a new one."""
        if query != self.field.text().strip():
            return
        if self._choice.id is not None:
            same = next((item for item in result.items if item.id == self._choice.id), None)
            if same is not None:
                self._settle(Choice.of(same))
            return
        if not query:
            return
        exact = [item for item in result.items if item.name == query]
        if len(exact) == 1:
            self._settle(Choice.of(exact[0]))
        else:
            self._settle(Choice(name=query, ambiguous=len(exact) > 1))

    def _failed(self, query: str, error: AgentError) -> None:
        if query == self.field.text().strip() and not self._choice.is_empty:
            known = self._choice
            self._settle(Choice(known.name, known.id, known.may_add, known.owner, unchecked=True))
        self.trouble.emit(error)

    def _settle(self, choice: Choice) -> None:
        self._choice = choice
        self._say()
        self.changed.emit()

    def _say(self) -> None:
        choice = self._choice
        if choice.is_empty:
            text = ""
        elif choice.looking:
            text = self.tr("looking…")
        elif choice.is_new:
            text = self.tr("not checked") if choice.unchecked else self.tr("new")
        else:
            text = choice.owner
        self.note.set_full(text)
