"""Expressions of a query as SQL, each with the type that its value has in OMERO."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server_bridge.sandbox.hql import nodes as ast
from server_bridge.sandbox.hql.nodes import HqlError
from server_bridge.sandbox.model import Entity, entity

if TYPE_CHECKING:
    from server_bridge.sandbox.hql.translate import Source, Statement

SCALAR_FUNCTIONS = {
    "lower": ("str", 1, 1),
    "upper": ("str", 1, 1),
    "trim": ("str", 1, 1),
    "length": ("int", 1, 1),
    "abs": ("double", 1, 1),
    "coalesce": ("", 1, 99),
    "nullif": ("", 2, 2),
    "concat": ("str", 1, 99),
    "substring": ("str", 2, 3),
    "str": ("str", 1, 1),
    "mod": ("long", 2, 2),
}


@dataclass(frozen=True)
class Typed:
    """A piece of SQL, the type of its value, and the entity if the value is the id of one."""

    sql: str
    type: str
    entity: Entity | None = None


NUMBERS = frozenset({"int", "long", "double", "time", "entity"})


def comparable(left: Typed, right: Typed) -> None:
    """Refuse to compare text with numbers: SQLite would do it, PostgreSQL behind OMERO does not."""
    kinds = {left.type, right.type}
    if "str" in kinds and kinds & NUMBERS:
        raise HqlError(f"operator does not exist: {left.type} = {right.type}")


class Expressions:
    """The half of the translator that deals with values; names are looked up by the other half."""

    values: Mapping[str, Any]
    parameters: list[Any]

    @abstractmethod
    def start(self, path: ast.Path) -> tuple[Source, list[str]]: ...

    @abstractmethod
    def hop(self, sql: str, at: Entity, name: str) -> tuple[str, Entity]: ...

    @abstractmethod
    def reference(self, sql: str, at: Entity, name: str) -> tuple[str, Entity]: ...

    @abstractmethod
    def subquery(self, query: ast.Query) -> Statement: ...

    def expression(self, node: ast.Node) -> Typed:
        """The SQL of one expression; raises HqlError for what is not understood."""
        translate: dict[type, Callable[[Any], Typed]] = {
            ast.Path: self.path,
            ast.Param: self.param,
            ast.Literal: self.literal,
            ast.Call: self.call,
            ast.Binary: self.binary,
            ast.Unary: self.unary,
            ast.In: self.within,
            ast.Between: self.between,
            ast.IsNull: lambda n: Typed(
                f"{self.expression(n.value).sql} IS {'NOT ' if n.negated else ''}NULL", "bool"
            ),
            ast.IsEmpty: self.is_empty,
            ast.Exists: lambda n: Typed(f"EXISTS ({self.nested(n.query).sql})", "bool"),
            ast.Case: self.case,
            ast.Query: self.scalar_subquery,
        }
        found = translate.get(type(node))
        if found is None:
            raise HqlError("'*' is only known inside count(*)")
        return found(node)

    # -- values

    def path(self, node: ast.Path) -> Typed:
        if len(node.parts) == 1:
            try:
                source, steps = self.start(node)
            except HqlError:
                named = entity(node.parts[0])
                if named is not None:
                    return Typed(f"'{named.name}'", "str")
                raise
        else:
            source, steps = self.start(node)
        return self.walk(node, source.sql, source.entity, steps)

    def walk(self, node: ast.Path, sql: str, at: Entity | None, steps: list[str]) -> Typed:
        if at is None:
            if steps in (["name"], ["value"]):
                return Typed(f"{sql}.{steps[0]}", "str")
            raise HqlError(f"could not resolve property: {node}")
        while steps:
            name, *steps = steps
            if name == "details":
                if not steps:
                    raise HqlError(f"the sandbox cannot select {node}")
                name, *steps = f"details.{steps[0]}", *steps[1:]
            if name == "id":
                return Typed(f"{sql}.id", "long")
            if name == "class":
                return Typed(f"{sql}.kind" if at.polymorphic else f"'{at.name}'", "str")
            if name in at.fields:
                return self.scalar(node, sql, at, name, steps)
            if not steps:
                column, target = self.reference_or_refuse(node, sql, at, name)
                return Typed(column, "entity", target)
            if steps == ["id"]:
                return Typed(self.reference_or_refuse(node, sql, at, name)[0], "long")
            sql, at = self.hop(sql, at, name)
        return Typed(f"{sql}.id", "entity", at)

    def reference_or_refuse(self, node: ast.Path, sql: str, at: Entity, name: str) -> tuple[str, Entity]:
        if name in at.manies or name in at.maps:
            raise HqlError(f"the collection {node} cannot be used as a value")
        return self.reference(sql, at, name)

    def scalar(self, node: ast.Path, sql: str, at: Entity, name: str, steps: list[str]) -> Typed:
        kind = at.fields[name]
        column = f'{sql}."{name}"'
        if kind == "length" and steps == ["value"]:
            return Typed(column, "double")
        if kind == "length" and steps == ["unit"]:
            return Typed("'MICROMETER'", "str")
        if steps or kind == "length":
            raise HqlError(f"could not resolve property: {node} of: {at.name}")
        return Typed(column, kind)

    def param(self, node: ast.Param) -> Typed:
        value = self.values_of(node)
        if isinstance(value, list):
            raise HqlError(f"the list :{node.name} can only be used with 'in'")
        self.parameters.append(value)
        kinds: dict[type, str] = {bool: "bool", int: "long", float: "double"}
        return Typed("?", kinds.get(type(value), "str"))

    def values_of(self, node: ast.Param) -> Any:
        if node.name not in self.values:
            raise HqlError(f"Not all named parameters have been set: [{node.name}]")
        return self.values[node.name]

    def literal(self, node: ast.Literal) -> Typed:
        value = node.value
        if value is None:
            return Typed("NULL", "null")
        if isinstance(value, bool):
            return Typed("1" if value else "0", "bool")
        if isinstance(value, str):
            self.parameters.append(value)
            return Typed("?", "str")
        return Typed(repr(value), "int" if isinstance(value, int) else "double")

    # -- operators

    def binary(self, node: ast.Binary) -> Typed:
        left, right = self.expression(node.left), self.expression(node.right)
        if node.op in ("+", "-", "*", "/"):
            kind = "double" if "double" in (left.type, right.type) else "long"
            return Typed(f"({left.sql} {node.op} {right.sql})", kind)
        if node.op == "||":
            return Typed(f"({left.sql} || {right.sql})", "str")
        if node.op == "LIKE":
            # PostgreSQL's LIKE knows the backslash as escape character without being told.
            return Typed(f"({left.sql} LIKE {right.sql} ESCAPE '\\')", "bool")
        if node.op not in ("AND", "OR"):
            comparable(left, right)
        return Typed(f"({left.sql} {node.op} {right.sql})", "bool")

    def unary(self, node: ast.Unary) -> Typed:
        operand = self.expression(node.operand)
        return Typed(f"({node.op} {operand.sql})", "bool" if node.op == "NOT" else operand.type)

    def within(self, node: ast.In) -> Typed:
        value = self.expression(node.value)
        word = "NOT IN" if node.negated else "IN"
        if len(node.options) == 1 and isinstance(node.options[0], ast.Query):
            return Typed(f"({value.sql} {word} ({self.nested(node.options[0]).sql}))", "bool")
        if len(node.options) == 1 and isinstance(node.options[0], ast.Param):
            given = self.values_of(node.options[0])
            given = given if isinstance(given, list) else [given]
            if not given:
                # Hibernate makes "in ()" of it, which PostgreSQL refuses.
                raise HqlError(f"unexpected end of subtree: the list :{node.options[0].name} is empty")
            for one in given:
                comparable(value, Typed("?", "str" if isinstance(one, str) else "long"))
            self.parameters.append(json.dumps(given))
            return Typed(f"({value.sql} {word} (SELECT value FROM json_each(?)))", "bool")
        options = ", ".join(self.expression(option).sql for option in node.options)
        return Typed(f"({value.sql} {word} ({options}))", "bool")

    def between(self, node: ast.Between) -> Typed:
        value, low, high = (self.expression(part).sql for part in (node.value, node.low, node.high))
        return Typed(f"({value} {'NOT ' if node.negated else ''}BETWEEN {low} AND {high})", "bool")

    def case(self, node: ast.Case) -> Typed:
        parts, kind = [], "str"
        for condition, result in node.branches:
            when, then = self.expression(condition), self.expression(result)
            parts.append(f"WHEN {when.sql} THEN {then.sql}")
            kind = then.type
        if node.otherwise is not None:
            parts.append(f"ELSE {self.expression(node.otherwise).sql}")
        return Typed(f"(CASE {' '.join(parts)} END)", kind)

    # -- subqueries and functions

    def nested(self, query: ast.Query) -> Statement:
        statement = self.subquery(query)
        self.parameters += statement.parameters
        return statement

    def scalar_subquery(self, node: ast.Query) -> Typed:
        statement = self.nested(node)
        if len(statement.columns) != 1:
            raise HqlError("a subquery used as a value selects exactly one thing")
        return Typed(f"({statement.sql})", statement.columns[0].type, statement.columns[0].entity)

    def collection(self, node: ast.Node) -> str:
        """The FROM and WHERE of the rows in a collection, for size() and 'is empty'."""
        if not isinstance(node, ast.Path) or len(node.parts) < 2:
            raise HqlError("size() and 'is empty' need a collection")
        owner = self.path(ast.Path(node.parts[:-1]))
        at = owner.entity
        name = node.parts[-1]
        if at is None or name not in at.manies:
            raise HqlError(f"could not resolve collection: {node}")
        many = at.manies[name]
        target = entity(many.target)
        assert target is not None
        return f'FROM "{target.table}" AS counted WHERE counted."{many.via}" = {owner.sql}'

    def is_empty(self, node: ast.IsEmpty) -> Typed:
        return Typed(
            f"{'' if node.negated else 'NOT '}EXISTS (SELECT 1 {self.collection(node.value)})", "bool"
        )

    def call(self, node: ast.Call) -> Typed:
        name = node.name
        if name == "count":
            return self.count(node)
        if name == "size" and len(node.args) == 1:
            return Typed(f"(SELECT count(*) {self.collection(node.args[0])})", "int")
        if name == "index" and len(node.args) == 1:
            of = self.expression(node.args[0])
            if of.entity is None or not of.entity.ordered or not of.sql.endswith(".id"):
                raise HqlError("index() needs the alias of an ordered collection")
            return Typed(of.sql.removesuffix(".id") + ".position", "int")
        args = [self.expression(arg) for arg in node.args]
        if name in ("sum", "max", "min", "avg") and len(args) == 1:
            kind = args[0].type
            if name == "avg":
                kind = "double"
            elif name == "sum":
                kind = "double" if kind in ("double", "length") else "long"
            return Typed(f"{name}({'DISTINCT ' if node.distinct else ''}{args[0].sql})", kind)
        return self.scalar_function(name, args)

    def count(self, node: ast.Call) -> Typed:
        if len(node.args) != 1:
            raise HqlError("count() takes one argument")
        if isinstance(node.args[0], ast.Star):
            return Typed("count(*)", "long")
        inner = self.expression(node.args[0])
        return Typed(f"count({'DISTINCT ' if node.distinct else ''}{inner.sql})", "long")

    def scalar_function(self, name: str, args: list[Typed]) -> Typed:
        known = SCALAR_FUNCTIONS.get(name)
        if known is None or not known[1] <= len(args) <= known[2]:
            raise HqlError(f"the sandbox does not know {name}() with {len(args)} argument(s)")
        texts = [arg.sql for arg in args]
        if name == "concat":
            return Typed("(" + " || ".join(texts) + ")", "str")
        if name == "str":
            return Typed(f"CAST({texts[0]} AS TEXT)", "str")
        if name == "mod":
            return Typed(f"({texts[0]} % {texts[1]})", "long")
        function = {"substring": "substr"}.get(name, name)
        kind = known[0] or args[0].type
        return Typed(f"{function}({', '.join(texts)})", kind)
