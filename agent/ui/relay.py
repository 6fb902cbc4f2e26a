"""Brings snapshots and results from the engine's threads to the GUI thread.

Snapshots are coalesced: when several arrive before the GUI thread gets to run, only the newest is shown, so a
fast engine cannot flood the event queue. A result whose receiver has been destroyed is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TypeVar

import shiboken6
from PySide6.QtCore import QObject, Qt, Signal, Slot

from agent.core.errors import AgentError
from agent.core.snapshot import Snapshot

T = TypeVar("T")


class SnapshotRelay(QObject):
    """Delivers the newest snapshot on the thread this object lives in."""

    snapshot = Signal(object)
    _wake = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("snapshotRelay")
        self._lock = threading.Lock()
        self._newest: Snapshot | None = None
        self._wake.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def publish(self, snapshot: Snapshot) -> None:
        """Take a snapshot from any thread."""
        if not shiboken6.isValid(self):
            return
        with self._lock:
            waiting = self._newest is not None
            self._newest = snapshot
        if not waiting:
            self._wake.emit()

    @Slot()
    def _deliver(self) -> None:
        with self._lock:
            snapshot, self._newest = self._newest, None
        if snapshot is not None:
            self.snapshot.emit(snapshot)


class _PostOffice(QObject):
    """Runs callables on the GUI thread: one object for the whole process, so that none dies with a letter
    under way (a queued call to an object per answer crashed when that object was collected first)."""

    _letter = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("postOffice")
        self._letter.connect(self._open, Qt.ConnectionType.QueuedConnection)

    def post(self, call: Callable[[], None]) -> None:
        """Take a callable from any thread."""
        self._letter.emit(call)

    @Slot(object)
    def _open(self, call: Callable[[], None]) -> None:
        call()


_office: _PostOffice | None = None


def _post_office() -> _PostOffice:
    """Return the post office; the first call has to come from the GUI thread, as every ``deliver`` does."""
    global _office
    if _office is None:
        _office = _PostOffice()
    return _office


def deliver(
    future: Future[T],
    receiver: QObject,
    on_result: Callable[[T], None],
    on_error: Callable[[AgentError], None],
) -> None:
    """Call ``on_result`` or ``on_error`` on the GUI thread once ``future`` is done, while ``receiver`` lives.

    Anything but an AgentError is wrapped into one, so that a defect is shown in words instead of being lost.
    A cancelled future calls neither.
    """
    office = _post_office()

    def finished(done: Future[T]) -> None:
        try:
            error = done.exception()
        except CancelledError:
            return

        def arrived() -> None:
            if not shiboken6.isValid(receiver):
                return
            if error is None:
                on_result(done.result())
            else:
                on_error(as_agent_error(error))

        office.post(arrived)

    future.add_done_callback(finished)


def as_agent_error(error: BaseException) -> AgentError:
    """Return the error as the person should read it."""
    if isinstance(error, AgentError):
        return error
    return AgentError(
        f"{type(error).__name__}: {error}",
        code="agent_defect",
        title="The agent made a mistake",
        remedy="Try again; if it happens again, give this text to the facility staff.",
    )
