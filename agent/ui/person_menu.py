"""The menu behind the person chip: who, sign out, appearance, quit."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, Signal
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QWidget

from agent.core.snapshot import Snapshot
from agent.ui import format as fmt
from agent.ui.cleaning_text import agent_deletes
from agent.ui.pause_menu import PauseMenu
from agent.ui.theme import Scheme
from server_bridge.contract import AgentLoad, Person


def load_text(load: AgentLoad) -> str:
    """Return what this agent costs: ``Last minute: 0.4 % CPU, 12.0 kB/s, 1,204 files looked at``."""
    tr = QCoreApplication.translate
    parts = [tr("load", "{percent} % CPU").format(percent=f"{load.cpu_percent:.1f}")]
    if load.bytes_per_second is not None:
        parts.append(fmt.rate(load.bytes_per_second))
    parts.append(tr("load", "{files} looked at").format(files=fmt.files(load.entries)))
    return tr("load", "Last minute: {parts}").format(parts=", ".join(parts))


class PersonMenu(QMenu):
    """Made new for each click, so that it always tells the present state."""

    sign_in = Signal()
    sign_out = Signal()
    scheme_chosen = Signal(object)
    look_now = Signal()
    free_space = Signal()
    pause = Signal(object)
    resume = Signal()
    quit = Signal()

    def __init__(
        self,
        person: Person | None,
        scheme: Scheme,
        version: str,
        parent: QWidget,
        *,
        notice: str = "",
        snapshot: Snapshot | None = None,
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
        if person is not None and snapshot is not None and agent_deletes(snapshot):
            self.addAction(self.tr("Free space on the buffer…"), self.free_space.emit)
        pausing = PauseMenu(self)
        pausing.show_snapshot(snapshot)
        pausing.pause.connect(self.pause)
        pausing.resume.connect(self.resume)
        self.addMenu(pausing)
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
        if snapshot is not None and snapshot.load is not None:
            self.addAction(load_text(snapshot.load)).setEnabled(False)
        self.addAction(self.tr("Quit"), self.quit.emit)

    def _who(self, person: Person) -> str:
        name = person.full_name or person.username
        staff = self.tr("staff") if person.is_staff else ""
        return " · ".join(part for part in (name, person.username, staff) if part).replace("&", "&&")
