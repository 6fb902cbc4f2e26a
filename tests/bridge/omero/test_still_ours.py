"""Which filesets are still ours: an id that a restored database handed out again is not."""

from __future__ import annotations

from typing import Any, cast

from server_bridge.omero import receipts


class Rows:
    """Answers the one query from pairs that OMERO has, as a database does: each condition for itself."""

    def __init__(self, *pairs: tuple[int, str]) -> None:
        self.pairs = pairs
        self.asked = 0

    def rows(self, _hql: str, values: dict[str, list[Any]], **_more: object) -> list[tuple[int, str]]:
        self.asked += 1
        return [one for one in self.pairs if one[0] in values["ids"] and one[1] in values["paths"]]


def test_two_orders_with_one_id_are_told_apart_by_their_paths() -> None:
    omero = Rows((2, "staging/lost.tif"), (3, "staging/retired.tif"))
    wanted = [(2, "staging/lost.tif"), (2, "staging/between.tif"), (3, "staging/lost.tif"), (9, "x")]
    assert receipts.still_ours(cast(Any, omero), wanted) == {(2, "staging/lost.tif")}


def test_thousands_are_asked_in_pieces_and_nothing_is_not_asked() -> None:
    many = [(number, f"p{number}") for number in range(receipts._AT_ONCE * 2 + 1)]
    omero = Rows(*many)
    assert receipts.still_ours(cast(Any, omero), many) == set(many)
    assert omero.asked == 3
    assert receipts.still_ours(cast(Any, Rows()), []) == set()
