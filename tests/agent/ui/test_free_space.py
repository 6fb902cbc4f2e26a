"""Free space in the real window: the list, the choice, the one question, progress, and who deletes when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from agent.core.cleaning_book import Job, JobState
from agent.core.commands import FreeSpace, StopFreeing
from agent.core.freeing import NotReleased
from agent.core.snapshot import Card, CardState, Snapshot
from agent.ui import cleaning_text
from agent.ui.controller import Controller
from agent.ui.free_space_dialog import FreeSpaceDialog
from server_bridge.contract import CleaningMode, Reason
from tests.agent.ui import samples
from tests.agent.ui.fakes import RecordingEngine, failed

STAFF = samples.ALICE.model_copy(update={"is_staff": True})


def dialog_of(controller: Controller, snapshot: Snapshot = samples.RELEASED) -> FreeSpaceDialog:
    controller.show_snapshot(snapshot)
    controller.free_space()
    assert isinstance(controller.dialog, FreeSpaceDialog)
    return controller.dialog


def titles(dialog: FreeSpaceDialog) -> list[str]:
    return [item.text(0) for item in dialog._items()]


def job(card: Card, state: JobState, **more: object) -> Job:
    made = Job(
        order_id=card.order_id or "",
        share=card.share,
        path=card.path,
        person=card.person,
        asked_by="alice",
        asked_at=samples.NOW,
        state=state,
        files_done=120,
        files_total=400,
        bytes_done=3 * samples.GB,
        bytes_total=10 * samples.GB,
    )
    return replace(made, **more)


def test_it_lists_her_own_oldest_first_and_chooses_nothing(controller: Controller) -> None:
    dialog = dialog_of(controller)
    assert titles(dialog) == ["embryo-stack_00", "embryo-stack_01"]
    assert dialog.chosen() == [] and not dialog.free.isEnabled()
    assert dialog.everybody.isHidden()


def test_staff_see_everybodys_when_they_want_to(controller: Controller) -> None:
    dialog = dialog_of(controller, replace(samples.RELEASED, person=STAFF))
    assert "bobs-plate" not in titles(dialog)
    dialog.everybody.setChecked(True)
    assert titles(dialog)[0] == "bobs-plate" and len(titles(dialog)) == 3


def test_one_question_says_what_goes_and_then_it_is_asked_for(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    dialog = dialog_of(controller)
    dialog.all.click()
    assert len(dialog.chosen()) == 2 and dialog.all.isChecked()
    assert dialog.total.text() == "2 files, 144 GB"
    qtbot.mouseClick(dialog.free, Qt.MouseButton.LeftButton)
    assert dialog.bar.is_question() and not any(isinstance(one, FreeSpace) for one in engine.commands)
    asked = dialog.bar.title.text()
    assert "2 acquisitions on Z: (2 files, 144 GB)" in asked and "OMERO has them with proof" in asked
    controller.show_snapshot(replace(samples.RELEASED, at=samples.NOW + timedelta(seconds=5)))
    assert dialog.bar.is_question(), "a new snapshot of the same takes no question away"
    qtbot.mouseClick(dialog.bar.yes, Qt.MouseButton.LeftButton)
    assert engine.commands[-1] == FreeSpace(("e0", "embryo-1"))


def test_another_choice_takes_the_question_back(qtbot: QtBot, controller: Controller) -> None:
    dialog = dialog_of(controller)
    dialog._choose_all(True)
    qtbot.mouseClick(dialog.free, Qt.MouseButton.LeftButton)
    dialog._items()[0].setCheckState(0, Qt.CheckState.Unchecked)
    assert not dialog.bar.is_question()
    assert [card.id for card in dialog.chosen()] == ["embryo-1"]


def test_what_is_not_released_any_more_leaves_list_and_choice(controller: Controller) -> None:
    dialog = dialog_of(controller)
    dialog._choose_all(True)
    cards = tuple(card for card in samples.RELEASED.cards if card.id != "e0")
    controller.show_snapshot(replace(samples.RELEASED, cards=cards))
    assert [card.id for card in dialog.chosen()] == ["embryo-1"]


def test_progress_can_be_stopped_and_what_stayed_is_told(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    first = samples.RELEASED.cards[0]
    running = replace(samples.RELEASED, cleaning=(job(first, JobState.RUNNING),))
    dialog = dialog_of(controller, running)
    assert "3.0 of 10.0 GB" in dialog.going.title.text() and dialog.going.bar.part == pytest.approx(0.3)
    assert controller.window.footer.free_button.text() == "Freeing: 3.0 of 10.0 GB"
    assert controller.tray.free_action.text() == "Freeing the buffer: 3.0 of 10.0 GB"
    qtbot.mouseClick(dialog.going.stop, Qt.MouseButton.LeftButton)
    assert engine.commands[-1] == StopFreeing()
    over = job(
        first,
        JobState.DONE,
        ended_at=samples.NOW,
        stayed_count=22,
        stayed={f"a/{n}.tif": "it was written to since it was imported" for n in range(20)},
    )
    controller.show_snapshot(replace(samples.RELEASED, cleaning=(over,)))
    text = dialog.going.lines.toPlainText()
    assert "a/0.tif: it was written to" in text and "and 2 more" in text
    assert dialog.going.stop.isHidden() and dialog.going.bar.isHidden()


def test_the_bar_does_not_jump_back_when_one_of_several_is_done(controller: Controller) -> None:
    first, second = samples.RELEASED.cards[:2]
    over = job(first, JobState.DONE, ended_at=samples.NOW, bytes_done=10 * samples.GB, files_done=400)
    waits = job(second, JobState.QUEUED, bytes_done=0, files_done=0)
    going = cleaning_text.going([over, waits])
    assert going is not None and going.part == 0.5
    assert going.text() == "10.0 of 20.0 GB · 400 of 800 files"
    earlier = replace(over, asked_at=samples.NOW - timedelta(hours=1))
    going = cleaning_text.going([earlier, waits])
    assert going is not None and going.part == 0.0
    assert cleaning_text.going([over]) is None


def test_a_hung_share_is_said_where_the_progress_is(controller: Controller) -> None:
    stuck = Reason(code="share_stuck", title="The share has not answered for 42 s", detail="Z: hangs.")
    first = samples.RELEASED.cards[0]
    snapshot = replace(samples.RELEASED, cleaning=(job(first, JobState.RUNNING, reason=stuck),))
    dialog = dialog_of(controller, snapshot)
    assert "has not answered for 42 s" in dialog.going.lines.toPlainText()


def test_the_bridges_no_is_shown_in_the_dialog(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    dialog = dialog_of(controller)
    engine.answer = lambda _command: failed(NotReleased("The disk is away.", title="Not now"))
    dialog._choose_all(True)
    qtbot.mouseClick(dialog.free, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(dialog.bar.yes, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dialog.bar.title.text() == "Not now")


def test_the_footer_offers_it_only_where_there_is_something(controller: Controller) -> None:
    footer = controller.window.footer
    assert footer.free_button.isHidden() and not controller.tray.free_action.isVisible()
    controller.show_snapshot(samples.RELEASED)
    assert footer.free_button.text() == "Free 144 GB…"
    footer.free_button.click()
    assert isinstance(controller.dialog, FreeSpaceDialog)


def test_the_next_person_does_not_see_the_last_ones_list(controller: Controller) -> None:
    dialog_of(controller)
    controller.show_snapshot(samples.NOBODY)
    assert controller.dialog is None


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"deletion": "storage"}, "Released on 23 Nov. Storage staff delete it."),
        (
            {"deletion": "storage", "deletion_schedule": "each night at 02:00"},
            "Released on 23 Nov. Storage staff delete it (each night at 02:00).",
        ),
        ({"clean": CleaningMode.RELEASED}, "Released on 23 Nov. The agent deletes it by itself."),
        (
            {"lifetime_ends_at": samples.NOW + timedelta(days=30)},
            "Released on 23 Nov. Its time on the buffer ends on 23 Dec.",
        ),
        (
            {"state": CardState.PROVEN, "leaves_buffer_at": samples.NOW + timedelta(days=3)},
            "The copy may go on 26 Nov at the earliest.",
        ),
        ({"state": CardState.PROVEN, "leaves_buffer_at": samples.NOW - timedelta(days=1)}, ""),
    ],
)
def test_who_deletes_and_when_is_said(controller: Controller, more: dict[str, object], text: str) -> None:
    card = replace(samples.RELEASED.cards[0], released_at=samples.NOW, deletion="agent", actions=())
    card = replace(card, **more)
    assert cleaning_text.leaves_text(card, samples.NOW) == text
    controller.show_snapshot(replace(samples.RELEASED, cards=(card,)))
    assert controller.window.detail.next.text.text().endswith(text)


def test_a_policy_is_said_where_copies_go_by_themselves(controller: Controller) -> None:
    share = replace(samples.RELEASED.shares[0], clean=CleaningMode.WHEN_LOW, clean_below_percent=15.0)
    dialog = dialog_of(controller, replace(samples.RELEASED, shares=(share,)))
    assert "below 15 % free" in dialog.hint.text()
