"""What storage staff's job reports back: exact names, and no guess where the list is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.errors import BadRequest
from server_bridge.operations.freed_report import paths_in

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


@given(st.lists(NAMES, max_size=20))
def test_every_name_comes_back_byte_for_byte(names: list[bytes]) -> None:
    data = b"".join(name + b"\0" for name in names)
    assert [path.encode("utf-8", "surrogateescape") for path in paths_in(data)] == names


def test_a_list_of_lines_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadRequest) as refused:
        paths_in(b"alice/a.tif\nalice/b.tif\n")
    assert "--format nul" in refused.value.remedy


def test_an_empty_list_reports_nothing() -> None:
    assert paths_in(b"") == ()
