"""This workstation as the bridge knows it: its key, its registration, its rules, its heartbeat.

The key is made once per machine and never leaves its file but for the bridge. What the bridge said about
shares and rules is kept, so that the agent works on when it starts without a network.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable

from agent.core.bridge_client import BridgeClient, Credentials
from agent.core.clock import Clock
from agent.core.errors import AgentError, BridgeAway, BridgeRefused
from agent.core.heartbeat import LATER_FIELDS
from agent.core.machine_store import MachineStore
from agent.platform.base import Platform
from server_bridge.contract import Heartbeat, Workstation, WorkstationRegistration, WorkstationStatus

log = logging.getLogger(__name__)
FACT = "workstation"
KEY_FILE = "workstation.key"
REFRESH_SECONDS = 60.0
PENDING_SECONDS = 5.0
KEY_SECONDS = 5.0
LEASE_PART = 0.3
"""A lease is renewed before a third of it has passed: two heartbeats may be lost."""
OLDER_BRIDGE_SECONDS = 600.0
"""How long a bridge counts as an older one, before the whole heartbeat is tried again."""


class KeyUnreadable(AgentError):
    """The key is there and cannot be read: making another would orphan the registration."""

    code = "workstation_key"
    title = "This machine's key cannot be read"


def own_key(platform: Platform) -> str:
    """The machine's key, made at the first call (two sessions may start at once).

    Raises:
        KeyUnreadable: where the file is there and is not ours to read.
    """
    path = platform.machine_dir() / KEY_FILE
    lock = platform.share_lock("workstation-key")
    deadline = time.monotonic() + KEY_SECONDS
    while not path.exists() and time.monotonic() < deadline:
        if not lock.acquire():
            time.sleep(0.05)  # another session is making it
            continue
        try:
            if not path.exists():
                platform.write_private(path, secrets.token_urlsafe(48).encode())
        finally:
            lock.release()
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnreadable(
            f"{path}: {error}", remedy="The platform staff look at the rights of this folder."
        ) from error
    if len(key) < 32:
        raise KeyUnreadable(f"{path} is damaged.", remedy="The platform staff delete it; approve anew.")
    return key


class Station:
    """Runs :meth:`step` in one thread; the rest may be asked from any."""

    def __init__(
        self,
        *,
        client: BridgeClient,
        machine: MachineStore,
        platform: Platform,
        clock: Clock,
        name: str,
        version: str,
        heartbeat_seconds: float,
        make_heartbeat: Callable[[], Heartbeat],
        reached: Callable[[], None],
        lost: Callable[[BridgeAway | BridgeRefused], None],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self._client = client
        self._machine = machine
        self._platform = platform
        self._clock = clock
        self._version = version
        self._heartbeat_seconds = heartbeat_seconds
        self._make_heartbeat = make_heartbeat
        self._reached = reached
        self._lost = lost
        self._changed = changed
        self._lock = threading.Lock()
        self._key = ""
        kept = machine.fact(FACT)
        self._workstation = Workstation.model_validate_json(kept) if kept else None
        self._asked_at = float("-inf")
        self._beat_at = float("-inf")
        self._lease_seconds = float("inf")
        self._older_until = float("-inf")

    def workstation(self) -> Workstation | None:
        """What the bridge last said; None before the first registration."""
        with self._lock:
            return self._workstation

    def header(self) -> str:
        """``<id>:<key>`` once registered and approved, empty before."""
        with self._lock:
            found = self._workstation
            approved = found is not None and found.status is WorkstationStatus.APPROVED
            return f"{found.id}:{self._key}" if found and approved and self._key else ""

    def any_header(self) -> str:
        """``<id>:<key>`` once registered, approved or not: a sign-in then counts as made here."""
        with self._lock:
            return f"{self._workstation.id}:{self._key}" if self._workstation and self._key else ""

    def _any_header(self) -> Credentials:
        return Credentials(workstation=self.any_header())

    def step(self) -> float:
        """Register, ask what is allowed, or send a heartbeat: whatever is due."""
        if not self._key:
            key = own_key(self._platform)
            with self._lock:
                self._key = key
            self._changed()
        now = self._clock.monotonic()
        found = self.workstation()
        approved = found is not None and found.status is WorkstationStatus.APPROVED
        try:
            if now - self._asked_at >= (REFRESH_SECONDS if approved else PENDING_SECONDS):
                self._ask()
                self._asked_at = now
            every = min(self._heartbeat_seconds, self._lease_seconds * LEASE_PART)
            if self.header() and now - self._beat_at >= every:
                # Before it is made: what changes from here on is told by another one.
                before, self._beat_at = self._beat_at, now
                try:
                    self._beat(now)
                except (BridgeAway, BridgeRefused):
                    self._beat_at = before
                    raise
            self._reached()
        except (BridgeAway, BridgeRefused) as error:
            self._lost(error)
            return 3.0
        return 1.0

    def beat_soon(self) -> None:
        """Something that the bridge should know at once: the next step sends a heartbeat."""
        self._beat_at = float("-inf")

    def _beat(self, now: float) -> None:
        beat = self._make_heartbeat()
        without = LATER_FIELDS if now < self._older_until else frozenset()
        try:
            answer = self._client.heartbeat(beat, self._any_header(), without)
        except BridgeRefused as error:
            if error.status != 422 or without:
                raise
            log.info("the bridge does not know all of the heartbeat; it is sent without")
            answer = self._client.heartbeat(beat, self._any_header(), LATER_FIELDS)
            self._older_until = now + OLDER_BRIDGE_SECONDS
        self._lease_seconds = float(answer.acquiring_lease_seconds)

    def look_now(self) -> None:
        """Ask anew in the next step."""
        self._asked_at = float("-inf")

    def _ask(self) -> None:
        if self.workstation() is None:
            self._keep(self._register())
            return
        try:
            self._keep(self._client.workstation(self._any_header()))
        except BridgeRefused as error:
            if error.status != 401:
                raise
            # Revoked, or another database: registering with the same key tells which.
            self._keep(self._register())

    def _register(self) -> Workstation:
        request = WorkstationRegistration(
            name=self.name, key=self._key, hostname=self._platform.hostname(), agent_version=self._version
        )
        log.info("registering this workstation as %r", self.name)
        return self._client.register(request)

    def _keep(self, found: Workstation) -> None:
        with self._lock:
            before, self._workstation = self._workstation, found
        if before != found:
            self._machine.set_fact(FACT, found.model_dump_json())
            self._changed()
