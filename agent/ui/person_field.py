"""Whose data it is, for staff who order for somebody else: searched in OMERO, never guessed."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from agent.core.errors import AgentError
from agent.ui.container_picker import NameField
from agent.ui.ports import TargetsPort
from agent.ui.relay import deliver
from agent.ui.search_popup import SearchPopup, Suggestion
from agent.ui.widgets import ElidedLabel, label
from server_bridge.contract import Person, PersonList


class PersonField(QWidget):
    """A user name; ``person`` is somebody whom OMERO knows, or None while that is not sure."""

    changed = Signal()
    trouble = Signal(object)
    """AgentError of a search."""

    def __init__(self, targets: TargetsPort, me: Person, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._targets = targets
        self._me = me
        self._question = 0
        self.person: Person | None = me
        self.looking = False
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        head = QHBoxLayout()
        self.caption = label(self.tr("Whose data"), "fieldLabel")
        self.note = ElidedLabel(role="small")
        self.note.setAlignment(Qt.AlignmentFlag.AlignRight)
        head.addWidget(self.caption)
        head.addWidget(self.note, 1)
        column.addLayout(head)
        self.field = NameField()
        self.field.setMaxLength(255)
        self.field.setAccessibleName(self.tr("Whose data"))
        self.field.setPlaceholderText(self.tr("search by name or OMERO user name"))
        self.caption.setBuddy(self.field)
        column.addWidget(self.field)
        self.popup = SearchPopup(self.field, self._suggest)
        self.popup.set_search(targets.persons)
        self.popup.picked.connect(self.choose)
        self.popup.answered.connect(self._answered)
        self.popup.failed.connect(lambda _query, error: self._failed(error))
        self.field.textEdited.connect(self._edited)
        self._show(me)

    def choose(self, username: str) -> None:
        """Ask OMERO who this is; the person who orders is known."""
        self._question += 1
        self.popup.close()
        if username == self._me.username:
            self._settle(self._me)
            return
        self.field.setText(username)
        self.person, self.looking = None, True
        self.note.set_full(self.tr("looking…"))
        self.changed.emit()
        question = self._question

        def found(person: Person) -> None:
            if question == self._question:
                self._settle(person)

        def failed(error: AgentError) -> None:
            if question == self._question:
                self._failed(error)

        deliver(self._targets.person(username), self, found, failed)

    def fix(self) -> None:
        """There is an order already: it keeps its person."""
        self.field.setReadOnly(True)
        self.field.setEnabled(False)

    def _settle(self, person: Person) -> None:
        self.person, self.looking = person, False
        self._show(person)
        self.changed.emit()

    def _show(self, person: Person) -> None:
        self.field.setText(person.username)
        self.field.setCursorPosition(0)
        you = self.tr("you") if person.username == self._me.username else ""
        self.note.set_full(" · ".join(part for part in (person.full_name, you) if part))

    def _edited(self, text: str) -> None:
        self._question += 1
        self.person, self.looking = None, bool(text.strip())
        self.note.set_full("")
        self.changed.emit()

    def _failed(self, error: AgentError) -> None:
        self.looking = False
        self.note.set_full(self.tr("not known"))
        self.changed.emit()
        self.trouble.emit(error)

    def _suggest(self, _query: str, result: PersonList) -> Sequence[Suggestion]:
        found = [
            Suggestion(f"{one.username}   {one.full_name}".rstrip(), one.username) for one in result.items
        ]
        if result.truncated:
            found.append(Suggestion(self.tr("…more: type to narrow"), None, enabled=False))
        return found

    def _answered(self, query: str, result: PersonList) -> None:
        """Who typed a whole user name has chosen it."""
        if self.person is not None or query != self.field.text().strip():
            return
        if any(one.username == query for one in result.items):
            self.choose(query)
        else:
            self.looking = False
            self.changed.emit()
