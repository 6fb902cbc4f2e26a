"""The syntax tree of a query."""

from __future__ import annotations

from dataclasses import dataclass


class HqlError(Exception):
    """The query is not valid, or beyond what the sandbox understands; the message quotes the place."""


@dataclass(frozen=True)
class Path:
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True)
class Param:
    name: str


@dataclass(frozen=True)
class Literal:
    value: str | int | float | bool | None


@dataclass(frozen=True)
class Star:
    pass


@dataclass(frozen=True)
class Call:
    name: str
    args: tuple[Node, ...]
    distinct: bool = False


@dataclass(frozen=True)
class Binary:
    op: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Unary:
    op: str
    operand: Node


@dataclass(frozen=True)
class In:
    value: Node
    options: tuple[Node, ...]
    negated: bool


@dataclass(frozen=True)
class Between:
    value: Node
    low: Node
    high: Node
    negated: bool


@dataclass(frozen=True)
class IsNull:
    value: Node
    negated: bool


@dataclass(frozen=True)
class IsEmpty:
    value: Path
    negated: bool


@dataclass(frozen=True)
class Exists:
    query: Query


@dataclass(frozen=True)
class Case:
    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node | None


@dataclass(frozen=True)
class Range:
    """``from Entity alias``"""

    entity: str
    alias: str


@dataclass(frozen=True)
class Join:
    """``[left outer] join [fetch] path alias [with condition]``"""

    path: Path
    alias: str
    left: bool
    fetch: bool
    condition: Node | None


@dataclass(frozen=True)
class Query:
    """A whole query; an empty ``items`` means that the text had no select clause."""

    items: tuple[Node, ...]
    distinct: bool
    sources: tuple[Range | Join, ...]
    where: Node | None
    group_by: tuple[Node, ...]
    having: Node | None
    order_by: tuple[tuple[Node, bool], ...]


Node = (
    Path
    | Param
    | Literal
    | Star
    | Call
    | Binary
    | Unary
    | In
    | Between
    | IsNull
    | IsEmpty
    | Exists
    | Case
    | Query
)
