"""Room on the staging disk, shared by all pulls that run: none starts on room that another one still needs.

What is free now is not what will be free: a pull that began an hour ago with room for everybody may still
have most of its bytes to come. So each pull promises itself what it needs before it starts, and gives back
what has arrived as it arrives. rsync's counters lag behind the disk by a second or so; what has arrived and
is not yet counted is then held twice, which errs on the side of waiting.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from server_bridge.mover.staging import MeasureSpace, lacking_space, measure_space


@dataclass(frozen=True)
class Need:
    """What a pull still has to write."""

    size_bytes: int
    files: int


class Promise:
    """The room of one running pull. Give it back with :meth:`end`, or by leaving the ``with`` block."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def left(self, size_bytes: int, files: int) -> None:
        """So much is still to come."""
        self._room._keep(self, Need(max(size_bytes, 0), max(files, 0)))

    def end(self) -> None:
        """Nothing comes any more. A second call does nothing."""
        self._room._keep(self, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Room:
    """One per staging disk and process. Thread-safe."""

    def __init__(self, measure: MeasureSpace = measure_space) -> None:
        self._measure = measure
        self._guard = threading.Lock()
        self._needs: dict[Promise, Need] = {}

    def ask(
        self, folder: Path, size_bytes: int, files: int, keep_free_bytes: int, reserve_ratio: float
    ) -> Promise | str:
        """Room for a pull into ``folder``, or what is missing, in words."""
        with self._guard:
            # Measured and promised under one lock: two that ask at once must not both get the last room.
            promised = Need(
                sum(need.size_bytes for need in self._needs.values()),
                sum(need.files for need in self._needs.values()),
            )
            lacking = lacking_space(
                size_bytes,
                files,
                self._measure(folder),
                keep_free_bytes,
                reserve_ratio,
                promised_bytes=promised.size_bytes,
                promised_files=promised.files,
            )
            if lacking is not None:
                return lacking
            promise = Promise(self)
            self._needs[promise] = Need(size_bytes, files)
            return promise

    @property
    def promised_bytes(self) -> int:
        """What running pulls still have to write."""
        with self._guard:
            return sum(need.size_bytes for need in self._needs.values())

    def _keep(self, promise: Promise, need: Need | None) -> None:
        with self._guard:
            if promise not in self._needs:
                return
            if need is None:
                del self._needs[promise]
            else:
                self._needs[promise] = need
