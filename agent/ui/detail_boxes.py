"""The boxes of the detail pane. Each shows one aspect of a card and hides when there is nothing to say."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLineEdit, QPlainTextEdit, QPushButton, QWidget

from agent.core.snapshot import Card, CardState
from agent.core.witness import Witness, WitnessState
from agent.ui import format as fmt
from agent.ui.card_text import fraction, import_progress, pace, queue_place
from agent.ui.cleaning_text import leaves_text
from agent.ui.texts import PROVEN_STATES, action_text, tone, what_next
from agent.ui.theme import Tone
from agent.ui.widgets import Bar, Box, Shape, button, label
from server_bridge.contract import TargetKind


class ProgressBox(Box):
    """The running step's counters: bytes, files, rate, time left, place in the queue, import step."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("progressBox")
        self.setAccessibleName(self.tr("Progress"))
        row = QHBoxLayout()
        row.setSpacing(10)
        self.big = label(role="big")
        self.rest = label(role="bodyMute", wrap=True)
        row.addWidget(self.big, 0, Qt.AlignmentFlag.AlignBottom)
        row.addWidget(self.rest, 1, Qt.AlignmentFlag.AlignBottom)
        self.column.addLayout(row)
        self.bar = Bar()
        self.bar.setAccessibleName(self.tr("Progress"))
        self.column.addWidget(self.bar)
        self.more = label(role="bodyMute", wrap=True)
        self.column.addWidget(self.more)

    def show_card(self, card: Card) -> None:
        big, rest, more = self._texts(card)
        part = fraction(card.transfer)
        if card.state in {CardState.WRITING, CardState.SETTLING}:
            part = _quiet_part(card)
        self.big.setText(big)
        self.rest.setText(rest)
        self.more.setText(more)
        self.more.setVisible(bool(more))
        show_bar = part is not None and card.state not in PROVEN_STATES
        self.bar.setVisible(show_bar)
        if show_bar and part is not None:
            self.bar.show_part(part)
        self.setVisible(bool(big))

    def _texts(self, card: Card) -> tuple[str, str, str]:
        transfer = card.transfer
        if card.state in {CardState.WRITING, CardState.SETTLING}:
            if card.quiet_needed_seconds is None:
                return "", "", ""
            big = fmt.countdown(card.quiet_seconds or 0)
            rest = self.tr("quiet of {needed} needed").format(needed=fmt.countdown(card.quiet_needed_seconds))
            return big, rest, "\n".join(_witness_line(one) for one in card.witnesses[1:])
        if card.state is CardState.QUEUED:
            place = queue_place(card)
            if not place:
                return "", "", ""
            waiting = (
                self.tr("about {time}").format(time=fmt.duration(transfer.eta_seconds))
                if transfer and transfer.eta_seconds is not None
                else ""
            )
            return place[:1].upper() + place[1:], waiting, ""
        if transfer is None or card.state in PROVEN_STATES or card.state is CardState.CANCELLED:
            return "", "", ""
        files = (
            self.tr("{done} of {files}").format(
                done=fmt.count(transfer.files_done), files=fmt.files(transfer.files_total)
            )
            if transfer.files_total > 1
            else ""
        )
        if card.state is CardState.IMPORTING:
            step = import_progress(transfer)
            found = self.tr("{images} found").format(images=fmt.images(card.image_count))
            rest = " · ".join(part for part in (found if card.image_count else "", pace(transfer)) if part)
            return step[:1].upper() + step[1:] if step else self.tr("Importing"), rest, files
        if transfer.bytes_total:
            rest = self.tr("of {total}").format(total=fmt.size(transfer.bytes_total))
            rest = " · ".join(part for part in (rest, pace(transfer)) if part)
            below = " · ".join(part for part in (files, transfer.slowed) if part)
            return fmt.size(transfer.bytes_done), rest, below
        return (files, pace(transfer), "") if files else ("", "", "")


_MARKS = {WitnessState.OK: "✓", WitnessState.WAITING: "…", WitnessState.UNKNOWN: "?"}


def _witness_line(witness: Witness) -> str:
    """``✓ two looks agree``."""
    return f"{_MARKS[witness.state]} {witness.words}"


def _quiet_part(card: Card) -> float | None:
    if not card.quiet_needed_seconds:
        return None
    return min(1.0, (card.quiet_seconds or 0) / card.quiet_needed_seconds)


