"""Pausing from tray and window: offered where it makes sense, seen while it lasts, ended with one click."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from pytestqt.qtbot import QtBot

from agent.core.commands import Pause, Resume
from agent.core.snapshot import CardGroup, CardState, PauseSnapshot, Snapshot
from agent.ui.card_text import card_text
from agent.ui.controller import Controller
from agent.ui.pause_menu import PauseMenu, pause_detail, pause_text
from agent.ui.person_menu import load_text
from agent.ui.tray import Tray
from agent.ui.tray_state import tooltip
from server_bridge.contract import AgentLoad, Reason
from tests.agent.ui import samples
from tests.agent.ui.fakes import QuietDesktop, RecordingEngine

HALF_PAST = PauseSnapshot(samples.NOW + timedelta(minutes=38), by="Alice Lindgren")
ZEN = PauseSnapshot(samples.NOW + timedelta(hours=8), programs=("ZEN",))


def paused(pause: PauseSnapshot = HALF_PAST) -> Snapshot:
    return replace(samples.AFTERNOON, pause=pause)


def offered(menu: PauseMenu) -> list[str]:
    return [entry.text() for entry in menu.actions() if entry.isVisible() and not entry.isSeparator()]


def test_the_menu_offers_a_program_only_where_one_runs_and_resume_only_while_paused(
    controller: Controller,
) -> None:
    menu = controller.tray.pause_menu
    assert (menu.title(), offered(menu)) == ("Pause", ["For 30 minutes", "For 60 minutes"])
    controller.show_snapshot(replace(samples.AFTERNOON, pause_programs=("ZEN",)))
    assert offered(menu) == ["For 30 minutes", "For 60 minutes", "Until ZEN ends"]
    controller.show_snapshot(paused())
    assert menu.title() == "Paused until 14:30"
    assert offered(menu)[-1] == "Resume"


def test_what_is_chosen_becomes_a_command(controller: Controller, engine: RecordingEngine) -> None:
    controller.show_snapshot(replace(paused(), pause_programs=("ZEN",)))
    menu = controller.tray.pause_menu
    for entry in menu.actions():
        if entry.isVisible() and not entry.isSeparator():
            entry.trigger()
    assert engine.commands == [Pause(1800.0), Pause(3600.0), Pause(None), Resume()]


def test_the_window_says_it_as_long_as_it_lasts_and_ends_it_with_one_click(
    controller: Controller, engine: RecordingEngine, qtbot: QtBot
) -> None:
    bar = controller.window.pause_bar
    assert not bar.isVisible()
    controller.show_snapshot(paused())
    assert bar.isVisible()
    assert bar.title.text() == "Paused until 14:30"
    assert bar.accessibleDescription().startswith("By Alice Lindgren. 38 min left.")
    bar.resume_button.click()
    assert engine.commands == [Resume()]
    controller.show_snapshot(samples.AFTERNOON)
    assert not bar.isVisible()


def test_the_person_menu_pauses_too_and_tells_what_the_agent_costs(
    controller: Controller, engine: RecordingEngine
) -> None:
    load = AgentLoad(cpu_percent=0.42, bytes_per_second=12_000, entries=1204)
    controller.show_snapshot(replace(samples.AFTERNOON, load=load))
    menu = controller.person_menu()
    texts = [entry.text() for entry in menu.actions()]
    assert texts[-2] == "Last minute: 0.4 % CPU, 12.0 kB/s, 1,204 files looked at"
    pausing = menu.findChild(PauseMenu)
    assert pausing is not None
    pausing.actions()[0].trigger()
    assert engine.commands == [Pause(1800.0)]
    assert load_text(AgentLoad(entries=1)) == "Last minute: 0.0 % CPU, 1 file looked at"


def test_a_pause_for_a_program_names_it_and_its_latest_end() -> None:
    assert pause_text(ZEN, samples.NOW) == "Paused until ZEN ends"
    assert pause_detail(ZEN, samples.NOW).startswith("At most 8 h left.")


def test_the_tooltip_says_it() -> None:
    assert tooltip(paused()).startswith("Paused until 14:30. ")


def test_a_queued_card_says_that_it_waits_for_the_pause_and_a_slow_one_why() -> None:
    reason = Reason(code="paused_at_microscope", title="Paused at the microscope")
    queued = replace(samples.card_in(CardState.QUEUED), reason=reason)
    assert card_text(queued, samples.NOW).note == "Paused at the microscope"
    copying = samples.card_in(CardState.COPYING)
    assert copying.transfer is not None
    slowed = replace(copying, transfer=replace(copying.transfer, slowed="Slowed: Confocal SP8 is acquiring"))
    assert card_text(slowed, samples.NOW).note == "Slowed: Confocal SP8 is acquiring"
    assert card_text(copying, samples.NOW).note == copying.target_text


def test_while_the_microscope_acquires_only_what_needs_somebody_pops_up(qtbot: QtBot, theme: object) -> None:
    acquiring = replace(samples.AFTERNOON, acquiring=True)
    done = replace(samples.EMBRYO_3, group=CardGroup.DONE, state=CardState.PROVEN)
    tray = Tray(QuietDesktop())
    tray.show_snapshot(replace(acquiring, cards=(samples.EMBRYO_3,)))
    tray.show_snapshot(replace(acquiring, cards=(done,)))
    assert tray.tell() is None, "good news can wait"
    tray.show_snapshot(replace(acquiring, cards=(samples.PLATE_4, done)))
    made = tray.tell()
    assert made is not None and made.title == "2026-11-23_plate-4 needs you"
    tray.hide()
