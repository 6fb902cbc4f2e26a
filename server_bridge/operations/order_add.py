"""`ferry-bridge order add` and `order add-many`: orders that the bridge itself seals.

For data that no workstation watches: what lay on a share before there was a bridge, or was brought there by
hand. Everything is checked before anything is ordered; a file of many lines is ordered as a whole or, asked
for, without its bad lines. Repeating it is harmless: each line makes the same order again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID, uuid4

import typer

from server_bridge.config import SiteConfig, load_site
from server_bridge.context import Context, build_context
from server_bridge.contract import OrderIntent, Person
from server_bridge.errors import BadRequest, FerryError
from server_bridge.human import plain
from server_bridge.operations import wishes
from server_bridge.operations.order_commands import staff
from server_bridge.operations.terminal import JsonOption, SiteOption, say, say_json, table, told
from server_bridge.operations.wishes import Wish
from server_bridge.orders import intake
from server_bridge.orders.models import Order, utcnow

if TYPE_CHECKING:
    from server_bridge.api.directory import Directory


@dataclass(frozen=True, slots=True)
class Planned:
    """What would become of one line."""

    number: int
    wish: Wish | None
    order_id: UUID | None = None
    intent: OrderIntent | None = None
    known: str = ""
    """The stage of the order that this line made earlier."""
    problem: FerryError | None = None

    @property
    def said(self) -> str:
        """The line's result in one word."""
        return "bad" if self.problem else "known" if self.known else "new"


class Planner:
    """Checks lines against OMERO and the orders; asks OMERO each question once. Writes nothing."""

    def __init__(self, context: Context, directory: Directory) -> None:
        self._context = context
        self._directory = directory
        self._people: dict[str, Person | FerryError] = {}
        self._targets: dict[tuple[str, str], FerryError | None] = {}

    def plan(self, lines: Sequence[tuple[int, Wish | BadRequest]]) -> list[Planned]:
        """What would become of each line.

        Raises:
            Unavailable: where OMERO does not answer: then nothing is known of any line.
        """
        twice = wishes.overlapping(
            (number, wish.share, wish.path) for number, wish in lines if isinstance(wish, Wish)
        )
        return [self._plan(number, wish, twice.get(number)) for number, wish in lines]

    def _plan(self, number: int, wish: Wish | BadRequest, other_line: int | None) -> Planned:
        if isinstance(wish, BadRequest):
            return Planned(number, None, problem=wish)
        try:
            order_id = wishes.order_id_of(wish)
            known = self._known(order_id, wish)
            if known is not None:
                return Planned(number, wish, order_id, known=known)
            if other_line is not None:
                raise wishes.bad_wish(f"Line {other_line} orders the same place, one above it or one in it.")
            intent = wishes.intent_of(wish, self._person(wish.person))
            self._require_target(intent)
            with self._context.store.read() as session:
                intake.admit(session, self._context.site, order_id, intent, staff(), utcnow())
        except FerryError as error:
            if error.status >= 500:
                raise
            return Planned(number, wish, problem=error)
        return Planned(number, wish, order_id, intent)

    def _known(self, order_id: UUID, wish: Wish) -> str | None:
        with self._context.store.read() as session:
            order = session.get(Order, str(order_id))
            if order is None:
                return None
            if (order.share, order.path) != (wish.share, wish.path.rstrip("/")):
                raise wishes.bad_wish(f"Order {order_id} is there, for {order.share}:{order.path}.")
            return order.stage

    def _person(self, username: str) -> Person:
        from server_bridge.api.directory import require_person

        if username not in self._people:
            try:
                self._people[username] = require_person(self._directory, username)
            except BadRequest as error:
                self._people[username] = error
        found = self._people[username]
        if isinstance(found, FerryError):
            raise found
        return found

    def _require_target(self, intent: OrderIntent) -> None:
        from server_bridge.api.directory import require_target

        place = intent.target.model_copy(update={"tags": (), "key_values": (), "description": ""})
        key = (intent.owner, place.model_dump_json())
        if key not in self._targets:
            try:
                require_target(self._directory, intent.owner, intent.target)
                self._targets[key] = None
            except BadRequest as error:
                self._targets[key] = error
        if (refused := self._targets[key]) is not None:
            raise refused


def _planner(config: SiteConfig) -> tuple[Context, Planner]:
    from server_bridge.api.omero_directory import OmeroDirectory

    context = build_context(config)
    return context, Planner(context, OmeroDirectory(context.omero))