class ReasonBox(Box):
    """Why it waits or what somebody must decide: title, detail, what to do, whom to ask."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("reasonBox")
        head = QHBoxLayout()
        head.setSpacing(9)
        self.shape_widget = Shape(16)
        self.title = label(role="name", wrap=True)
        head.addWidget(self.shape_widget, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self.title, 1)
        self.column.addLayout(head)
        self.detail = label(role="body", wrap=True)
        self.detail.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.remedy = label(role="body", wrap=True)
        self.contact = label(role="body", wrap=True)
        self.contact.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.times = label(role="bodyMute", wrap=True)
        for part in (self.detail, self.remedy, self.contact, self.times):
            self.column.addWidget(part)

    def show_card(self, card: Card) -> None:
        reason = card.reason
        self.setVisible(reason is not None)
        if reason is None:
            return
        chosen = tone(card)
        if chosen not in {Tone.NEEDS_YOU, Tone.FAILED}:
            chosen = Tone.PLAIN
        self.set_tone(chosen)
        shape = "state-waiting" if chosen is Tone.PLAIN else "state-attention"
        self.shape_widget.show_shape(shape, chosen)
        self.title.setText(reason.title)
        self.setAccessibleName(reason.title)
        self._set(self.detail, reason.detail)
        self._set(self.remedy, reason.remedy and self.tr("What to do: {text}").format(text=reason.remedy))
        self._set(self.contact, reason.contact and self.tr("Whom to ask: {text}").format(text=reason.contact))
        now = datetime.now(UTC)
        times = []
        if reason.since:
            times.append(self.tr("Since {time}").format(time=fmt.clock(reason.since, now=now)))
        if reason.next_try_at:
            times.append(self.tr("next try {time}").format(time=fmt.clock(reason.next_try_at, now=now)))
        self._set(self.times, " · ".join(times))

    @staticmethod
    def _set(widget: QWidget, text: str) -> None:
        widget.setText(text)  # type: ignore[attr-defined]
        widget.setVisible(bool(text))


class WhereBox(Box):
    """Where it goes: the target in full, and the button that changes it while that is possible."""

    change = Signal()
    cancel = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("whereBox")
        self.column.addWidget(label(self.tr("Where it goes"), "boxTitle"))
        self.setAccessibleName(self.tr("Where it goes"))
        self._holder = QWidget()
        self.grid = QGridLayout(self._holder)
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.grid.setHorizontalSpacing(18)
        self.grid.setVerticalSpacing(5)
        self.grid.setColumnMinimumWidth(0, 100)
        self.grid.setColumnStretch(1, 1)
        self.column.addWidget(self._holder)
        self.button: QPushButton = button("")
        self.button.clicked.connect(self.change)
        self.cancel_button: QPushButton = button("")
        self.cancel_button.clicked.connect(self.cancel)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.button)
        row.addWidget(self.cancel_button)
        row.addStretch(1)
        self.column.addLayout(row)
        self._shown: tuple[tuple[str, str], ...] = ()

    def show_card(self, card: Card, *, offered: Collection[str]) -> None:
        """Show the target; ``offered`` names the actions whose buttons stand here."""
        rows = self.rows(card)
        self.setVisible(bool(rows))
        if rows != self._shown:
            self._shown = rows
            self._rebuild(rows)
        for made, name in ((self.button, "ChooseTarget"), (self.cancel_button, "Cancel")):
            text = action_text(name, card) if name in offered else None
            made.setVisible(text is not None)
            if text:
                made.setText(text.label)
                made.setAccessibleName(text.label)
                made.setToolTip(text.hint)

    def rows(self, card: Card) -> tuple[tuple[str, str], ...]:
        """Return what the box lists."""
        target = card.target
        if target is None:
            return ()
        fresh = self.tr("{name} (new)")
        rows = [(self.tr("Group"), target.group_name or str(target.group_id))]
        if target.project_name:
            name = target.project_name
            rows.append((self.tr("Project"), name if target.project_id else fresh.format(name=name)))
        kind = self.tr("Screen") if target.kind is TargetKind.SCREEN else self.tr("Dataset")
        name = target.container_name or str(target.container_id)
        rows.append((kind, name if target.container_id else fresh.format(name=name)))
        if target.tags:
            rows.append((self.tr("Tags"), ", ".join(target.tags)))
        rows.extend((pair.key, pair.value) for pair in target.key_values)
        if target.description:
            rows.append((self.tr("Description"), target.description))
        return tuple(rows)

    def _rebuild(self, rows: tuple[tuple[str, str], ...]) -> None:
        while (item := self.grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for number, (key, value) in enumerate(rows):
            name = label(key, "bodyMute", wrap=True)
            name.setMaximumWidth(180)
            text = label(value, "body", wrap=True)
            text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            top = Qt.AlignmentFlag.AlignTop
            self.grid.addWidget(name, number, 0, top)
            self.grid.addWidget(text, number, 1, top)
            name.show()
            text.show()


class LeftOutBox(Box):
    """The files that no image takes, and the person's named acceptance."""

    accept = Signal(str)
    """The person's note, may be empty."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("leftOutBox")
        self.title = label(role="boxTitle", wrap=True)
        self.column.addWidget(self.title)
        self.list = QPlainTextEdit()
        self.list.setReadOnly(True)
        self.list.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.list.setAccessibleName(self.tr("Files that would stay out of OMERO"))
        self.list.setFixedHeight(92)
        self.column.addWidget(self.list)
        row = QHBoxLayout()
        self.note = QLineEdit()
        self.note.setPlaceholderText(self.tr("Why they may stay out (optional)"))
        self.note.setAccessibleName(self.tr("Note"))
        self.note.setMaxLength(2000)
        self.button = button(self.tr("These may stay out"), primary=True)
        self.button.clicked.connect(lambda: self.accept.emit(self.note.text().strip()))
        row.addWidget(self.note, 1)
        row.addWidget(self.button)
        self.column.addLayout(row)
        self._card = ""

    def show_card(self, card: Card) -> None:
        self.setVisible(bool(card.left_out))
        if card.id != self._card:
            self._card = card.id
            self.note.clear()
        text = "\n".join(card.left_out)
        if self.list.toPlainText() != text:
            self.list.setPlainText(text)
        self.title.setText(
            self.tr("No image takes this file:")
            if len(card.left_out) == 1
            else self.tr("No image takes these {n} files:").format(n=len(card.left_out))
        )
        offered = "AcceptLeftOut" in card.actions
        self.button.setVisible(offered)
        self.note.setVisible(offered)


class NextBox(Box):
    """What happens next, in one or two sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("nextBox")
        title = self.tr("What happens next")
        self.column.addWidget(label(title, "boxTitle"))
        self.setAccessibleName(title)
        self.text = label(role="bodyMute", wrap=True)
        self.column.addWidget(self.text)

    def show_card(self, card: Card, now: datetime) -> None:
        sentence = what_next(card)
        leaves = leaves_text(card, now)
        self.text.setText(f"{sentence} {leaves}".strip())
