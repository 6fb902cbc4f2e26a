"""Free space: what is released on the buffer, chosen from a list, one question, and how far it is.

The dialog renders snapshots: it may be closed while copies go, and says at the next opening how that ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QPlainTextEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from agent.core.commands import Command, FreeSpace, StopFreeing
from agent.core.errors import AgentError
from agent.core.snapshot import Card, Snapshot
from agent.ui import cleaning_text as words
from agent.ui import format as fmt
from agent.ui.inline_bar import InlineBar
from agent.ui.ports import EnginePort
from agent.ui.relay import deliver
from agent.ui.widgets import Bar, Box, button, label

_CARD_ID = Qt.ItemDataRole.UserRole
_NAME, _SIZE, _PROVEN, _RELEASED, _WHOSE = range(5)


class GoingBox(Box):
    """What is being deleted now and how the last ones ended; hidden while there is nothing to say."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self.setObjectName("goingBox")
        row = QHBoxLayout()
        self.title = label(role="name", wrap=True)
        self.stop = button(self.tr("Stop"))
        self.stop.setToolTip(self.tr("Delete no more; what is gone is gone, the rest stays"))
        self.stop.clicked.connect(stop)
        row.addWidget(self.title, 1)
        row.addWidget(self.stop)
        self.column.addLayout(row)
        self.bar = Bar()
        self.bar.setAccessibleName(self.tr("Deleting copies"))
        self.column.addWidget(self.bar)
        self.lines = QPlainTextEdit()
        self.lines.setReadOnly(True)
        self.lines.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.lines.setAccessibleName(self.tr("What went and what stayed"))
        self.lines.setFixedHeight(92)
        self.column.addWidget(self.lines)

    def show_snapshot(self, snapshot: Snapshot, now: datetime) -> None:
        """Show the jobs, newest last."""
        jobs = snapshot.cleaning
        self.setVisible(bool(jobs))
        going = words.going(jobs)
        self.bar.setVisible(going is not None)
        self.stop.setVisible(going is not None)
        if going is None:
            self.title.setText(self.tr("Lately freed"))
        else:
            self.title.setText(self.tr("Deleting copies: {how}").format(how=going.text()))
            self.bar.show_part(going.part)
        live = [job for job in jobs if job.is_going]
        over = [job for job in jobs if not job.is_going]
        lines = []
        for job in [*live, *reversed(over)]:
            lines.append(words.job_text(job, now))
            lines.extend(f"    {line}" for line in words.stayed_lines(job))
        text = "\n".join(lines)
        if self.lines.toPlainText() != text:
            self.lines.setPlainText(text)


