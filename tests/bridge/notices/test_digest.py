"""Which notices go into whose mail, and that no name can make more of a mail than text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default

from hypothesis import given, settings
from hypothesis import strategies as st

from server_bridge.contract import Reason
from server_bridge.notices.digest import MOST_SHOWN, STAFF, Batch, Item, batches, compose

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WAIT = timedelta(minutes=15)


def item(
    number: int = 1, minutes_ago: float = 20, title: str = "Files cannot be read", **more: object
) -> Item:
    reason = Reason(
        code="source_unreadable", title=title, detail="'cell.tif'", remedy="Give read permission.",
        contact="the platform staff", since=NOW - timedelta(hours=1),
    )  # fmt: skip
    values: dict[str, object] = {"id": number, "kind": "attention", "reason": reason}
    return Item(**{**values, "at": NOW - timedelta(minutes=minutes_ago), **more})  # type: ignore[arg-type]


def text_of(*items: Item, recipient: str = STAFF, **more: str) -> str:
    message = compose(
        "Zürich platform", Batch(recipient, items), sender="ferry@example.org", recipients=["a@example.org"],
        now=NOW, **more,
    )  # fmt: skip
    return str(message_from_bytes(message.as_bytes(), policy=default).get_content())


def test_a_notice_waits_for_others_and_then_all_that_stands_goes() -> None:
    young = item(2, minutes_ago=1)
    assert batches([young], NOW, WAIT) == []
    assert batches([young, item(1)], NOW, WAIT) == [Batch(STAFF, (item(1), young))]


def test_staff_come_first_and_nobody_is_told_twice() -> None:
    both = item(1, person="alice")
    hers = item(2, person="alice", for_staff=False)
    told = item(3, person="alice", staff_told=True, person_told=True)
    assert batches([told, hers, both], NOW, WAIT) == [Batch(STAFF, (both,)), Batch("alice", (both, hers))]
    assert batches([item(4, person="bob", person_told=True)], NOW, WAIT)[0].recipient == STAFF


def test_a_mail_says_what_since_when_what_to_do_and_whom_to_ask() -> None:
    text = text_of(
        item(about="conf:alice/run 1, order 4f1c"), status_url="https://ferry.example.org/", contact="Ada"
    )
    for said in (
        "Files cannot be read [source_unreadable]", "conf:alice/run 1, order 4f1c", "'cell.tif'",
        "since: 2026-03-01 11:00 UTC", "what to do: Give read permission.", "whom to ask: the platform staff",
        "https://ferry.example.org/", "Questions: Ada",
    ):  # fmt: skip
        assert said in text
    many = text_of(*(item(number) for number in range(MOST_SHOWN + 3)))
    assert many.count("source_unreadable") == MOST_SHOWN
    assert "... and 3 more." in many


@settings(deadline=None)
@given(title=st.text(min_size=1), name=st.text(), site=st.text())
def test_no_name_ends_a_header_or_hides_in_the_text(title: str, name: str, site: str) -> None:
    title = title.replace("\ud800", "") + "\r\nBcc: everybody@example.org"
    message = compose(
        site, Batch("alice", (item(title=title, about=f"conf:{name}\nX"),)), sender="ferry@example.org",
        recipients=["a@example.org"], now=NOW, contact=name,
    )  # fmt: skip
    seen = message_from_bytes(message.as_bytes(), policy=default)
    assert sorted(name.lower() for name in seen) == sorted(
        ["subject", "from", "to", "date", "message-id", "auto-submitted", "content-type",
         "content-transfer-encoding", "mime-version"]
    )  # fmt: skip
    assert seen["To"] == "a@example.org"
    assert message.as_bytes().isascii()
    body = seen.get_content()
    assert all(char.isprintable() or char in "\r\n" for char in body)
