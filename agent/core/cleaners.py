"""The cleaners of all shares on which this agent may delete: one thread each, for good.

A cleaner may be in a hung call, so none is ever doubled; each asks at every step what it may.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from agent.core.cleaner import Cleaner
from agent.core.cleaning_book import CleaningBook, Job, JobState
from server_bridge.contract import DeletionMode, Reason, WorkstationShare


class Cleaners:
    """Safe to share between threads."""

    def __init__(self, book: CleaningBook, make: Callable[[str], Cleaner]) -> None:
        self._book = book
        self._make = make
        self._guard = threading.Lock()
        self._by_share: dict[str, Cleaner] = {}
        self._stopped = False

    def keep(self, shares: Iterable[WorkstationShare]) -> None:
        """Begin where the agent may delete, and nobody does yet."""
        with self._guard:
            for share in shares:
                wanted = share.deletion is DeletionMode.AGENT and not self._stopped
                if wanted and share.id not in self._by_share:
                    self._by_share[share.id] = cleaner = self._make(share.id)
                    cleaner.start()

    def of(self, share: str) -> Cleaner | None:
        """The cleaner of one share."""
        with self._guard:
            return self._by_share.get(share)

    def wake(self) -> None:
        """Look now at what is asked."""
        for _share, cleaner in self._all():
            cleaner.wake()

    def stop(self) -> None:
        """Ask all to end; returns at once."""
        with self._guard:
            self._stopped = True
        for _share, cleaner in self._all():
            cleaner.stop()

    def join(self, seconds: float) -> bool:
        """Wait for their ends; False where one is still in a call to its share."""
        deadline, ended = time.monotonic() + seconds, True
        for _share, cleaner in self._all():
            ended = cleaner.join(max(0.1, deadline - time.monotonic())) and ended
        return ended

    def faults(self) -> dict[str, Reason]:
        """What keeps one of them from working, besides its share."""
        return {
            f"clean-{share}": cleaner.fault for share, cleaner in self._all() if cleaner.fault is not None
        }

    def jobs(self) -> tuple[Job, ...]:
        """What is being deleted, with the word of a share that hangs meanwhile."""
        silent = {share: cleaner.problem() for share, cleaner in self._all()}
        return tuple(
            replace(job, reason=silent.get(job.share) or job.reason) if job.state is JobState.RUNNING else job
            for job in self._book.jobs()
        )

    def _all(self) -> list[tuple[str, Cleaner]]:
        with self._guard:
            return list(self._by_share.items())
