"""A forgotten sign-in ends: by idleness, at the end of the day, at the bridge's limit; each with a word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.core import forgotten
from agent.core.forgotten import ForgottenSignIn, day_end_after, due, stricter
from agent.core.outbox import Outbox
from agent.core.sign_in import Session, SignInDesk
from agent.core.snapshot import SignOutWhy
from agent.platform.vault import MemoryVault
from server_bridge.contract import Person, SessionPolicy, SubmissionGrant
from tests.agent.conftest import FakeClock, OwnPlatform

ZURICH = ZoneInfo("Europe/Zurich")


def utc(hour: int, minute: int = 0, day: int = 23) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def session(since: datetime, expires_at: datetime | None = None) -> Session:
    expires = expires_at or since + timedelta(hours=12)
    grant = SubmissionGrant(session_id="s", key="k", expires_at=expires)
    return Session("token", expires, Person(username="alice"), grant, since)


def test_a_workstation_may_only_be_stricter_than_the_site() -> None:
    site = SessionPolicy(idle_minutes=30, end_of_day="19:00")
    assert stricter(site, 10, "18:30") == SessionPolicy(idle_minutes=10, end_of_day="18:30")
    assert stricter(site, 120, "23:00") == site
    assert stricter(SessionPolicy(), 10, None) == SessionPolicy(idle_minutes=10)
    assert stricter(site, None, None) == site


def test_the_end_of_the_day_is_the_next_one_after_she_signed_in() -> None:
    assert day_end_after(utc(9), "19:00", ZURICH) == utc(18)
    assert day_end_after(utc(18), "19:00", ZURICH) == utc(18, day=24), "19:00 sharp: tomorrow's"
    assert day_end_after(utc(22), "19:00", ZURICH) == utc(18, day=24), "a night shift is not ended at once"
    # The night in which summer time begins has 23 hours.
    spring = datetime(2026, 3, 28, 20, 0, tzinfo=UTC)
    assert day_end_after(spring, "19:00", ZURICH) == datetime(2026, 3, 29, 17, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("policy", "idle_seconds", "expected"),
    [
        (SessionPolicy(), 9999.0, (utc(21), SignOutWhy.EXPIRED)),
        (SessionPolicy(idle_minutes=30), 1740.0, (utc(12, 1), SignOutWhy.IDLE)),
        (SessionPolicy(idle_minutes=30), None, (utc(21), SignOutWhy.EXPIRED)),
        (SessionPolicy(end_of_day="19:00"), 0.0, (utc(18), SignOutWhy.END_OF_DAY)),
        (SessionPolicy(end_of_day="19:00", idle_minutes=30), 0.0, (utc(12, 30), SignOutWhy.IDLE)),
    ],
)
def test_what_comes_first_decides(
    policy: SessionPolicy, idle_seconds: float | None, expected: tuple[datetime, SignOutWhy]
) -> None:
    found = due(
        policy, session(utc(9)), now=utc(12), idle_seconds=idle_seconds, put_off_until=None, zone=ZURICH
    )
    assert (found.at, found.why) == expected


def test_staying_counts_only_where_it_is_later_and_never_beyond_the_bridges_limit() -> None:
    policy = SessionPolicy(end_of_day="19:00")

    def found(put_off_until: datetime) -> tuple[datetime, SignOutWhy]:
        one = due(
            policy,
            session(utc(9)),
            now=utc(18),
            idle_seconds=None,
            put_off_until=put_off_until,
            zone=ZURICH,
        )
        return one.at, one.why

    assert found(utc(17, 30)) == (utc(18), SignOutWhy.END_OF_DAY)
    assert found(utc(19)) == (utc(19), SignOutWhy.END_OF_DAY)
    assert found(utc(23)) == (utc(21), SignOutWhy.EXPIRED)


class Watch:
    """The watch over one sign-in, with its clock and its input in the test's hand."""

    def __init__(self, top: Path, policy: SessionPolicy) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(top / "outbox.sqlite3", OwnPlatform(top))
        self.desk = SignInDesk(MemoryVault(""), self.outbox, self.clock)
        self.desk._session = session(self.clock.now())
        self.idle: float | None = 0.0
        self.signed_out = 0
        self.watch = ForgottenSignIn(
            desk=self.desk,
            clock=self.clock,
            policy=lambda: policy,
            idle_seconds=lambda: self.idle,
            sign_out=self._sign_out,
            changed=lambda: None,
            zone=ZURICH,
        )

    def _sign_out(self) -> None:
        self.signed_out += 1
        self.desk.forget()

    def pass_time(self, seconds: float, *, idle: bool = False) -> None:
        self.clock.pass_time(seconds)
        self.idle = (self.idle or 0.0) + seconds if idle else 0.0
        self.watch.step()


