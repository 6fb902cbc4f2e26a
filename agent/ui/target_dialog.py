"""Choosing the target in one look: recents left, everything right, OMERO's answer before sending.

A repeat costs one click and one confirmation. New containers are made when the person sends, so that OMERO's
"no" is heard here; while the bridge is away the name travels with the order and is made later.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QDialog, QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from agent.core.commands import ChooseTarget, Command, SetStandingTarget
from agent.core.errors import AgentError, BridgeAway
from agent.core.snapshot import Card, CardState
from agent.ui import format as fmt
from agent.ui.inline_bar import InlineBar
from agent.ui.person_field import PersonField
from agent.ui.ports import EnginePort
from agent.ui.recent_list import RecentList
from agent.ui.relay import deliver
from agent.ui.target_draft import Choice, TargetDraft, Verdict
from agent.ui.target_form import TargetForm
from agent.ui.theme import Tone
from agent.ui.widgets import ElidedLabel, Shape, button, label, restyle
from server_bridge.contract import Container, NewContainer, Person, Target, TargetKind

ALREADY_IMPORTED = "already_imported"
"""The code with which the bridge says that the same files are in OMERO: going on needs explicit consent."""

_ORDERED_ANEW = frozenset({CardState.REFUSED, CardState.CANCELLED})
"""A target makes a new order of these, which may be another person's."""