class FreeSpaceDialog(QDialog):
    """Lists what may go; nothing is chosen until somebody does."""

    def __init__(
        self,
        engine: EnginePort,
        snapshot: Snapshot,
        parent: QWidget | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(parent)
        self.setObjectName("freeSpaceDialog")
        self._engine = engine
        self._snapshot = snapshot
        self._clock = clock
        self._shown: tuple[Card, ...] | None = None
        self._asked: list[Card] = []
        self.setWindowTitle(self.tr("Free space on the buffer"))
        self.setMinimumSize(640, 460)
        self.resize(760, 560)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        self.bar = InlineBar()
        outer.addWidget(self.bar)
        page = QVBoxLayout()
        page.setContentsMargins(24, 18, 24, 14)
        page.setSpacing(10)
        outer.addLayout(page, 1)
        page.addWidget(label(self.tr("Free space on the buffer"), "dialogHeading"))
        self.hint = label(role="bodyMute", wrap=True)
        page.addWidget(self.hint)
        row = QHBoxLayout()
        self.all = QCheckBox(self.tr("Select all"))
        self.all.setTristate(False)
        self.all.clicked.connect(self._choose_all)
        self.everybody = QCheckBox(self.tr("Everybody's on this workstation"))
        self.everybody.toggled.connect(lambda _on: self._refresh())
        row.addWidget(self.all)
        row.addStretch(1)
        row.addWidget(self.everybody)
        page.addLayout(row)
        self.list = QTreeWidget()
        self.list.setObjectName("freeableList")
        self.list.setAccessibleName(self.tr("Released copies on the buffer"))
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setHeaderLabels(
            [
                self.tr("Acquisition"),
                self.tr("Size"),
                self.tr("Proven"),
                self.tr("Released"),
                self.tr("Whose"),
            ]
        )
        header = self.list.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        self.list.itemChanged.connect(lambda _item, _column: self._update_choice())
        page.addWidget(self.list, 1)
        self.empty = label(role="bodyMute", wrap=True)
        page.addWidget(self.empty)
        self.going = GoingBox(self._stop)
        page.addWidget(self.going)
        foot = QWidget()
        foot.setObjectName("dialogFoot")
        foot.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        below = QHBoxLayout(foot)
        below.setContentsMargins(24, 10, 24, 10)
        below.setSpacing(10)
        self.total = label(role="name")
        self.close_button = button(self.tr("Close"))
        self.close_button.setAutoDefault(False)
        self.close_button.clicked.connect(self.reject)
        self.free = button("", primary=True)
        self.free.setAutoDefault(False)
        self.free.clicked.connect(self._ask)
        below.addWidget(self.total, 1)
        below.addWidget(self.close_button)
        below.addWidget(self.free)
        outer.addWidget(foot)
        self.show_snapshot(snapshot)

    def chosen(self) -> list[Card]:
        """Return the cards that are ticked, in the list's order."""
        ticked = {
            item.data(_NAME, _CARD_ID)
            for item in self._items()
            if item.checkState(_NAME) is Qt.CheckState.Checked
        }
        return [card for card in self._shown or () if card.id in ticked]

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Bring list and progress up to date; what is ticked stays ticked."""
        self._snapshot = snapshot
        staff = bool(snapshot.person and snapshot.person.is_staff)
        self.everybody.setVisible(staff)
        hint = self.tr(
            "All of this is in OMERO with proof, and the bridge has released it. The bridge is asked again "
            "and each file compared before it goes; what changed stays."
        )
        rules = [text for share in snapshot.shares if (text := words.policy_text(share))]
        self.hint.setText("\n".join([hint, *rules]))
        self._refresh()
        self.going.show_snapshot(snapshot, self._clock())

    def _refresh(self) -> None:
        everybody = self.everybody.isChecked() and not self.everybody.isHidden()
        cards = tuple(words.freeable(self._snapshot, everybody=everybody))
        if cards != self._shown:
            self._fill(cards)
        self.empty.setVisible(not cards)
        self.list.setVisible(bool(cards))
        self.all.setEnabled(bool(cards))
        self.empty.setText(
            self.tr("Nothing to free: no copy here is released at the moment.")
            if words.agent_deletes(self._snapshot)
            else self.tr("On this share the storage staff delete what is released.")
        )
        self._update_choice()

    def _fill(self, cards: Sequence[Card]) -> None:
        ticked = {card.id for card in self.chosen()}
        self._shown = tuple(cards)
        now = self._clock()
        self.list.blockSignals(True)
        self.list.clear()
        for card in cards:
            item = QTreeWidgetItem(
                [
                    card.title,
                    fmt.size(card.size_bytes),
                    fmt.clock(card.proven_at, now=now) if card.proven_at else "",
                    fmt.clock(card.released_at, now=now) if card.released_at else "",
                    card.person,
                ]
            )
            item.setData(_NAME, _CARD_ID, card.id)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            state = Qt.CheckState.Checked if card.id in ticked else Qt.CheckState.Unchecked
            item.setCheckState(_NAME, state)
            place = words.place_name(card.share, self._snapshot.shares)
            item.setToolTip(_NAME, f"{place} {card.path}\n{fmt.files(card.file_count)}")
            item.setTextAlignment(_SIZE, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.list.addTopLevelItem(item)
        self.list.blockSignals(False)

    def _items(self) -> list[QTreeWidgetItem]:
        found = (self.list.topLevelItem(row) for row in range(self.list.topLevelItemCount()))
        return [item for item in found if item is not None]

    def _choose_all(self, on: bool) -> None:
        state = Qt.CheckState.Checked if on else Qt.CheckState.Unchecked
        for item in self._items():
            item.setCheckState(_NAME, state)

    def _update_choice(self) -> None:
        cards = self.chosen()
        count = len(cards)
        if self.bar.is_question() and cards != self._asked:
            self.bar.dismiss()  # the question was about another choice
        self.all.setChecked(bool(cards) and count == len(self._shown or ()))
        self.total.setText(words.amount(cards) if cards else self.tr("Nothing chosen"))
        text = self.tr("Delete 1 copy…") if count == 1 else self.tr("Delete {n} copies…").format(n=count)
        self.free.setText(text if count else self.tr("Delete copies…"))
        self.free.setAccessibleName(self.free.text())
        self.free.setEnabled(bool(cards))

    def _ask(self) -> None:
        cards = self.chosen()
        if not cards:
            return
        ids = tuple(card.id for card in cards)
        self._asked = cards
        answer = (
            self.tr("Delete the copy")
            if len(cards) == 1
            else self.tr("Delete {n} copies").format(n=len(cards))
        )
        self.bar.ask(
            words.question(cards, self._snapshot.shares), answer, lambda: self._submit(FreeSpace(ids))
        )

    def _stop(self) -> None:
        self._submit(StopFreeing())

    def _submit(self, command: Command) -> None:
        self.bar.dismiss()
        deliver(self._engine.submit(command), self, lambda _nothing: None, self._failed)

    def _failed(self, error: AgentError) -> None:
        self.bar.show_reason(error.reason())
