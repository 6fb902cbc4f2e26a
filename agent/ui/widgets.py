"""Small widgets the window is made of: text that elides, a shape, a bar, a box."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from agent.ui import icons
from agent.ui.theme import Colors, Tone, colors_of


def restyle(widget: QWidget) -> None:
    """Make the style sheet look at a widget's dynamic properties again."""
    style = widget.style()
    style.unpolish(widget)
    style.polish(widget)


def label(text: str = "", role: str = "", *, wrap: bool = False) -> QLabel:
    """Return a plain-text label; file and person names never become markup."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    if role:
        made.setProperty("role", role)
    if wrap:
        made.setWordWrap(True)
        made.setMinimumWidth(1)
    return made


def button(text: str, *, primary: bool = False, role: str = "") -> QPushButton:
    """Return a push button; a primary one carries the accent colour."""
    made = QPushButton(text.replace("&", "&&"))
    made.setAccessibleName(text)
    if primary:
        made.setProperty("primary", True)
    if role:
        made.setProperty("role", role)
    made.setCursor(Qt.CursorShape.PointingHandCursor)
    return made


def elide_place(text: str, metrics: QFontMetrics, width: int) -> str:
    """Return ``Group › Project › Dataset`` shortened from the left by whole names.

    The last name tells places apart; only when it does not fit by itself is its end cut off.
    """
    if metrics.horizontalAdvance(text) <= width:
        return text
    names = text.split(" › ")
    for first in range(1, len(names)):
        shorter = " › ".join(["…", *names[first:]])
        if metrics.horizontalAdvance(shorter) <= width:
            return shorter
    return metrics.elidedText(names[-1], Qt.TextElideMode.ElideRight, width)


class ElidedLabel(QLabel):
    """One line that is shortened to fit; the full text is the tooltip and the accessible name."""

    def __init__(
        self,
        text: str = "",
        role: str = "",
        *,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
        place: bool = False,
    ) -> None:
        super().__init__()
        self._full = ""
        self._mode = mode
        self._place = place
        self.setTextFormat(Qt.TextFormat.PlainText)
        if role:
            self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.set_full(text)

    @property
    def full(self) -> str:
        return self._full

    def set_full(self, text: str) -> None:
        """Show ``text``, shortened when there is no room for all of it."""
        if text == self._full:
            return
        self._full = text
        self.setAccessibleName(text)
        self._fit()
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        self.ensurePolished()
        return QSize(self.fontMetrics().horizontalAdvance(self._full) + 2, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return QSize(min(40, self.sizeHint().width()), super().sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in {QEvent.Type.FontChange, QEvent.Type.StyleChange}:
            self._fit()

    def _fit(self) -> None:
        width = max(self.width(), 1)
        if self._place:
            shown = elide_place(self._full, self.fontMetrics(), width)
        else:
            shown = self.fontMetrics().elidedText(self._full, self._mode, width)
        super().setText(shown)
        self.setToolTip(self._full if shown != self._full else "")


class Shape(QWidget):
    """A state's shape in the colour of its tone."""

    def __init__(self, pixels: int = 14, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name = ""
        self._tone = Tone.PLAIN
        self.setFixedSize(pixels, pixels)

    def show_shape(self, name: str, tone: Tone, meaning: str = "") -> None:
        """Show an icon; ``meaning`` is what a screen reader says for it."""
        if (name, tone) != (self._name, self._tone):
            self._name, self._tone = name, tone
            self.update()
        self.setAccessibleName(meaning)

    @property
    def shape(self) -> str:
        return self._name

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        if not self._name:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        icons.paint(painter, self._name, colors_of(self).tone(self._tone)[0], QRectF(self.rect()))
        painter.end()


class Bar(QWidget):
    """A thin bar with rounded ends, told as a percentage to a screen reader."""

    def __init__(self, height: int = 6, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._part = 0.0
        self._tone = Tone.ACCENT
        self.setFixedHeight(height)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def part(self) -> float:
        return self._part

    def show_part(self, part: float, tone: Tone = Tone.ACCENT) -> None:
        """Show 0..1."""
        part = min(1.0, max(0.0, part))
        if (part, tone) != (self._part, self._tone):
            self._part, self._tone = part, tone
            self.update()
        self.setAccessibleDescription(f"{int(part * 100)} %")

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        colors: Colors = colors_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colors.line))
        whole = QRectF(self.rect())
        radius = self.height() / 2
        painter.drawRoundedRect(whole, radius, radius)
        if self._part > 0:
            whole.setWidth(max(float(self.height()), whole.width() * self._part))
            painter.setBrush(QColor(colors.tone(self._tone)[0]))
            painter.drawRoundedRect(whole, radius, radius)
        painter.end()


class Box(QFrame):
    """A panel with a title and room for content."""

    def __init__(self, title: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "box")
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(16, 13, 16, 14)
        self.column.setSpacing(8)
        if title:
            self.column.addWidget(label(title, "boxTitle"))
            self.setAccessibleName(title)

    def set_tone(self, tone: Tone) -> None:
        if self.property("tone") != tone.value:
            self.setProperty("tone", tone.value)
            restyle(self)
