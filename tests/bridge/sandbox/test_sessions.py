"""Signing in, sessions for others, and how sessions end."""

from __future__ import annotations

import time
from typing import Any

import Ice
import omero
import pytest
from omero.gateway import BlitzGateway

from tests.bridge.conftest_sandbox import PASSWORDS, RunningSandbox
from tests.bridge.sandbox.conftest import Connect, rows


def sudo(connection: Any, user: str, group: str, live_ms: int = 0, idle_ms: int = 600_000) -> str:
    principal = omero.sys.Principal(name=user, group=group, eventType="User")
    sessions = connection.c.sf.getSessionService()
    key: str = sessions.createSessionWithTimeouts(principal, live_ms, idle_ms).uuid.val
    return key


def join(running: RunningSandbox, key: str) -> Any:
    client = omero.client(running.host, running.ssl_port)
    client.joinSession(key)
    return client


@pytest.mark.parametrize("secure", [True, False])
def test_a_user_signs_in_over_tls_and_may_go_on_without(connect: Connect, secure: bool) -> None:
    with connect("alice", secure=secure) as connection:
        context = connection.getEventContext()
        assert (context.userName, context.groupName, context.isAdmin) == ("alice", "Cytoskeleton", False)
        assert connection.isSecure() is secure


@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_a_wrong_password_is_refused(sandbox: RunningSandbox, user: str) -> None:
    connection = BlitzGateway(user, "wrong", host=sandbox.host, port=sandbox.ssl_port)
    assert not connection.connect()
    assert f"Password check failed for '{user}'" in str(connection.getLastError())


def test_the_password_is_nowhere_on_disk(sandbox: RunningSandbox, connect: Connect) -> None:
    with connect("alice"):
        pass
    for path in sandbox.data.glob("sandbox*"):
        assert PASSWORDS["alice"].encode() not in path.read_bytes()


def test_the_group_of_the_session_can_be_chosen_among_ones_own(
    connect: Connect, sandbox: RunningSandbox
) -> None:
    with connect("alice", group="Platform") as connection:
        assert connection.getEventContext().groupName == "Platform"
    refused = BlitzGateway(
        "alice", PASSWORDS["alice"], host=sandbox.host, port=sandbox.ssl_port, group="Screens"
    )
    assert not refused.connect()


def test_the_service_account_has_sudo_and_nothing_else(connect: Connect) -> None:
    with connect("ferry") as connection:
        context = connection.getEventContext()
        assert context.isAdmin
        assert context.adminPrivileges == ["Sudo"]
        privileges = connection.getAdminService().getCurrentAdminPrivileges()
        assert [one.value.val for one in privileges] == ["Sudo"]


def test_sudo_makes_sessions_for_members_only(sandbox: RunningSandbox, connect: Connect) -> None:
    with connect("ferry") as ferry:
        client = join(sandbox, sudo(ferry, "bob", "Screens"))
        context = client.sf.getAdminService().getEventContext()
        assert (context.userName, context.groupName, context.sudoerName.val) == ("bob", "Screens", "ferry")
        client.closeSession()
        with pytest.raises(omero.SecurityViolation, match="is not a member of group"):
            sudo(ferry, "alice", "Screens")
        with pytest.raises(omero.ApiUsageException, match="No such user"):
            sudo(ferry, "nobody", "Screens")


def test_becoming_root_gives_no_more_than_one_had(sandbox: RunningSandbox, connect: Connect) -> None:
    with connect("ferry") as ferry:
        client = join(sandbox, sudo(ferry, "root", "system"))
        assert client.sf.getAdminService().getEventContext().adminPrivileges == ["Sudo"]
        client.closeSession()


def test_a_group_owner_makes_sessions_in_her_group_only(connect: Connect) -> None:
    with connect("carol") as carol:
        assert sudo(carol, "alice", "Cytoskeleton")
        with pytest.raises(omero.SecurityViolation, match="Group sudo is not permitted"):
            sudo(carol, "alice", "Platform")
    with connect("alice") as alice, pytest.raises(omero.SecurityViolation):
        sudo(alice, "bob", "Cytoskeleton")


def test_a_session_ends_at_its_time_to_live_however_busy(sandbox: RunningSandbox, connect: Connect) -> None:
    with connect("ferry") as ferry:
        client = join(sandbox, sudo(ferry, "alice", "Cytoskeleton", live_ms=1500, idle_ms=0))
        admin = client.sf.getAdminService()
        with pytest.raises((omero.SessionException, Ice.Exception)):
            for _ in range(200):
                admin.getEventContext()
                time.sleep(0.05)


