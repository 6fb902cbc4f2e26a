"""Each notice is mailed at most once, whatever the mail server and the bridge go through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from server_bridge.config import SiteConfig
from server_bridge.contract import Person, Reason
from server_bridge.errors import Unavailable
from server_bridge.notices import mail_state
from server_bridge.notices.mailman import Mailman
from server_bridge.orders import notices
from server_bridge.orders.models import Notice
from server_bridge.orders.store import Store
from server_bridge.sandbox.ports import free_port
from tests.bridge.notices import smtp
from tests.bridge.notices.conftest import NOW, PutOrder, standing

ROOT = Path(__file__).parents[3]
STAFF = ["staff@example.org", "head@example.org"]
ADDRESSES = {"alice": "alice@example.org", "bob": "bob@example.org\nBcc: x@example.org", "nobody": ""}


def find(username: str) -> Person | None:
    """OMERO's answer; carol was deactivated."""
    return Person(username=username, email=ADDRESSES[username]) if username in ADDRESSES else None


@pytest.fixture
def mailman(site: SiteConfig, store: Store) -> Mailman:
    return Mailman(site, store, find)


def tell(
    store: Store, key: str, *, person: str = "", for_staff: bool = True, kind: str = "attention"
) -> None:
    reason = Reason(code="left_out", title=f"About {key}", detail="Zürich\nBcc: x", since=NOW)
    with store.write() as session:
        notices.post(session, NOW, key=key, kind=kind, reason=reason, person=person, for_staff=for_staff)


def told(store: Store, key: str) -> tuple[bool, bool]:
    """Whether the person and staff were mailed."""
    with store.read() as session:
        row = session.query(Notice).filter(Notice.key == key).one()
        return row.mailed_person_at is not None, row.mailed_staff_at is not None


def failing(store: Store) -> str:
    with store.read() as session:
        reason = mail_state.read(session).failing
        return reason.code if reason else ""


def test_one_digest_each_and_never_again(mailman: Mailman, store: Store, post: smtp.Post) -> None:
    tell(store, "one", person="alice")
    tell(store, "two", person="alice", for_staff=False)
    tell(store, "three")
    assert mailman.turn(NOW) == 2
    assert [to for to, _ in post.mails] == [STAFF, ["alice@example.org"]]
    staff, alice = (mail.get_content() for _, mail in post.mails)
    assert all(word in staff for word in ("About one", "About three")) and "About two" not in staff
    assert all(word in alice for word in ("About one", "About two")) and "About three" not in alice
    assert mailman.turn(NOW + timedelta(days=1)) == 0
    assert len(post.mails) == 2


def test_what_is_withdrawn_before_its_time_is_never_mailed(
    site: SiteConfig, store: Store, post: smtp.Post
) -> None:
    slow = site.model_copy(update={"mail": site.mail.model_copy(update={"digest_minutes": 15.0})})
    mailman = Mailman(slow, store, find)
    tell(store, "one")
    tell(store, "two")
    assert mailman.turn(NOW + timedelta(minutes=14)) == 0
    with store.write() as session:
        notices.withdraw(session, NOW, prefix="one")
    assert mailman.turn(NOW + timedelta(minutes=15)) == 1
    assert "About one" not in post.mails[0][1].get_content()


@pytest.mark.parametrize("person", ["carol", "bob", "nobody"])
def test_whom_nobody_can_write_to_is_staffs(
    mailman: Mailman, store: Store, post: smtp.Post, person: str
) -> None:
    tell(store, "one", person=person, for_staff=False)
    assert mailman.turn(NOW) == 0
    assert mailman.turn(NOW) == 1
    assert [to for to, _ in post.mails] == [STAFF]
    assert told(store, "one") == (True, True)


def test_an_address_that_the_server_refuses_is_staffs(
    mailman: Mailman, store: Store, post: smtp.Post
) -> None:
    post.refuse["alice@example.org"] = "550 gone"
    tell(store, "one", person="alice", for_staff=False)
    for _ in range(3):
        mailman.turn(NOW)
    assert [to for to, _ in post.mails] == [STAFF]
    assert failing(store) == ""


def test_an_omero_that_is_away_holds_up_persons_only(site: SiteConfig, store: Store, post: smtp.Post) -> None:
    away = [True]

    def ask(username: str) -> Person | None:
        if away:
            raise Unavailable("no answer", code="omero_away")
        return find(username)

    mailman = Mailman(site, store, ask)
    tell(store, "one", person="alice")
    assert mailman.turn(NOW) == 1
    away.clear()
    assert mailman.turn(NOW + timedelta(minutes=3)) == 1
    assert [to for to, _ in post.mails] == [STAFF, ["alice@example.org"]]


