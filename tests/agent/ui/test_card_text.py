"""What a card says: the counters it was given, a word and a shape for each state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.snapshot import CardState, Transfer
from agent.ui import icons
from agent.ui.card_text import SAME_TARGET, card_text, fraction, queue_place
from agent.ui.texts import state_shape, state_word, what_next
from tests.agent.ui import samples


def test_a_copying_card_tells_rate_time_left_and_bytes() -> None:
    text = card_text(samples.EMBRYO_3, samples.NOW)
    assert text.amount == "112 MB/s · 4 min left"
    assert text.right == "45.6 of 72.1 GB"
    assert text.note == "Cytoskeleton › Actin project › embryos"
    assert text.bar == pytest.approx(45.6 / 72.1)


def test_what_the_bridge_did_not_count_is_not_shown() -> None:
    card = replace(samples.EMBRYO_3, transfer=Transfer(bytes_done=10, bytes_total=100))
    text = card_text(card, samples.NOW)
    assert "left" not in text.amount and "/s" not in text.amount
    assert card_text(replace(card, transfer=None), samples.NOW).bar is None


def test_an_importing_card_tells_omeros_step() -> None:
    text = card_text(samples.EMBRYO_2, samples.NOW)
    assert text.right == "step 3 of 5"
    assert text.bar == pytest.approx(2 / 5)
    several = Transfer(units_done=1, units_total=4, import_step=5)
    assert fraction(several) == pytest.approx(1.8 / 4)


def test_a_queued_card_tells_its_place_by_workstation() -> None:
    assert queue_place(samples.BEADS_CARD) == "2 ahead, one from Confocal SP8"
    alone = replace(samples.BEADS_CARD, ahead=3, ahead_by_workstation={"Spinning Disk 2": 3})
    assert queue_place(alone) == "3 ahead, from Spinning Disk 2"
    assert queue_place(replace(alone, ahead=0, ahead_by_workstation={})) == "next in the queue"
    assert queue_place(replace(alone, ahead=None)) == ""


def test_a_card_that_needs_a_target_offers_the_last_one_too() -> None:
    text = card_text(samples.PLATE_4, samples.NOW, samples.RECENTS)
    assert [b.action for b in text.buttons] == ["ChooseTarget", SAME_TARGET]
    assert text.buttons[1].label == "Same as Plates 2026"
    assert text.buttons[0].primary and not text.buttons[1].primary
    assert text.note == "Finished 13:49. Where should it go?"


def test_only_cards_that_need_somebody_carry_buttons() -> None:
    for card in samples.AFTERNOON.cards[1:]:
        assert card_text(card, samples.NOW, samples.RECENTS).buttons == ()


def test_a_waiting_card_tells_why_and_when_it_is_tried_again() -> None:
    text = card_text(samples.WAITING, samples.NOW)
    assert text.note == "It still changes on the share"
    assert text.right == "next try 13:56"


def test_every_state_has_its_own_word_and_its_own_shape() -> None:
    words = {state_word(state) for state in CardState}
    assert len(words) == len(CardState) and "" not in words
    pictures = [icons.image(state_shape(state), 24) for state in CardState]
    for number, picture in enumerate(pictures):
        assert all(picture != other for other in pictures[number + 1 :])


def test_every_state_says_what_happens_next() -> None:
    sentences = {what_next(samples.card_in(state)) for state in CardState}
    assert len(sentences) == len(CardState)
    assert not any("{" in sentence for sentence in sentences)


def test_a_state_of_the_future_asks_for_a_newer_agent() -> None:
    assert state_word("teleporting") == "Needs a newer agent"
    assert state_shape("teleporting") == "state-needs-newer-agent"
    text = card_text(samples.card_in(CardState.NEEDS_NEWER_AGENT), samples.NOW)
    assert text.word == "Needs a newer agent"


def test_a_screen_reader_hears_the_whole_card() -> None:
    spoken = card_text(samples.EMBRYO_3, samples.NOW).spoken()
    for part in ("Copying", "embryos", "45.6 of 72.1 GB", "4 min left"):
        assert part in spoken
