"""The header answers four questions at any time: which microscope and is its share there, where does new
data go, how much room is left in hours, who am I."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QAbstractButton,
    QFrame,
    QHBoxLayout,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from agent.core.snapshot import ShareSnapshot, Snapshot
from agent.ui import format as fmt
from agent.ui import icons
from agent.ui.theme import SMALL_PIXELS, Tone, colors_of, font
from agent.ui.widgets import Bar, ElidedLabel, Shape, button
from server_bridge.contract import Person

SOON_FULL_SECONDS = 12 * 3600.0
"""Below this the room that is left is something the person must act on."""


class Mark(QWidget):
    """The ferry."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(30, 30)
        self.setAccessibleName("OMERO Ferry")

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        icons.paint(painter, "mark", colors_of(self).accent, QRectF(self.rect()))
        painter.end()


class PersonChip(QAbstractButton):
    """Initials, name and group of whoever is signed in; a click opens the person's menu."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("personChip")
        self._initials = ""
        self._name = ""
        self._group = ""
        self._name_font = font(13)
        self._small = font(SMALL_PIXELS)
        self._badge = font(SMALL_PIXELS, bold=True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.show_person(None)

    def show_person(self, person: Person | None) -> None:
        """Show who is signed in, or the invitation to sign in."""
        if person is None:
            shown = ("", self.tr("Sign in"), self.tr("nobody is signed in"))
        else:
            home = next((g.name for g in person.groups if g.id == person.default_group_id), "")
            shown = (initials(person), person.full_name or person.username, home or person.username)
        if shown == (self._initials, self._name, self._group):
            return
        self._initials, self._name, self._group = shown
        self.setToolTip(f"{self._name}\n{self._group}")
        self.setAccessibleName(f"{self._name}, {self._group}")
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        names = QFontMetrics(self._name_font).horizontalAdvance(self._name)
        groups = QFontMetrics(self._small).horizontalAdvance(self._group)
        return QSize(min(190, max(names, groups) + 62), 42)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        colors = colors_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        strong = self.hasFocus() or self.underMouse()
        painter.setPen(QPen(QColor(colors.accent if strong else colors.line), 1))
        painter.setBrush(QColor(colors.panel))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 20, 20)
        disc = QRectF(6, 7, 28, 28)
        if self._initials:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(colors.accent))
            painter.drawEllipse(disc)
            painter.setPen(QColor(colors.on_accent))
            painter.setFont(self._badge)
            painter.drawText(disc, Qt.AlignmentFlag.AlignCenter, self._initials)
        else:
            icons.paint(painter, "person", colors.accent, disc.adjusted(4, 4, -4, -4))
        width = self.width() - 42 - 18
        metrics, small = QFontMetrics(self._name_font), QFontMetrics(self._small)
        top = (self.height() - metrics.height() - small.height()) / 2
        elide = Qt.TextElideMode.ElideRight
        painter.setPen(QColor(colors.ink))
        painter.setFont(self._name_font)
        painter.drawText(
            QPointF(42, top + metrics.ascent()), metrics.elidedText(self._name, elide, width + 6)
        )
        painter.setPen(QColor(colors.mute))
        painter.setFont(self._small)
        painter.drawText(
            QPointF(42, top + metrics.height() + small.ascent()),
            small.elidedText(self._group, elide, width + 6),
        )
        painter.end()

    def enterEvent(self, event: QEvent) -> None:  # noqa: ARG002
        self.update()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: ARG002
        self.update()


def initials(person: Person) -> str:
    """Return one or two letters for a person."""
    words = (person.full_name or person.username).replace(".", " ").replace("_", " ").split()
    letters = [words[0][0], words[-1][0]] if len(words) > 1 else [person.username[:2]]
    return "".join(letters).upper()


class TargetChip(QFrame):
    """ "From now on": where new finished acquisitions go."""

    change = Signal()
    end = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("targetChip")
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 8, 4)
        row.setSpacing(6)
        self.lead = ElidedLabel(self.tr("From now on:"), "body")
        self.text = ElidedLabel(role="name", place=True)
        self.change_button = button(self.tr("Change"), role="link")
        self.change_button.clicked.connect(self.change)
        self.end_button = QToolButton()
        self.end_button.setObjectName("closeBar")
        self.end_button.setAccessibleName(self.tr("Ask for each acquisition again"))
        self.end_button.setToolTip(self.tr("Ask for each acquisition again"))
        self.end_button.setIconSize(QSize(12, 12))
        self._color_icons()
        self.end_button.clicked.connect(self.end)
        row.addWidget(self.lead)
        row.addWidget(self.text, 1)
        row.addWidget(self.change_button)
        row.addWidget(self.end_button)
        self.setMaximumHeight(38)

    def show_target(self, text: str, *, chosen: bool, signed_in: bool) -> None:
        self.text.set_full(text if chosen else self.tr("ask me for each acquisition"))
        self.change_button.setText(self.tr("Change") if chosen else self.tr("Set a target"))
        self.change_button.setAccessibleName(self.tr("Change the target for everything from now on"))
        self.end_button.setVisible(chosen)
        self.setVisible(signed_in)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and hasattr(self, "end_button"):
            self._color_icons()

    def _color_icons(self) -> None:
        self.end_button.setIcon(icons.icon("close", colors_of(self).accent))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colors_of(self).accent_soft))
        painter.drawRoundedRect(QRectF(self.rect()), 8, 8)
        painter.end()


class BufferRoom(QWidget):
    """How much room the fullest share has, and for how many hours that lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("bufferRoom")
        self.setFixedWidth(136)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        self.free = ElidedLabel(role="small")
        self.bar = Bar(5)
        self.bar.setAccessibleName(self.tr("Used room on the buffer"))
        self.until = ElidedLabel(role="small")
        for part in (self.free, self.bar, self.until):
            column.addWidget(part)

    def show_shares(self, shares: Sequence[ShareSnapshot]) -> None:
        share = fullest(shares)
        self.setVisible(share is not None)
        if share is None or share.free_bytes is None:
            return
        name = "" if len(shares) == 1 else f" {share.title}"
        free = fmt.size(share.free_bytes)
        self.free.set_full(self.tr("Buffer{name} {free} free").format(name=name, free=free))
        soon = share.full_in_seconds is not None and share.full_in_seconds < SOON_FULL_SECONDS
        self.bar.setVisible(bool(share.total_bytes))
        if share.total_bytes:
            self.bar.show_part(
                1 - share.free_bytes / share.total_bytes, Tone.NEEDS_YOU if soon else Tone.ACCENT
            )
        if share.full_in_seconds is not None:
            text = self.tr("full in about {time}").format(time=fmt.duration(share.full_in_seconds))
        elif share.total_bytes:
            text = self.tr("of {total}").format(total=fmt.size(share.total_bytes))
        else:
            text = ""
        self.until.set_full(text)


