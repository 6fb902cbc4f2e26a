"""From a syntax tree to one SQL statement over the tables of the model.

Paths through references become joins (implicit ones are inner joins, as with Hibernate); every entity that
a query names is limited to the rows the caller may see. ``join fetch`` decides what comes loaded with the
objects, and is a real join too: an inner one leaves out what has nothing to fetch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server_bridge.sandbox.hql import nodes as ast
from server_bridge.sandbox.hql.expressions import Expressions, Typed
from server_bridge.sandbox.hql.nodes import HqlError
from server_bridge.sandbox.model import DETAILS_REFS, Entity, entity
from server_bridge.sandbox.security import Caller

Tree = dict[str, Any]


@dataclass
class Source:
    """One alias of a query: the SQL alias and the entity behind it (None for name/value pairs)."""

    sql: str
    entity: Entity | None
    tree: Tree = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """A translated query: SQL with its parameters, and for each column what it holds."""

    sql: str
    parameters: list[Any]
    columns: list[Typed]
    trees: list[Tree]
    fetches_collection: bool


class Translator(Expressions):
    """One scope (a query or a subquery).

    Subqueries get a child scope that sees the aliases of its parents.
    """

    def __init__(
        self,
        caller: Caller,
        values: Mapping[str, Any],
        parent: Translator | None = None,
        counter: list[int] | None = None,
    ) -> None:
        self.caller = caller
        self.values = values
        self.parent = parent
        self.counter = counter if counter is not None else [0]
        self.sources: dict[str, Source] = {}
        self.from_sql: list[str] = []
        self.from_parameters: list[Any] = []
        self.conditions: list[str] = []
        self.implicit: dict[tuple[str, str], str] = {}
        self.parameters: list[Any] = self.from_parameters
        self.fetches_collection = False

    # -- the statement

    def translate(self, query: ast.Query, limit: int | None = None, offset: int | None = None) -> Statement:
        """The SQL of a whole query; raises HqlError for what is not understood."""
        for source in query.sources:
            self.add_source(source)
        items = query.items or self.default_items(query)
        # The parameters of the select list come first in the text, so they are gathered apart.
        selected, columns, head = self.gathered(lambda: [self.column(item) for item in items])
        where, _, tail = self.gathered(lambda: self.conditions_of(query))
        group_by, _, grouped = self.gathered(lambda: [self.expression(item).sql for item in query.group_by])
        having, _, having_values = self.gathered(
            lambda: [self.expression(query.having).sql] if query.having is not None else []
        )
        order_by, _, ordered = self.gathered(
            lambda: [f"{self.ordering(item)}{' DESC' if down else ''}" for item, down in query.order_by]
        )
        head_sql = f"SELECT {'DISTINCT ' if query.distinct else ''}{', '.join(selected)}"
        sql = f"{head_sql} FROM {' '.join(self.from_sql)}"
        everything = [*self.conditions, *where]
        if everything:
            sql += " WHERE " + " AND ".join(everything)
        if group_by:
            sql += " GROUP BY " + ", ".join(group_by)
        if having:
            sql += " HAVING " + having[0]
        if order_by:
            sql += " ORDER BY " + ", ".join(order_by)
        if limit is not None or offset:
            sql += f" LIMIT {-1 if limit is None else int(limit)} OFFSET {int(offset or 0)}"
        parameters = [*head, *self.from_parameters, *tail, *grouped, *having_values, *ordered]
        trees = [self.tree_of(item) for item in items]
        return Statement(sql, parameters, columns, trees, self.fetches_collection)

    def gathered(self, build: Any) -> tuple[list[str], list[Typed], list[Any]]:
        before, self.parameters = self.parameters, []
        built = build()
        values, self.parameters = self.parameters, before
        if built and isinstance(built[0], Typed):
            return [item.sql for item in built], built, values
        return built, [], values

    def default_items(self, query: ast.Query) -> tuple[ast.Node, ...]:
        ranges = [source for source in query.sources if isinstance(source, ast.Range)]
        if len(ranges) == 1:
            return (ast.Path((ranges[0].alias,)),)
        raise HqlError("a query over several entities needs a select clause")

    def conditions_of(self, query: ast.Query) -> list[str]:
        return [self.expression(query.where).sql] if query.where is not None else []

    def column(self, item: ast.Node) -> Typed:
        return self.expression(item)

    def ordering(self, item: ast.Node) -> str:
        return self.expression(item).sql

    def tree_of(self, item: ast.Node) -> Tree:
        if isinstance(item, ast.Path) and len(item.parts) == 1 and item.parts[0] in self.sources:
            return self.sources[item.parts[0]].tree
        return {}

    # -- sources

    def fresh(self) -> str:
        self.counter[0] += 1
        return f"t{self.counter[0]}"

    def add_source(self, source: ast.Range | ast.Join) -> None:
        if source.alias in self.sources:
            raise HqlError(f"duplicate alias: {source.alias}")
        if isinstance(source, ast.Range):
            self.add_range(source)
        else:
            self.add_join(source)

    def add_range(self, source: ast.Range) -> None:
        found = entity(source.entity)
        if found is None:
            raise HqlError(f"{source.entity} is not mapped")
        alias = self.fresh()
        self.from_sql.append(f'{", " if self.from_sql else ""}"{found.table}" AS {alias}')
        self.sources[source.alias] = Source(alias, found)
        self.conditions += self.limits(found, alias)

    def limits(self, of: Entity, alias: str) -> list[str]:
        conditions = []
        if of.polymorphic:
            kinds = ", ".join(f"'{kind}'" for kind in of.kinds)
            conditions.append(f"{alias}.kind IN ({kinds})")
        if of.name == "Session" and "ReadSession" not in self.caller.privileges:
            conditions.append(f"{alias}.owner = {self.caller.user_id}")
        if of.details:
            visible = self.caller.visible_sql(alias)
            if visible != "1":
                conditions.append(visible)
        return conditions

    def add_join(self, source: ast.Join) -> None:
        owner, steps = self.start(source.path)
        if not steps:
            raise HqlError(f"cannot join {source.path}")
        *before, last = steps
        sql, at = owner.sql, owner.entity
        before_path: list[str] = []
        for step in before:
            if at is None:
                raise HqlError(f"could not resolve property: {step} of {source.path}")
            if step == "details":
                before_path.append(step)
                continue
            name = f"details.{step}" if before_path[-1:] == ["details"] else step
            sql, at = self.hop(sql, at, name)
            before_path.append(step)
        name = f"details.{last}" if before_path[-1:] == ["details"] else last
        joined = self.join_to(sql, at, name, source)
        self.sources[source.alias] = joined
        if source.fetch:
            self.fetch(owner, [*before_path, last], joined)

    def fetch(self, owner: Source, path: list[str], joined: Source) -> None:
        tree = owner.tree
        merged: list[str] = []
        for step in path:
            if merged and merged[-1] == "details":
                merged[-1] = f"details.{step}"
            else:
                merged.append(step)
        for step in merged[:-1]:
            tree = tree.setdefault(step, {})
        tree[merged[-1]] = joined.tree

    def join_to(self, sql: str, at: Entity | None, name: str, source: ast.Join) -> Source:
        if at is None:
            raise HqlError(f"could not resolve property: {name} of {source.path}")
        alias = self.fresh()
        if name in at.maps:
            self.fetches_collection |= source.fetch
            on = [
                f"{alias}.parent = {sql}.id",
                f"{alias}.entity = '{at.table}'",
                f"{alias}.property = '{name}'",
            ]
            target: Entity | None = None
            table = "named_value"
        elif name in at.manies:
            many = at.manies[name]
            target = entity(many.target)
            assert target is not None
            self.fetches_collection |= source.fetch
            table = target.table
            on = [f'{alias}."{many.via}" = {sql}.id', *self.limits(target, alias)]
        else:
            column, target = self.reference(sql, at, name)
            table = target.table
            on = [f"{alias}.id = {column}", *self.limits(target, alias)]
        found = Source(alias, target)
        if source.condition is not None:
            self.sources[source.alias] = found
            on.append(self.expression(source.condition).sql)
            del self.sources[source.alias]
        self.from_sql.append(
            f'{"LEFT JOIN" if source.left else "JOIN"} "{table}" AS {alias} ON {" AND ".join(on)}'
        )
        return found

    def reference(self, sql: str, at: Entity, name: str) -> tuple[str, Entity]:
        """(the column that holds the id, the entity it points to)."""
        if name.startswith("details."):
            detail = DETAILS_REFS.get(name.partition(".")[2])
            if detail is None or not at.details:
                raise HqlError(f"could not resolve property: {name} of: {at.name}")
            column, target_name = detail
        elif name in at.refs:
            column, target_name = f'"{name}"', at.refs[name]
        else:
            raise HqlError(f"could not resolve property: {name} of: {at.name}")
        target = entity(target_name)
        assert target is not None
        return f"{sql}.{column}", target

    def hop(self, sql: str, at: Entity, name: str) -> tuple[str, Entity]:
        """Follow a reference inside a path: an inner join, made once for each place it starts from."""
        if name in at.manies or name in at.maps:
            raise HqlError(f"illegal attempt to dereference collection [{at.name}.{name}]")
        column, target = self.reference(sql, at, name)
        known = self.implicit.get((sql, name))
        if known is None:
            known = self.fresh()
            self.implicit[(sql, name)] = known
            self.from_sql.append(f'JOIN "{target.table}" AS {known} ON {known}.id = {column}')
        return known, target

    # -- looking up names

    def start(self, path: ast.Path) -> tuple[Source, list[str]]:
        """(the source a path starts from, the steps that remain); outer scopes are searched too."""
        scope: Translator | None = self
        while scope is not None:
            if path.parts[0] in scope.sources:
                return scope.sources[path.parts[0]], list(path.parts[1:])
            scope = scope.parent
        # A query without an alias may use bare property names.
        for source in self.sources.values():
            of = source.entity
            if of is not None and (
                path.parts[0] in of.fields
                or path.parts[0] in of.refs
                or path.parts[0] in of.manies
                or path.parts[0] in ("id", "details")
            ):
                return source, list(path.parts)
        raise HqlError(f"could not resolve: {path}")

    def subquery(self, query: ast.Query) -> Statement:
        child = Translator(self.caller, self.values, self, self.counter)
        return child.translate(query)
