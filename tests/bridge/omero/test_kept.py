"""The service account's session that stays open between two uses."""

from __future__ import annotations

import threading
from typing import Any, cast

import Ice
import pytest

from server_bridge.omero.failures import OmeroHung
from server_bridge.omero.kept import KeptSession
from server_bridge.omero.session import Session


class _Factory:
    def __init__(self) -> None:
        self.fails: Exception | None = None

    def keepAlive(self, _proxy: object) -> None:
        if self.fails is not None:
            raise self.fails


class _Session:
    def __init__(self) -> None:
        self.factory = _Factory()
        self.broken = False


class Desk:
    """A KeptSession and what it ended."""

    def __init__(self, idle_seconds: float = 60.0) -> None:
        self.ended: list[Session] = []
        self.over = threading.Event()
        self.kept = KeptSession(self._end, idle_seconds)

    def _end(self, session: Session) -> None:
        self.ended.append(session)
        self.over.set()


def new() -> Any:
    return cast(Session, _Session())


def test_off_it_keeps_nothing() -> None:
    desk, session = Desk(), new()
    desk.kept.give_back(session)
    assert desk.ended == [session]
    assert desk.kept.take() is None


def test_the_next_one_gets_it_alone() -> None:
    desk, session = Desk(), new()
    desk.kept.on()
    desk.kept.give_back(session)
    assert desk.kept.take() is session
    assert desk.kept.take() is None
    assert desk.ended == []


def test_one_is_kept_and_a_second_ends() -> None:
    desk, first, second = Desk(), new(), new()
    desk.kept.on()
    desk.kept.give_back(first)
    desk.kept.give_back(second)
    assert desk.ended == [second]
    desk.kept.off()
    assert desk.ended == [second, first]


def test_a_broken_one_is_not_kept() -> None:
    desk, session = Desk(), new()
    desk.kept.on()
    session.broken = True
    desk.kept.give_back(session)
    assert desk.ended == [session]


def test_one_that_omero_ended_makes_room_for_a_new_one() -> None:
    desk, session = Desk(), new()
    desk.kept.on()
    desk.kept.give_back(session)
    session.factory.fails = Ice.ObjectNotExistException()
    assert desk.kept.take() is None
    assert desk.ended == [session]


def test_an_omero_that_hangs_is_told_at_once() -> None:
    desk, session = Desk(), new()
    desk.kept.on()
    desk.kept.give_back(session)
    session.factory.fails = Ice.InvocationTimeoutException()
    with pytest.raises(OmeroHung):
        desk.kept.take()
    assert session.broken
    assert desk.ended == [session]


def test_unused_it_ends_by_itself() -> None:
    desk, session = Desk(0.05), new()
    desk.kept.on()
    desk.kept.give_back(session)
    assert desk.over.wait(20)
    assert desk.ended == [session]
    assert desk.kept.take() is None
