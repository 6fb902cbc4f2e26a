"""What staff wish for, as they write it: one line of a CSV file (or one command line) per order.

A line is checked for what it says before anything is asked of OMERO or of the orders, so that a file of a
thousand lines tells all its mistakes at once. The order's id comes from the line itself: running the same
file again finds the same orders.
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from uuid import UUID

from server_bridge.contract import AcquisitionKind, OrderIntent, Person, Target, TargetKind
from server_bridge.errors import BadRequest
from server_bridge.orders.authority import fold

ID_SPACE = UUID("5f0c9d3e-6d1b-5c55-9d0a-3b8a1f6f7e21")
REQUIRED = ("share", "path", "person", "group")
_YES, _NO = frozenset({"yes", "true", "1"}), frozenset({"", "no", "false", "0"})


@dataclass(frozen=True, slots=True)
class Wish:
    """One order as it was written; empty: not said."""

    share: str
    path: str
    person: str
    group: str
    dataset: str = ""
    project: str = ""
    screen: str = ""
    tags: str = ""
    label: str = ""
    description: str = ""
    import_again: str = ""
    id: str = ""


COLUMNS = tuple(field.name for field in fields(Wish))


def bad_wish(
    detail: str, remedy: str = "Correct the line; see `ferry-bridge order add-many --help`."
) -> BadRequest:
    """The refusal of a line for what it says."""
    return BadRequest(detail, code="wish_not_valid", title="This line orders nothing", remedy=remedy)


def read_wishes(text: str) -> list[tuple[int, Wish | BadRequest]]:
    """The lines of a CSV file by their numbers; a line that cannot be read is its refusal.

    Raises:
        BadRequest: where the header does not name columns of ours, or one that is needed is missing.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [str(name).strip() for name in reader.fieldnames or ()]
        unknown = [name for name in header if name not in COLUMNS]
        missing = [name for name in REQUIRED if name not in header]
        if unknown or missing or len(set(header)) != len(header):
            named = (
                f"unknown: {', '.join(map(repr, unknown))}" if unknown else f"missing: {', '.join(missing)}"
            )
            raise bad_wish(
                f"The first line must name the columns, each once; {named}.",
                f"Columns are {', '.join(COLUMNS)}; needed are {', '.join(REQUIRED)}.",
            )
        reader.fieldnames = header
        return list(_rows(reader))
    except csv.Error as error:
        raise bad_wish(
            f"Line {reader.line_num} is no CSV: {error}.", "Save the file as CSV, UTF-8."
        ) from error


def _rows(reader: csv.DictReader[str]) -> Iterator[tuple[int, Wish | BadRequest]]:
    for row in reader:
        if None in row or None in row.values():
            yield reader.line_num, bad_wish("It has not as many cells as the first line.")
            continue
        cells = {name: value.strip() for name, value in row.items()}
        if not any(cells.values()):
            continue
        yield reader.line_num, Wish(**cells)


def order_id_of(wish: Wish) -> UUID:
    """The order's id: the one that is given, or one made of everything the line says.

    Raises:
        BadRequest: where the given one is no UUID.
    """
    if wish.id:
        try:
            return UUID(wish.id)
        except ValueError as error:
            raise bad_wish(f"{wish.id!r} is no UUID.") from error
    return uuid.uuid5(ID_SPACE, json.dumps(asdict(wish), sort_keys=True))


def intent_of(wish: Wish, person: Person) -> OrderIntent:
    """The order's intent, for a person whom OMERO knows.

    Raises:
        BadRequest: ``wish_not_valid`` for what the line says, ``not_a_member`` for a group that is not hers.
    """
    group = next((one for one in person.groups if one.name == wish.group), None)
    if group is None:
        hers = ", ".join(one.name for one in person.groups) or "none"
        raise BadRequest(
            f"{person.username} is not a member of {wish.group!r}; groups: {hers}.",
            code="not_a_member",
            title="Not a group of this person",
            remedy="Choose another group, or ask the OMERO administrator for the membership.",
        )
    if bool(wish.dataset) == bool(wish.screen):
        raise bad_wish("It names neither a dataset nor a screen, or both.")
    if wish.screen and wish.project:
        raise bad_wish("A screen stands in no project.")
    again = wish.import_again.lower()
    if again not in _YES | _NO:
        raise bad_wish(f"import_again: {wish.import_again!r} is neither yes nor no.")
    container_id, container_name = _place(wish.dataset or wish.screen)
    project_id, project_name = _place(wish.project)
    try:
        target = Target(
            group_id=group.id,
            group_name=group.name,
            kind=TargetKind.SCREEN if wish.screen else TargetKind.DATASET,
            container_id=container_id,
            container_name=container_name,
            project_id=project_id,
            project_name=project_name,
            tags=tuple(tag.strip() for tag in wish.tags.split(";") if tag.strip()),
            description=wish.description,
        )
        return OrderIntent(
            share=wish.share,
            path=wish.path.rstrip("/") or wish.path,
            # Nobody here sees the share: the bridge's listing says whether it is a file.
            kind=AcquisitionKind.FOLDER,
            target=target,
            label=wish.label,
            owner=person.username,
            import_again=again in _YES,
            seal="bridge",
        )
    except ValueError as error:  # pydantic's: which field, and why
        raise bad_wish(_first_line(error)) from error


def _place(text: str) -> tuple[int | None, str]:
    """Id or name of a container: digits are an id, ``name:42`` is a name of digits."""
    if text.isascii() and text.isdigit():
        return int(text), ""
    return None, text.removeprefix("name:").strip()


def _first_line(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    first = details()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'target'}: {first['msg']}."


def overlapping(wishes: Iterable[tuple[int, str, str]]) -> dict[int, int]:
    """Line → the earlier line (number, share, path) that orders the same place, one above or one in it."""
    at: dict[tuple[str, str], int] = {}
    above: dict[tuple[str, str], int] = {}
    found: dict[int, int] = {}
    for number, share, path in wishes:
        folded = fold(path.rstrip("/"))
        parts = folded.split("/")
        parents = [(share, "/".join(parts[:count])) for count in range(1, len(parts))]
        clash = at.get((share, folded)) or above.get((share, folded))
        clash = clash or next((at[one] for one in parents if one in at), None)
        if clash is not None:
            found[number] = clash
            continue
        at[share, folded] = number
        for parent in parents:
            above.setdefault(parent, number)
    return found
