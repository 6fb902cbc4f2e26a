"""The life line: Written, Finished, Copying, In OMERO, Proven. The last three are the bridge's word."""

from __future__ import annotations

from datetime import UTC, datetime

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QHelpEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from agent.core.snapshot import Station, StationState
from agent.ui import format as fmt
from agent.ui.texts import station_name
from agent.ui.theme import SMALL_PIXELS, colors_of, font

DOT = 16


class LifeLine(QWidget):
    """Five stations on one line; reached ones are filled, the current one is a ring with a core."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("lifeLine")
        self._stations: tuple[StationState, ...] = ()
        self._name_font = font(13, bold=True)
        self._text_font = font(SMALL_PIXELS)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def stations(self) -> tuple[StationState, ...]:
        return self._stations

    def show_stations(self, stations: tuple[StationState, ...], now: datetime | None = None) -> None:
        """Show the stations; those the snapshot leaves out are not reached."""
        known = {state.station: state for state in stations}
        complete = tuple(known.get(s, StationState(s, reached=False)) for s in Station)
        if complete != self._stations:
            self._stations = complete
            self.updateGeometry()
            self.update()
        self.setAccessibleName(self.tr("Life line"))
        self.setAccessibleDescription(self.described(now))

    def described(self, now: datetime | None = None) -> str:
        """Return the line as a sentence."""
        parts = []
        for state in self._stations:
            word = station_name(state.station)
            note = self.note(state, now)
            if state.current:
                parts.append(self.tr("{station}: now {note}").format(station=word, note=note).strip())
            elif state.reached:
                parts.append(self.tr("{station}: reached {note}").format(station=word, note=note).strip())
            else:
                parts.append(self.tr("{station}: not yet").format(station=word))
        return "; ".join(parts)

    @staticmethod
    def note(state: StationState, now: datetime | None = None) -> str:
        """Return what stands under a station: its time, and the engine's words."""
        time = fmt.clock(state.at, now=now or datetime.now(UTC)) if state.at else ""
        return ", ".join(part for part in (time, state.text) if part)

    def _column(self, number: int) -> QRect:
        width = self.width() / max(1, len(self._stations))
        return QRect(round(number * width), 0, round(width) - 8, self.height())

    def sizeHint(self) -> QSize:
        name, text = QFontMetrics(self._name_font), QFontMetrics(self._text_font)
        return QSize(520, DOT + 12 + name.height() + self._note_lines() * text.height())

    def _note_lines(self) -> int:
        """Return 2 when a note does not fit on one line below its station."""
        metrics = QFontMetrics(self._text_font)
        wide = any(
            metrics.horizontalAdvance(self.note(state)) > self._column(number).width()
            for number, state in enumerate(self._stations)
        )
        return 2 if wide else 1

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.updateGeometry()

    def minimumSizeHint(self) -> QSize:
        return QSize(300, self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        colors = colors_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        middle = DOT / 2 + 0.5
        last = len(self._stations) - 1
        for number, state in enumerate(self._stations):
            left = self._column(number).left() + DOT / 2
            right = self._column(number + 1).left() + DOT / 2 if number < last else left
            following = self._stations[number + 1] if number < last else None
            passed = state.reached and following is not None and (following.reached or following.current)
            painter.setPen(QPen(QColor(colors.accent if passed else colors.line), 2))
            painter.drawLine(QPointF(left, middle), QPointF(right, middle))
        for number, state in enumerate(self._stations):
            column = self._column(number)
            self._paint_dot(painter, QRectF(column.left() + 1, 1.5, DOT - 2, DOT - 2), state)
            y = DOT + 8
            metrics = QFontMetrics(self._name_font)
            painter.setFont(self._name_font)
            painter.setPen(QColor(colors.ink if state.reached or state.current else colors.mute))
            name = metrics.elidedText(
                station_name(state.station), Qt.TextElideMode.ElideRight, column.width()
            )
            painter.drawText(
                QRect(column.left(), y, column.width(), metrics.height()), Qt.AlignmentFlag.AlignLeft, name
            )
            small = QFontMetrics(self._text_font)
            painter.setFont(self._text_font)
            painter.setPen(QColor(colors.mute))
            box = QRect(column.left(), y + metrics.height() + 1, column.width(), 2 * small.height() + 2)
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextWordWrap, self.note(state))
        painter.end()

    def _paint_dot(self, painter: QPainter, place: QRectF, state: StationState) -> None:
        colors = colors_of(self)
        proven = state.station is Station.PROVEN and state.reached
        strong = QColor(colors.ok if proven else colors.accent)
        if state.reached and not state.current:
            painter.setPen(QPen(strong, 2))
            painter.setBrush(strong)
            painter.drawEllipse(place)
            tick = QPen(QColor(colors.panel), 1.8, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap)
            painter.setPen(tick)
            center = place.center()
            painter.drawPolyline(
                [center + QPointF(-3, 0.2), center + QPointF(-0.8, 2.4), center + QPointF(3.2, -2.2)]
            )
            return
        painter.setBrush(QColor(colors.ground))
        painter.setPen(QPen(strong if state.current else QColor(colors.edge), 2 if state.current else 1.4))
        painter.drawEllipse(place)
        if state.current:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(strong)
            painter.drawEllipse(place.adjusted(3.6, 3.6, -3.6, -3.6))

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() is QEvent.Type.ToolTip:
            for number, state in enumerate(self._stations):
                if self._column(number).contains(event.pos()):
                    text = f"{station_name(state.station)} {self.note(state)}".strip()
                    QToolTip.showText(event.globalPos(), text, self)
                    return True
        return super().event(event)
