"""The tray tells its state by shape, says the log-off sentence, and toasts little."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtGui import QImage
from pytestqt.qtbot import QtBot

from agent.core.snapshot import CardGroup, CardState, LogOff, Snapshot
from agent.ui import icons
from agent.ui.controller import Controller
from agent.ui.notices import BODY_CHARACTERS, TITLE_CHARACTERS, Batch, collect, toast
from agent.ui.tray import Tray
from agent.ui.tray_state import TOOLTIP_CHARACTERS, TrayState, tooltip, tray_state
from tests.agent.ui import samples
from tests.agent.ui.fakes import QuietDesktop


def shape(state: TrayState, pixels: int) -> list[bool]:
    """Return the icon without its colours: where the ink is, by lightness alone."""
    image = icons.image(f"tray-{state.value}", pixels).convertToFormat(QImage.Format.Format_ARGB32)
    bright = []
    for y in range(pixels):
        for x in range(pixels):
            color = image.pixelColor(x, y)
            bright.append(color.alpha() > 128 and color.lightness() > 200)
    return bright


def outline(state: TrayState, pixels: int) -> list[bool]:
    image = icons.image(f"tray-{state.value}", pixels)
    return [image.pixelColor(x, y).alpha() > 128 for y in range(pixels) for x in range(pixels)]


@pytest.mark.parametrize("pixels", [16, 24, 32, 64])
def test_states_differ_by_shape_without_any_colour(pixels: int) -> None:
    states = list(TrayState)
    for number, one in enumerate(states):
        for other in states[number + 1 :]:
            pairs = zip(shape(one, pixels), shape(other, pixels), strict=True)
            rims = zip(outline(one, pixels), outline(other, pixels), strict=True)
            differing = sum(a != b for a, b in pairs) + sum(a != b for a, b in rims)
            assert differing > pixels * pixels * 0.06, f"{one} and {other} look alike at {pixels} px"


@pytest.mark.parametrize(
    ("snapshot", "state"),
    [
        (samples.AFTERNOON, TrayState.NEEDS_YOU),
        (replace(samples.AFTERNOON, cards=samples.AFTERNOON.cards[1:]), TrayState.WRITING),
        (replace(samples.AFTERNOON, cards=samples.AFTERNOON.cards[2:]), TrayState.ON_ITS_WAY),
        (samples.ALL_SAFE, TrayState.SAFE),
        (replace(samples.ALL_SAFE, cards=()), TrayState.IDLE),
        (replace(samples.TROUBLE, cards=(samples.EMBRYO_3,)), TrayState.PROBLEM),
        (samples.TROUBLE, TrayState.NEEDS_YOU),
        (None, TrayState.IDLE),
    ],
)
def test_the_state_that_matters_most_is_shown(snapshot: Snapshot | None, state: TrayState) -> None:
    assert tray_state(snapshot) is state


def test_done_alone_is_not_safe_without_the_engines_verdict() -> None:
    verdict = replace(samples.ALL_SAFE.log_off, may=LogOff.NO)
    assert tray_state(replace(samples.ALL_SAFE, log_off=verdict)) is TrayState.IDLE


def test_the_tooltip_fits_what_windows_keeps() -> None:
    assert "Stay signed in for now" in tooltip(samples.AFTERNOON)
    long = replace(samples.AFTERNOON, log_off=replace(samples.AFTERNOON.log_off, headline="word " * 100))
    assert len(tooltip(long)) <= TOOLTIP_CHARACTERS


def test_the_menu_starts_with_the_log_off_sentence(controller: Controller) -> None:
    tray = controller.tray
    labels = [a.text() for a in tray.menu.actions() if a.isVisible() and not a.isSeparator()]
    assert labels == [
        "Stay signed in for now: plate-4 needs a target, timelapse_siRNA_07 is still being written…",
        "Open OMERO Ferry",
        "Choose target for 2026-11-23_plate-4…",
        "Pause",
        "Sign out Alice Lindgren",
        "Quit",
    ]
    controller.show_snapshot(samples.NOBODY)
    assert tray.sign_action.text() == "Sign in…"


def test_without_a_card_to_choose_for_the_menu_does_not_offer_it(controller: Controller) -> None:
    controller.show_snapshot(samples.ALL_SAFE)
    assert not controller.tray.target_action.isVisible()


def test_choosing_from_the_tray_opens_that_cards_dialog(controller: Controller) -> None:
    controller.window.hide()
    controller.tray.target_action.trigger()
    assert controller.window.isVisible() and controller.dialog is not None
    assert "plate-4" in controller.dialog.heading.full  # type: ignore[attr-defined]


def test_without_a_tray_nothing_ends_and_it_is_tried_again(qtbot: QtBot, theme: object) -> None:
    tray = Tray(QuietDesktop())
    assert not tray.try_show()
    assert tray._retry.isActive()
    tray.hide()
    assert not tray._retry.isActive()


# --- toasts -------------------------------------------------------------------------------------------


def test_the_first_snapshot_makes_no_toast() -> None:
    assert collect(Batch(), None, samples.TROUBLE).is_empty


def test_a_file_that_is_written_or_merely_open_makes_no_toast() -> None:
    nothing = replace(samples.AFTERNOON, cards=())
    writing = replace(
        nothing, cards=(samples.TIMELAPSE, replace(samples.card_in(CardState.SETTLING), id="s"))
    )
    assert collect(Batch(), nothing, writing).is_empty


def test_what_happens_together_is_one_toast() -> None:
    before = replace(samples.AFTERNOON, cards=(samples.TIMELAPSE, samples.EMBRYO_3, samples.EMBRYO_2))
    first = replace(before, cards=(samples.PLATE_4, samples.TIMELAPSE, samples.EMBRYO_3, samples.EMBRYO_2))
    done = tuple(
        replace(c, group=CardGroup.DONE, state=CardState.PROVEN) for c in (samples.EMBRYO_3, samples.EMBRYO_2)
    )
    second = replace(first, cards=(samples.PLATE_4, samples.TIMELAPSE, *done))
    batch = collect(collect(Batch(), before, first), first, second)
    made = toast(batch)
    assert made is not None
    assert made.title == "2026-11-23_plate-4 needs you"
    assert made.body == "Where should it go?\n2 acquisitions are in OMERO, proven"
    assert made.card_id == "plate-4"


def test_news_that_no_longer_holds_is_not_told() -> None:
    empty = replace(samples.AFTERNOON, cards=())
    asked = replace(samples.AFTERNOON, cards=(samples.PLATE_4,))
    batch = collect(Batch(), empty, asked)
    assert not batch.is_empty
    answered = replace(samples.AFTERNOON, cards=(replace(samples.EMBRYO_3, id="plate-4"),))
    assert collect(batch, asked, answered).is_empty


def test_nothing_is_told_twice() -> None:
    empty = replace(samples.AFTERNOON, cards=())
    asked = replace(samples.AFTERNOON, cards=(samples.PLATE_4,))
    batch = collect(Batch(), empty, asked)
    assert collect(batch, asked, asked) == batch
    assert collect(Batch(), asked, replace(asked, at=asked.at)).is_empty


def test_may_log_off_is_news_once() -> None:
    batch = collect(Batch(), samples.AFTERNOON, replace(samples.AFTERNOON, log_off=samples.ALL_SAFE.log_off))
    made = toast(batch)
    assert made is not None and made.title == "You can log off now."
    assert collect(Batch(), samples.ALL_SAFE, samples.ALL_SAFE).is_empty


def test_a_toast_fits_what_windows_shows() -> None:
    empty = replace(samples.AFTERNOON, cards=())
    many = tuple(replace(samples.PLATE_4, id=str(n), title=samples.LONG_NAME) for n in range(50))
    for cards in (many, many[:1], many[:4]):
        made = toast(collect(Batch(), empty, replace(empty, cards=cards)))
        assert made is not None
        assert len(made.title) <= TITLE_CHARACTERS and len(made.body) <= BODY_CHARACTERS


def test_nothing_covers_a_full_screen_live_view(qtbot: QtBot, theme: object) -> None:
    desktop = QuietDesktop()
    desktop.free = False
    tray = Tray(desktop)
    tray.show_snapshot(replace(samples.AFTERNOON, cards=(samples.EMBRYO_3,)))
    done = replace(samples.EMBRYO_3, group=CardGroup.DONE, state=CardState.PROVEN)
    tray.show_snapshot(replace(samples.AFTERNOON, cards=(samples.PLATE_4, done)))
    assert tray.tell() is None and tray.last_toast is None
    desktop.free = True
    made = tray.tell()
    assert made is not None and made.title == "2026-11-23_plate-4 needs you"
    assert "proven" not in made.body
    tray.hide()
