"""The footer: one sentence that says whether the person may log off, and what is missing otherwise."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from agent.core.snapshot import CardGroup, LogOff, Snapshot
from agent.ui import cleaning_text as words
from agent.ui import format as fmt
from agent.ui.theme import Tone
from agent.ui.widgets import ElidedLabel, Shape, button, label

_SHAPES = {LogOff.YES: "state-proven", LogOff.NO: "stay", LogOff.NOBODY: "person"}


class Footer(QWidget):
    """Promise 7's sentence, word for word as the engine decided it, what may be freed on the buffer, and when
    the bridge last answered."""

    free_space = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("footerBar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setMinimumHeight(46)
        row = QHBoxLayout(self)
        row.setContentsMargins(20, 7, 20, 7)
        row.setSpacing(10)
        self.verdict_shape = Shape(15)
        row.addWidget(self.verdict_shape)
        # Rich text only to make the headline bold in a sentence that wraps; both parts are escaped.
        self.sentence = QLabel()
        self.sentence.setObjectName("logOffSentence")
        self.sentence.setTextFormat(Qt.TextFormat.RichText)
        self.sentence.setWordWrap(True)
        self.sentence.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        row.addWidget(self.sentence, 1)
        self.outbox = label(role="small")
        row.addWidget(self.outbox)
        self.free_button = button("", role="link")
        self.free_button.setObjectName("freeSpace")
        self.free_button.setToolTip(self.tr("Delete copies on the buffer that OMERO has with proof"))
        self.free_button.clicked.connect(self.free_space)
        row.addWidget(self.free_button)
        self.bridge_shape = Shape(11)
        row.addWidget(self.bridge_shape)
        self.bridge = ElidedLabel(role="small")
        row.addWidget(self.bridge)
        self.plain = ""

    def show_snapshot(self, snapshot: Snapshot, now: datetime) -> None:
        verdict = snapshot.log_off
        self.plain = " ".join(part for part in (verdict.headline, verdict.detail) if part)
        self.sentence.setText(f"<b>{_escaped(verdict.headline)}</b> {_escaped(verdict.detail)}".strip())
        self.sentence.setAccessibleName(self.plain)
        decide = verdict.may is LogOff.NO and any(c.group is CardGroup.NEEDS_YOU for c in snapshot.cards)
        chosen = Tone.NEEDS_YOU if decide else Tone.ACCENT
        if verdict.may is LogOff.NOBODY:
            chosen = Tone.PLAIN
        self.verdict_shape.show_shape(_SHAPES[verdict.may], chosen)
        waiting = snapshot.outbox_pending
        self.outbox.setVisible(waiting > 0)
        self.outbox.setText(
            self.tr("1 message waits here ·")
            if waiting == 1
            else self.tr("{n} messages wait here ·").format(n=fmt.count(waiting))
        )
        self.outbox.setToolTip(self.tr("Orders that the bridge has not confirmed yet; they are kept safely"))
        text = self._free_text(snapshot)
        self.free_button.setVisible(bool(text))
        if text:
            self.free_button.setText(text)
            self.free_button.setAccessibleName(text)
        self.show_time(snapshot, now)

    def _free_text(self, snapshot: Snapshot) -> str:
        going = words.going(snapshot.cleaning)
        if going is not None:
            return self.tr("Freeing: {done}").format(done=fmt.size_of(going.bytes_done, going.bytes_total))
        cards = words.freeable(snapshot, everybody=bool(snapshot.person and snapshot.person.is_staff))
        size = sum(card.size_bytes for card in cards)
        return self.tr("Free {size}…").format(size=fmt.size(size)) if cards else ""

    def show_time(self, snapshot: Snapshot, now: datetime) -> None:
        """Bring "2 s ago" up to date."""
        bridge = snapshot.bridge
        self.bridge_shape.show_shape(
            "answers" if bridge.reachable else "away", Tone.ACCENT if bridge.reachable else Tone.PLAIN
        )
        if bridge.last_answer_at is None:
            text = self.tr("Bridge has not answered yet")
        elif bridge.reachable:
            text = self.tr("Bridge answered {ago}").format(ago=fmt.ago(bridge.last_answer_at, now))
        else:
            text = self.tr("Bridge does not answer, last {ago}").format(
                ago=fmt.ago(bridge.last_answer_at, now)
            )
        self.bridge.set_full(text)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
