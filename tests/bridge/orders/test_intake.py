"""Orders that arrive at the same moment: one of them has the place, and one request has the id."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from server_bridge.contract import AcquisitionKind, OrderIntent, Target
from server_bridge.errors import FerryError
from server_bridge.orders import intake
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Order, utcnow
from tests.bridge.bridge_site import make_site, make_store

STAFF = Caller(username="staff", is_staff=True)


def intent(path: str, **more: object) -> OrderIntent:
    fields = {"target": Target(group_id=3, container_id=11), "owner": "alice", **more}
    return OrderIntent(share="conf", path=path, kind=AcquisitionKind.FOLDER, **fields)  # type: ignore[arg-type]


@pytest.fixture
def accept(tmp_path: Path) -> Callable[[list[tuple[uuid.UUID, OrderIntent]]], list[str]]:
    """Accept all requests at once, each from its own thread: "new", "known" or the code of the refusal."""
    site = make_site(tmp_path)
    store = make_store(site)
    made = 0

    def at_once(requests: list[tuple[uuid.UUID, OrderIntent]]) -> list[str]:
        answers = [""] * len(requests)
        ready = threading.Barrier(len(requests))

        def one(number: int) -> None:
            order_id, wanted = requests[number]
            ready.wait(30)
            try:
                _, is_new = intake.accept(store, site, order_id, wanted, STAFF, utcnow())
                answers[number] = "new" if is_new else "known"
            except FerryError as error:
                answers[number] = error.code

        threads = [threading.Thread(target=one, args=(number,)) for number in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        nonlocal made
        made += answers.count("new")
        with store.read() as session:
            assert session.query(Order).count() == made
        return sorted(answers)

    return at_once


def test_one_of_many_that_overlap_gets_the_place(accept: Callable[..., list[str]]) -> None:
    places = ["run", "RUN", "run/inner", "run/inner/deep", "run"]
    answers = accept([(uuid.uuid4(), intent(place)) for place in places])
    assert answers == ["new", *["place_taken"] * 4]


def test_places_beside_each_other_are_all_taken(accept: Callable[..., list[str]]) -> None:
    places = ["run", "run 1", "run1/a", "run1/b", "runs"]
    assert accept([(uuid.uuid4(), intent(place)) for place in places]) == ["new"] * 5


def test_one_id_is_one_order_whoever_comes_first(accept: Callable[..., list[str]]) -> None:
    same = uuid.uuid4()
    wanted = intent("run")
    assert accept([(same, wanted)] * 4) == ["known", "known", "known", "new"]
    other = accept([(same, intent("run", label="other")), (same, wanted)])
    assert other == ["known", "order_differs"]
