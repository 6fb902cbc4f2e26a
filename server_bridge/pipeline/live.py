"""The attempts that run in this process, and the watcher that stops them when their order moved on.

An attempt never asks the engine whether it may go on: the orders table says it. One thread looks for all of
them a few times a second, and sets an attempt's stop signal when the order was cancelled, re-opened or
given to a later attempt; the child processes of the attempt end on that signal.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from server_bridge.orders.store import Store

LOOK_SECONDS = 0.25

_log = logging.getLogger(__name__)


class LiveAttempts:
    """Thread-safe. :meth:`start` once, :meth:`stop` once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Condition()
        self._attempts: dict[tuple[str, int], threading.Event] = {}
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_stopping(self) -> bool:
        """Whether the whole bridge ends: attempts then leave their orders queued."""
        return self._ending.is_set()

    def start(self) -> None:
        """Start watching."""
        self._thread = threading.Thread(target=self._watch, name="attempt-watcher", daemon=True)
        self._thread.start()

    @contextmanager
    def running(self, order_id: str, number: int) -> Iterator[threading.Event]:
        """The stop signal of an attempt, for as long as it runs."""
        stop = threading.Event()
        with self._guard:
            self._attempts[(order_id, number)] = stop
        if self._ending.is_set():
            stop.set()
        try:
            yield stop
        finally:
            with self._guard:
                del self._attempts[(order_id, number)]
                self._guard.notify_all()

    def keys(self) -> set[tuple[str, int]]:
        """What runs now."""
        with self._guard:
            return set(self._attempts)

    def stop(self, timeout_seconds: float) -> bool:
        """Tell all to stop and wait for them. False where some still run after ``timeout_seconds``."""
        self._ending.set()
        deadline = time.monotonic() + timeout_seconds
        with self._guard:
            for event in self._attempts.values():
                event.set()
            while self._attempts and (left := deadline - time.monotonic()) > 0:
                self._guard.wait(left)
            ended = not self._attempts
        if self._thread is not None:
            self._thread.join(5)
        return ended

    def _watch(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            with self._guard:
                attempts = dict(self._attempts)
            for (order_id, number), stop in attempts.items():
                try:
                    if not stop.is_set() and not self._store.still_mine(order_id, number):
                        stop.set()
                except SQLAlchemyError as error:
                    # The attempt's own writes are fenced; a database that is away for a moment stops nobody.
                    _log.warning("the orders cannot be read: %s", error)
                    break
