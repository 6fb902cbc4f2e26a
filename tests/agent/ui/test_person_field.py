"""Staff choose whose data it is: the form lists that person's places, and the order names her."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot

from agent.core.commands import ChooseTarget
from agent.core.errors import BridgeAway
from agent.core.snapshot import Card, CardState
from agent.core.template import TargetSuggestion
from agent.ui.card_text import card_text
from agent.ui.person_field import PersonField
from agent.ui.target_dialog import TargetDialog
from agent.ui.theme import Theme
from server_bridge.contract import Person
from tests.agent.ui import samples
from tests.agent.ui.fakes import RecordingEngine
from tests.agent.ui.test_target_dialog import send, type_into

NOBODYS = replace(samples.PLATE_4, state=CardState.UNCLAIMED, person="")


Open = Callable[..., TargetDialog]


@pytest.fixture
def opened(qtbot: QtBot, theme: Theme, engine: RecordingEngine) -> Open:
    def make(card: Card | None, person: Person | None = samples.STAFF) -> TargetDialog:
        dialog = TargetDialog(engine, card, person)
        qtbot.addWidget(dialog)
        dialog.show()
        return dialog

    return make


def whose(dialog: TargetDialog) -> PersonField:
    assert dialog.whose is not None
    return dialog.whose


def groups_of(dialog: TargetDialog) -> list[str]:
    return [dialog.form.group.itemText(n).split("  ")[0] for n in range(dialog.form.group.count())]


def test_only_staff_are_asked(opened: Open, engine: RecordingEngine) -> None:
    assert opened(NOBODYS, samples.ALICE).whose is None
    assert opened(None).whose is None, "from now on is for herself"
    assert whose(opened(NOBODYS)).person == samples.STAFF, "herself, unless she says otherwise"


def test_for_somebody_else(opened: Open, qtbot: QtBot, engine: RecordingEngine) -> None:
    dialog = opened(NOBODYS)
    field = whose(dialog)
    field.field.setFocus()
    field.field.clear()
    qtbot.keyClicks(field.field, "Ek")
    assert not dialog.send.isEnabled()
    qtbot.waitUntil(lambda: field.popup.suggestions() == ["bob   Bob Ek"])
    assert "whose data" in dialog.verdict.text().lower()
    field.popup.pick(0)
    qtbot.waitUntil(lambda: field.person == samples.BOB)
    assert groups_of(dialog) == ["Platform"]
    assert not dialog.from_now_on.isVisible() and not dialog.recents.isVisible()
    type_into(qtbot, dialog, "container", "new one")
    assert engine.targets.asked_as and set(engine.targets.asked_as) == {"bob"}
    assert "belong to bob" in dialog.verdict.text()
    send(qtbot, dialog)
    assert engine.targets.created == [], "the bridge makes it, as his"
    command = engine.commands[-1]
    assert isinstance(command, ChooseTarget)
    assert (command.owner, command.target.group_id, command.target.container_name) == ("bob", 5, "new one")


def test_back_to_herself(opened: Open, qtbot: QtBot, engine: RecordingEngine) -> None:
    dialog = opened(NOBODYS)
    whose(dialog).choose("bob")
    qtbot.waitUntil(lambda: whose(dialog).person == samples.BOB)
    whose(dialog).choose("alice")
    assert groups_of(dialog) == ["Cytoskeleton", "Platform"]
    assert dialog.from_now_on.isVisible() and dialog.recents.isVisible()
    type_into(qtbot, dialog, "container", "embryos")
    assert "belong to you" in dialog.verdict.text()


@pytest.mark.parametrize("known_by", ["sat there", "folder"])
def test_whose_it_seems_to_be_is_filled_in(known_by: str, opened: Open, qtbot: QtBot) -> None:
    card = replace(NOBODYS, person="bob")
    if known_by == "folder":
        card = replace(NOBODYS, suggested=TargetSuggestion(person="bob", container_name="scan"))
    dialog = opened(card)
    qtbot.waitUntil(lambda: whose(dialog).person == samples.BOB)
    assert whose(dialog).field.isEnabled()
    if known_by == "folder":
        assert dialog.form.container.field.text() == "scan"


def test_an_order_keeps_its_person(opened: Open, qtbot: QtBot) -> None:
    card = replace(samples.card_in(CardState.QUEUED), person="bob", order_id="x")
    dialog = opened(card)
    qtbot.waitUntil(lambda: whose(dialog).person == samples.BOB)
    assert not whose(dialog).field.isEnabled()
    refused = opened(replace(card, state=CardState.REFUSED))
    assert whose(refused).field.isEnabled(), "it becomes a new order, perhaps of somebody else"


def test_staff_who_sign_in_for_it_are_asked_as_well(opened: Open, qtbot: QtBot) -> None:
    dialog = opened(replace(NOBODYS, person="bob"), None)
    assert dialog.whose is None
    dialog.show_person(samples.STAFF)  # the snapshot comes a little later than the sign-in
    qtbot.waitUntil(lambda: whose(dialog).person == samples.BOB)
    assert groups_of(dialog) == ["Platform"]
    dialog.show_person(samples.STAFF)
    assert groups_of(dialog) == ["Platform"]


def test_somebody_without_a_group_is_not_offered_the_groups_of_staff(
    opened: Open, qtbot: QtBot, engine: RecordingEngine
) -> None:
    engine.targets.others["bob"] = samples.BOB.model_copy(update={"groups": ()})
    dialog = opened(NOBODYS)
    whose(dialog).choose("bob")
    qtbot.waitUntil(lambda: whose(dialog).person is not None)
    dialog.show_person(samples.STAFF)
    assert groups_of(dialog) == [] and not dialog.send.isEnabled()


def test_herself_after_omero_did_not_answer(opened: Open, qtbot: QtBot, engine: RecordingEngine) -> None:
    engine.targets.error = BridgeAway("It took too long.")
    card = replace(NOBODYS, person="bob", suggested=TargetSuggestion(container_name="scan"))
    dialog = opened(card)
    qtbot.waitUntil(lambda: not whose(dialog).looking)
    whose(dialog).choose("alice")
    assert dialog.form.container.field.text() == "scan", "what the place suggests is filled in now"


def test_while_omero_is_away_nobody_is_guessed(opened: Open, qtbot: QtBot, engine: RecordingEngine) -> None:
    dialog = opened(NOBODYS)
    engine.targets.error = BridgeAway("It took too long.")
    whose(dialog).choose("bob")
    qtbot.waitUntil(lambda: not whose(dialog).looking)
    assert whose(dialog).person is None and not dialog.send.isEnabled()
    assert "whose data" in dialog.verdict.text().lower()


def test_the_list_says_to_staff_whose_it_is() -> None:
    card = replace(samples.card_in(CardState.QUEUED), whose="bob")
    text = card_text(card, samples.NOW)
    assert text.note.startswith("bob · ") and "bob" in text.spoken()
    assert not text.note_is_place