def test_a_server_that_is_down_is_tried_less_and_less_and_nothing_is_lost(
    site: SiteConfig, store: Store, post: smtp.Post
) -> None:
    nowhere = site.mail.model_copy(update={"port": free_port()})
    mailman = Mailman(site.model_copy(update={"mail": nowhere}), store, find)
    tell(store, "one", person="alice")
    assert mailman.turn(NOW) == 0
    assert (failing(store), told(store, "one")) == ("mail_away", (False, False))
    pauses, now = [], NOW
    for _ in range(9):
        with store.read() as session:
            reason = mail_state.read(session).failing
        assert reason is not None and reason.next_try_at is not None
        assert reason.since == NOW
        pauses.append((reason.next_try_at - now).total_seconds() / 60)
        assert mailman.turn(reason.next_try_at - timedelta(seconds=1)) == 0
        now = reason.next_try_at
        mailman.turn(now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    mailman._site = site  # the server is back
    assert mailman.turn(now + timedelta(hours=1)) == 2
    assert (failing(store), told(store, "one")) == ("", (True, True))


def test_one_recipients_trouble_does_not_stop_the_others(
    mailman: Mailman, store: Store, post: smtp.Post
) -> None:
    post.refuse["alice@example.org"] = "451 later"
    tell(store, "one", person="alice", for_staff=False)
    assert mailman.turn(NOW) == 0
    tell(store, "two")
    assert mailman.turn(NOW) == 1
    post.refuse.clear()
    assert mailman.turn(NOW + timedelta(minutes=2)) == 1
    assert told(store, "one") == (True, False)


def test_a_storm_becomes_a_few_mails(site: SiteConfig, store: Store, post: smtp.Post) -> None:
    capped = site.model_copy(update={"mail": site.mail.model_copy(update={"max_per_hour": 2})})
    mailman = Mailman(capped, store, find)
    for number in range(5):
        tell(store, f"notice {number}")
        mailman.turn(NOW + timedelta(minutes=number))
    assert len(post.mails) == 2
    # Also for a bridge that was started anew meanwhile.
    assert Mailman(capped, store, find).turn(NOW + timedelta(minutes=30)) == 0
    assert mailman.turn(NOW + timedelta(minutes=61)) == 1
    assert post.mails[-1][1].get_content().count("About notice") == 3


def test_the_word_that_it_is_over_is_gone_once_it_was_mailed(
    mailman: Mailman, store: Store, post: smtp.Post
) -> None:
    tell(store, "over:outage:share_away:conf:", kind="over")
    assert mailman.turn(NOW) == 1
    assert standing(store) == {}


def test_a_break_while_the_server_acknowledges_is_never_sent_again(
    mailman: Mailman, store: Store, post: smtp.Post
) -> None:
    post.data_answer = "break off"
    tell(store, "one")
    mailman.turn(NOW)
    post.data_answer = "250 taken"
    assert mailman.turn(NOW + timedelta(days=1)) == 0
    assert len(post.mails) == 1


CHILD = """
import json, sys
from datetime import datetime
from server_bridge.config import SiteConfig
from server_bridge.notices.mailman import Mailman
from tests.bridge.bridge_site import make_store
site = SiteConfig(**json.loads(sys.argv[1]))
Mailman(site, make_store(site), lambda name: None).turn(datetime.fromisoformat(sys.argv[2]))
"""


def test_kill_9_while_a_mail_is_handed_over_never_sends_it_twice(
    mailman: Mailman, site: SiteConfig, store: Store, post: smtp.Post
) -> None:
    tell(store, "one")
    seen: list[tuple[bool, bool]] = []
    started = threading.Event()
    children: list[subprocess.Popen[bytes]] = []

    def while_handing_over() -> None:
        started.wait(60)
        seen.append(told(store, "one"))
        smtp.kill(children[0].pid)
        children[0].wait(60)

    post.on_data = while_handing_over
    arguments = [json.dumps(site.model_dump(mode="json")), NOW.isoformat()]
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], cwd=ROOT, env=dict(os.environ))
    children.append(child)
    started.set()
    assert child.wait(90) == -9
    post.on_data = None
    assert seen == [(False, True)], "it is marked before it is handed over"
    assert len(post.mails) == 1
    assert mailman.find_lost(NOW) == 1
    assert mailman.find_lost(NOW) == 0
    assert mailman.turn(NOW + timedelta(days=1)) == 0
    assert len(post.mails) == 1
    assert set(standing(store)) == {"one"}, "it still stands where staff look"


def test_a_hanging_server_holds_up_nothing_and_lets_the_bridge_end(site: SiteConfig, store: Store) -> None:
    with smtp.mute() as port:
        hanging = site.model_copy(update={"mail": site.mail.model_copy(update={"port": port})})
        mailman = Mailman(hanging, store, find, every_seconds=0.01)
        tell(store, "one")
        mailman.start()
        deadline = threading.Event()
        for _ in range(600):
            if told(store, "one")[1]:
                break
            deadline.wait(0.1)
        tell(store, "two")  # the orders are written all the same
        mailman.stop()
        assert set(standing(store)) == {"one", "two"}


def test_a_site_without_a_mail_server_mails_nobody(site: SiteConfig, store: Store, put: PutOrder) -> None:
    quiet = site.model_copy(update={"mail": type(site.mail)()})
    tell(store, "one")
    assert Mailman(quiet, store, find).turn(NOW) == 0
    assert told(store, "one") == (False, False)
