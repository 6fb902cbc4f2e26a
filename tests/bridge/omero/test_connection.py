"""Signing in, sessions as a person, and an OMERO that is away or hangs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import omero.model
import pytest
from omero.clients import BaseClient

from server_bridge.config import OmeroConfig
from server_bridge.contract import PermissionLevel
from server_bridge.errors import NeedsAttention, NotSignedIn, TransientFailure, Unavailable
from server_bridge.omero.connection import Omero
from server_bridge.omero.failures import OmeroSessionLost, ServiceRefused
from tests.bridge.conftest_sandbox import PASSWORDS, RunningSandbox, StartSandbox
from tests.bridge.omero.conftest import AsPerson, config_for


def test_a_person_signs_in_and_brings_her_groups(bridge: Omero) -> None:
    person = bridge.login("alice", PASSWORDS["alice"])
    assert (person.username, person.full_name) == ("alice", "Alice Actin")
    assert {group.name: group.permissions for group in person.groups} == {
        "Cytoskeleton": PermissionLevel.READ_ANNOTATE,
        "Platform": PermissionLevel.PRIVATE,
    }
    assert person.default_group_id == next(g.id for g in person.groups if g.name == "Cytoskeleton")
    assert not person.is_staff


def test_ownership_of_a_group_is_told(bridge: Omero) -> None:
    carol = bridge.person("carol")
    assert carol is not None
    assert {group.name for group in carol.groups if group.is_owner} == {"Cytoskeleton"}


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "not-her-word"),
        ("alice", ""),
        ("", "x"),
        ("nobody", "x"),
        ("guest", "guest"),
        ("alice\0", "alice-sandbox"),
    ],
)
def test_a_wrong_name_or_password_says_no_more_than_that(bridge: Omero, name: str, password: str) -> None:
    with pytest.raises(NotSignedIn) as refused:
        bridge.login(name, password)
    assert refused.value.code == "wrong_password"
    assert not password or password not in str(refused.value)


def test_a_wrong_password_is_tried_once(bridge: Omero, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    real = BaseClient.createSession

    def count(self: BaseClient, name: str, password: str) -> object:
        sent.append(name)
        return real(self, name, password)

    monkeypatch.setattr(BaseClient, "createSession", count)
    with pytest.raises(NotSignedIn):
        bridge.login("alice", "wrong")
    assert sent == ["alice"]


def test_a_session_key_is_no_password(bridge: Omero, as_person: AsPerson) -> None:
    with as_person("alice") as session:
        with pytest.raises(NotSignedIn) as refused:
            bridge.login(session.key, session.key)
        assert refused.value.code == "wrong_password"
        assert session.event_context().userName == "alice", "the session that was tried must live on"


def test_the_service_knows_people_and_does_not_know_others(bridge: Omero) -> None:
    found = bridge.person("bob")
    assert found is not None
    assert {group.name for group in found.groups} == {"Cytoskeleton", "Screens"}
    assert bridge.person("nobody") is None


def test_a_session_as_a_person_works_in_her_group(as_person: AsPerson, groups: dict[str, int]) -> None:
    with as_person("alice", "Platform") as session:
        assert (session.username, session.group_name) == ("alice", "Platform")
        assert session.group_id == groups["Platform"]


def test_a_session_without_a_group_works_in_the_default_one(bridge: Omero) -> None:
    with bridge.as_person("bob") as session:
        assert session.group_name == "Cytoskeleton"


def test_a_session_as_a_person_has_no_time_to_live(as_person: AsPerson, config: OmeroConfig) -> None:
    with as_person("alice") as session:
        found = session.factory.getSessionService().getSession(session.key)
        assert found.timeToLive.val == 0
        assert found.timeToIdle.val == config.session_idle_seconds * 1000


def test_a_session_ends_for_good_at_exit(bridge: Omero, as_person: AsPerson) -> None:
    with as_person("alice") as session:
        key = session.key
    with (
        pytest.raises((NotSignedIn, OmeroSessionLost)) as refused,
        bridge._open(key, key, "joining"),
    ):
        pass
    assert key not in str(refused.value)


def test_a_session_ends_although_the_work_in_it_failed(bridge: Omero, as_person: AsPerson) -> None:
    with pytest.raises(RuntimeError), as_person("alice") as session:
        key = session.key
        raise RuntimeError("the work failed")
    with pytest.raises((NotSignedIn, OmeroSessionLost)), bridge._open(key, key, "joining"):
        pass


def test_only_members_of_a_group_get_a_session_in_it(bridge: Omero, groups: dict[str, int]) -> None:
    with pytest.raises(NeedsAttention) as refused, bridge.as_person("bob", groups["Platform"]):
        pass
    assert refused.value.code == "not_a_member"


def test_an_unknown_person_gets_no_session(bridge: Omero) -> None:
    with pytest.raises(NeedsAttention) as refused, bridge.as_person("nobody"):
        pass
    assert refused.value.code == "no_such_person"


def test_an_account_without_sudo_is_named(sandbox: RunningSandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text(PASSWORDS["bob"])
    bridge = Omero(config_for(sandbox, user="bob", password_file=secret))
    with pytest.raises(NeedsAttention) as refused, bridge.as_person("alice"):
        pass
    assert refused.value.code in ("no_sudo", "no_such_person")


def test_a_wrong_password_of_the_service_is_not_a_persons_mistake(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("not-the-password")
    bridge = Omero(config_for(sandbox, password_file=secret))
    with pytest.raises(ServiceRefused) as refused:
        bridge.ping()
    assert refused.value.status == 503
    assert "not-the-password" not in str(refused.value)


def test_no_secret_reaches_the_log(
    bridge: Omero, as_person: AsPerson, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NotSignedIn):
        bridge.login("alice", "a-very-wrong-password")
    with as_person("alice") as session:
        key = session.key
        with pytest.raises(TransientFailure):
            session.rows("select nonsense from Nowhere x")
    assert "a-very-wrong-password" not in caplog.text
    assert key not in caplog.text


# -- away and hung --------------------------------------------------------------------------------------


@pytest.fixture
def own(start_sandbox: StartSandbox, tmp_path: Path) -> Iterator[RunningSandbox]:
    running = start_sandbox(tmp_path / "own")
    yield running
    if running.process is not None and running.process.poll() is None:
        running.sigcont()


def test_a_server_that_is_down_is_away_and_back_when_it_is_up(own: RunningSandbox) -> None:
    bridge = Omero(config_for(own, call_timeout_seconds=6))
    bridge.ping()
    own.stop()
    with pytest.raises(Unavailable) as away:
        bridge.login("alice", PASSWORDS["alice"])
    assert away.value.code == "omero_away"
    assert isinstance(away.value, TransientFailure), "an order waits and tries again"
    own.start()
    bridge.ping()


def test_a_server_that_hangs_is_given_up_and_used_again_when_it_goes_on(own: RunningSandbox) -> None:
    bridge = Omero(config_for(own, call_timeout_seconds=3))
    with bridge.service() as session:
        own.sigstop()
        started = time.monotonic()
        with pytest.raises(Unavailable) as in_a_call:
            session.event_context()
        with pytest.raises(Unavailable) as at_login:
            bridge.login("alice", PASSWORDS["alice"])
    # Without bounds each of these would block for ever; generous, since the machine is shared.
    assert time.monotonic() - started < 90
    # A call ends by the time limit of calls, a log-in by that of connecting, three times: nothing refuses or
    # drops a connection to a process that stands still, so another word would be another fault.
    assert (in_a_call.value.code, at_login.value.code) == ("omero_hung", "omero_hung"), (
        in_a_call.value.detail,
        at_login.value.detail,
    )
    own.sigcont()
    # It first works off what was asked of it while it stood still; on a busy machine that takes a while.
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            assert bridge.login("alice", PASSWORDS["alice"]).username == "alice"
            break
        except Unavailable:
            continue
    else:
        pytest.fail("OMERO went on and the bridge did not get in")


def test_a_session_that_an_administrator_ended_is_lost_not_wrong(own: RunningSandbox) -> None:
    bridge = Omero(config_for(own))
    with bridge.as_person("alice") as session:
        own.restart()
        with pytest.raises(TransientFailure) as lost:
            session.event_context()
        assert session.key not in str(lost.value)


def test_the_service_session_is_kept_for_the_next_use_and_ends_with_the_bridge(bridge: Omero) -> None:
    bridge.keep_service_session()
    try:
        with bridge.service() as first:
            key = first.key
        with bridge.service() as again, bridge.service() as meanwhile:
            assert again.key == key
            assert meanwhile.key != key, "nobody shares a session"
    finally:
        bridge.let_go()
    with pytest.raises((NotSignedIn, OmeroSessionLost)), bridge._open(key, key, "joining"):
        pass


def test_a_kept_session_does_not_outlive_a_restart_of_omero(own: RunningSandbox) -> None:
    bridge = Omero(config_for(own))
    bridge.keep_service_session()
    try:
        bridge.ping()
        own.restart()
        bridge.ping()
    finally:
        bridge.let_go()


def test_many_threads_use_omero_at_once(bridge: Omero, groups: dict[str, int]) -> None:
    def work(number: int) -> tuple[str, int]:
        name, group = (("alice", "Cytoskeleton"), ("bob", "Screens"))[number % 2]
        with bridge.as_person(name, groups[group]) as session:
            return session.username, session.group_id

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(16)))
    assert found == [("alice", groups["Cytoskeleton"]), ("bob", groups["Screens"])] * 8


def test_a_session_in_use_outlives_its_idle_time(own: RunningSandbox) -> None:
    # 60 s is the least the site file allows; the keep-alive is what this is about.
    short = config_for(own).model_copy(update={"session_idle_seconds": 6.0})
    bridge = Omero(short)
    with bridge.as_person("alice") as session:
        time.sleep(9)
        assert session.event_context().userName == "alice"


def test_a_deactivated_person_is_nobody(own: RunningSandbox) -> None:
    bridge = Omero(config_for(own))
    with bridge._open("root", PASSWORDS["root"], "testing") as root:
        user = root.rows("select e.id from Experimenter e where e.omeName = 'bob'", group=-1)[0][0]
        root.admin.removeGroups(
            omero.model.ExperimenterI(int(user), False), [omero.model.ExperimenterGroupI(1, False)]
        )
    assert bridge.person("bob") is None
    with pytest.raises(NotSignedIn):
        bridge.login("bob", PASSWORDS["bob"])
    with pytest.raises(NeedsAttention) as refused, bridge.as_person("bob"):
        pass
    assert refused.value.code == "no_such_person"


def test_an_unused_session_of_a_killed_bridge_ends_by_itself(
    own: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_bridge.omero.connection._kept_alive", lambda *_: contextlib.nullcontext())
    bridge = Omero(config_for(own).model_copy(update={"session_idle_seconds": 2.0}))
    with bridge.as_person("alice") as session:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(3.5)
            try:
                session.event_context()
            except TransientFailure as ended:
                assert ended.code == "omero_session_lost"
                return
        pytest.fail("the session lived on")
