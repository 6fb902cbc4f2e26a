"""Attempts that die, or lose their order, at a chosen moment.

A moment is right after something became true for others: a committed transaction, a file in staging, a row
in OMERO. Whoever died there does nothing any more: what a real kill never runs (`finally`, the next write)
is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from server_bridge.contract import Progress
from server_bridge.orders.store import Store


class Crash(BaseException):
    """kill -9: no code of ours handles it."""


class Life:
    """Counts moments; at the planned one, something happens."""

    def __init__(self) -> None:
        self.dead = False
        self._left = 0
        self._then: Callable[[], None] | None = None

    def plan(self, moments: int, then: Callable[[], None] | None) -> None:
        """At the ``moments``-th moment from now do ``then``, or die where it is None; 0: nothing."""
        self.dead, self._left, self._then = False, moments, then

    def forget(self) -> None:
        """Nothing is planned, and who comes next is alive."""
        self.plan(0, None)

    def require_alive(self) -> None:
        """Whoever died does nothing any more.

        Raises:
            Crash: after a crash.
        """
        if self.dead:
            raise Crash

    def happened(self) -> None:
        """A moment.

        Raises:
            Crash: where it was planned.
        """
        self.require_alive()
        if not self._left:
            return
        self._left -= 1
        if self._left:
            return
        if self._then is None:
            self.dead = True
            raise Crash
        then, self._then = self._then, None
        then()


class MortalStore(Store):
    """The real store; each commit is a moment, and the dead commit nothing."""

    def __init__(self, engine: Engine, life: Life) -> None:
        super().__init__(engine)
        self._life = life

    @contextmanager
    def write(self, *, notify: bool = True) -> Iterator[Session]:
        self._life.require_alive()
        with super().write(notify=notify) as session:
            yield session
        self._life.happened()

    def set_progress(self, order_id: str, progress: Progress) -> None:
        """Outside history: it decides nothing."""
