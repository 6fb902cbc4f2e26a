"""The menu behind the person chip: who, sign out, appearance, quit."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QWidget

from agent.ui.theme import Scheme
from server_bridge.contract import Person


class PersonMenu(QMenu):
    """Made new for each click, so that it always tells the present state."""

    sign_in = Signal()
    sign_out = Signal()
    scheme_chosen = Signal(object)
    look_now = Signal()
    quit = Signal()

    def __init__(
        self, person: Person | None, scheme: Scheme, version: str, parent: QWidget, *, notice: str = ""
    ) -> None:
        super().__init__(parent)
        self.setObjectName("personMenu")
        if person is None:
            self.addAction(self.tr("Sign in…"), self.sign_in.emit)
        else:
            who = self.addAction(self._who(person))
            who.setEnabled(False)
            if notice:
                self.addAction(notice.replace("&", "&&")).setEnabled(False)
            self.addAction(self.tr("Sign in as somebody else…"), self.sign_in.emit)
            self.addAction(self.tr("Sign out"), self.sign_out.emit)
        self.addSeparator()
        self.addAction(self.tr("Look at the share now"), self.look_now.emit)
        appearance = self.addMenu(self.tr("Appearance"))
        self._group = QActionGroup(self)
        for value, text in (
            (Scheme.SYSTEM, self.tr("Like the system")),
            (Scheme.LIGHT, self.tr("Light")),
            (Scheme.DARK, self.tr("Dark")),
        ):
            entry = QAction(text, appearance, checkable=True)
            entry.setChecked(value is scheme)
            entry.triggered.connect(lambda _checked=False, value=value: self.scheme_chosen.emit(value))
            self._group.addAction(entry)
            appearance.addAction(entry)
        self.addSeparator()
        about = self.addAction(f"OMERO Ferry {version}")
        about.setEnabled(False)
        self.addAction(self.tr("Quit"), self.quit.emit)

    def _who(self, person: Person) -> str:
        name = person.full_name or person.username
        staff = self.tr("staff") if person.is_staff else ""
        return " · ".join(part for part in (name, person.username, staff) if part).replace("&", "&&")
