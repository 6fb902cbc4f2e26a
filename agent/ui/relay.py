"""Brings snapshots and results from the engine's threads to the GUI thread.

Snapshots are coalesced: when several arrive before the GUI thread gets to run, only the newest is shown, so a
fast engine cannot flood the event queue. A result whose receiver has been destroyed is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

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


class _Answer(QObject):
    """Carries one result over: the slot is a method of a QObject, so Qt knows in which thread to call it."""

    _done = Signal(object, object)

    def __init__(
        self,
        receiver: QObject,
        on_result: Callable[[Any], None],
        on_error: Callable[[AgentError], None],
    ) -> None:
        super().__init__(receiver)
        self._on_result = on_result
        self._on_error = on_error
        self._done.connect(self._arrived, Qt.ConnectionType.QueuedConnection)

    def carry(self, result: Any, error: BaseException | None) -> None:
        """Called on the engine's thread."""
        try:
            self._done.emit(result, error)
        except RuntimeError:
            # The receiver was destroyed between the answer and here: nobody is left who wants to know.
            return

    @Slot(object, object)
    def _arrived(self, result: Any, error: BaseException | None) -> None:
        self.deleteLater()
        if error is None:
            self._on_result(result)
        else:
            self._on_error(as_agent_error(error))


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
    answer = _Answer(receiver, on_result, on_error)

    def finished(done: Future[T]) -> None:
        try:
            error = done.exception()
        except CancelledError:
            return
        if shiboken6.isValid(answer):
            answer.carry(done.result() if error is None else None, error)

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
