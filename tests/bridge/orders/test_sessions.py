"""Tokens and grants: exactly what was given out is good, for as long and for what it was given."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.contract import Person, SessionCreated
from server_bridge.orders import sessions
from server_bridge.orders.models import utcnow
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store

SLACK = timedelta(seconds=60)
HOUR = timedelta(hours=1)


@dataclass
class Given:
    store: Store
    made: SessionCreated
    order: UUID
    now: datetime

    def by_grant(self, bearer: str, order: UUID | None = None, after: timedelta = timedelta(0)) -> bool:
        with self.store.read() as session:
            return sessions.by_grant(session, bearer, order or self.order, self.now + after) is not None

    def by_token(self, token: str, after: timedelta = timedelta(0)) -> bool:
        with self.store.read() as session:
            return sessions.by_token(session, token, self.now + after) is not None


@pytest.fixture(scope="module")
def given_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    site = make_site(tmp_path_factory.mktemp("site"))
    store, now = make_store(site), utcnow()
    made = sessions.sign_in(store, Person(username="alice"), None, site.limits, now, "here")
    yield Given(store, made, uuid.uuid4(), now)
    store.engine.dispose()


def test_what_was_given_out_is_good_until_it_expires(given_out: Given) -> None:
    grant = given_out.made.grant.for_order(given_out.order)
    assert given_out.by_token(given_out.made.token)
    assert not given_out.by_token(given_out.made.token, 13 * HOUR)
    assert given_out.by_grant(grant, after=13 * HOUR), "grants outlive the token"
    assert not given_out.by_grant(grant, after=timedelta(days=15))


@given(st.uuids())
def test_a_grant_opens_no_other_order(given_out: Given, other: UUID) -> None:
    assert given_out.by_grant(given_out.made.grant.for_order(given_out.order), other) == (
        other == given_out.order
    )


@given(st.integers(0, 200), st.characters(codec="utf-8"))
def test_a_grant_with_one_character_changed_opens_nothing(
    given_out: Given, where: int, character: str
) -> None:
    good = given_out.made.grant.for_order(given_out.order)
    where %= len(good)
    changed = good[:where] + character + good[where + 1 :]
    assert given_out.by_grant(changed) == (changed == good)


@given(st.text(max_size=80))
def test_any_other_text_is_no_credential(given_out: Given, text: str) -> None:
    assert not given_out.by_token(text)
    assert not given_out.by_grant(text)
    assert not given_out.by_grant(f"grant.{given_out.made.grant.session_id}.{text}")


def test_presence_ends_with_sign_out_revocation_or_expiry(given_out: Given) -> None:
    store, site_now = given_out.store, given_out.now
    from server_bridge.config import LimitsConfig

    def make(name: str) -> str:
        made = sessions.sign_in(store, Person(username=name), None, LimitsConfig(), site_now, "x")
        with store.write() as session:
            session.get_one(sessions.PersonSession, made.grant.session_id).workstation_id = None
        return made.grant.session_id

    signed_out, revoked = make("out"), make("revoked")
    sessions.sign_out(store, signed_out, site_now + HOUR)
    sessions.sign_out(store, signed_out, site_now + 5 * HOUR)
    sessions.revoke_person(store, "revoked", "test", site_now + 2 * HOUR)
    with store.read() as session:
        rows = {
            row.username: row
            for row in session.query(sessions.PersonSession)
            if row.id in (signed_out, revoked)
        }
        assert rows["out"].ended_at == site_now + HOUR, "a repeat does not move it"
        assert rows["revoked"].revoked_at == site_now + 2 * HOUR
    present = sessions.Presence("x", site_now, site_now + HOUR)
    assert present.covers(site_now)
    assert not present.covers(site_now + HOUR + SLACK / 2)
    assert present.covers(site_now + HOUR + SLACK / 2, SLACK)
