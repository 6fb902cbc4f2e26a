"""Wakes the polls that wait for a change. A waiting poll is one future: it holds no thread and no connection.

Writers call :meth:`Waker.nudge` from any thread after their commit; nudges within a fraction of a second
become one look at the database for all polls together. Other processes (the command line) cannot nudge, so
while anybody waits the database is looked at once per second anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from server_bridge.observability import POLLS_WAITING, get_logger
from server_bridge.orders.feed import Position

log = get_logger("ferry.feed")
GATHER_SECONDS = 0.1
LOOK_SECONDS = 1.0


class Waker:
    """One per running application, used on its event loop."""

    def __init__(self, read_position: Callable[[Position | None], Position]) -> None:
        self._read_position = read_position
        self._position: Position | None = None
        self._waiting: dict[asyncio.Future[Position | None], Callable[[Position], bool]] = {}
        self._nudged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def start(self) -> None:
        """Begin on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._watch(), name="feed-waker")

    async def stop(self) -> None:
        """End every wait and the watching task."""
        self.release()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def nudge(self) -> None:
        """Say from any thread that something was committed."""
        loop = self._loop
        if loop is None or self._closed or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._nudged.set)

    def release(self) -> None:
        """Answer every waiting poll now, and later ones at once: the bridge is about to stop."""
        self._closed = True
        for future in list(self._waiting):
            if not future.done():
                future.set_result(None)

    def release_from_signal(self) -> None:
        """:meth:`release`, from a signal handler or another thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.release)

    @property
    def position(self) -> Position | None:
        """The newest position that was read; None before the first look."""
        return self._position

    async def wait(self, wanted: Callable[[Position], bool], seconds: float) -> Position | None:
        """Return the newest position when ``wanted`` holds for it; None after ``seconds`` or at the stop."""
        if self._closed:
            return None
        if self._position is not None and wanted(self._position):
            return self._position
        future: asyncio.Future[Position | None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = wanted
        POLLS_WAITING.inc()
        self._nudged.set()  # something may have been committed since the caller looked
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(future, None)
            POLLS_WAITING.dec()

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # nobody nudged: look all the same
                await asyncio.wait_for(self._nudged.wait(), LOOK_SECONDS if self._waiting else None)
            self._nudged.clear()
            if self._waiting:
                await self._look()
            await asyncio.sleep(GATHER_SECONDS)

    async def _look(self) -> None:
        try:
            self._position = await asyncio.to_thread(self._read_position, self._position)
        except Exception as error:  # a busy database must not end the watching for good
            log.warning("the feed cannot look at the database", exc_info=error)
            return
        for future, wanted in list(self._waiting.items()):
            if not future.done() and wanted(self._position):
                future.set_result(self._position)