def _order(context: Context, planned: Planned) -> Planned:
    """Write one line's order; another order may have taken its place a moment ago."""
    assert planned.order_id is not None
    assert planned.intent is not None
    try:
        intake.accept(context.store, context.site, planned.order_id, planned.intent, staff(), utcnow())
    except FerryError as error:
        return Planned(planned.number, planned.wish, problem=error)
    return planned


@told
def add(
    site: SiteOption,
    share: Annotated[str, typer.Option(help="The share's id.", show_default=False)],
    path: Annotated[str, typer.Option(help="File or folder below the share's top.", show_default=False)],
    person: Annotated[str, typer.Option(help="OMERO user name of whose data it is.", show_default=False)],
    group: Annotated[str, typer.Option(help="Name of her OMERO group.", show_default=False)],
    dataset: Annotated[str, typer.Option(help="Id or name; a name that is new is made.")] = "",
    project: Annotated[str, typer.Option(help="Id or name of the dataset's project.")] = "",
    screen: Annotated[str, typer.Option(help="Id or name, for plates.")] = "",
    tags: Annotated[str, typer.Option(help="Tags, separated by semicolons.")] = "",
    description: Annotated[str, typer.Option(help="Description of the images.")] = "",
    label: Annotated[str, typer.Option(help="What people read in lists; default: the path.")] = "",
    import_again: Annotated[
        bool, typer.Option("--import-again", help="Although these files are in OMERO already.")
    ] = False,
    order_id: Annotated[
        str, typer.Option("--id", help="UUID of the order; repeating it changes nothing.")
    ] = "",
) -> None:
    """Order data that no workstation seals: the bridge waits until two listings are equal."""
    context, planner = _planner(load_site(site))
    wish = Wish(
        share=share,
        path=path,
        person=person,
        group=group,
        dataset=dataset,
        project=project,
        screen=screen,
        tags=tags,
        label=label,
        description=description,
        import_again="yes" if import_again else "",
        id=order_id or str(uuid4()),
    )
    (planned,) = planner.plan([(1, wish)])
    if planned.problem is None and not planned.known:
        planned = _order(context, planned)
    if planned.problem is not None:
        raise planned.problem
    say(f"{planned.order_id}: " + (f"is there already ({planned.known})" if planned.known else "ordered"))


@told
def add_many(
    site: SiteOption,
    file: Annotated[
        Path, typer.Argument(help="CSV, UTF-8; its first line names the columns.", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen to each line.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Order the good lines; without it, all lines or none.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Order one place per line: share, path, person, group, dataset or screen, project, tags (a;b), label,
    description, import_again (yes), id. The same file again makes no second order."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise wishes.bad_wish(f"{file} is not UTF-8.", "Save the file as CSV, UTF-8.") from error
    lines = wishes.read_wishes(text)
    context, planner = _planner(load_site(site))
    planned = planner.plan(lines)
    bad = sum(one.problem is not None for one in planned)
    ordering = not dry_run and (skip_bad or not bad)
    if ordering:
        planned = [_order(context, one) if one.said == "new" else one for one in planned]
    _tell(planned, ordered=ordering, as_json=as_json)
    if any(one.problem is not None for one in planned):
        raise typer.Exit(1)


def _tell(planned: Sequence[Planned], *, ordered: bool, as_json: bool) -> None:
    words = {"new": "ordered" if ordered else "would be ordered", "known": "is there", "bad": "bad"}
    if as_json:
        say_json([_as_json(one, words[one.said]) for one in planned])
        return
    if planned:
        say(table(["LINE", "RESULT", "ORDER", "SHARE PATH", "WHY"], [_row(one, words) for one in planned]))
    counts = {said: sum(one.said == said for one in planned) for said in words}
    say(f"{counts['new']} {words['new']}, {counts['known']} there already, {counts['bad']} bad.")
    if counts["bad"] and not ordered:
        say("Nothing was ordered: correct the bad lines, or order the others with --skip-bad.")


def _row(one: Planned, words: dict[str, str]) -> list[object]:
    place = f"{one.wish.share}:{one.wish.path}" if one.wish else "-"
    why = one.known
    if one.problem is not None:
        why = plain(f"{one.problem.title}: {one.problem.detail} [{one.problem.code}]")
    return [one.number, words[one.said], str(one.order_id or "-")[:8], place, why]


def _as_json(one: Planned, result: str) -> dict[str, object]:
    return {
        "line": one.number,
        "result": result,
        "order": str(one.order_id) if one.order_id else None,
        "stage": one.known or None,
        "share": one.wish.share if one.wish else None,
        "path": one.wish.path if one.wish else None,
        "problem": one.problem.problem().model_dump(mode="json") if one.problem else None,
    }