@pytest.fixture
def to_idle(tmp_path: Path) -> Watch:
    return Watch(tmp_path, SessionPolicy(idle_minutes=30))


@pytest.fixture
def to_evening(tmp_path: Path) -> Watch:
    # The fake clock begins at 13:16:40 in Zurich.
    return Watch(tmp_path, SessionPolicy(end_of_day="14:00"))


def test_idleness_warns_a_minute_before_and_then_signs_out(to_idle: Watch) -> None:
    to_idle.pass_time(1735, idle=True)
    assert to_idle.watch.warning() is None
    to_idle.pass_time(10, idle=True)
    warning = to_idle.watch.warning()
    assert warning is not None and warning.why is SignOutWhy.IDLE and warning.may_stay
    assert not to_idle.signed_out
    to_idle.pass_time(60, idle=True)
    assert to_idle.signed_out == 1 and to_idle.watch.warning() is None
    notice = to_idle.watch.notice()
    assert notice is not None and "alice" not in notice.model_dump_json()


def test_any_input_takes_the_warning_back(to_idle: Watch) -> None:
    to_idle.pass_time(1790, idle=True)
    assert to_idle.watch.warning() is not None
    to_idle.pass_time(1)
    assert to_idle.watch.warning() is None
    to_idle.pass_time(100)
    assert not to_idle.signed_out


def test_a_system_that_tells_no_input_ends_nothing_for_idleness(to_idle: Watch) -> None:
    to_idle.idle = None
    to_idle.clock.pass_time(11 * 3600)
    to_idle.watch.step()
    assert not to_idle.signed_out and to_idle.watch.warning() is None


def test_the_evening_can_be_put_off_an_hour_at_a_time(to_evening: Watch) -> None:
    to_evening.pass_time(43 * 60 - 10)
    warning = to_evening.watch.warning()
    assert warning is not None and warning.at == utc(13)
    to_evening.watch.stay()
    assert to_evening.watch.warning() is None
    to_evening.pass_time(3500)
    assert not to_evening.signed_out
    to_evening.pass_time(60)
    assert to_evening.watch.warning() is not None
    to_evening.pass_time(60)
    assert to_evening.signed_out == 1


def test_nobody_is_signed_out_while_she_types(to_evening: Watch) -> None:
    to_evening.pass_time(43 * 60)
    for _ in range(10):
        to_evening.watch.typing()
        to_evening.pass_time(20)
    assert not to_evening.signed_out and to_evening.watch.warning() is not None
    to_evening.pass_time(forgotten.TYPING_SECONDS)
    assert to_evening.signed_out == 1


def test_an_expired_sign_in_is_cleared_away_like_any_other(tmp_path: Path) -> None:
    watch = Watch(tmp_path, SessionPolicy())
    watch.pass_time(12 * 3600 - 30)
    warning = watch.watch.warning()
    assert warning is not None and warning.why is SignOutWhy.EXPIRED and not warning.may_stay
    watch.watch.typing()
    watch.pass_time(31)
    assert watch.signed_out == 1 and watch.desk.held() is None


def test_the_next_person_finds_no_word_of_the_last(to_idle: Watch) -> None:
    to_idle.pass_time(1801, idle=True)
    assert to_idle.watch.notice() is not None
    to_idle.desk._session = session(to_idle.clock.now())
    to_idle.pass_time(1)
    assert to_idle.watch.notice() is None


def test_what_she_put_off_does_not_hold_for_the_next_person(to_evening: Watch) -> None:
    to_evening.pass_time(42 * 60)
    to_evening.watch.stay()
    to_evening.desk.forget()
    to_evening.pass_time(1)
    to_evening.desk._session = session(to_evening.clock.now() - timedelta(hours=1))
    to_evening.pass_time(120)
    assert to_evening.signed_out == 1