class TargetDialog(QDialog):
    """Asks where an acquisition should go, or, without a card, everything from now on."""

    def __init__(
        self,
        engine: EnginePort,
        card: Card | None,
        person: Person | None,
        parent: QWidget | None = None,
        *,
        prefill: Target | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("targetDialog")
        self._engine = engine
        self._card = card
        self._busy = False
        self._me: Person | None = None
        self._shown_for = ""
        """Whose places the form lists."""
        self._filled = False
        self.whose: PersonField | None = None
        """Staff are asked; nobody else is."""
        self.chosen: Target | None = None
        """What the engine took, once it did."""
        self.setWindowTitle(self.tr("Choose the target"))
        self.setMinimumSize(720, 520)
        self.resize(820, 640)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        self.bar = InlineBar()
        outer.addWidget(self.bar)
        middle = QHBoxLayout()
        middle.setSpacing(0)
        outer.addLayout(middle, 1)
        self.recents = RecentList()
        self.recents.setFixedWidth(240)
        middle.addWidget(self.recents)
        middle.addWidget(self._make_form(), 1)
        outer.addWidget(self._make_foot())

        self.form.changed.connect(self._update)
        self.form.trouble.connect(self._search_failed)
        self.recents.picked.connect(self._recent_picked)
        self.recents.show_targets(engine.targets.recents())
        self._prefill = prefill or (card.target if card else None)
        self.show_person(person)
        if self.whose is None or not self.whose.looking:
            self._fill()
        self._update()

    def show_person(self, person: Person | None) -> None:
        """Whoever is signed in, and her groups: right after signing in both may arrive a little later."""
        if person is not None and self._me is None:
            self._me, self._shown_for = person, person.username
            self._offer_whose(person)
        hers = self._me is None or self._shown_for == self._me.username
        if self.form.has_groups() or not hers:
            return
        groups = tuple(self._engine.targets.groups()) or (person.groups if person else ())
        if groups:
            self.form.show_groups(groups, person.default_group_id if person else None)

    def _offer_whose(self, me: Person) -> None:
        """Staff say whose data it is. Where a name is known already, that person's places are asked for."""
        card = self._card
        if not me.is_staff or card is None:
            return
        self.whose = PersonField(self._engine.targets, me)
        self.whose.changed.connect(self._person_changed)
        self.whose.trouble.connect(self._search_failed)
        self._whose_place.addWidget(self.whose)
        self._whose_place.addSpacing(6)
        if card.order_id is not None and card.state not in _ORDERED_ANEW:
            self.whose.fix()
        whose = card.person or (card.suggested.person if card.suggested else "")
        if whose and whose != me.username:
            self.whose.choose(whose)

    def _fill(self) -> None:
        """Fill in what is known of the target."""
        self._filled = True
        start, card = self._prefill, self._card
        if start is not None:
            self.form.fill(start)
            self.send.setFocus()
        else:
            if card is not None and card.suggested is not None:
                self.form.suggest(card.suggested)
            self.form.container.field.setFocus()
        self._update()

    def _person_changed(self) -> None:
        """Staff chose whose data it is: list the places that this person sees."""
        field, me = self.whose, self._me
        if field is not None and me is not None and field.person is not None:
            person = field.person
            if person.username != self._shown_for:
                targets = self._engine.targets
                mine = person.username == me.username
                self._shown_for = person.username
                groups = tuple(targets.groups()) if mine else person.groups
                places = targets if mine else targets.of(person)
                self.form.show_places(places, groups or person.groups, person.default_group_id)
                self.recents.setVisible(mine)
                self.from_now_on.setVisible(mine)
                self.bar.dismiss()
                self._filled = False
            if not self._filled:
                self._fill()
                return
        self._update()

    @property
    def _owner(self) -> str:
        """Somebody else's user name, where staff order for her."""
        person = self.whose.person if self.whose is not None else None
        return person.username if person and self._me and person.username != self._me.username else ""

    # --- building -------------------------------------------------------------------------------------

    def _make_form(self) -> QWidget:
        scroll = QScrollArea()
        scroll.setObjectName("formScroll")
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        page = QWidget()
        page.setObjectName("formPage")
        column = QVBoxLayout(page)
        column.setContentsMargins(24, 20, 24, 16)
        column.setSpacing(3)
        self.heading = ElidedLabel(role="dialogHeading", mode=Qt.TextElideMode.ElideMiddle)
        self.facts = ElidedLabel(role="bodyMute", mode=Qt.TextElideMode.ElideMiddle)
        if self._card is None:
            self.heading.set_full(self.tr("Where should everything go from now on?"))
            self.facts.set_full(self.tr("Each acquisition of yours is sent there when it is finished"))
        else:
            card = self._card
            self.heading.set_full(self.tr("Where should {title} go?").format(title=card.title))
            self.facts.set_full(f"{card.path} · {fmt.files(card.file_count)} · {fmt.size(card.size_bytes)}")
        column.addWidget(self.heading)
        column.addWidget(self.facts)
        column.addSpacing(10)
        self._whose_place = QVBoxLayout()
        self._whose_place.setContentsMargins(0, 0, 0, 0)
        self._whose_place.setSpacing(0)
        column.addLayout(self._whose_place)
        self.form = TargetForm(self._engine.targets)
        column.addWidget(self.form)
        column.addSpacing(8)
        self.again = QCheckBox(self.tr("These files are in OMERO already: import them again"))
        reason = self._card.reason if self._card else None
        self.again.setVisible(reason is not None and reason.code == ALREADY_IMPORTED)
        self.again.toggled.connect(self._update)
        column.addWidget(self.again)
        self.verdict_frame = QFrame()
        self.verdict_frame.setProperty("role", "verdict")
        row = QHBoxLayout(self.verdict_frame)
        row.setContentsMargins(10, 8, 10, 8)
        row.setSpacing(8)
        self.verdict_shape = Shape(14)
        self.verdict = label(role="body", wrap=True)
        row.addWidget(self.verdict_shape, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.verdict, 1)
        column.addWidget(self.verdict_frame)
        column.addStretch(1)
        scroll.setWidget(page)
        return scroll

    def _make_foot(self) -> QWidget:
        foot = QWidget()
        foot.setObjectName("dialogFoot")
        foot.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        row = QHBoxLayout(foot)
        row.setContentsMargins(20, 12, 20, 12)
        row.setSpacing(10)
        self.from_now_on = QCheckBox(self.tr("Use this for everything from now on"))
        self.from_now_on.setVisible(self._card is not None)
        row.addWidget(self.from_now_on)
        row.addStretch(1)
        self.not_now = button(self.tr("Not now"))
        self.not_now.setAutoDefault(False)
        self.not_now.clicked.connect(self.reject)
        text = self.tr("Send to OMERO") if self._card else self.tr("Use from now on")
        self.send = button(text, primary=True)
        self.send.setDefault(True)
        self.send.clicked.connect(self._send)
        row.addWidget(self.not_now)
        row.addWidget(self.send)
        return foot

    # --- what the person does -------------------------------------------------------------------------

    def _recent_picked(self, target: Target) -> None:
        self.bar.dismiss()
        self.form.fill(target)

    def _search_failed(self, error: AgentError) -> None:
        # The verdict line already says that the bridge cannot be asked; only a real "no" gets a bar.
        if not isinstance(error, BridgeAway):
            self.bar.show_reason(error.reason())

    def _current_verdict(self) -> Verdict:
        if self.whose is not None and self.whose.person is None:
            text = self.tr("Asking OMERO…") if self.whose.looking else self.tr("Choose whose data this is.")
            return Verdict(Tone.PLAIN, text, may_send=False)
        verdict = self.form.draft().verdict(self._owner)
        if verdict.may_send and self.form.pairs.keyless():
            text = self.tr("A value has no key yet: name it or empty it.")
            return Verdict(Tone.PLAIN, text, may_send=False)
        if verdict.may_send and self.again.isVisibleTo(self) and not self.again.isChecked():
            text = self.tr("These files are in OMERO already. Say so above if you want them twice.")
            return Verdict(Tone.NEEDS_YOU, text, may_send=False)
        return verdict

    def _update(self) -> None:
        verdict = self._current_verdict()
        self.verdict.setText(verdict.text)
        shape = "state-attention" if verdict.tone is Tone.NEEDS_YOU else "state-proven"
        if verdict.tone is Tone.PLAIN:
            shape = "state-waiting" if verdict.may_send else "state-needs-target"
        self.verdict_shape.show_shape(shape, verdict.tone)
        if self.verdict_frame.property("tone") != verdict.tone.value:
            self.verdict_frame.setProperty("tone", verdict.tone.value)
            restyle(self.verdict_frame)
        self.send.setEnabled(verdict.may_send and not self._busy)

    def _send(self) -> None:
        draft = self.form.draft()
        if self._busy or not self._current_verdict().may_send:
            return
        self._set_busy(True)
        self.bar.dismiss()
        if self._owner:
            self._submit(draft)  # the bridge makes what is new as hers, when the import starts
            return
        self._make_project(draft)

    def _make_project(self, draft: TargetDraft) -> None:
        if draft.kind is TargetKind.SCREEN or not draft.project.is_new or draft.container.id is not None:
            self._make_container(draft)
            return

        def made(project: Container) -> None:
            self.form.project.set_choice(Choice.of(project))
            self._make_container(replace(draft, project=Choice.of(project)))

        self._create(draft, "project", draft.project.name, None, made)

    def _make_container(self, draft: TargetDraft) -> None:
        if not draft.container.is_new:
            self._submit(draft)
            return

        def made(container: Container) -> None:
            self.form.container.set_choice(Choice.of(container))
            self._submit(replace(draft, container=Choice.of(container)))

        kind = "screen" if draft.kind is TargetKind.SCREEN else "dataset"
        self._create(draft, kind, draft.container.name, draft.project.id, made)

    def _create(self, draft: TargetDraft, kind: Any, name: str, project_id: int | None, then: Any) -> None:
        if draft.group is None:
            return

        def failed(error: AgentError) -> None:
            if isinstance(error, BridgeAway):
                # The name alone is enough: the bridge makes the container when the import starts.
                self._submit(draft)
            else:
                self._failed(error)

        new = NewContainer(
            kind=kind,
            group_id=draft.group.id,
            name=name.strip(),
            project_id=project_id if kind == "dataset" else None,
        )
        deliver(self._engine.targets.create(new), self, then, failed)

    def _submit(self, draft: TargetDraft) -> None:
        target = draft.target()
        command: Command
        if self._card is None:
            command = SetStandingTarget(target)
        else:
            command = ChooseTarget(
                self._card.id,
                target,
                from_now_on=self.from_now_on.isChecked() and not self._owner,
                import_again=self.again.isVisibleTo(self) and self.again.isChecked(),
                owner=self.whose.person.username if self.whose and self.whose.person else "",
            )
        future: Future[Any] = self._engine.submit(command)
        deliver(future, self, lambda _result: self._taken(target), self._failed)

    def _taken(self, target: Target) -> None:
        self.chosen = target
        self.accept()

    def _failed(self, error: AgentError) -> None:
        self._set_busy(False)
        self.bar.show_reason(error.reason())

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        self.form.setEnabled(not busy)
        if self.whose is not None:
            self.whose.setEnabled(not busy)
        self.recents.setEnabled(not busy)
        idle = self.tr("Send to OMERO") if self._card else self.tr("Use from now on")
        self.send.setText(self.tr("Sending…") if busy else idle)
        self._update()
