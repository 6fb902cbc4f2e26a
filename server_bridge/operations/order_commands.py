"""`ferry-bridge orders` and `ferry-bridge order …`: look at orders and give commands.

They work beside a running bridge, which notices within a second: it looks at the feed's counter, and an
attempt looks at its order.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig, load_site
from server_bridge.context import open_store
from server_bridge.contract import CommandKind, CommandRequest, Condition, OrderState, Stage
from server_bridge.errors import BadRequest, NotFound
from server_bridge.human import human_bytes, plain
from server_bridge.operations.terminal import (
    JsonOption,
    SiteOption,
    moment,
    operator,
    say,
    say_json,
    table,
    told,
)
from server_bridge.orders import commands, stages, view
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import Order, OrderEvent, utcnow
from server_bridge.orders.store import Store

order_app = typer.Typer(
    help="One order: look at it, read its log, retry or cancel it; add orders without a workstation.",
    no_args_is_help=True,
)
OrderId = Annotated[str, typer.Argument(help="The order's id, or its first characters.", show_default=False)]


def staff() -> Caller:
    """The operator as a caller: whoever may run commands as the bridge's user is staff."""
    return Caller(username=operator(), is_staff=True)


def find(session: Session, wanted: str) -> Order:
    """The order of an id or of its beginning.

    Raises:
        NotFound, BadRequest: where none or several begin so.
    """
    found = session.scalars(
        select(Order).where(Order.id.startswith(wanted.strip().lower(), autoescape=True)).limit(3)
    ).all()
    if not wanted.strip() or not found:
        raise NotFound(
            f"No order's id begins with {wanted!r}.",
            title="Unknown order",
            remedy="See `ferry-bridge orders`.",
        )
    if len(found) > 1:
        raise BadRequest(
            f"{wanted!r} begins several orders' ids.", title="Which order?", remedy="Give more of the id."
        )
    return found[0]


