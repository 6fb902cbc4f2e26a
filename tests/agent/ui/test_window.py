"""The window says what the snapshot says, and a click becomes the right command."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QLabel, QMessageBox, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from agent.core.commands import (
    AcceptLeftOut,
    Cancel,
    ChooseTarget,
    DoneNow,
    FreeSpace,
    LookNow,
    NotYet,
    Retry,
    SetStandingTarget,
    SignOut,
    StaySignedIn,
    Typing,
)
from agent.core.errors import AgentError
from agent.core.snapshot import CardGroup, CardState, SignOutDue, SignOutWhy, Snapshot, Station
from agent.ui.card_text import OPEN_IN_OMERO, SAME_TARGET, SIGN_IN
from agent.ui.controller import Controller
from agent.ui.sign_in_dialog import SignInDialog
from agent.ui.target_dialog import TargetDialog
from agent.ui.texts import state_shape, state_word
from agent.ui.theme import Scheme, Theme
from agent.ui.tray_state import TrayState
from server_bridge.contract import Person, Reason, Target
from tests.agent.ui import samples
from tests.agent.ui.fakes import RecordingEngine, failed


def texts(widget: QWidget) -> str:
    """Return every text a person can see in a widget."""
    labels = [w.text() for w in widget.findChildren(QLabel) if w.isVisibleTo(widget)]
    buttons = [w.text() for w in widget.findChildren(QPushButton) if w.isVisibleTo(widget)]
    return "\n".join([*labels, *buttons])


def press(qtbot: QtBot, controller: Controller, name: str) -> None:
    made = controller.window.detail.action_button(name)
    assert made is not None and made.isVisibleTo(controller.window)
    qtbot.mouseClick(made, Qt.MouseButton.LeftButton)


def with_card(**changes: Any) -> Snapshot:
    return replace(samples.AFTERNOON, cards=(replace(samples.EMBRYO_3, **changes),))


# --- what it says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(CardState))
def test_every_state_is_shown_by_its_word_and_its_shape(controller: Controller, state: CardState) -> None:
    card = samples.card_in(state)
    controller.show_snapshot(replace(samples.AFTERNOON, cards=(card,)))
    controller.window.choose(card.id)
    detail = controller.window.detail
    assert detail.word.text() == state_word(state)
    assert detail.shape_widget.shape == state_shape(state)
    row = controller.window.list.cards.row(controller.window.list.currentIndex())
    assert row is not None and row.text is not None
    assert (row.text.word, row.text.shape) == (state_word(state), state_shape(state))


@pytest.mark.parametrize(
    "snapshot", [samples.AFTERNOON, samples.ALL_SAFE, samples.NOBODY], ids=["no", "yes", "nobody"]
)
def test_the_log_off_sentence_stands_word_for_word(controller: Controller, snapshot: Snapshot) -> None:
    controller.show_snapshot(snapshot)
    verdict = snapshot.log_off
    assert controller.window.footer.plain == f"{verdict.headline} {verdict.detail}"
    assert verdict.headline in controller.window.footer.sentence.text()
    assert verdict.detail in controller.window.footer.sentence.text()


def test_a_name_that_looks_like_markup_stays_text(controller: Controller) -> None:
    verdict = replace(samples.AFTERNOON.log_off, detail="<b>x</b> & <img src=y> needs a target")
    controller.show_snapshot(replace(samples.AFTERNOON, log_off=verdict))
    sentence = controller.window.footer.sentence.text()
    assert "&lt;img src=y&gt;" in sentence and "&amp;" in sentence


def test_the_header_answers_its_four_questions(controller: Controller) -> None:
    header = controller.window.header
    assert header.workstation.full == "Confocal SP8"
    assert header.share.full == "Share Z: answered 3 s ago"
    assert header.chip.text.full == "Cytoskeleton › Actin project › screen-12"
    assert header.room.free.full == "Buffer 1.8 TB free"
    assert header.room.until.full == "full in about 31 h"
    assert header.room.bar.part == pytest.approx(1 - 1.8 / 4.8)
    assert "Alice Lindgren" in header.person.accessibleName()


def test_staff_read_in_the_shares_tooltip_whether_the_system_tells_about_changes(
    controller: Controller,
) -> None:
    shares = tuple(
        replace(share, hints="the system tells about changes", waiting=3)
        for share in samples.AFTERNOON.shares
    )
    controller.show_snapshot(replace(samples.AFTERNOON, shares=shares))
    tip = controller.window.header.share.toolTip()
    assert "the system tells about changes" in tip and "3 still to be looked at" in tip


def test_a_share_that_is_away_says_so_with_remedy_and_contact(controller: Controller) -> None:
    controller.show_snapshot(samples.TROUBLE)
    assert controller.window.header.share.full == "Share Z: does not answer, last 6 min ago"
    assert controller.window.header.share_shape.shape == "away"
    said = texts(controller.window.notice)
    for part in ("Share Z: does not answer", "Check the network cable", "Microscopy desk"):
        assert part in said
    controller.show_snapshot(samples.AFTERNOON)
    assert not controller.window.notice.isVisible()


def test_a_workstation_that_is_not_approved_says_whom_to_ask(controller: Controller) -> None:
    bridge = replace(samples.AFTERNOON.bridge, workstation_status="pending")
    controller.show_snapshot(replace(samples.AFTERNOON, bridge=bridge))
    assert "waits for the staff's approval" in texts(controller.window.notice)


def test_progress_shows_bytes_rate_and_time_left(controller: Controller) -> None:
    controller.window.choose("embryo-3")
    progress = controller.window.detail.progress
    assert progress.big.text() == "45.6 GB"
    assert progress.rest.text() == "of 72.1 GB · 112 MB/s · 4 min left"
    assert progress.bar.part == pytest.approx(45.6 / 72.1)


def test_a_queued_order_shows_its_place(controller: Controller) -> None:
    controller.window.choose("beads")
    assert controller.window.detail.progress.big.text() == "2 ahead, one from Confocal SP8"


def test_an_import_shows_omeros_step(controller: Controller) -> None:
    controller.window.choose("embryo-2")
    assert controller.window.detail.progress.big.text() == "Step 3 of 5"
    assert "12 images found" in controller.window.detail.progress.rest.text()


def test_the_life_line_always_has_five_stations(controller: Controller) -> None:
    controller.show_snapshot(with_card(stations=samples.stations(1)[:2]))
    line = controller.window.detail.life_line
    assert [s.station for s in line.stations] == list(Station)
    assert [s.reached for s in line.stations] == [True, False, False, False, False]
    assert "Written: reached" in line.accessibleDescription()


def test_a_reason_shows_title_detail_remedy_and_contact(controller: Controller) -> None:
    controller.show_snapshot(samples.TROUBLE)
    controller.window.choose("left-out")
    said = texts(controller.window.detail.reason)
    reason = samples.LEFT_OUT.reason
    assert reason is not None
    for part in (reason.title, reason.detail, reason.remedy, reason.contact):
        assert part in said
    assert "layout.xlsx" in controller.window.detail.left_out.list.toPlainText()


def test_the_target_is_shown_in_full(controller: Controller) -> None:
    controller.window.choose("embryo-3")
    said = texts(controller.window.detail.where)
    for part in ("Cytoskeleton", "Actin project", "embryos", "LifeAct-GFP, 40x", "Stage", "24 hpf"):
        assert part in said


def test_another_card_leaves_nothing_of_the_one_before(controller: Controller) -> None:
    controller.window.choose("embryo-3")
    controller.window.choose("beads")
    said = texts(controller.window.detail.where)
    assert "beads" in said and "embryos" not in said
    controller.window.choose("plate-4")
    assert not controller.window.detail.where.isVisible()
    assert not controller.window.detail.progress.isVisible()


def test_without_cards_the_window_says_what_to_expect(controller: Controller) -> None:
    controller.show_snapshot(replace(samples.AFTERNOON, cards=()))
    assert controller.window.detail.empty.isVisible()
    assert not controller.window.detail.body.isVisible()


@pytest.mark.parametrize("size", [(900, 600), (1120, 720), (1600, 1000)])
@pytest.mark.parametrize("snapshot", [samples.AFTERNOON, samples.TROUBLE], ids=["afternoon", "trouble"])
def test_no_text_is_clipped_without_a_tooltip(
    qtbot: QtBot, controller: Controller, size: tuple[int, int], snapshot: Snapshot
) -> None:
    long = tuple(replace(card, title=samples.LONG_NAME) for card in snapshot.cards)
    window = controller.window
    window.resize(*size)
    controller.show_snapshot(
        replace(snapshot, cards=long, workstation_name="Confocal " * 12, standing_target_text="Group › " * 30)
    )
    qtbot.wait(10)
    assert (window.width(), window.height()) == size
    for label in window.findChildren(QLabel):
        if not label.isVisible() or not label.text() or label.toolTip() or label.wordWrap():
            continue
        needed = label.fontMetrics().horizontalAdvance(label.text())
        assert needed <= label.width() + 1, f"{label.text()!r} needs {needed}, has {label.width()}"
    for made in window.findChildren(QPushButton):
        if made.isVisible():
            assert made.width() >= made.sizeHint().width()
            assert window.rect().contains(made.mapTo(window, made.rect().center()))


@pytest.mark.parametrize("snapshot", [samples.AFTERNOON, samples.TROUBLE], ids=["afternoon", "trouble"])
def test_wrapped_sentences_get_the_height_they_need(
    qtbot: QtBot, controller: Controller, snapshot: Snapshot
) -> None:
    controller.window.resize(900, 600)
    controller.show_snapshot(snapshot)

    def cut_off() -> list[str]:
        labels = [w for w in controller.window.findChildren(QLabel) if w.isVisible() and w.wordWrap()]
        return [w.text() for w in labels if w.text() and w.height() < w.heightForWidth(w.width()) - 1]

    for card in snapshot.cards:
        controller.window.choose(card.id)
        qtbot.waitUntil(lambda: not cut_off())


def test_light_and_dark_are_really_different(qtbot: QtBot, controller: Controller, theme: Theme) -> None:
    def grab() -> QImage:
        qtbot.wait(5)
        return controller.window.grab().toImage()

    light = grab()
    theme.choose(Scheme.DARK)
    dark = grab()
    middle = light.rect().center()
    assert light.pixelColor(middle).lightness() > 200
    assert dark.pixelColor(middle).lightness() < 80


def test_everything_that_can_be_focused_has_a_name(controller: Controller) -> None:
    for widget in controller.window.findChildren(QWidget):
        if widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            named = widget.accessibleName() or getattr(widget, "text", lambda: "")()
            assert named, f"{type(widget).__name__} {widget.objectName()} has no name"


# --- what a click becomes -----------------------------------------------------------------------------


def test_plain_actions_become_their_commands(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    for name, command in (("DoneNow", DoneNow), ("NotYet", NotYet), ("Retry", Retry)):
        controller.show_snapshot(with_card(state=CardState.SETTLING, actions=(name,)))
        press(qtbot, controller, name)
        assert engine.commands[-1] == command("embryo-3")


@pytest.mark.parametrize(
    ("name", "command"), [("Cancel", Cancel("embryo-3")), ("FreeSpace", FreeSpace(("embryo-3",)))]
)
def test_what_cannot_be_taken_back_asks_first(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine, name: str, command: object
) -> None:
    controller.show_snapshot(with_card(actions=(name,)))
    press(qtbot, controller, name)
    bar = controller.window.bar
    assert bar.isVisible() and bar.is_question() and not engine.commands
    qtbot.mouseClick(bar.no, Qt.MouseButton.LeftButton)
    assert not bar.isVisible() and not engine.commands
    press(qtbot, controller, name)
    qtbot.mouseClick(bar.yes, Qt.MouseButton.LeftButton)
    assert engine.commands == [command]


def test_accepting_left_out_files_carries_the_note(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    controller.show_snapshot(samples.TROUBLE)
    controller.window.choose("left-out")
    box = controller.window.detail.left_out
    box.note.setText("office files only")
    qtbot.mouseClick(box.button, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(controller.window.bar.yes, Qt.MouseButton.LeftButton)
    assert engine.commands == [AcceptLeftOut("left-out", "office files only")]


def choose_for(qtbot: QtBot, controller: Controller, card: str, target: Target) -> None:
    """Choose a target in the real dialog."""
    shown = next(one for one in samples.AFTERNOON.cards if one.id == card)
    controller.choose_target(shown, target)
    dialog = controller.dialog
    assert isinstance(dialog, TargetDialog)
    qtbot.waitUntil(dialog.send.isEnabled)
    qtbot.mouseClick(dialog.send, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: controller.dialog is None)


def test_a_choice_can_be_undone_with_one_click(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    choose_for(qtbot, controller, "plate-4", samples.EMBRYOS)
    bar = controller.window.bar
    assert bar.isVisible() and "2026-11-23_plate-4 goes to" in bar.title.text()
    assert bar.close_button.isVisible(), "it may be left as well"
    qtbot.mouseClick(bar.yes, Qt.MouseButton.LeftButton)
    assert engine.commands[-1] == Cancel("plate-4") and not bar.isVisible()


def test_undoing_another_target_goes_back_to_the_one_before(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    before = samples.EMBRYO_3.target
    assert before is not None
    choose_for(qtbot, controller, "embryo-3", samples.PLATES)
    qtbot.mouseClick(controller.window.bar.yes, Qt.MouseButton.LeftButton)
    assert engine.commands[-1] == ChooseTarget("embryo-3", before)


def test_nothing_is_offered_that_the_import_has_made_impossible(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    choose_for(qtbot, controller, "embryo-3", samples.PLATES)
    assert controller.window.bar.is_offer()
    controller.show_snapshot(with_card(state=CardState.IMPORTING))
    assert not controller.window.bar.isVisible()
    controller.window.bar.ask("Really?", "Yes", lambda: None)
    controller.show_snapshot(with_card(state=CardState.PROVING))
    assert controller.window.bar.isVisible(), "another question is not the offer"


def test_choosing_a_target_opens_the_dialog_for_that_card(qtbot: QtBot, controller: Controller) -> None:
    controller.window.choose("plate-4")
    press(qtbot, controller, "ChooseTarget")
    assert isinstance(controller.dialog, TargetDialog)
    assert "2026-11-23_plate-4" in controller.dialog.heading.full


def test_the_same_target_again_is_one_click_and_one_confirmation(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    controller.window.choose("plate-4")
    press(qtbot, controller, SAME_TARGET)
    dialog = controller.dialog
    assert isinstance(dialog, TargetDialog)
    qtbot.waitUntil(lambda: dialog.send.isEnabled())
    qtbot.mouseClick(dialog.send, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: controller.dialog is None)
    command = engine.commands[-1]
    assert getattr(command, "card_id", "") == "plate-4"
    assert getattr(command, "target", None) == samples.PLATES


def test_nobody_signed_in_signs_in_first(qtbot: QtBot, controller: Controller) -> None:
    controller.show_snapshot(replace(samples.NOBODY, cards=(samples.PLATE_4,)))
    press(qtbot, controller, "ChooseTarget")
    assert isinstance(controller.dialog, SignInDialog)


def test_after_signing_in_the_dialog_that_was_wanted_opens(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    controller.show_snapshot(replace(samples.NOBODY, cards=(samples.PLATE_4,)))
    engine.targets.known_groups = ()
    press(qtbot, controller, "ChooseTarget")
    signing_in = controller.dialog
    assert isinstance(signing_in, SignInDialog)
    signing_in.username.setText("alice")
    signing_in.password.setText("secret")
    qtbot.mouseClick(signing_in.sign_in, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: isinstance(controller.dialog, TargetDialog))
    choosing = controller.dialog
    assert isinstance(choosing, TargetDialog) and choosing.isVisible()
    assert choosing.form.draft().group is None
    controller.show_snapshot(replace(samples.AFTERNOON, cards=(samples.PLATE_4,)))
    assert choosing.form.draft().group == samples.CYTOSKELETON


def test_an_order_that_waits_for_its_person_offers_to_sign_in(qtbot: QtBot, controller: Controller) -> None:
    reason = Reason(code="not_signed_in", title="Sign in again to send this")
    controller.show_snapshot(
        with_card(group=CardGroup.NEEDS_YOU, state=CardState.ATTENTION, reason=reason, actions=())
    )
    press(qtbot, controller, SIGN_IN)
    assert isinstance(controller.dialog, SignInDialog)


def test_a_cancelled_acquisition_can_be_sent_after_all(qtbot: QtBot, controller: Controller) -> None:
    controller.show_snapshot(
        with_card(group=CardGroup.DONE, state=CardState.CANCELLED, actions=("ChooseTarget",))
    )
    made = controller.window.detail.action_button("ChooseTarget")
    assert made is not None and made.text() == "Send it after all"


def test_turning_the_sign_in_down_opens_nothing_else(qtbot: QtBot, controller: Controller) -> None:
    controller.show_snapshot(replace(samples.NOBODY, cards=(samples.PLATE_4,)))
    press(qtbot, controller, "ChooseTarget")
    signing_in = controller.dialog
    assert isinstance(signing_in, SignInDialog)
    qtbot.mouseClick(signing_in.cancel, Qt.MouseButton.LeftButton)
    qtbot.wait(10)
    assert controller.dialog is None


def test_the_chip_ends_and_changes_what_holds_from_now_on(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    chip = controller.window.header.chip
    qtbot.mouseClick(chip.end_button, Qt.MouseButton.LeftButton)
    assert engine.commands == [SetStandingTarget(None)]
    qtbot.mouseClick(chip.change_button, Qt.MouseButton.LeftButton)
    assert isinstance(controller.dialog, TargetDialog)
    assert controller.dialog.form.draft().container.name == "screen-12"


def test_the_result_opens_in_the_browser(qtbot: QtBot, controller: Controller) -> None:
    opened: list[QUrl] = []
    controller.open_url = opened.append
    controller.window.choose("embryo-1")
    press(qtbot, controller, OPEN_IN_OMERO)
    assert [url.toString() for url in opened] == [samples.EMBRYO_1.result_url]


def test_a_notice_about_the_sign_in_stands_in_the_menu_and_is_no_problem(
    controller: Controller,
) -> None:
    notice = "This machine has no safe place for secrets: after a restart you sign in again."
    controller.show_snapshot(replace(samples.AFTERNOON, sign_in_notice=notice))
    entries = [action for action in controller.person_menu().actions() if action.text() == notice]
    assert [entry.isEnabled() for entry in entries] == [False]
    assert controller.tray.state is not TrayState.PROBLEM
    assert not controller.window.notice.isVisible()


def test_the_person_menu_signs_out_and_changes_the_appearance(
    controller: Controller, engine: RecordingEngine, theme: Theme
) -> None:
    menu = controller.person_menu()
    next(a for a in menu.actions() if a.text() == "Sign out").trigger()
    assert engine.commands == [SignOut()]
    menu.scheme_chosen.emit(Scheme.DARK)
    assert theme.scheme is Scheme.DARK
    next(a for a in menu.actions() if a.text() == "Look at the share now").trigger()
    assert engine.commands[-1] == LookNow()


def test_a_failed_command_is_told_in_the_bar(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    error = AgentError(
        "The import has begun.", title="Too late to cancel", remedy="Delete the images in OMERO.",
        contact="Microscopy desk",
    )  # fmt: skip
    engine.answer = lambda _command: failed(error)
    controller.submit(LookNow())
    bar = controller.window.bar
    qtbot.waitUntil(bar.isVisible)
    said = texts(bar)
    for part in (
        "Too late to cancel", "The import has begun.", "Delete the images in OMERO.", "Microscopy desk"
    ):  # fmt: skip
        assert part in said
    qtbot.mouseClick(bar.close_button, Qt.MouseButton.LeftButton)
    assert not bar.isVisible()


def test_a_defect_is_told_too(qtbot: QtBot, controller: Controller, engine: RecordingEngine) -> None:
    engine.answer = lambda _command: failed(RuntimeError("boom"))
    controller.submit(LookNow())
    qtbot.waitUntil(controller.window.bar.isVisible)
    assert "RuntimeError: boom" in texts(controller.window.bar)


def test_an_answer_after_the_window_is_gone_is_dropped(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    late: Future[Any] = Future()
    engine.answer = lambda _command: late
    dialog = SignInDialog(engine, controller.window)
    dialog.username.setText("alice")
    dialog.password.setText("secret")
    qtbot.mouseClick(dialog.sign_in, Qt.MouseButton.LeftButton)
    dialog.reject()
    dialog.deleteLater()
    qtbot.wait(10)
    late.set_exception(AgentError("too late"))
    qtbot.wait(10)


# --- quitting -----------------------------------------------------------------------------------------


def test_quitting_asks_only_while_something_is_missing(qtbot: QtBot, controller: Controller) -> None:
    with qtbot.assertNotEmitted(controller.quit_requested):
        controller.ask_to_quit()
    question = controller.dialog
    assert isinstance(question, QMessageBox)
    assert samples.AFTERNOON.log_off.detail in question.informativeText()
    leave = next(b for b in question.buttons() if b.text() == "Quit")
    with qtbot.waitSignal(controller.quit_requested):
        leave.click()
    controller.show_snapshot(samples.ALL_SAFE)
    with qtbot.waitSignal(controller.quit_requested):
        controller.ask_to_quit()


def test_without_a_tray_icon_closing_leaves_a_way_back(qtbot: QtBot, controller: Controller) -> None:
    assert not controller.tray.icon.isVisible()
    controller.window.close()
    assert controller.window.isVisible() and controller.window.isMinimized()
    controller.window.bring_to_front()
    assert not controller.window.isMinimized()


def test_closing_the_window_only_hides_it(qtbot: QtBot, controller: Controller) -> None:
    controller.window.hide_only_if(lambda: True)
    controller.window.close()
    assert not controller.window.isVisible()
    controller.tray.open_window.emit()
    assert controller.window.isVisible()


# --- a shared screen ----------------------------------------------------------------------------------


def due_soon(why: SignOutWhy) -> Snapshot:
    return replace(samples.AFTERNOON, sign_out=SignOutDue(samples.NOW + timedelta(seconds=50), why))


@pytest.mark.parametrize("why", list(SignOutWhy))
def test_a_sign_out_is_told_before_with_the_way_to_stay(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine, why: SignOutWhy
) -> None:
    bar = controller.window.sign_out
    assert not bar.isVisible()
    controller.show_snapshot(due_soon(why))
    assert bar.isVisible() and bar.title.text() == "You will be signed out at 13:52"
    assert bar.yes.isVisible() == (why is not SignOutWhy.EXPIRED) and not bar.no.isVisible()
    if why is not SignOutWhy.EXPIRED:
        assert bar.yes.text() == "Stay signed in"
        qtbot.mouseClick(bar.yes, Qt.MouseButton.LeftButton)
        assert engine.commands == [StaySignedIn()]
    controller.show_snapshot(samples.AFTERNOON)
    assert not bar.isVisible()


def test_a_new_second_of_the_same_warning_does_not_take_the_focus_away(controller: Controller) -> None:
    controller.show_snapshot(due_soon(SignOutWhy.END_OF_DAY))
    controller.window.activateWindow()
    controller.window.sign_out.yes.setFocus()
    controller.show_snapshot(due_soon(SignOutWhy.END_OF_DAY))
    assert controller.window.focusWidget() is controller.window.sign_out.yes


def test_who_comes_next_reads_that_somebody_was_signed_out(controller: Controller) -> None:
    reason = Reason(code="signed_out", title="The last person was signed out", remedy="Sign in to go on.")
    controller.show_snapshot(replace(samples.NOBODY, signed_out=reason))
    assert controller.window.notice.title.text() == reason.title


def test_a_half_filled_form_and_an_answer_go_with_the_person(controller: Controller) -> None:
    controller.choose_target(samples.PLATE_4)
    controller.window.bar.show_reason(Reason(code="x", title="Alice's screen-12 was refused"))
    controller.show_snapshot(replace(samples.AFTERNOON, person=Person(username="bob"), cards=()))
    assert controller.dialog is None and not controller.window.bar.isVisible()


def test_a_form_that_opens_with_the_sign_in_stays(controller: Controller) -> None:
    controller.show_snapshot(samples.NOBODY)
    controller._open_target_dialog(samples.PLATE_4, None)
    controller.show_snapshot(samples.AFTERNOON)
    assert isinstance(controller.dialog, TargetDialog)


def test_typing_in_a_dialog_is_told_now_and_then(
    qtbot: QtBot, controller: Controller, engine: RecordingEngine
) -> None:
    controller.sign_in()
    dialog = controller.dialog
    assert isinstance(dialog, SignInDialog)
    qtbot.keyClicks(dialog.username, "alice")
    assert engine.commands == [Typing()], "once in a few seconds, not at every key"
    dialog.reject()
    controller._typed.stop()
    qtbot.keyClicks(controller.window.list, "x")
    assert engine.commands == [Typing()]


def test_news_of_one_person_is_no_toast_for_the_next(controller: Controller) -> None:
    news = replace(samples.PLATE_4, id="plate-5", title="plate-5")
    controller.show_snapshot(replace(samples.AFTERNOON, cards=(*samples.AFTERNOON.cards, news)))
    assert not controller.tray._batch.is_empty
    controller.show_snapshot(replace(samples.AFTERNOON, person=Person(username="bob"), cards=()))
    assert controller.tray.tell() is None
