"""`ferry-bridge order accept-source-gone`: staff let an order go on whose source was removed."""

from __future__ import annotations

from typing import Annotated

import typer

from server_bridge.config import load_site
from server_bridge.context import open_store
from server_bridge.contract import Condition, Stage
from server_bridge.errors import Conflict
from server_bridge.operations.order_commands import OrderId, find
from server_bridge.operations.terminal import SiteOption, operator, say, told
from server_bridge.orders import remembered
from server_bridge.orders.models import utcnow
from server_bridge.orders.store import Store


def accept(store: Store, order_id: str, who: str, note: str) -> None:
    """Note it and let the order go on; it still looks for itself that everything is staged.

    Raises:
        NotFound: for an unknown order.
        Conflict: ``command_not_now`` for an order that did not stop for this.
    """
    now = utcnow()
    with store.write() as session:
        order = store.get(session, order_id)
        if (order.reason or {}).get("code") != "source_gone" or order.condition != Condition.ATTENTION:
            raise Conflict(
                f"Order {order_id} is {Stage(order.stage).value} and did not stop for its source.",
                code="command_not_now",
                title="Nothing to accept",
                remedy="Look at the order's present state.",
            )
        value = {"by": who, "note": note, "manifest_revision": order.manifest_revision}
        remembered.remember(session, remembered.source_gone_accepted(order_id), value, now)
        text = f"the staged copy is imported though its source is gone: {note}"
        store.set_condition(session, order, Condition.QUEUED, who=who, text=text)
        store.audit(session, who, "order.accept_source_gone", order_id, note=note)


@told
def accept_source_gone(
    order_id: OrderId, site: SiteOption, note: Annotated[str, typer.Option(help="Why; it is audited.")]
) -> None:
    """Import the staged copy of an order whose source was removed, where every file is staged."""
    store = open_store(load_site(site))
    with store.read() as session:
        found = find(session, order_id)
    accept(store, found.id, operator(), note)
    say(f"{found.id}: goes on with what is staged, if everything is.")
