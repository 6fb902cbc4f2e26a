"""What a child writes, bounded: the lines of a stream as they come, and what is kept of it at the end.

A child may write without end, and without any line end. Memory stays bounded either way: a line is handed
on in pieces once it is longer than any line of rsync or OMERO, and only head and tail of a stream are kept.
"""

from __future__ import annotations

from collections.abc import Callable

_LONGEST_LINE_BYTES = 1 << 20

LineHandler = Callable[[bytes], None]


class Kept:
    """Head and tail of a stream within a budget; the middle is counted, not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._half = max(limit_bytes // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._half:
            del self._tail[: len(self._tail) - self._half]

    def value(self) -> bytes:
        tail = bytes(self._tail[-self._half :])
        lost = self.total - len(self._head) - len(tail)
        if lost <= 0:
            return bytes(self._head) + tail
        return bytes(self._head) + b"\n[... %d bytes left out ...]\n" % lost + tail


class Lines:
    """Cut a stream into lines at CR and LF (rsync's progress ends in CR); empty pieces are dropped."""

    def __init__(self, handler: LineHandler) -> None:
        self._handler = handler
        self._rest = b""

    def feed(self, data: bytes) -> None:
        pieces = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = pieces.pop()
        for piece in pieces:
            if piece:
                self._handler(piece)
        if len(self._rest) > _LONGEST_LINE_BYTES:
            self.finish()

    def finish(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._handler(rest)
