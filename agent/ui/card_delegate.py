"""Paints a card: two lines, at most one bar, and buttons only where somebody must decide.

Every height comes from the font's own metrics, so nothing is clipped when the text or the screen's scale is
larger; every text that may be too long is elided and stands in full in the tooltip.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QAbstractItemModel, QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics, QMouseEvent, QPainter, QPen
from PySide6.QtWidgets import QAbstractItemView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from agent.ui import icons
from agent.ui.card_model import ROW, AnyIndex, Row
from agent.ui.card_text import CardButton, CardText
from agent.ui.texts import group_heading
from agent.ui.theme import SMALL_PIXELS, Colors, Tone, colors_for, font
from agent.ui.widgets import elide_place

MARGIN_LEFT = 20
MARGIN_RIGHT = 14
GAP = 8
PAD_X = 14
PAD_Y = 10
LINE_GAP = 5
BAR = 6
SHAPE = 12
LEAST_NOTE = 48
"""A place with less room than this says nothing; it stands in the tooltip and in the detail."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of one card are, in the view's coordinates."""

    frame: QRect
    first: QRect
    second: QRect
    bar: QRect
    buttons: tuple[tuple[CardButton, QRect], ...]


class CardDelegate(QStyledItemDelegate):
    """Draws rows of a CardModel and tells which button of which card was pressed."""

    pressed = Signal(str, str)
    """Card id, action name."""

    def __init__(self, parent: QAbstractItemView) -> None:
        super().__init__(parent)
        self.setObjectName("cardDelegate")
        self._title = font(bold=True)
        self._text = font(13)
        self._small = font(SMALL_PIXELS)
        self._badge = font(SMALL_PIXELS, bold=True)
        self._button = font(13)
        self._button_bold = font(13, bold=True)
        self._hovered: tuple[str, str] | None = None

    # --- geometry -------------------------------------------------------------------------------------

    def _badge_height(self) -> int:
        return QFontMetrics(self._badge).height() + 6

    def _button_height(self) -> int:
        return QFontMetrics(self._button).height() + 12

    def _card_height(self, text: CardText) -> int:
        height = 2 * PAD_Y + QFontMetrics(self._title).height() + LINE_GAP + self._badge_height()
        if text.bar is not None:
            height += LINE_GAP + 3 + BAR
        if text.buttons:
            height += LINE_GAP + 4 + self._button_height()
        return height

    def layout(self, rect: QRect, text: CardText) -> Layout:
        """Return where everything of a card in ``rect`` is; painting and clicking share it."""
        frame = rect.adjusted(MARGIN_LEFT, 1, -MARGIN_RIGHT, -GAP)
        inner = frame.adjusted(PAD_X, PAD_Y, -PAD_X, -PAD_Y)
        first = QRect(inner.left(), inner.top(), inner.width(), QFontMetrics(self._title).height())
        second = QRect(inner.left(), first.bottom() + 1 + LINE_GAP, inner.width(), self._badge_height())
        y = second.bottom() + 1
        bar = QRect()
        if text.bar is not None:
            bar = QRect(inner.left(), y + LINE_GAP + 3, inner.width(), BAR)
            y = bar.bottom() + 1
        buttons = []
        x = inner.left()
        for button in text.buttons:
            metrics = QFontMetrics(self._button_bold if button.primary else self._button)
            width = min(metrics.horizontalAdvance(button.label) + 26, inner.right() + 1 - x)
            buttons.append((button, QRect(x, y + LINE_GAP + 4, width, self._button_height())))
            x += width + GAP
        return Layout(frame, first, second, bar, tuple(b for b in buttons if b[1].width() > 40))

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:  # noqa: ARG002
        row: Row | None = index.data(ROW)
        if row is None or row.text is None:
            return QSize(200, QFontMetrics(self._badge).height() + 20)
        return QSize(200, self._card_height(row.text) + GAP + 1)

    # --- painting -------------------------------------------------------------------------------------

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        row: Row | None = index.data(ROW)
        if row is None:
            return
        rect: QRect = option.rect
        state: QStyle.StateFlag = option.state
        colors = colors_for(option.palette)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if row.card is None or row.text is None:
            self._paint_heading(painter, rect, row, colors)
        else:
            self._paint_card(painter, rect, row.text, row.card.id, state, colors)
        painter.restore()

    def _paint_heading(self, painter: QPainter, rect: QRect, row: Row, colors: Colors) -> None:
        name = group_heading(row.group)
        line = rect.adjusted(MARGIN_LEFT, 10, -MARGIN_RIGHT, -6)
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.setPen(QColor(colors.mute))
        painter.setFont(self._badge)
        painter.drawText(line, flags, name)
        line.setLeft(line.left() + QFontMetrics(self._badge).horizontalAdvance(name) + 8)
        painter.setFont(self._small)
        painter.drawText(line, flags, str(row.count))

    def _paint_card(
        self,
        painter: QPainter,
        rect: QRect,
        text: CardText,
        card_id: str,
        state: QStyle.StateFlag,
        colors: Colors,
    ) -> None:
        place = self.layout(rect, text)
        selected = bool(state & QStyle.StateFlag.State_Selected)
        edge = colors.accent if selected else colors.line
        if not selected and state & QStyle.StateFlag.State_MouseOver:
            edge = colors.edge
        painter.setPen(QPen(QColor(edge), 2 if selected else 1))
        painter.setBrush(QColor(colors.panel))
        painter.drawRoundedRect(QRectF(place.frame).adjusted(0.5, 0.5, -0.5, -0.5), 10, 10)

        self._paint_pair(painter, place.first, text.title, self._title, colors.ink, text.amount, colors)
        badge_width = self._paint_badge(painter, place.second, text, colors)
        rest = place.second.adjusted(badge_width + GAP, 0, 0, 0)
        self._paint_second(painter, rest, text, colors)
        if text.bar is not None:
            _paint_bar(painter, QRectF(place.bar), text.bar, colors)
        for button, where in place.buttons:
            hovered = self._hovered == (card_id, button.action)
            self._paint_button(painter, where, button, hovered, colors)

    def _paint_pair(
        self,
        painter: QPainter,
        rect: QRect,
        left: str,
        left_font: QFont,
        color: str,
        right: str,
        colors: Colors,
    ) -> None:
        """Draw two texts on one line; both are elided so that each keeps at least its fair part."""
        left_metrics, right_metrics = QFontMetrics(left_font), QFontMetrics(self._text)
        space = rect.width() - (GAP if right else 0)
        wants_left, wants_right = (
            left_metrics.horizontalAdvance(left) + 1,
            right_metrics.horizontalAdvance(right) + 1,
        )
        if not right:
            wants_right = 0
        if wants_left + wants_right > space:
            least_left = min(wants_left, space * 45 // 100)
            wants_right = min(wants_right, space - least_left)
            wants_left = space - wants_right
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.setFont(left_font)
        painter.setPen(QColor(color))
        painter.drawText(
            QRect(rect.left(), rect.top(), wants_left, rect.height()),
            Qt.AlignmentFlag.AlignLeft | middle,
            left_metrics.elidedText(left, Qt.TextElideMode.ElideMiddle, wants_left),
        )
        if right:
            painter.setFont(self._text)
            painter.setPen(QColor(colors.mute))
            painter.drawText(
                QRect(rect.right() + 1 - wants_right, rect.top(), wants_right, rect.height()),
                Qt.AlignmentFlag.AlignRight | middle,
                right_metrics.elidedText(right, Qt.TextElideMode.ElideRight, wants_right),
            )

    def _paint_second(self, painter: QPainter, rect: QRect, text: CardText, colors: Colors) -> None:
        """Draw where it goes and how far it is; of the two, how far and why not yet is kept whole."""
        metrics = QFontMetrics(self._text)
        right = metrics.horizontalAdvance(text.right) + 1 if text.right else 0
        left = rect.width() - right - (GAP if right else 0)
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.setFont(self._text)
        painter.setPen(QColor(colors.mute))
        if text.note and left >= LEAST_NOTE:
            shown = (
                elide_place(text.note, metrics, left)
                if text.note_is_place
                else metrics.elidedText(text.note, Qt.TextElideMode.ElideRight, left)
            )
            painter.drawText(
                QRect(rect.left(), rect.top(), left, rect.height()),
                Qt.AlignmentFlag.AlignLeft | middle,
                shown,
            )
        if right:
            width = min(right, rect.width())
            painter.drawText(
                QRect(rect.right() + 1 - width, rect.top(), width, rect.height()),
                Qt.AlignmentFlag.AlignRight | middle,
                metrics.elidedText(text.right, Qt.TextElideMode.ElideRight, width),
            )

    def _paint_badge(self, painter: QPainter, rect: QRect, text: CardText, colors: Colors) -> int:
        color, soft = colors.tone(text.tone)
        width = QFontMetrics(self._badge).horizontalAdvance(text.word) + SHAPE + 5 + 16
        badge = QRectF(rect.left(), rect.top(), width, rect.height())
        if text.tone is Tone.PLAIN:
            painter.setPen(QPen(QColor(colors.edge), 1, Qt.PenStyle.DashLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(badge.adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
        else:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(soft))
            painter.drawRoundedRect(badge, 6, 6)
        icons.paint(
            painter,
            text.shape,
            color,
            QRectF(badge.left() + 8, badge.center().y() - SHAPE / 2, SHAPE, SHAPE),
        )
        painter.setPen(QColor(color))
        painter.setFont(self._badge)
        painter.drawText(
            badge.adjusted(8 + SHAPE + 5, 0, -6, 0),
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
            text.word,
        )
        return width

    def _paint_button(
        self, painter: QPainter, rect: QRect, button: CardButton, hovered: bool, colors: Colors
    ) -> None:
        box = QRectF(rect).adjusted(0.5, 0.5, -0.5, -0.5)
        if button.primary:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(colors.accent_hover if hovered else colors.accent))
        else:
            painter.setPen(QPen(QColor(colors.edge if hovered else colors.line), 1))
            painter.setBrush(QColor(colors.panel))
        painter.drawRoundedRect(box, 7, 7)
        chosen = self._button_bold if button.primary else self._button
        painter.setFont(chosen)
        painter.setPen(QColor(colors.on_accent if button.primary else colors.ink))
        label = QFontMetrics(chosen).elidedText(button.label, Qt.TextElideMode.ElideRight, rect.width() - 16)
        painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, label)

    # --- the mouse ------------------------------------------------------------------------------------

    def button_at(self, rect: QRect, row: Row, position: QPoint) -> CardButton | None:
        """Return the button of a row's card under ``position``."""
        if row.text is None:
            return None
        for button, where in self.layout(rect, row.text).buttons:
            if where.contains(position):
                return button
        return None

    def hover(self, card_id: str, action: str) -> bool:
        """Remember which button the mouse is over; return whether that changed."""
        now = (card_id, action) if action else None
        changed = now != self._hovered
        self._hovered = now
        return changed

    def editorEvent(
        self,
        event: QEvent,
        model: QAbstractItemModel,  # noqa: ARG002 - Qt's signature
        option: QStyleOptionViewItem,
        index: AnyIndex,
    ) -> bool:
        if event.type() is not QEvent.Type.MouseButtonRelease or not isinstance(event, QMouseEvent):
            return False
        row: Row | None = index.data(ROW)
        if row is None or row.card is None or event.button() is not Qt.MouseButton.LeftButton:
            return False
        rect: QRect = option.rect
        button = self.button_at(rect, row, event.position().toPoint())
        if button is None:
            return False
        self.pressed.emit(row.card.id, button.action)
        return True


def _paint_bar(painter: QPainter, rect: QRectF, part: float, colors: Colors) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colors.line))
    painter.drawRoundedRect(rect, BAR / 2, BAR / 2)
    if part > 0:
        done = QRectF(rect.topLeft(), QPointF(rect.left() + max(BAR, rect.width() * part), rect.bottom()))
        painter.setBrush(QColor(colors.accent))
        painter.drawRoundedRect(done, BAR / 2, BAR / 2)
