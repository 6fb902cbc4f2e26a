"""Small facts that the bridge keeps."""

from __future__ import annotations

from pathlib import Path

from server_bridge.orders import remembered
from server_bridge.orders.models import utcnow
from tests.bridge.bridge_site import make_site, make_store


def test_a_fact_that_is_forgotten_and_remembered_in_one_transaction_is_there(tmp_path: Path) -> None:
    store = make_store(make_site(tmp_path))
    with store.write() as session:
        remembered.remember(session, "landmark", {"event": 1}, utcnow())
    with store.write() as session:
        assert remembered.forget(session, "landmark")
        remembered.remember(session, "landmark", {"event": 2}, utcnow())
        assert not remembered.forget(session, "another")
    with store.read() as session:
        assert remembered.recall(session, "landmark") == {"event": 2}
