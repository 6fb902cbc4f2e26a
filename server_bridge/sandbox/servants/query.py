"""IQuery: HQL and the simple look-ups."""

from __future__ import annotations

from typing import Any

import omero
from omero import rtypes

from server_bridge.sandbox.hql.nodes import HqlError
from server_bridge.sandbox.hql.parser import parse
from server_bridge.sandbox.hql.translate import Statement, Translator
from server_bridge.sandbox.model import Entity, entity
from server_bridge.sandbox.objects import load, wrap
from server_bridge.sandbox.servants.core import Call
from server_bridge.sandbox.sessions import usage


def plain(value: Any) -> Any:
    """An RType as a Python value; an object stands for its id."""
    if value is None:
        return None
    if isinstance(value, omero.RCollection):
        return [plain(item) for item in value.val or []]
    if isinstance(value, omero.RObject):
        value = value.val
    if hasattr(value, "getId") and value.getId() is not None:
        return value.getId().val
    return value.val if hasattr(value, "val") else value


def parameters(given: Any) -> tuple[dict[str, Any], int | None, int | None]:
    """(named values, limit, offset) of an omero.sys.Parameters, which may be null."""
    values = {name: plain(value) for name, value in ((given and given.map) or {}).items()}
    page = given.theFilter if given else None
    limit = plain(page.limit) if page else None
    offset = plain(page.offset) if page else None
    return values, limit, offset


def _translate(call: Call, hql: str, given: Any) -> tuple[Statement, int | None, int | None]:
    values, limit, offset = parameters(given)
    try:
        tree = parse(hql)
        first = Translator(call.caller, values).translate(tree)
        if first.fetches_collection or (limit is None and not offset):
            return first, limit, offset
        # Without fetched collections a row is a result, so the database does the paging.
        return Translator(call.caller, values).translate(tree, limit, offset), None, None
    except HqlError as error:
        raise omero.QueryException(
            None, "org.hibernate.hql.ast.QuerySyntaxException", f"{error} [{hql}]"
        ) from error


def _rows(call: Call, statement: Statement, hql: str) -> list[Any]:
    try:
        return call.store.rows(statement.sql, statement.parameters)
    except Exception as error:
        # The grammar lets things through that the database does not take, as in OMERO.
        raise omero.QueryException(
            None, "org.hibernate.exception.SQLGrammarException", f"could not execute query [{hql}]: {error}"
        ) from error


def find_objects(call: Call, hql: str, given: Any) -> list[Any]:
    """The objects a query selects.

    A fetched collection does not repeat its owner: omero-py's own queries rely on that without saying
    ``distinct`` (inferred from them, not seen in the server). Repeats that come from plain joins stay, as
    with Hibernate.
    """
    statement, limit, offset = _translate(call, hql, given)
    column = statement.columns[0]
    if len(statement.columns) != 1 or column.entity is None:
        raise usage(
            f"Query named:\n\t{hql}\nhas returned an incompatible type: it does not select one object"
        )
    ids = [row[0] for row in _rows(call, statement, hql) if row[0] is not None]
    if statement.fetches_collection:
        ids = list(dict.fromkeys(ids))
    if limit is not None or offset:
        start = offset or 0
        ids = ids[start : None if limit is None else start + limit]
    return load(call.store, call.caller, column.entity, ids, statement.trees[0])


class Query:
    """omero.api.IQuery."""

    def findAllByQuery(self, call: Call, hql: str, given: Any) -> list[Any]:
        return find_objects(call, hql, given)

    def findByQuery(self, call: Call, hql: str, given: Any) -> Any:
        found = find_objects(call, hql, given)
        unique = {one.id.val for one in found}
        if len(unique) > 1:
            raise usage(f"Query named:\n\t{hql}\nhas returned more than one result")
        return found[0] if found else None

    def projection(self, call: Call, hql: str, given: Any) -> list[list[Any]]:
        statement, limit, offset = _translate(call, hql, given)
        rows = _rows(call, statement, hql)
        if limit is not None or offset:
            start = offset or 0
            rows = rows[start : None if limit is None else start + limit]
        loaded = self._loaded(call, statement, rows)
        result = []
        for row in rows:
            values = []
            for place, column in enumerate(statement.columns):
                value = row[place]
                if column.entity is not None:
                    values.append(rtypes.robject(loaded[place][value]) if value is not None else None)
                elif column.type == "length":
                    values.append(rtypes.rdouble(value) if value is not None else None)
                else:
                    values.append(wrap(column.type, value))
            result.append(values)
        return result

    @staticmethod
    def _loaded(call: Call, statement: Statement, rows: list[Any]) -> dict[int, dict[int, Any]]:
        loaded: dict[int, dict[int, Any]] = {}
        for place, column in enumerate(statement.columns):
            if column.entity is not None:
                ids = list(dict.fromkeys(row[place] for row in rows if row[place] is not None))
                objects = load(call.store, call.caller, column.entity, ids, statement.trees[place])
                loaded[place] = dict(zip(ids, objects, strict=True))
        return loaded

    def get(self, call: Call, klass: str, row_id: int) -> Any:
        found = self.find(call, klass, row_id)
        if found is None:
            raise omero.ValidationException(
                None,
                "ome.conditions.ValidationException",
                f"The requested object ({_entity(klass).name}, {row_id}) is not available.",
            )
        return found

    def find(self, call: Call, klass: str, row_id: int) -> Any:
        of = _entity(klass)
        statement = Translator(call.caller, {"id": row_id}).translate(
            parse(f"select x from {of.name} x where x.id = :id")
        )
        rows = call.store.rows(statement.sql, statement.parameters)
        return load(call.store, call.caller, of, [row_id])[0] if rows else None

    def findAll(self, call: Call, klass: str, page: Any) -> list[Any]:
        given = omero.sys.ParametersI()
        given.theFilter = page
        return find_objects(call, f"select x from {_entity(klass).name} x order by x.id", given)

    def findByString(self, call: Call, klass: str, field: str, value: str) -> Any:
        found = self.findAllByString(call, klass, field, value, True, None)
        if len(found) > 1:
            raise usage(f"More than one {klass} with {field}={value}")
        return found[0] if found else None

    def findAllByString(
        self, call: Call, klass: str, field: str, value: str, case: bool, page: Any
    ) -> list[Any]:
        given = omero.sys.ParametersI()
        given.addString("value", value if case else value.lower())
        given.theFilter = page
        left = f"x.{field}" if case else f"lower(x.{field})"
        return find_objects(call, f"select x from {_entity(klass).name} x where {left} like :value", given)

    def refresh(self, call: Call, given: Any) -> Any:
        return self.get(call, type(given).__name__, given.id.val)


def _entity(klass: str) -> Entity:
    found = entity(klass)
    if found is None:
        raise usage(f"{klass} is not mapped (or unknown to the sandbox)")
    return found
