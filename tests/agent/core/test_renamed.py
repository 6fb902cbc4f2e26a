"""Working names: an order goes along to the final name where that is certain, and says so where it is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import commands
from agent.core.renamed import is_renamed
from agent.core.snapshot import CardState
from server_bridge.contract import AcquisitionKind
from tests.agent.conftest import Bench, until
from tests.agent.core.test_engine import TARGET, done, order_of, sign_in, started

FOLDER, FILE = AcquisitionKind.FOLDER, AcquisitionKind.FILE
FACTS = st.tuples(st.integers(0, 3), st.integers(0, 3))
NAMES = st.sampled_from(["a.tif", "b.tif", "deep/c.tif"])


def under(path: str, files: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {f"{path}/{name}": facts for name, facts in files.items()}


@given(st.dictionaries(NAMES, FACTS, min_size=1), st.dictionaries(NAMES, FACTS))
def test_a_rename_keeps_every_name_and_everything_of_it(
    before: dict[str, tuple[int, int]], now: dict[str, tuple[int, int]]
) -> None:
    said = is_renamed(under("x/tmp", before), "x/tmp", under("x/final", now), "x/final", FOLDER)
    if said:
        assert all(now[name] == facts for name, facts in before.items())
    assert is_renamed(under("x/tmp", before), "x/tmp", under("x/final", before), "x/final", FOLDER)


@pytest.mark.parametrize(
    ("old", "new", "facts", "kind", "renamed"),
    [
        ("x/a.part", "x/a.tif", (5, 7), FILE, True),
        ("x/a.part", "x/a.tif", (6, 7), FILE, False),
        ("x/a.part", "x/a.part", (5, 7), FILE, False),
        ("x/a.part", "x/a.tif", (5, 7), AcquisitionKind.GROUP, False),
    ],
)
def test_a_file_has_to_be_exactly_the_same(
    old: str, new: str, facts: tuple[int, int], kind: AcquisitionKind, renamed: bool
) -> None:
    assert is_renamed({old: (5, 7)}, old, {new: facts}, new, kind) is renamed


def test_folders_that_begin_alike_are_not_one() -> None:
    files = {"x/run/a.tif": (1, 1), "x/run2/a.tif": (2, 2)}
    assert not is_renamed(files, "x/run", {"x/end/a.tif": (2, 2)}, "x/end", FOLDER)


def test_one_file_may_have_grown_where_enough_others_are_the_same() -> None:
    before = {f"{number}.tif": (10, number) for number in range(4)}
    now = {**before, "3.tif": (20, 9), "4.tif": (1, 9)}
    assert is_renamed(under("x/tmp", before), "x/tmp", under("x/end", now), "x/end", FOLDER)
    assert not is_renamed(
        under("x/tmp", before), "x/tmp", under("x/end", {**now, "3.tif": (5, 9)}), "x/end", FOLDER
    )
    few = {"settings.xml": (5, 1), "a.tif": (10, 2)}
    later_run = {"settings.xml": (5, 1), "a.tif": (90, 8)}
    assert not is_renamed(under("x/one", few), "x/one", under("x/two", later_run), "x/two", FOLDER)


# --- the whole agent --------------------------------------------------------------------------------------


def writing(bench: Bench, path: str) -> str:
    """Order what is still written; returns the order."""
    started(bench)
    sign_in(bench)
    bench.write(f"alice/{path}/a.tif")
    bench.wait_for(path, lambda card: card.state in (CardState.WRITING, CardState.SETTLING), "seen")
    card = bench.card(path)
    assert card is not None
    done(bench.engine.submit(commands.ChooseTarget(card.id, TARGET)))
    order = order_of(bench, path)
    until(lambda: bench.engine._outbox.entries()[0].accepted_revision > 0, "an open manifest is known")
    return order


@pytest.fixture
def slow(bench: Bench) -> Bench:
    """A quiet time that does not end while the test looks."""
    bench.stub.shares[0]["rule"] = {"depth": 2, "quiet_seconds": 20.0}
    return bench


def test_an_order_goes_along_to_the_name_at_the_end(slow: Bench) -> None:
    old = writing(slow, "tmp_run")
    slow.write("alice/tmp_run/b.tif", b"y" * 300)
    (slow.share_top / "alice" / "tmp_run").rename(slow.share_top / "alice" / "Embryo 3")
    until(lambda: slow.stub.orders[old]["stage"] == "cancelled", "the old name's order ended")
    card = slow.wait_for("Embryo 3", lambda card: card.order_id, "the new one is ordered")
    assert card.order_id != old and card.target is not None
    assert card.target.container_id == TARGET.container_id
    intent = until(lambda: slow.stub.intents.get(str(card.order_id)), "the bridge has it")
    assert intent["path"] == "alice/Embryo 3"


def test_from_now_on_may_be_quicker_and_the_old_name_still_ends(slow: Bench) -> None:
    started(slow)
    sign_in(slow)
    done(slow.engine.submit(commands.SetStandingTarget(TARGET)))
    slow.write("alice/_running/a.tif")
    old = order_of(slow, "_running")
    until(lambda: slow.engine._outbox.entries()[0].accepted_revision > 0, "an open manifest is known")
    (slow.share_top / "alice" / "_running").rename(slow.share_top / "alice" / "Plate 42")
    until(lambda: slow.stub.orders[old]["stage"] == "cancelled", "the old name's order ended")
    new = order_of(slow, "Plate 42")
    assert [order["path"] for order in slow.stub.orders.values() if order["stage"] != "cancelled"] == [
        "alice/Plate 42"
    ]
    assert new != old


def test_where_it_is_not_certain_nothing_is_ordered_and_the_old_card_says_what_is_wrong(slow: Bench) -> None:
    old = writing(slow, "tmp_run")
    top: Path = slow.share_top / "alice"
    (top / "tmp_run" / "a.tif").unlink()
    (top / "tmp_run").rmdir()
    slow.write("alice/other/a.tif", b"other bytes")
    os.utime(top / "other" / "a.tif", (time.time() + 5, time.time() + 5))
    gone = slow.wait_for(
        "tmp_run",
        lambda card: card.reason is not None and card.reason.code == "gone_from_share",
        "it is said",
    )
    assert gone.state is CardState.ATTENTION and gone.actions == ("Cancel",)
    fresh = slow.wait_for("other", lambda card: True, "the other is there")
    assert fresh.order_id is None
    done(slow.engine.submit(commands.Cancel(gone.id)))
    until(lambda: slow.stub.orders[old]["stage"] == "cancelled", "she ended it")
