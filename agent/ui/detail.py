"""The right side: everything about the chosen acquisition, updated in place by each snapshot."""

from __future__ import annotations

from datetime import UTC, datetime

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from agent.core.snapshot import Card, CardState
from agent.ui import format as fmt
from agent.ui.card_text import (
    OPEN_IN_OMERO,
    CardButton,
    needs_sign_in,
    same_target_button,
    sign_in_button,
)
from agent.ui.detail_boxes import LeftOutBox, NextBox, ProgressBox, ReasonBox, WhereBox
from agent.ui.flow_layout import FlowLayout
from agent.ui.life_line import LifeLine
from agent.ui.texts import action_text, state_shape, state_word, tone
from agent.ui.widgets import ElidedLabel, Shape, button, label
from server_bridge.contract import Target

_IN_A_BOX = frozenset({"AcceptLeftOut"})
"""Actions whose button stands in its own box rather than in the row of actions."""

_BESIDE_THE_TARGET = frozenset({"ChooseTarget", "Cancel"})
"""Actions that stand under the target; another target is moved up where a decision is needed."""

_TARGET_IS_THE_QUESTION = frozenset(
    {CardState.REFUSED, CardState.ATTENTION, CardState.NEEDS_TARGET, CardState.CANCELLED}
)


class DetailPane(QScrollArea):
    """Shows one card in full."""

    action = Signal(str, str)
    """Card id, action name."""
    accept_left_out = Signal(str, str)
    """Card id, note."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("detailPane")
        self.setAccessibleName(self.tr("The chosen acquisition"))
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        page = QWidget()
        page.setObjectName("detailPage")
        column = QVBoxLayout(page)
        column.setContentsMargins(26, 20, 26, 20)
        column.setSpacing(0)
        self.setWidget(page)

        self.empty = label(
            self.tr("Nothing on the share yet. What the microscope writes appears here by itself."),
            "bodyMute",
            wrap=True,
        )
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.empty)

        self.body = QWidget()
        self.body.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        column.addWidget(self.body)
        column.addStretch(1)
        inner = QVBoxLayout(self.body)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(12)

        self.title = ElidedLabel(role="heading", mode=Qt.TextElideMode.ElideMiddle)
        facts = QHBoxLayout()
        facts.setSpacing(7)
        self.shape_widget = Shape(14)
        self.word = label(role="name")
        self.facts = ElidedLabel(role="bodyMute")
        facts.addWidget(self.shape_widget)
        facts.addWidget(self.word)
        facts.addWidget(self.facts, 1)
        head = QVBoxLayout()
        head.setSpacing(3)
        head.addWidget(self.title)
        head.addLayout(facts)
        inner.addLayout(head)
        self.life_line = LifeLine()
        inner.addSpacing(4)
        inner.addWidget(self.life_line)

        self._actions_holder = QWidget()
        self._actions_row = FlowLayout(self._actions_holder)
        inner.addWidget(self._actions_holder)
        self._action_buttons: dict[str, QPushButton] = {}
        self._shown_actions: tuple[CardButton, ...] | None = None

        self.progress = ProgressBox()
        self.reason = ReasonBox()
        self.left_out = LeftOutBox()
        self.where = WhereBox()
        self.next = NextBox()
        for box in (self.reason, self.left_out, self.progress, self.where, self.next):
            inner.addWidget(box)
        self.where.change.connect(lambda: self._act("ChooseTarget"))
        self.where.cancel.connect(lambda: self._act("Cancel"))
        self.left_out.accept.connect(self._accept)
        self._card: Card | None = None
        self.show_card(None)

    @property
    def card(self) -> Card | None:
        return self._card

    def action_button(self, name: str) -> QPushButton | None:
        """Return the visible button of an action, wherever it stands."""
        if name == "AcceptLeftOut":
            return self.left_out.button
        if name in self._action_buttons:
            return self._action_buttons[name]
        boxed = {"ChooseTarget": self.where.button, "Cancel": self.where.cancel_button}.get(name)
        return boxed if boxed is not None and boxed.isVisibleTo(self) else None

    def show_card(self, card: Card | None, recent: Target | None = None, now: datetime | None = None) -> None:
        """Show a card, or the empty page."""
        other = (card.id if card else "") != (self._card.id if self._card else "")
        self._card = card
        self.empty.setVisible(card is None)
        self.body.setVisible(card is not None)
        if card is None:
            return
        moment = now or datetime.now(UTC)
        self.title.set_full(card.title)
        self.shape_widget.show_shape(state_shape(card.state), tone(card), state_word(card.state))
        self.word.setText(state_word(card.state))
        self.facts.set_full(self._facts(card, moment))
        self.life_line.show_stations(card.stations, moment)
        in_box = self._beside_the_target(card)
        self._show_actions(card, recent, elsewhere=in_box | _IN_A_BOX)
        self.reason.show_card(card)
        self.left_out.show_card(card)
        self.progress.show_card(card)
        self.where.show_card(card, offered=in_box)
        self.next.show_card(card, moment)
        if other:
            self.verticalScrollBar().setValue(0)

    def _facts(self, card: Card, now: datetime) -> str:
        parts = ["", f"{fmt.files(card.file_count)} · {fmt.size(card.size_bytes)}"]
        if card.finished_at:
            parts.append(self.tr("finished {time}").format(time=fmt.clock(card.finished_at, now=now)))
        elif card.last_change_at:
            parts.append(self.tr("last change {time}").format(time=fmt.clock(card.last_change_at, now=now)))
        if card.image_count:
            parts.append(fmt.images(card.image_count))
        if card.person:
            parts.append(card.person)
        return " · ".join(parts).strip()

    @staticmethod
    def _beside_the_target(card: Card) -> frozenset[str]:
        """Return the actions that are a side matter now: their buttons stand under the target."""
        if card.target is None:
            return frozenset()
        decides = card.state in _TARGET_IS_THE_QUESTION
        return frozenset(card.actions) & (frozenset({"Cancel"}) if decides else _BESIDE_THE_TARGET)

    def _buttons(
        self, card: Card, recent: Target | None, *, elsewhere: frozenset[str]
    ) -> tuple[CardButton, ...]:
        buttons: list[CardButton] = []
        if card.result_url:
            buttons.append(
                CardButton(
                    OPEN_IN_OMERO,
                    self.tr("Open in OMERO"),
                    self.tr("Show the images in OMERO.web"),
                    primary=True,
                )
            )
        if needs_sign_in(card):
            buttons.append(sign_in_button())
        for name in card.actions:
            text = action_text(name, card)
            if text is None or name in elsewhere:
                continue
            wanted = not buttons and name in {"ChooseTarget", "Retry", "FreeSpace"}
            buttons.append(CardButton(name, text.label, text.hint, primary=wanted))
            if name == "ChooseTarget" and card.target is None and recent is not None:
                buttons.append(same_target_button(recent))
        return tuple(buttons)

    def _show_actions(self, card: Card, recent: Target | None, *, elsewhere: frozenset[str]) -> None:
        buttons = self._buttons(card, recent, elsewhere=elsewhere)
        if buttons == self._shown_actions:
            return
        self._shown_actions = buttons
        focused = next((n for n, w in self._action_buttons.items() if w.hasFocus()), "")
        while (item := self._actions_row.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self._action_buttons = {}
        for spec in buttons:
            made = button(spec.label, primary=spec.primary)
            made.setToolTip(spec.hint)
            made.setAccessibleDescription(spec.hint)
            made.clicked.connect(lambda _checked=False, name=spec.action: self._act(name))
            self._actions_row.addWidget(made)
            made.show()
            self._action_buttons[spec.action] = made
            if spec.action == focused:
                made.setFocus()
        self._actions_holder.setVisible(bool(buttons))

    def _act(self, name: str) -> None:
        if self._card is not None:
            self.action.emit(self._card.id, name)

    def _accept(self, note: str) -> None:
        if self._card is not None:
            self.accept_left_out.emit(self._card.id, note)
