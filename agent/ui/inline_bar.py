"""Errors and questions inside the window, instead of one modal box after another.

A bar says what happened, what to do and whom to ask, and stays until it is closed or answered.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QToolButton, QVBoxLayout, QWidget

from agent.ui import icons
from agent.ui.theme import Tone, colors_of
from agent.ui.widgets import Shape, button, label, restyle
from server_bridge.contract import Reason


class InlineBar(QFrame):
    """One bar; hidden while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None, *, closable: bool = True) -> None:
        super().__init__(parent)
        self.setObjectName("inlineBar")
        self.setProperty("role", "bar")
        row = QHBoxLayout(self)
        row.setContentsMargins(20, 10, 14, 10)
        row.setSpacing(12)
        self._shape = Shape(18)
        row.addWidget(self._shape, 0, Qt.AlignmentFlag.AlignTop)
        texts = QVBoxLayout()
        texts.setSpacing(2)
        self.title = label(role="name", wrap=True)
        self.detail = label(role="body", wrap=True)
        self.detail.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        texts.addWidget(self.title)
        texts.addWidget(self.detail)
        row.addLayout(texts, 1)
        self.yes: QPushButton = button("", primary=True)
        self.no: QPushButton = button(self.tr("Keep it as it is"))
        self.yes.clicked.connect(self._answered)
        self.no.clicked.connect(self.dismiss)
        row.addWidget(self.no)
        row.addWidget(self.yes)
        self.close_button = QToolButton()
        self.close_button.setObjectName("closeBar")
        self.close_button.setAccessibleName(self.tr("Close this message"))
        self.close_button.setIconSize(QSize(14, 14))
        self.close_button.clicked.connect(self.dismiss)
        row.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        self._closable = closable
        self._then: Callable[[], None] | None = None
        self._color_icons()
        self.hide()

    def show_reason(self, reason: Reason, tone: Tone = Tone.NEEDS_YOU) -> None:
        """Say what happened, what to do and whom to ask."""
        lines = [" ".join(part for part in (reason.detail, reason.remedy) if part)]
        if reason.contact:
            lines.append(self.tr("Whom to ask: {contact}").format(contact=reason.contact))
        self._fill(reason.title, "\n".join(line for line in lines if line), tone)
        self._shape.show_shape("state-attention", tone, self.tr("Attention"))
        self._buttons(question=False)

    def ask(self, question: str, yes_label: str, then: Callable[[], None]) -> None:
        """Ask before something that cannot be taken back; ``then`` runs only on yes."""
        self._fill(question, "", Tone.ACCENT)
        self._shape.show_shape("stay", Tone.ACCENT, self.tr("Question"))
        self._then = then
        self.yes.setText(yes_label.replace("&", "&&"))
        self.yes.setAccessibleName(yes_label)
        self._buttons(question=True)
        self.no.setFocus(Qt.FocusReason.OtherFocusReason)

    def offer(
        self,
        title: str,
        detail: str,
        label_text: str,
        then: Callable[[], None],
        *,
        tone: Tone = Tone.NEEDS_YOU,
    ) -> None:
        """Say what is about to happen, with one button that changes it; empty: nothing can.

        The same words again change nothing, so that a keyboard's focus stays where it is.

        Args:
            tone: anything but "needs you" may be closed and left.
        """
        if not self.isHidden() and (title, detail) == (self.title.text(), self.detail.text()):
            return
        self._fill(title, detail, tone)
        urgent = tone is Tone.NEEDS_YOU
        self._shape.show_shape(
            "stay" if urgent else "state-sending", tone, self.tr("Attention") if urgent else self.tr("Done")
        )
        self._then = then if label_text else None
        self.yes.setText(label_text.replace("&", "&&"))
        self.yes.setAccessibleName(label_text)
        self._buttons(question=True)
        self.no.hide()
        self.yes.setVisible(bool(label_text))
        self.close_button.setVisible(self._closable and not urgent)

    def dismiss(self) -> None:
        """Take the bar away without doing anything."""
        self._then = None
        self.hide()

    def is_question(self) -> bool:
        return self._then is not None

    def is_offer(self) -> bool:
        """Whether it shows an offer that may be left."""
        return self._then is not None and self.no.isHidden() and not self.close_button.isHidden()

    def _answered(self) -> None:
        then, self._then = self._then, None
        self.hide()
        if then is not None:
            then()

    def _fill(self, title: str, detail: str, tone: Tone) -> None:
        self._then = None
        self.title.setText(title)
        self.detail.setText(detail)
        self.detail.setVisible(bool(detail))
        self.setAccessibleName(title)
        self.setAccessibleDescription(detail)
        if self.property("tone") != tone.value:
            self.setProperty("tone", tone.value)
            restyle(self)

    def _buttons(self, *, question: bool) -> None:
        self.yes.setVisible(question)
        self.no.setVisible(question)
        self.close_button.setVisible(self._closable and not question)
        self.show()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and (self._closable or self._then is not None):
            self.dismiss()
            return
        super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and hasattr(self, "close_button"):
            self._color_icons()

    def _color_icons(self) -> None:
        self.close_button.setIcon(icons.icon("close", colors_of(self).mute))
