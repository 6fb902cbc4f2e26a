"""Looks into OMERO from outside while the demo runs: when did an acquisition's images appear?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import omero.sys
from omero.rtypes import rstring, unwrap

from tests.checker.omero import ALL_GROUPS, session


class ImageWatcher:
    """One thread with one session of OMERO's administrator; asks three times a second."""

    def __init__(self, port: int, acquisitions: Iterable[str]) -> None:
        self._port = port
        self._waiting = set(acquisitions)
        self._stop = threading.Event()
        self.seen_at: dict[str, float] = {}
        """Acquisition → `time.time()` when OMERO first had an image of it."""
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="image-watcher", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        try:
            with session("127.0.0.1", self._port, "root", "root-sandbox") as factory:
                query = factory.getQueryService()
                while self._waiting and not self._stop.wait(0.3):
                    for acquisition in sorted(self._waiting):
                        if self._has_images(query, acquisition):
                            self.seen_at[acquisition] = time.time()
                            self._waiting.discard(acquisition)
        except Exception as error:  # noqa: BLE001 - told in the report: a missing time must not pass silently
            self.error = error

    @staticmethod
    def _has_images(query: object, acquisition: str) -> bool:
        parameters = omero.sys.ParametersI()
        parameters.add("path", rstring(f"%/{acquisition}%"))
        rows = query.projection(  # type: ignore[attr-defined]
            "select count(i) from FilesetEntry fe join fe.fileset fs join fs.images i "
            "where fe.clientPath like :path",
            parameters,
            ALL_GROUPS,
        )
        return int(unwrap(rows[0][0])) > 0
