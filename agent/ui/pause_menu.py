"""Pausing: the menu that tray and person menu show, and how a pause reads."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import QCoreApplication, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QWidget

from agent.core.commands import Pause
from agent.core.snapshot import PauseSnapshot, Snapshot
from agent.ui import format as fmt

MINUTES = (30, 60)

_tr = QCoreApplication.translate


def pause_text(pause: PauseSnapshot, now: datetime) -> str:
    """Return ``Paused until 14:30``, or ``Paused until ZEN ends``."""
    if pause.programs:
        return _tr("pause", "Paused until {programs} ends").format(programs=_names(pause.programs))
    return _tr("pause", "Paused until {time}").format(time=fmt.clock(pause.until, now=now))


def pause_detail(pause: PauseSnapshot, now: datetime) -> str:
    """Return who paused, how long it lasts at most, and what that means."""
    by = _tr("pause", "By {name}.").format(name=pause.by) if pause.by else ""
    left = fmt.time_left((pause.until - now).total_seconds())
    time = _tr("pause", "At most {left}.").format(left=left) if pause.programs else f"{left}."
    means = _tr("pause", "The share is not looked at and nothing is copied from this microscope.")
    return " ".join(part for part in (by, time, means) if part)


def _names(programs: tuple[str, ...]) -> str:
    return _tr("pause", " and ").join(programs)


class PauseMenu(QMenu):
    """Offers what makes sense now; what is chosen comes out as a command or as ``resume``."""

    pause = Signal(object)
    """An `agent.core.commands.Pause`."""
    resume = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("pauseMenu")
        for minutes in MINUTES:
            entry = self.addAction(self.tr("For {n} minutes").format(n=minutes))
            entry.setData(Pause(minutes * 60.0))
            entry.triggered.connect(self._chosen)
        self.until_action = self.addAction("", lambda: self.pause.emit(Pause(None)))
        self.addSeparator()
        self.resume_action = self.addAction(self.tr("Resume"), self.resume.emit)
        self.show_snapshot(None)

    def _chosen(self) -> None:
        entry = self.sender()
        if isinstance(entry, QAction):
            self.pause.emit(entry.data())

    def show_snapshot(self, snapshot: Snapshot | None) -> None:
        """Bring title and entries up to date."""
        pause = snapshot.pause if snapshot else None
        programs = snapshot.pause_programs if snapshot else ()
        self.setTitle(
            pause_text(pause, snapshot.at) if snapshot is not None and pause is not None else self.tr("Pause")
        )
        # Only where there is an end to wait for.
        self.until_action.setVisible(bool(programs))
        self.until_action.setText(
            self.tr("Until {programs} ends").format(programs=_names(programs)).replace("&", "&&")
        )
        self.resume_action.setVisible(pause is not None)