def fullest(shares: Sequence[ShareSnapshot]) -> ShareSnapshot | None:
    """Return the share that is full first; None when no share told its room."""
    known = [share for share in shares if share.free_bytes is not None]
    endless = float("inf")

    def key(share: ShareSnapshot) -> tuple[float, float]:
        full_in = endless if share.full_in_seconds is None else share.full_in_seconds
        return full_in, (share.free_bytes or 0) / (share.total_bytes or 1)

    return min(known, key=key, default=None)


class Header(QWidget):
    """Microscope and share, target from now on, room, person."""

    person_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("headerBar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setMinimumHeight(62)
        row = QHBoxLayout(self)
        row.setContentsMargins(20, 6, 20, 6)
        row.setSpacing(14)
        row.addWidget(Mark())
        place = QVBoxLayout()
        place.setSpacing(1)
        self.workstation = ElidedLabel(role="name")
        line = QHBoxLayout()
        line.setSpacing(5)
        self.share_shape = Shape(11)
        self.share = ElidedLabel(role="small")
        line.addWidget(self.share_shape)
        line.addWidget(self.share, 1)
        place.addStretch(1)
        place.addWidget(self.workstation)
        place.addLayout(line)
        place.addStretch(1)
        row.addLayout(place, 2)
        self.chip = TargetChip()
        row.addWidget(self.chip, 3)
        self.room = BufferRoom()
        row.addWidget(self.room)
        self.person = PersonChip()
        self.person.clicked.connect(self.person_clicked)
        row.addWidget(self.person)

    def show_snapshot(self, snapshot: Snapshot, now: datetime) -> None:
        self.workstation.set_full(snapshot.workstation_name or self.tr("This workstation"))
        self.chip.show_target(
            snapshot.standing_target_text,
            chosen=snapshot.standing_target is not None,
            signed_in=snapshot.person is not None,
        )
        self.room.show_shares(snapshot.shares)
        self.person.show_person(snapshot.person)
        self.show_time(snapshot, now)

    def show_time(self, snapshot: Snapshot, now: datetime) -> None:
        """Bring "3 s ago" up to date; called each second while the window is seen."""
        if not snapshot.shares:
            self.share_shape.show_shape("away", Tone.PLAIN)
            self.share.set_full(self.tr("No share yet"))
            return
        lines = [self._share_line(share, now) for share in snapshot.shares]
        worst = next((n for n, share in enumerate(snapshot.shares) if not share.answered), 0)
        away = not snapshot.shares[worst].answered
        # A share that is away is nothing the person can mend here: shape and word say it, not amber.
        self.share_shape.show_shape("away" if away else "answers", Tone.PLAIN if away else Tone.ACCENT)
        text = lines[worst]
        if len(lines) > 1 and not away:
            newest = min((s.last_answer_at for s in snapshot.shares if s.last_answer_at), default=None)
            if newest is not None:
                text = self.tr("{n} shares: answered {ago}").format(n=len(lines), ago=fmt.ago(newest, now))
        self.share.set_full(text)
        self.share.setToolTip("\n".join(lines + self._details(snapshot)))

    def _details(self, snapshot: Snapshot) -> list[str]:
        """What staff may want to know; nobody has to act on it."""
        details = []
        for share in snapshot.shares:
            if share.hints:
                details.append(f"{share.title}: {share.hints}")
            if share.waiting:
                text = self.tr("{title}: {n} still to be looked at in this round")
                details.append(text.format(title=share.title, n=share.waiting))
        return details

    def _share_line(self, share: ShareSnapshot, now: datetime) -> str:
        if share.last_answer_at is None:
            return (
                self.tr("Share {title} is looked at for the first time")
                if share.answered
                else self.tr("Share {title} has not answered yet")
            ).format(title=share.title)
        ago = fmt.ago(share.last_answer_at, now)
        text = (
            self.tr("Share {title} answered {ago}")
            if share.answered
            else self.tr("Share {title} does not answer, last {ago}")
        )
        return text.format(title=share.title, ago=ago)
