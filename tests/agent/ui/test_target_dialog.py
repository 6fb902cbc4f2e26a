"""The target dialog: what is filled in is the target that is sent, and OMERO's answer comes first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from agent.core.commands import ChooseTarget, SetStandingTarget
from agent.core.errors import AgentError, BridgeAway
from agent.core.snapshot import Card
from agent.core.template import TargetSuggestion
from agent.ui.target_dialog import TargetDialog
from agent.ui.target_draft import Choice, TargetDraft, target_text
from agent.ui.theme import Theme, Tone
from server_bridge.contract import KeyValue, NewContainer, Reason, Target, TargetKind
from tests.agent.ui import samples
from tests.agent.ui.fakes import RecordingEngine, failed

Make = Callable[..., TargetDialog]


@pytest.fixture
def make(qtbot: QtBot, theme: Theme, engine: RecordingEngine) -> Make:
    def made(card: Card | None = samples.PLATE_4, **options: Any) -> TargetDialog:
        dialog = TargetDialog(engine, card, samples.ALICE, **options)
        qtbot.addWidget(dialog)
        dialog.show()
        return dialog

    return made


def type_into(qtbot: QtBot, dialog: TargetDialog, picker_name: str, text: str) -> None:
    picker = getattr(dialog.form, picker_name)
    picker.field.setFocus()
    picker.field.clear()
    qtbot.keyClicks(picker.field, text)
    qtbot.waitUntil(lambda: not picker.choice.looking)


def send(qtbot: QtBot, dialog: TargetDialog) -> None:
    qtbot.waitUntil(dialog.send.isEnabled)
    with qtbot.waitSignal(dialog.accepted):
        qtbot.mouseClick(dialog.send, Qt.MouseButton.LeftButton)


# --- what is sent -------------------------------------------------------------------------------------


def test_everything_that_is_filled_in_is_in_the_target(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    dialog = make()
    type_into(qtbot, dialog, "project", "Actin project")
    type_into(qtbot, dialog, "container", "embryos")
    dialog.form.tags.field.setFocus()
    qtbot.keyClicks(dialog.form.tags.field, "siRNA")
    qtbot.keyClick(dialog.form.tags.field, Qt.Key.Key_Return)
    qtbot.keyClicks(dialog.form.tags.field, "new tag")
    dialog.form.pairs.set_cell(0, 0, "Stage")
    dialog.form.pairs.set_cell(0, 1, "24 hpf")
    dialog.form.description.setPlainText("third attempt")
    dialog.from_now_on.setChecked(True)
    send(qtbot, dialog)
    assert engine.commands == [
        ChooseTarget(
            "plate-4",
            Target(
                group_id=3,
                group_name="Cytoskeleton",
                kind=TargetKind.DATASET,
                container_id=51,
                container_name="embryos",
                project_id=11,
                project_name="Actin project",
                tags=("siRNA", "new tag"),
                key_values=(KeyValue(key="Stage", value="24 hpf"),),
                description="third attempt",
            ),
            from_now_on=True,
        )
    ]
    assert engine.targets.created == []


def test_a_recent_target_fills_everything(qtbot: QtBot, make: Make, engine: RecordingEngine) -> None:
    dialog = make()
    dialog.recents.choose(0)
    send(qtbot, dialog)
    assert engine.commands == [ChooseTarget("plate-4", samples.PLATES)]


def test_what_the_path_suggests_is_filled_in_and_found_in_omero(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    suggestion = TargetSuggestion(
        person="alice", group_name="CYTOskeleton", project_name="Actin project", container_name="embryos"
    )
    dialog = make(replace(samples.PLATE_4, target=None, suggested=suggestion))
    qtbot.waitUntil(lambda: dialog.form.draft().container.id is not None)
    draft = dialog.form.draft()
    assert (draft.project.name, draft.container.name) == ("Actin project", "embryos")
    assert draft.project.id is not None and draft.group == samples.CYTOSKELETON


def test_a_plate_suggests_a_screen(make: Make) -> None:
    suggestion = TargetSuggestion(kind=TargetKind.SCREEN, container_name="Screen of next year")
    dialog = make(replace(samples.PLATE_4, target=None, suggested=suggestion))
    draft = dialog.form.draft()
    assert (draft.kind, draft.container.name) == (TargetKind.SCREEN, "Screen of next year")


@pytest.mark.parametrize("number", range(len(samples.RECENTS)))
def test_every_recent_target_comes_back_unchanged(make: Make, number: int) -> None:
    dialog = make()
    dialog.recents.choose(number)
    assert dialog.form.draft().target() == samples.RECENTS[number]


def test_a_new_project_and_dataset_are_made_when_sent(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    dialog = make()
    type_into(qtbot, dialog, "project", "Tubulin")
    type_into(qtbot, dialog, "container", "first try")
    assert "new project Tubulin with a new dataset first try" in dialog.verdict.text()
    assert engine.targets.created == []
    send(qtbot, dialog)
    assert engine.targets.created == [
        NewContainer(kind="project", group_id=3, name="Tubulin"),
        NewContainer(kind="dataset", group_id=3, name="first try", project_id=901),
    ]
    command = engine.commands[0]
    assert isinstance(command, ChooseTarget)
    assert (command.target.project_id, command.target.container_id) == (901, 902)


def test_while_the_bridge_is_away_the_names_travel_with_the_order(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    engine.targets.error = engine.targets.create_error = BridgeAway("connection refused")
    dialog = make()
    type_into(qtbot, dialog, "container", "first try")
    assert "cannot be asked now" in dialog.verdict.text()
    send(qtbot, dialog)
    command = engine.commands[0]
    assert isinstance(command, ChooseTarget)
    assert (command.target.container_id, command.target.container_name) == (None, "first try")


def test_a_recent_target_works_while_the_bridge_is_away(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    engine.targets.error = BridgeAway("connection refused")
    dialog = make()
    dialog.recents.choose(2)
    qtbot.waitUntil(lambda: "cannot be asked now" in dialog.verdict.text())
    assert not dialog.bar.isVisible()
    send(qtbot, dialog)
    assert engine.commands == [ChooseTarget("plate-4", samples.EMBRYOS)]


def test_without_a_card_it_sets_what_holds_from_now_on(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    dialog = make(None, prefill=samples.SCREEN_12)
    assert not dialog.from_now_on.isVisible()
    send(qtbot, dialog)
    assert engine.commands == [SetStandingTarget(samples.SCREEN_12)]


def test_not_now_sends_nothing(qtbot: QtBot, make: Make, engine: RecordingEngine) -> None:
    dialog = make(prefill=samples.EMBRYOS)
    with qtbot.waitSignal(dialog.rejected):
        qtbot.mouseClick(dialog.not_now, Qt.MouseButton.LeftButton)
    assert not engine.commands


def test_files_that_are_in_omero_already_need_consent(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    reason = Reason(code="already_imported", title="These files are in OMERO already")
    dialog = make(replace(samples.EMBRYO_3, reason=reason))
    qtbot.waitUntil(lambda: "in OMERO already" in dialog.verdict.text())
    assert not dialog.send.isEnabled()
    dialog.again.setChecked(True)
    send(qtbot, dialog)
    assert engine.commands == [ChooseTarget("embryo-3", samples.EMBRYOS, import_again=True)]


# --- what OMERO says before ---------------------------------------------------------------------------


def test_an_existing_name_is_recognised_without_picking_it(qtbot: QtBot, make: Make) -> None:
    dialog = make()
    type_into(qtbot, dialog, "container", "embryos")
    assert dialog.form.draft().container.id == 51
    assert dialog.verdict.text() == "You may add to embryos. The images will belong to you."


def test_where_omero_says_no_nothing_can_be_sent(qtbot: QtBot, make: Make) -> None:
    dialog = make()
    type_into(qtbot, dialog, "container", "bob's embryos")
    assert "OMERO will not let you add to bob's embryos: it belongs to bob" in dialog.verdict.text()
    assert dialog.verdict_frame.property("tone") == Tone.NEEDS_YOU.value
    assert not dialog.send.isEnabled()


def test_a_new_dataset_in_a_foreign_project_is_refused(qtbot: QtBot, make: Make) -> None:
    dialog = make()
    type_into(qtbot, dialog, "project", "Actin pilot")
    type_into(qtbot, dialog, "container", "mine")
    assert "will not let you add a dataset to Actin pilot" in dialog.verdict.text()
    assert not dialog.send.isEnabled()


def test_nothing_chosen_says_what_to_choose(make: Make) -> None:
    dialog = make()
    assert dialog.verdict.text() == "Choose a dataset, or type the name of a new one."
    assert not dialog.send.isEnabled()


def test_while_a_search_runs_nothing_is_sent(qtbot: QtBot, make: Make, engine: RecordingEngine) -> None:
    waiting: Future[Any] = Future()
    engine.targets.containers = lambda *args, **kw: waiting  # type: ignore[method-assign]
    dialog = make()
    dialog.form.container.field.setFocus()
    qtbot.keyClicks(dialog.form.container.field, "embryos")
    assert dialog.verdict.text() == "Asking OMERO…"
    assert not dialog.send.isEnabled()


def test_the_answer_to_an_old_question_changes_nothing(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    real = engine.targets.containers
    slow: Future[Any] = Future()
    engine.targets.containers = lambda *args, **kw: slow  # type: ignore[method-assign]
    dialog = make()
    dialog.form.container.field.setFocus()
    qtbot.keyClicks(dialog.form.container.field, "emb")
    dialog.form.container.popup.look_now()
    engine.targets.containers = real  # type: ignore[method-assign]
    qtbot.keyClicks(dialog.form.container.field, "ryos")
    qtbot.waitUntil(lambda: not dialog.form.container.choice.looking)
    slow.set_result(real(3, "dataset", None, "nothing").result())
    qtbot.wait(20)
    assert dialog.form.draft().container.id == 51


def test_typing_searches_once_the_person_pauses(qtbot: QtBot, make: Make, engine: RecordingEngine) -> None:
    dialog = make()
    engine.targets.asked.clear()
    type_into(qtbot, dialog, "container", "screen")
    assert engine.targets.asked == [("dataset", None, "screen")]
    assert dialog.form.container.popup.suggestions() == [
        "screen-12   48 images · alice",
        "New: screen",
    ]
    dialog.form.container.popup.pick(0)
    assert dialog.form.draft().container == Choice("screen-12", 52, True, "alice")


def test_the_project_narrows_the_search_for_datasets(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    dialog = make()
    type_into(qtbot, dialog, "project", "Actin project")
    engine.targets.asked.clear()
    type_into(qtbot, dialog, "container", "emb")
    assert engine.targets.asked == [("dataset", 11, "emb")]


def test_a_screen_stands_in_no_project(qtbot: QtBot, make: Make) -> None:
    dialog = make()
    type_into(qtbot, dialog, "project", "Actin project")
    dialog.form.kind.setCurrentIndex(1)
    assert not dialog.form.project.isVisible()
    type_into(qtbot, dialog, "container", "Plates 2026")
    target = dialog.form.draft().target()
    assert (target.kind, target.project_id, target.container_id) == (TargetKind.SCREEN, None, 60)


def test_another_group_forgets_what_was_chosen_in_the_first(qtbot: QtBot, make: Make) -> None:
    dialog = make(prefill=samples.EMBRYOS)
    dialog.form.group.setCurrentIndex(1)
    draft = dialog.form.draft()
    assert draft.group == samples.PLATFORM
    assert draft.container.is_empty and draft.project.is_empty


def test_a_value_without_a_key_is_not_lost_silently(qtbot: QtBot, make: Make) -> None:
    dialog = make(prefill=samples.EMBRYOS)
    qtbot.waitUntil(dialog.send.isEnabled)
    dialog.form.pairs.set_cell(1, 1, "orphan")
    assert dialog.verdict.text() == "A value has no key yet: name it or empty it."
    assert not dialog.send.isEnabled()


# --- failures -----------------------------------------------------------------------------------------


def test_a_refusal_is_told_in_the_dialog_which_stays_open(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    error = AgentError("it overlaps an order of bob", title="Ordered already", remedy="Talk to bob.")
    engine.answer = lambda _command: failed(error)
    dialog = make(prefill=samples.EMBRYOS)
    qtbot.waitUntil(dialog.send.isEnabled)
    qtbot.mouseClick(dialog.send, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dialog.bar.isVisible)
    assert dialog.bar.title.text() == "Ordered already"
    assert dialog.bar.detail.text() == "it overlaps an order of bob Talk to bob."
    assert dialog.isVisible() and dialog.send.isEnabled()


def test_omeros_no_to_a_new_dataset_is_told_in_the_dialog(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    engine.targets.create_error = AgentError("read-only group", title="OMERO does not allow it")
    dialog = make()
    type_into(qtbot, dialog, "container", "mine")
    qtbot.mouseClick(dialog.send, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dialog.bar.isVisible)
    assert dialog.bar.title.text() == "OMERO does not allow it"
    assert not engine.commands


# --- tags ---------------------------------------------------------------------------------------------


def test_tags_are_added_removed_and_never_repeated(qtbot: QtBot, make: Make) -> None:
    dialog = make()
    field = dialog.form.tags
    field.field.setFocus()
    qtbot.keyClicks(field.field, "a, b,a,")
    assert field.tags == ("a", "b")
    qtbot.keyClick(field.field, Qt.Key.Key_Backspace)
    assert field.tags == ("a",)
    field.remove("a")
    assert field.tags == ()


def test_tags_complete_from_those_the_person_may_use(qtbot: QtBot, make: Make) -> None:
    dialog = make()
    field = dialog.form.tags
    field.field.setFocus()
    qtbot.keyClicks(field.field, "si")
    qtbot.waitUntil(lambda: field.popup.suggestions() == ["siRNA"])
    field.popup.pick(0)
    qtbot.waitUntil(lambda: field.tags == ("siRNA",))


def test_enter_in_the_tag_field_does_not_send(qtbot: QtBot, make: Make, engine: RecordingEngine) -> None:
    dialog = make(prefill=samples.EMBRYOS)
    qtbot.waitUntil(dialog.send.isEnabled)
    dialog.form.tags.field.setFocus()
    qtbot.keyClicks(dialog.form.tags.field, "x")
    qtbot.keyClick(dialog.form.tags.field, Qt.Key.Key_Return)
    assert not engine.commands and "x" in dialog.form.tags.tags


def test_enter_after_half_a_name_makes_no_new_dataset(
    qtbot: QtBot, make: Make, engine: RecordingEngine
) -> None:
    dialog = make()
    type_into(qtbot, dialog, "container", "embr")
    qtbot.waitUntil(dialog.send.isEnabled)
    dialog.form.container.popup.close()
    qtbot.keyClick(dialog.form.container.field, Qt.Key.Key_Return)
    qtbot.wait(10)
    assert not engine.commands and not engine.targets.created and dialog.isVisible()


# --- pure ---------------------------------------------------------------------------------------------


def test_two_containers_of_one_name_must_be_told_apart() -> None:
    draft = TargetDraft(group=samples.CYTOSKELETON, container=Choice("twin", ambiguous=True))
    verdict = draft.verdict()
    assert not verdict.may_send and "pick the one you mean" in verdict.text


def test_a_target_reads_as_its_path() -> None:
    assert target_text(samples.EMBRYOS) == "Cytoskeleton › Actin project › embryos"
    assert target_text(samples.PLATES) == "Cytoskeleton › screen › Plates 2026"
