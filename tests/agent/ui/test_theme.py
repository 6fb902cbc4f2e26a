"""Both palettes can be read, and a colour always means the same."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QApplication, QLabel

from agent.core.snapshot import CardGroup, CardState
from agent.ui.texts import PROVEN_STATES, tone
from agent.ui.theme import DARK, LIGHT, TEXT_PAIRS, Colors, Scheme, Theme, Tone, colors_of, contrast
from tests.agent.ui.samples import card_in


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_PAIRS)
def test_every_text_can_be_read_on_its_ground(colors: Colors, text: str, ground: str) -> None:
    assert contrast(getattr(colors, text), getattr(colors, ground)) >= 4.5


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("chosen", list(Tone))
def test_every_badge_can_be_read_on_its_own_ground(colors: Colors, chosen: Tone) -> None:
    assert contrast(*colors.tone(chosen)) >= 4.5


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_outlines_that_carry_meaning_can_be_seen(colors: Colors) -> None:
    assert contrast(colors.edge, colors.ground) >= 3
    assert contrast(colors.edge, colors.panel) >= 3


@pytest.mark.parametrize("state", list(CardState))
def test_green_means_proven_and_amber_means_you(state: CardState) -> None:
    card = card_in(state)
    chosen = tone(card)
    assert (chosen is Tone.PROVEN) == (state in PROVEN_STATES)
    assert (chosen is Tone.NEEDS_YOU) == (card.group is CardGroup.NEEDS_YOU)
    assert chosen is not Tone.FAILED


def test_choosing_a_scheme_changes_every_widget_at_once(qapp: QApplication, theme: Theme) -> None:
    widget = QLabel("x")
    theme.choose(Scheme.DARK)
    assert colors_of(widget) is DARK
    theme.choose(Scheme.LIGHT)
    assert colors_of(widget) is LIGHT


def test_like_the_system_follows_the_system(qapp: QApplication, theme: Theme) -> None:
    theme.choose(Scheme.SYSTEM)
    from PySide6.QtCore import Qt

    assert theme.is_dark() == (qapp.styleHints().colorScheme() is Qt.ColorScheme.Dark)
