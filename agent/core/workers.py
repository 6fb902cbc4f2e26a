"""Threads that never die silently: a step that fails is told, waits, and is tried again."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from agent.core.errors import AgentError
from server_bridge.contract import Reason

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
LEAVE_SECONDS = 2.0


def unexpected(error: BaseException) -> Reason:
    """A defect of ours, in words for the person."""
    return Reason(
        code="agent_fault",
        title="The agent has a problem",
        detail=f"{type(error).__name__}: {error}",
        remedy="It tries again by itself. If this stays, tell the platform staff.",
    )


class Worker:
    """Runs ``step`` again and again; the step says how many seconds it may rest.

    ``told`` is called with the reason of a failure, and with None after the first success that follows;
    ``ended`` by the thread itself at its end, however late that is (it may hang in a call to a share).
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float],
        told: Callable[[Reason | None], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._step = step
        self._told = told
        self._ended = ended
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ferry-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Make the next step due now."""
        self._wake.set()

    def stop(self) -> None:
        """Ask it to end; returns at once."""
        self._stopping.set()
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Wait for its end; False where it is still in a call (to a hung share, in a long poll)."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._go_round()
        finally:
            self._ended()

    def _go_round(self) -> None:
        pause, failed = FIRST_PAUSE_SECONDS, False
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                rest = self._step()
            except AgentError as error:
                self._told(error.reason())
                failed, rest, pause = True, pause, min(pause * 2, LONGEST_PAUSE_SECONDS)
            except Exception as error:  # the thread must live, and the window tells what happened
                log.exception("%s failed", self._thread.name)
                self._told(unexpected(error))
                failed, rest, pause = True, pause, min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                if failed:
                    self._told(None)
                failed, pause = False, FIRST_PAUSE_SECONDS
            self._wake.wait(rest)


def leave(status: int) -> None:
    """End the process with this status, also where a thread hangs in a call that cannot be taken back.

    Python waits for its pools' threads at exit; one that deletes on a dead share would keep the program, its
    icon and its locks for as long as the share is away. What was promised to a person is in SQLite by now.
    """
    deadline = time.monotonic() + LEAVE_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
    left = [
        one.name for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon
    ]
    if left:
        log.warning("leaving while %s does not return", ", ".join(left))
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # a program without a console has none
                stream.flush()
        os._exit(status)
