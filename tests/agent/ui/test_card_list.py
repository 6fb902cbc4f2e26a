"""The list changes no more than the snapshot did, and keeps what the person chose."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QModelIndex, QPoint, Qt
from pytestqt.qtbot import QtBot

from agent.core.snapshot import Card, CardGroup, CardState
from agent.ui.card_list import CardList
from agent.ui.card_model import ROW, CardModel
from tests.agent.ui import samples


class Signals:
    """Counts what the model tells its views."""

    def __init__(self, model: CardModel) -> None:
        self.changed: list[int] = []
        self.inserted = self.removed = self.moved = self.resets = 0
        model.dataChanged.connect(lambda first, last: self.changed.extend(range(first.row(), last.row() + 1)))
        model.rowsInserted.connect(lambda *_: self._count("inserted"))
        model.rowsRemoved.connect(lambda *_: self._count("removed"))
        model.rowsMoved.connect(lambda *_: self._count("moved"))
        model.modelReset.connect(lambda: self._count("resets"))

    def _count(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)


def titles(model: CardModel) -> list[str]:
    return [model.index(row).data() for row in range(model.rowCount())]


def shown(qtbot: QtBot, cards: tuple[Card, ...]) -> CardList:
    view = CardList()
    qtbot.addWidget(view)
    view.resize(472, 640)
    view.show()
    view.show_cards(cards, samples.RECENTS, samples.NOW)
    return view


def test_groups_stand_in_the_order_in_which_they_matter(qtbot: QtBot) -> None:
    view = shown(qtbot, tuple(reversed(samples.AFTERNOON.cards)))
    assert titles(view.cards) == [
        "Needs you 1",
        "2026-11-23_plate-4",
        "Now 1",
        "timelapse_siRNA_07",
        "On its way 3",
        "beads_calibration",
        "embryo-stack_02",
        "embryo-stack_03",
        "Done 1",
        "embryo-stack_01",
    ]


def test_of_five_hundred_cards_only_the_changed_one_is_touched(qtbot: QtBot) -> None:
    before = samples.many(500)
    view = shown(qtbot, before.cards)
    signals = Signals(view.cards)
    rows = [view.cards.index(row).data(ROW) for row in range(view.cards.rowCount())]
    assert sum(row.card is not None for row in rows) == 500

    index = next(i for i, c in enumerate(before.cards) if c.state is CardState.COPYING)
    card = before.cards[index]
    assert card.transfer is not None
    fresh = replace(card, transfer=replace(card.transfer, bytes_done=50_000_000_000))
    view.show_cards((*before.cards[:index], fresh, *before.cards[index + 1 :]), samples.RECENTS, samples.NOW)

    assert signals.changed == [view.cards.index_of(card.id).row()]
    assert (signals.inserted, signals.removed, signals.moved, signals.resets) == (0, 0, 0, 0)
    after = [view.cards.index(row).data(ROW) for row in range(view.cards.rowCount())]
    differing = [new.card for old, new in zip(rows, after, strict=True) if new is not old]
    assert differing == [fresh]


def test_an_equal_snapshot_touches_nothing(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    signals = Signals(view.cards)
    view.show_cards(tuple(replace(c) for c in samples.AFTERNOON.cards), samples.RECENTS, samples.NOW)
    assert not signals.changed and not (signals.inserted or signals.removed or signals.moved)


def test_the_chosen_card_stays_chosen_when_it_moves_to_another_group(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    view.choose("embryo-3")
    done = replace(samples.EMBRYO_3, group=CardGroup.DONE, state=CardState.PROVEN)
    cards = tuple(done if c.id == "embryo-3" else c for c in samples.AFTERNOON.cards)
    view.show_cards((samples.WAITING, *cards), samples.RECENTS, samples.NOW)
    current = view.current_card()
    assert current is not None and current.id == "embryo-3" and current.state is CardState.PROVEN


def test_when_the_chosen_card_is_gone_another_is_chosen(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    for card in samples.AFTERNOON.cards:
        view.show_cards(samples.AFTERNOON.cards, samples.RECENTS, samples.NOW)
        view.choose(card.id)
        rest = tuple(c for c in samples.AFTERNOON.cards if c is not card)
        view.show_cards(rest, samples.RECENTS, samples.NOW)
        current = view.current_card()
        assert current is not None and current in rest
    view.show_cards((), samples.RECENTS, samples.NOW)
    assert view.current_card() is None


def test_rows_match_the_snapshot_after_any_change(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    for cards in (
        samples.TROUBLE.cards,
        samples.ALL_SAFE.cards,
        (),
        samples.many(40).cards,
        samples.many(40).cards[::-1],
        samples.NOBODY.cards,
    ):
        view.show_cards(cards, samples.RECENTS, samples.NOW)
        fresh = CardModel()
        fresh.show(cards, samples.RECENTS, samples.NOW)
        assert titles(view.cards) == titles(fresh)


def test_the_arrow_keys_skip_the_headings(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    visited = []
    view.chosen.connect(visited.append)
    for _ in range(5):
        qtbot.keyClick(view, Qt.Key.Key_Down)
    assert visited == ["timelapse", "embryo-3", "embryo-2", "beads", "embryo-1"]


def test_enter_does_the_most_wanted_action(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    view.choose("timelapse")
    with qtbot.waitSignal(view.action) as heard:
        qtbot.keyClick(view, Qt.Key.Key_Return)
    assert heard.args == ["timelapse", "DoneNow"]


def test_a_click_on_a_cards_button_is_that_action(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    index = view.cards.index_of("plate-4")
    row = view.cards.row(index)
    assert row is not None and row.text is not None
    layout = view._delegate.layout(view.visualRect(index), row.text)
    for spec, where in layout.buttons:
        with qtbot.waitSignal(view.action) as heard:
            qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=where.center())
        assert heard.args == ["plate-4", spec.action]
    with qtbot.assertNotEmitted(view.action):
        qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=layout.first.center() + QPoint(0, 0))


def test_nothing_of_a_card_leaves_its_frame(qtbot: QtBot) -> None:
    long = tuple(
        replace(c, title=samples.LONG_NAME, target_text="Group › " + samples.LONG_NAME)
        for c in samples.TROUBLE.cards
    )
    view = shown(qtbot, long)
    view.resize(360, 640)
    for number in range(view.cards.rowCount()):
        index = view.cards.index(number)
        row = view.cards.row(index)
        if row is None or row.text is None:
            continue
        place = view._delegate.layout(view.visualRect(index), row.text)
        for part in (place.first, place.second, place.bar, *(where for _, where in place.buttons)):
            assert part.isNull() or place.frame.contains(part)
        assert samples.LONG_NAME in index.data(Qt.ItemDataRole.ToolTipRole)


def test_the_menu_of_a_card_offers_every_action(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    labels = [a.text() for a in view.menu_for(samples.EMBRYO_3).actions()]
    assert labels == ["Change until the import starts", "Cancel"]
    assert [a.text() for a in view.menu_for(samples.EMBRYO_1).actions()] == ["Open in OMERO"]


def test_headings_cannot_be_chosen(qtbot: QtBot) -> None:
    view = shown(qtbot, samples.AFTERNOON.cards)
    assert view.cards.flags(view.cards.index(0)) == Qt.ItemFlag.NoItemFlags
    assert view.cards.rowCount(view.cards.index(1)) == 0
    assert view.cards.row(QModelIndex()) is None
