"""The bar that says, as long as it lasts, that everything is paused, and ends it with one click."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QWidget

from agent.core.snapshot import Snapshot
from agent.ui.pause_menu import pause_detail, pause_text
from agent.ui.theme import Tone
from agent.ui.widgets import ElidedLabel, Shape, button, label


class PauseBar(QFrame):
    """Hidden while nothing is paused."""

    resume = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("pauseBar")
        self.setProperty("role", "bar")
        row = QHBoxLayout(self)
        row.setContentsMargins(20, 8, 14, 8)
        row.setSpacing(12)
        shape = Shape(16)
        shape.show_shape("stay", Tone.PLAIN, self.tr("Paused"))
        row.addWidget(shape, 0, Qt.AlignmentFlag.AlignVCenter)
        self.title = label(role="name")
        row.addWidget(self.title)
        self.detail = ElidedLabel(role="small")
        row.addWidget(self.detail, 1)
        self.resume_button = button(self.tr("Resume"))
        self.resume_button.clicked.connect(self.resume)
        row.addWidget(self.resume_button)
        self.hide()

    def show_snapshot(self, snapshot: Snapshot, now: datetime) -> None:
        """Show the pause of the snapshot, if there is one."""
        pause = snapshot.pause
        self.setVisible(pause is not None)
        if pause is None:
            return
        self.title.setText(pause_text(pause, now))
        detail = pause_detail(pause, now)
        self.detail.set_full(detail)
        self.setAccessibleName(self.title.text())
        self.setAccessibleDescription(detail)
