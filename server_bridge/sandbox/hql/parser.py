"""From the text of a query to its syntax tree: a lexer and a recursive descent parser."""

from __future__ import annotations

import re
from typing import NamedTuple

from server_bridge.sandbox.hql.nodes import (
    Between,
    Binary,
    Call,
    Case,
    Exists,
    HqlError,
    In,
    IsEmpty,
    IsNull,
    Join,
    Literal,
    Node,
    Param,
    Path,
    Query,
    Range,
    Star,
    Unary,
)

TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>\d+(?:\.\d+)?[lLdDfF]?)(?![\w])
    | (?P<string>'(?:[^']|'')*')
    | (?P<param>:[A-Za-z_]\w*)
    | (?P<word>[A-Za-z_$][\w$]*)
    | (?P<op><>|!=|<=|>=|\|\||[-+*/=<>(),.])
    )""",
    re.VERBOSE,
)
# Words that end an expression or a source, so that they are never taken for an alias.
RESERVED = frozenset(
    [
        "select",
        "from",
        "where",
        "join",
        "inner",
        "left",
        "right",
        "full",
        "outer",
        "fetch",
        "with",
        "on",
        "group",
        "order",
        "by",
        "having",
        "and",
        "or",
        "not",
        "in",
        "like",
        "is",
        "null",
        "between",
        "exists",
        "as",
        "asc",
        "desc",
        "distinct",
        "case",
        "when",
        "then",
        "else",
        "end",
        "escape",
        "empty",
        "member",
        "union",
    ]
)


class Token(NamedTuple):
    kind: str
    text: str
    at: int


def tokens(text: str) -> list[Token]:
    """Cut the text into tokens; raises HqlError at the first character that begins none."""
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            rest = text[at:].strip()
            raise HqlError(f"unexpected char: '{rest[:1]}' near '{rest[:30]}'")
        found.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        at = match.end()
    found.append(Token("end", "", len(text)))
    return found


class Parser:
    """One pass over one query."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.at = 0
        self.anonymous = 0

    # -- tokens, one at a time

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def is_word(self, *words: str) -> bool:
        return self.token.kind == "word" and self.token.text.lower() in words

    def is_op(self, *ops: str) -> bool:
        return self.token.kind == "op" and self.token.text in ops

    def take(self) -> Token:
        token = self.token
        self.at += 1
        return token

    def accept_word(self, *words: str) -> bool:
        if self.is_word(*words):
            self.at += 1
            return True
        return False

    def accept_op(self, *ops: str) -> str | None:
        return self.take().text if self.is_op(*ops) else None

    def refuse(self, wanted: str) -> HqlError:
        what = self.token.text or "end of query"
        return HqlError(f"unexpected token: {what} near column {self.token.at + 1}, expected {wanted}")

    def need_word(self, word: str) -> None:
        if not self.accept_word(word):
            raise self.refuse(word)

    def need_op(self, op: str) -> None:
        if not self.accept_op(op):
            raise self.refuse(f"'{op}'")

    def name(self) -> str:
        if self.token.kind != "word":
            raise self.refuse("a name")
        return self.take().text

    def path(self) -> Path:
        parts = [self.name()]
        while self.accept_op("."):
            parts.append(self.name())
        return Path(tuple(parts))

    def alias(self) -> str:
        if self.accept_word("as"):
            return self.name()
        if self.token.kind == "word" and self.token.text.lower() not in RESERVED:
            return self.take().text
        self.anonymous += 1
        return f"generated {self.anonymous}"

    # -- the query

    def whole(self) -> Query:
        query = self.query()
        if self.token.kind != "end":
            raise self.refuse("end of query")
        return query

    def query(self) -> Query:
        items: tuple[Node, ...] = ()
        distinct = False
        if self.accept_word("select"):
            distinct = self.accept_word("distinct")
            items = tuple(self.list_of_items())
        self.need_word("from")
        sources = self.sources()
        where = self.expression() if self.accept_word("where") else None
        group_by: tuple[Node, ...] = ()
        having = None
        if self.accept_word("group"):
            self.need_word("by")
            group_by = tuple(self.list_of(self.expression))
            if self.accept_word("having"):
                having = self.expression()
        order_by: list[tuple[Node, bool]] = []
        if self.accept_word("order"):
            self.need_word("by")
            order_by = [self.ordering()]
            while self.accept_op(","):
                order_by.append(self.ordering())
        return Query(items, distinct, tuple(sources), where, group_by, having, tuple(order_by))

    def list_of_items(self) -> list[Node]:
        items = [self.item()]
        while self.accept_op(","):
            items.append(self.item())
        return items

    def item(self) -> Node:
        expression = self.expression()
        if self.accept_word("as"):
            self.name()
        return expression

    def list_of(self, what: object) -> list[Node]:
        assert callable(what)
        found: list[Node] = [what()]
        while self.accept_op(","):
            found.append(what())
        return found

    def ordering(self) -> tuple[Node, bool]:
        expression = self.expression()
        descending = self.accept_word("desc")
        if not descending:
            self.accept_word("asc")
        return expression, descending

    def sources(self) -> list[Range | Join]:
        sources: list[Range | Join] = [self.range()]
        while True:
            if self.accept_op(","):
                sources.append(self.range())
            elif self.is_word("join", "inner", "left"):
                sources.append(self.join())
            elif self.is_word("right", "full"):
                raise HqlError(f"the sandbox knows no {self.token.text} join")
            else:
                return sources

    def range(self) -> Range:
        entity = str(self.path())
        return Range(entity, self.alias())

    def join(self) -> Join:
        left = self.accept_word("left")
        if left:
            self.accept_word("outer")
        else:
            self.accept_word("inner")
        self.need_word("join")
        fetch = self.accept_word("fetch")
        path = self.path()
        alias = self.alias()
        condition = self.expression() if self.accept_word("with") else None
        return Join(path, alias, left, fetch, condition)

    # -- expressions, loosest binding first

    def expression(self) -> Node:
        left = self.conjunction()
        while self.accept_word("or"):
            left = Binary("OR", left, self.conjunction())
        return left

    def conjunction(self) -> Node:
        left = self.negation()
        while self.accept_word("and"):
            left = Binary("AND", left, self.negation())
        return left

    def negation(self) -> Node:
        if self.accept_word("not"):
            return Unary("NOT", self.negation())
        return self.comparison()

    def comparison(self) -> Node:
        left = self.sum()
        if op := self.accept_op("=", "<>", "!=", "<", ">", "<=", ">="):
            return Binary("<>" if op == "!=" else op, left, self.sum())
        if self.accept_word("is"):
            negated = self.accept_word("not")
            if self.accept_word("empty"):
                if not isinstance(left, Path):
                    raise HqlError("'is empty' needs a collection")
                return IsEmpty(left, negated)
            self.need_word("null")
            return IsNull(left, negated)
        negated = self.accept_word("not")
        if self.accept_word("in"):
            return In(left, self.options(), negated)
        if self.accept_word("like"):
            match: Node = Binary("LIKE", left, self.sum())
            if self.accept_word("escape"):
                self.sum()
            return Unary("NOT", match) if negated else match
        if self.accept_word("between"):
            low = self.sum()
            self.need_word("and")
            return Between(left, low, self.sum(), negated)
        if negated:
            raise self.refuse("in, like or between")
        return left

    def options(self) -> tuple[Node, ...]:
        if self.token.kind == "param":
            return (Param(self.take().text[1:]),)
        self.need_op("(")
        found = (self.query(),) if self.is_word("select", "from") else tuple(self.list_of(self.sum))
        self.need_op(")")
        return found

    def sum(self) -> Node:
        left = self.product()
        while op := self.accept_op("+", "-", "||"):
            left = Binary(op, left, self.product())
        return left

    def product(self) -> Node:
        left = self.primary()
        while op := self.accept_op("*", "/"):
            left = Binary(op, left, self.primary())
        return left

    def primary(self) -> Node:
        token = self.token
        if token.kind == "number":
            return Literal(self.number(self.take().text))
        if token.kind == "string":
            return Literal(self.take().text[1:-1].replace("''", "'"))
        if token.kind == "param":
            return Param(self.take().text[1:])
        if self.accept_op("-"):
            return Unary("-", self.primary())
        if self.accept_op("("):
            inner = self.query() if self.is_word("select", "from") else self.expression()
            self.need_op(")")
            return inner
        if self.accept_word("true"):
            return Literal(True)
        if self.accept_word("false"):
            return Literal(False)
        if self.accept_word("null"):
            return Literal(None)
        if self.accept_word("exists"):
            return self.exists()
        if self.is_word("case"):
            return self.case()
        if token.kind == "word" and token.text.lower() not in RESERVED:
            return self.path_or_call()
        raise self.refuse("an expression")

    @staticmethod
    def number(text: str) -> int | float:
        text = text.rstrip("lLdDfF")
        return float(text) if "." in text else int(text)

    def exists(self) -> Node:
        self.need_op("(")
        query = self.query()
        self.need_op(")")
        return Exists(query)

    def case(self) -> Node:
        self.need_word("case")
        branches = []
        while self.accept_word("when"):
            condition = self.expression()
            self.need_word("then")
            branches.append((condition, self.expression()))
        otherwise = self.expression() if self.accept_word("else") else None
        self.need_word("end")
        if not branches:
            raise HqlError("a case needs at least one 'when'")
        return Case(tuple(branches), otherwise)

    def path_or_call(self) -> Node:
        path = self.path()
        if len(path.parts) > 1 or not self.accept_op("("):
            return path
        distinct = self.accept_word("distinct")
        if self.accept_op("*"):
            args: tuple[Node, ...] = (Star(),)
        elif self.is_op(")"):
            args = ()
        else:
            args = tuple(self.list_of(self.expression))
        self.need_op(")")
        return Call(path.parts[0].lower(), args, distinct)


def parse(text: str) -> Query:
    """The syntax tree of ``text``; raises HqlError where it is not understood."""
    return Parser(text).whole()