def test_an_idle_session_ends_and_a_kept_one_does_not(sandbox: RunningSandbox, connect: Connect) -> None:
    with connect("ferry") as ferry:
        idle = join(sandbox, sudo(ferry, "alice", "Cytoskeleton", idle_ms=1500))
        kept = join(sandbox, sudo(ferry, "alice", "Cytoskeleton", idle_ms=1500))
        for _ in range(12):
            kept.sf.keepAlive(None)
            time.sleep(0.2)
        assert kept.sf.getAdminService().getEventContext().userName == "alice"
        with pytest.raises(omero.SessionException):
            idle.sf.getAdminService().getEventContext()


def test_closing_counts_references_and_ends_with_the_last(sandbox: RunningSandbox, connect: Connect) -> None:
    with connect("ferry") as ferry:
        key = sudo(ferry, "alice", "Cytoskeleton")
        first, second = join(sandbox, key), join(sandbox, key)
        sessions = ferry.c.sf.getSessionService()
        assert sessions.getReferenceCount(key) == 3
        first.closeSession()
        assert sessions.getReferenceCount(key) == 2
        ended = omero.model.SessionI()
        ended.uuid = omero.rtypes.rstring(key)
        assert sessions.closeSession(ended) == 1
        assert second.sf.getAdminService().getEventContext().userName == "alice"
        assert sessions.closeSession(ended) == 0
        with pytest.raises(omero.RemovedSessionException):
            second.sf.getAdminService().getEventContext()
        assert sessions.closeSession(ended) == -1


def test_a_closed_session_cannot_be_joined(sandbox: RunningSandbox, connect: Connect) -> None:
    with connect("ferry") as ferry:
        key = sudo(ferry, "alice", "Cytoskeleton")
        join(sandbox, key).killSession()
    with pytest.raises(Exception, match="Password check failed"):
        join(sandbox, key)


def test_other_peoples_session_keys_are_not_told(connect: Connect) -> None:
    with connect("alice"), connect("ferry") as ferry:
        owners = {name for (name,) in rows(ferry, "select s.owner.omeName from Session s")}
        assert owners == {"ferry"}


def test_roles_and_look_ups(connect: Connect) -> None:
    with connect("ferry") as ferry:
        admin = ferry.getAdminService()
        roles = admin.getSecurityRoles()
        assert (roles.rootName, roles.userGroupName, roles.systemGroupId) == ("root", "user", 0)
        carol = admin.lookupExperimenter("carol")
        names = {group.name.val for group in admin.containedGroups(carol.id.val)}
        assert names == {"Cytoskeleton", "Platform", "Screens", "user"}
        assert admin.getLeaderOfGroupIds(carol) == [admin.lookupGroup("Cytoskeleton").id.val]
        assert set(admin.getMemberOfGroupIds(carol)) == {
            g.id.val for g in admin.containedGroups(carol.id.val)
        }
        letters = {g.name.val: str(g.details.permissions) for g in admin.lookupGroups()}
        assert letters | {"Cytoskeleton": "rwra--", "Platform": "rw----", "Screens": "rwrw--"} == letters
        with pytest.raises(omero.ApiUsageException):
            admin.lookupExperimenter("nobody")


def test_an_operation_the_sandbox_lacks_is_named(connect: Connect) -> None:
    with connect("alice") as alice, pytest.raises(omero.InternalException, match=r"IAdmin\.changeOwner"):
        alice.getAdminService().changeOwner(omero.model.ProjectI(1, False), "bob")


def test_people_taken_out_of_the_users_neither_sign_in_nor_are_signed_in_for(
    sandbox: RunningSandbox, connect: Connect
) -> None:
    with connect("root") as root, connect("ferry") as ferry:
        admin = root.getAdminService()
        users = admin.lookupGroup("user")
        made = omero.model.ExperimenterI()
        made.omeName, made.firstName, made.lastName = (
            omero.rtypes.rstring(one) for one in ("dora", "D", "D")
        )
        group = admin.lookupGroup("Cytoskeleton")
        password = omero.rtypes.rstring("dora-sandbox")
        made = admin.getExperimenter(admin.createExperimenterWithPassword(made, password, group, [users]))
        assert sudo(ferry, "dora", "Cytoskeleton")
        admin.removeGroups(made, [users])
        connection = BlitzGateway("dora", "dora-sandbox", host=sandbox.host, port=sandbox.ssl_port)
        assert not connection.connect()
        with pytest.raises(omero.SecurityViolation):
            sudo(ferry, "dora", "Cytoskeleton")
        with pytest.raises(omero.SecurityViolation):
            ferry.getAdminService().addGroups(made, [users])
