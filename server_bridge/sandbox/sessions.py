"""Sessions as OMERO keeps them.

Reference counted, with a time to live and a time to idle, gone after a restart.

Signing in or creating a session counts one reference; every client that joins counts one more. A client
that goes away gives its reference back; only ``closeSession`` (or a client that asked for close-on-destroy)
ends the session when none is left. So a session made for somebody else outlives a soft close, as with the
real server.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import omero

from server_bridge.sandbox.people import People
from server_bridge.sandbox.security import ALL_GROUPS, SYSTEM_GROUP, USER_GROUP, Caller
from server_bridge.sandbox.store import Store, now_ms

DEFAULT_IDLE_MS = 600_000


def violation(message: str) -> omero.SecurityViolation:
    return omero.SecurityViolation(None, "ome.conditions.SecurityViolation", message)


def usage(message: str) -> omero.ApiUsageException:
    return omero.ApiUsageException(None, "ome.conditions.ApiUsageException", message)


@dataclass
class OpenSession:
    """One open session; times are milliseconds, 0 means no limit."""

    uuid: str
    row_id: int
    user_id: int
    group_id: int
    live_ms: int
    idle_ms: int
    event_type: str
    sudoer_id: int | None
    agent: str
    started: float
    last_used: float
    references: int = 1
    inputs: dict[str, object] = field(default_factory=dict)
    outputs: dict[str, object] = field(default_factory=dict)

    def expired(self, now: float) -> str | None:
        """Why the session is over, or None."""
        if self.live_ms and (now - self.started) * 1000 > self.live_ms:
            return f"timeToLive exceeded: {self.live_ms} ms"
        if self.idle_ms and (now - self.last_used) * 1000 > self.idle_ms:
            return f"timeToIdle exceeded: {self.idle_ms} ms"
        return None


class Sessions:
    """All open sessions of this process."""

    def __init__(self, store: Store, people: People) -> None:
        self.store = store
        self.people = people
        self._lock = threading.RLock()
        self._open: dict[str, OpenSession] = {}
        self._expired: dict[str, str] = {}

    # -- beginning

    def login(self, name: str, password: str, group: str | None, agent: str) -> OpenSession | None:
        """A new session for the right password; None for the wrong one or for an inactive user."""
        user = self.people.by_name(name)
        if user is None or not self.people.is_active(user["id"]):
            return None
        if not self.store.check_password(user["id"], password):
            return None
        return self.create(user["id"], group, 0, DEFAULT_IDLE_MS, "User", None, agent)

    def create_for(
        self, caller: Caller, name: str, group: str | None, event_type: str, live_ms: int, idle_ms: int
    ) -> OpenSession:
        """A session for somebody else.

        With the privilege Sudo for anybody, as a group's owner in that group.
        """
        if live_ms < 0 or idle_ms < 0:
            raise usage("Times must be positive.")
        user = self.people.by_name(name)
        if user is None:
            raise usage(f"No such user: {name}")
        if not self.people.is_active(user["id"]):
            raise violation(f"User {user['id']} is not a member of group {USER_GROUP} and cannot login")
        target = self._group_id(user["id"], group)
        if "Sudo" not in caller.privileges:
            if not caller.leader_of:
                raise violation(f"{caller.user_name} may not create sessions for others")
            if target not in caller.leader_of:
                raise violation(f"Group sudo is not permitted for group {target}")
            if self.people.privileges(user["id"]):
                raise violation("A group owner cannot become an administrator")
        return self.create(
            user["id"], str(target), live_ms, idle_ms, event_type or "User", caller.user_id, "sudo"
        )

    def _group_id(self, user: int, wanted: str | None) -> int:
        """The group of a new session, by name or id; empty or ``user`` means the user's default group."""
        if not wanted or wanted == "user":
            default = self.people.default_group(user)
            if default is None:
                raise violation(f"User {user} has no group and cannot login")
            return default
        row = self.people.group_by_name(wanted)
        if row is None and wanted.lstrip("-").isdigit():
            row = self.people.group_by_id(int(wanted))
        if row is None:
            raise usage(f"No such group: {wanted}")
        groups = {group for group, _ in self.people.memberships(user)}
        if row["id"] not in groups and SYSTEM_GROUP not in groups:
            raise violation(f"User {user} is not a member of group {row['id']} and cannot login")
        return int(row["id"])

    def set_times(self, caller: Caller, key: str, live_ms: int | None, idle_ms: int | None) -> None:
        """Change the times of one's own session; with WriteOwned those of any."""
        session = self.find(key)
        if session is None:
            raise usage(f"No session with uuid: {key}")
        if session.user_id != caller.user_id and "WriteOwned" not in caller.privileges:
            raise violation("Sessions of others may not be changed")
        if live_ms is not None:
            session.live_ms = live_ms
        if idle_ms is not None:
            session.idle_ms = idle_ms

    def create(
        self,
        user: int,
        group: str | None,
        live_ms: int,
        idle_ms: int,
        event_type: str,
        sudoer: int | None,
        agent: str,
    ) -> OpenSession:
        key = str(uuid.uuid4())
        group_id = self._group_id(user, group)
        row = self.store.insert(
            "Session",
            None,
            uuid=key,
            owner=user,
            sudoer=sudoer,
            timeToIdle=idle_ms,
            timeToLive=live_ms,
            started=now_ms(),
            defaultEventType=event_type,
            userAgent=agent,
        )
        now = time.monotonic()
        session = OpenSession(key, row, user, group_id, live_ms, idle_ms, event_type, sudoer, agent, now, now)
        with self._lock:
            self._open[key] = session
        return session

    # -- using

    def find(self, key: str) -> OpenSession | None:
        """The open session with that key; an expired one is ended here and now."""
        with self._lock:
            session = self._open.get(key)
            if session is not None and (why := session.expired(time.monotonic())):
                self._end(session)
                self._expired[key] = why
                session = None
            return session

    def use(self, key: str) -> OpenSession:
        """As :meth:`find`, but counts as use and raises what OMERO raises for a session that is over."""
        session = self.find(key)
        if session is None:
            why = self._expired.get(key)
            if why is not None:
                raise omero.SessionTimeoutException(
                    None, "ome.conditions.SessionTimeoutException", f"Session (uuid={key}) expired: {why}"
                )
            raise omero.RemovedSessionException(
                None, "ome.conditions.RemovedSessionException", f"No session with uuid: {key}"
            )
        session.last_used = time.monotonic()
        return session

    def touch(self, key: str) -> str | None:
        """Count as use, if the session is still there; otherwise tell why it expired, if it did."""
        session = self.find(key)
        if session is not None:
            session.last_used = time.monotonic()
        return self._expired.get(key)

    def join(self, key: str) -> OpenSession | None:
        session = self.find(key)
        if session is not None:
            with self._lock:
                session.references += 1
            session.last_used = time.monotonic()
        return session

    def detach(self, key: str, close: bool) -> int:
        """A client went away; ends the session if ``close`` and nobody is left.

        Returns the references left.
        """
        with self._lock:
            session = self._open.get(key)
            if session is None:
                return -1
            session.references -= 1
            if close and session.references < 1:
                self._end(session)
            return session.references

    def close(self, key: str) -> int:
        """ISession.closeSession.

        One reference less, ended at none. Returns the references left, -1 if unknown.
        """
        return self.detach(key, close=True)

    def references(self, key: str) -> int:
        session = self.find(key)
        return -1 if session is None else session.references

    def everybody(self) -> list[OpenSession]:
        with self._lock:
            keys = list(self._open)
        found = (self.find(key) for key in keys)
        return [session for session in found if session is not None]

    def of_user(self, user: int) -> list[OpenSession]:
        return [session for session in self.everybody() if session.user_id == user]

    def _end(self, session: OpenSession) -> None:
        self._open.pop(session.uuid, None)
        self.store.execute("UPDATE session SET closed = ? WHERE id = ?", [now_ms(), session.row_id])

    # -- the security context

    def caller(self, session: OpenSession, context: Mapping[str, str]) -> Caller:
        """The context of one call; ``omero.group`` of the call context overrides the session's group."""
        memberships = self.people.memberships(session.user_id)
        member_of = frozenset(group for group, _ in memberships)
        privileges = self.people.privileges(session.user_id)
        sudoer_name = None
        if session.sudoer_id is not None:
            sudoer = self.people.by_id(session.sudoer_id)
            sudoer_name = sudoer["omeName"] if sudoer else None
            # Becoming an administrator does not elevate.
            privileges &= self.people.privileges(session.sudoer_id)
        admin = SYSTEM_GROUP in member_of
        permissions = self.people.permissions()
        group = session.group_id
        wanted = context.get("omero.group", "")
        # A name is only meant for signing in; clients leave it in the context of all later calls.
        if wanted.lstrip("-").isdigit():
            group = int(wanted)
            if group != ALL_GROUPS and group not in permissions:
                raise usage(f"No such group: {group}")
            if group != ALL_GROUPS and group not in member_of and not admin:
                raise violation(f"User {session.user_id} is not a member of group {group} and cannot login")
        user = self.people.by_id(session.user_id)
        return Caller(
            user_id=session.user_id,
            user_name=user["omeName"] if user else "",
            group_id=group,
            member_of=member_of,
            leader_of=frozenset(of for of, owner in memberships if owner),
            privileges=privileges,
            admin=admin,
            session_id=session.row_id,
            session_uuid=session.uuid,
            group_permissions=permissions,
            sudoer_id=session.sudoer_id,
            sudoer_name=sudoer_name,
            event_type=session.event_type,
        )