@told
def orders(
    site: SiteOption,
    stage: Annotated[
        list[Stage] | None, typer.Option(help="Only this stage; may be repeated.", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Ended and released orders too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List orders, newest last."""
    config = load_site(site)
    store = open_store(config)
    wanted = set(stage) if stage else set(Stage) if all_ else set(Stage) - stages.ENDS - {Stage.RELEASED}
    with store.read() as session:
        rows = session.scalars(
            select(Order).where(Order.stage.in_(sorted(wanted))).order_by(Order.created_at, Order.id)
        ).all()
        found = view.states(session, config, rows, staff())
    if as_json:
        say_json([state.model_dump(mode="json") for state in found])
        return
    if not found:
        say("No orders.")
        return
    say(
        table(
            ["ORDER", "STAGE", "CONDITION", "WORKSTATION", "FILES", "SIZE", "SHARE PATH", "WHY"],
            map(_line, found),
        )
    )


def _line(state: OrderState) -> Sequence[object]:
    return (
        str(state.id)[:8],
        state.stage,
        _condition(state),
        state.workstation or "-",
        state.file_count,
        human_bytes(state.size_bytes),
        f"{state.share}:{state.path}",
        state.reason.title if state.reason else "",
    )


def _condition(state: OrderState) -> str:
    """The condition for people: an order on which nothing is left to do stands in no queue."""
    if state.condition == Condition.QUEUED and state.stage not in stages.WORKED:
        return "-"
    return f"{state.condition} ({state.queue.ahead} ahead)" if state.queue else state.condition


@order_app.command("show")
@told
def show(order_id: OrderId, site: SiteOption, as_json: JsonOption = False) -> None:
    """Everything about one order."""
    config = load_site(site)
    with open_store(config).read() as session:
        state = view.states(session, config, [find(session, order_id)], staff())[0]
    if as_json:
        say_json(state.model_dump(mode="json"))
        return
    for name, value in _facts(state):
        say(f"{name + ':':<14}{plain(str(value))}")


def _facts(state: OrderState) -> list[tuple[str, Any]]:
    target = state.target
    facts: list[tuple[str, Any]] = [
        ("order", state.id),
        ("data", f"{state.share}:{state.path} ({state.kind})"),
        *([("members", ", ".join(state.members))] if state.members else []),
        ("person", state.person),
        ("workstation", state.workstation or "-"),
        (
            "target",
            f"group {target.group_name or target.group_id}, {target.kind} "
            f"{target.container_name or target.container_id}",
        ),
        ("stage", f"{state.stage} since {moment(state.stage_since)}"),
        ("condition", _condition(state)),
        ("files", f"{state.file_count}, {human_bytes(state.size_bytes)}"),
        ("manifest", f"revision {state.manifest_revision}, {'sealed' if state.sealed else 'open'}"),
        ("ordered", moment(state.created_at)),
    ]
    if state.queue:
        facts.append(("queue", f"{state.queue.ahead} ahead {state.queue.ahead_by_workstation or ''}"))
    if state.reason:
        reason = state.reason
        facts += [
            ("why", f"{reason.title} [{reason.code}]"),
            ("", reason.detail),
            ("what to do", reason.remedy),
        ]
        if reason.next_try_at:
            facts.append(("next try", moment(reason.next_try_at)))
    if state.progress:
        done = state.progress
        facts.append(
            (
                "progress",
                f"{done.step}: {done.files_done}/{done.files_total} files, {human_bytes(done.bytes_done)} of "
                f"{human_bytes(done.bytes_total)}, {done.units_done}/{done.units_total} units",
            )
        )
    if state.result:
        facts.append(
            ("in OMERO", f"{state.result.image_count} images, filesets {list(state.result.fileset_ids)}")
        )
    if state.release_not_before:
        facts.append(("release", f"not before {moment(state.release_not_before)}"))
    if state.proof:
        facts.append(("receipts", ", ".join(f"{k} {v}" for k, v in state.proof.model_dump().items() if v)))
    facts += [("left out", path) for path in state.left_out]
    facts.append(("commands", ", ".join(state.allowed_commands) or "-"))
    return [(name, value) for name, value in facts if value not in (None, "")]


@order_app.command("log")
@told
def log(order_id: OrderId, site: SiteOption) -> None:
    """What happened when, and where the output of rsync and omero is."""
    config = load_site(site)
    with open_store(config).read() as session:
        order = find(session, order_id)
        events = session.scalars(
            select(OrderEvent).where(OrderEvent.order_id == order.id).order_by(OrderEvent.id)
        ).all()
    for event in events:
        where = f"{event.stage}/{event.condition}"
        say(plain(f"{moment(event.at)}  {where:<22}  attempt {event.attempt}  {event.who}: {event.text}"))
        if event.reason:
            say(plain(f"{'':21}[{event.reason.get('code')}] {event.reason.get('detail', '')}"))
    outputs = output_files(config, order.id)
    if outputs:
        say("\nOutput of the programs that were run:")
        for path in outputs:
            say(f"  {path}")


def output_files(site: SiteConfig, order_id: str) -> list[Path]:
    """Kept output of an order's attempts, oldest first."""
    folder = site.state_dir / "orders" / order_id
    return sorted(folder.glob("*.log"), key=lambda path: (path.stat().st_mtime, path.name))


def _give(site: Path, order_id: str, kind: CommandKind, note: str) -> None:
    store: Store = open_store(load_site(site))
    with store.read() as session:
        found = find(session, order_id)
    request = CommandRequest(id=uuid.uuid4(), kind=kind, note=note)
    result = commands.give(store, UUID(found.id), request, staff(), utcnow())
    say(plain(f"{found.id}: {result.detail}"))


NoteOption = Annotated[str, typer.Option(help="Why; kept in the order's history.")]


@order_app.command("retry")
@told
def retry(order_id: OrderId, site: SiteOption, note: NoteOption = "") -> None:
    """Try an order that waits or needs somebody again, now."""
    _give(site, order_id, CommandKind.RETRY, note)


@order_app.command("cancel")
@told
def cancel(order_id: OrderId, site: SiteOption, note: NoteOption = "") -> None:
    """Cancel an order; possible until its import starts."""
    _give(site, order_id, CommandKind.CANCEL, note)


@order_app.command("discard")
@told
def discard(
    order_id: OrderId, site: SiteOption, note: Annotated[str, typer.Option(help="Why; it is audited.")]
) -> None:
    """Give an order up for good, named and audited. Nothing is deleted by this."""
    _give(site, order_id, CommandKind.DISCARD, note)
