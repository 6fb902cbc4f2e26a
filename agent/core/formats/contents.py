"""Looking into a file that rests: a few kilobytes of it, and what they say about its end.

Each function takes a :class:`Peek` and answers with what it found, in words. None of them decodes an image.
What they cannot judge they say they do not know, and quiet time decides alone.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

from agent.core.formats.rules import CheckKind
from agent.core.witness import WitnessState

MOST_BYTES = 48 * 1024 * 1024
"""What is read of one file at most, in bytes."""
MOST_STEPS = 4096
"""Directories or blocks that are followed in one file."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a look into a file found."""

    state: WitnessState
    words: str


def fine(words: str) -> Said:
    """It speaks for "complete"."""
    return Said(WitnessState.OK, words)


def waits(words: str) -> Said:
    """It speaks against "complete"."""
    return Said(WitnessState.WAITING, words)


def unknown(words: str) -> Said:
    """It says nothing."""
    return Said(WitnessState.UNKNOWN, words)


class TooMuch(Exception):
    """More would have to be read than a witness may."""


class ChangedMeanwhile(Exception):
    """Somebody wrote while we looked."""


class Peek:
    """A file opened for a short look, read in pieces, with its size and time compared before and after.

    Raises:
        OSError: where it can't be opened or read.
        ChangedMeanwhile: at the end, where it changed.
    """

    def __init__(self, path: str | os.PathLike[str], name: str) -> None:
        self._path = path
        self.name = name
        self._left = MOST_BYTES

    def __enter__(self) -> Peek:
        self._before = os.stat(self._path, follow_symlinks=False)  # noqa: PTH116 - may be a \\?\ path
        self.size_bytes = self._before.st_size
        self._file: BinaryIO = open(self._path, "rb", buffering=0)  # noqa: PTH123 - closed below
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        after = os.stat(self._path, follow_symlinks=False)  # noqa: PTH116
        if (after.st_size, after.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise ChangedMeanwhile(self.name)

    def at(self, offset: int, length: int) -> bytes:
        """Read; shorter at the end of the file.

        Raises:
            TooMuch: beyond the limit for one file.
        """
        if offset < 0 or offset >= self.size_bytes or length <= 0:
            return b""
        self._left -= length
        if self._left < 0:
            raise TooMuch(self.name)
        self._file.seek(offset)
        pieces, missing = [], length
        while missing > 0:
            piece = self._file.read(min(missing, 1 << 20))
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def end(self, length: int) -> bytes:
        """The last bytes."""
        return self.at(max(0, self.size_bytes - length), length)

    def text(self) -> str:
        """All of it, as text.

        Raises:
            TooMuch: where it is larger than an index should be.
        """
        data = self.at(0, self.size_bytes) if self.size_bytes else b""
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16", "replace")
        return data.decode("utf-8-sig", "replace")


# --- TIFF -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a TIFF writes numbers: classic (32 bit) or BigTIFF (64 bit)."""

    order: str
    big: bool

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12


_FIELD_BYTES = {3: 2, 4: 4, 16: 8}
_FIELD_FORMAT = {3: "H", 4: "I", 16: "Q"}
_OFFSETS, _LENGTHS = frozenset({273, 324}), frozenset({279, 325})


def tiff_chain(file: Peek) -> Said:
    """Follow the chain of image directories to its end, and look whether the last image lies in the file."""
    head = file.at(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if not head.strip(b"\0"):
        return waits(f"{file.name} is still empty")
    if order is None or len(head) < 8:
        return unknown(f"{file.name} is no TIFF")
    (version,) = struct.unpack(order + "H", head[2:4])
    if version not in (42, 43) or (version == 43 and len(head) < 16):
        return unknown(f"{file.name} is no TIFF")
    layout = _Layout(order, version == 43)
    (at,) = struct.unpack(layout.offset, head[8:16] if layout.big else head[4:8])
    if at == 0:
        return waits(f"{file.name} has no image directory yet")
    entries = b""
    for count in range(MOST_STEPS):
        if at == 0:
            return _last_image(file, layout, entries, count)
        found = _directory(file, layout, at)
        if found is None:
            return waits(f"{file.name}: image directory {count + 1} is not written to the end")
        entries, at = found
    return unknown(f"{file.name} has more than {MOST_STEPS} image directories")


def _directory(file: Peek, layout: _Layout, at: int) -> tuple[bytes, int] | None:
    """The entries of an image directory and where the next one lies; None where it is not whole."""
    head = struct.calcsize(layout.count)
    text = file.at(at, head)
    if len(text) < head:
        return None
    (number,) = struct.unpack(layout.count, text)
    if not 0 < number <= 4096:
        return None
    size = number * layout.entry_bytes
    tail = struct.calcsize(layout.offset)
    text = file.at(at + head, size + tail)
    if len(text) < size + tail:
        return None
    (following,) = struct.unpack(layout.offset, text[size:])
    return text[:size], following


def _last_image(file: Peek, layout: _Layout, entries: bytes, count: int) -> Said:
    offsets: list[int] = []
    lengths: list[int] = []
    for start in range(0, len(entries), layout.entry_bytes):
        entry = entries[start : start + layout.entry_bytes]
        tag, kind = struct.unpack(layout.order + "HH", entry[:4])
        if tag in _OFFSETS:
            offsets = _values(file, layout, kind, entry)
        elif tag in _LENGTHS:
            lengths = _values(file, layout, kind, entry)
    end = max((at + size for at, size in zip(offsets, lengths, strict=False)), default=0)
    if end > file.size_bytes:
        return waits(f"{file.name} is shorter than its last image")
    return fine(f"{file.name} is whole: {count} image directories")


def _values(file: Peek, layout: _Layout, kind: int, entry: bytes) -> list[int]:
    if kind not in _FIELD_BYTES:
        return []
    (number,) = struct.unpack(layout.offset, entry[4:12] if layout.big else entry[4:8])
    field = entry[12:20] if layout.big else entry[8:12]
    size = number * _FIELD_BYTES[kind]
    if size > 1 << 20:
        return []
    data = field[:size]
    if size > len(field):
        (at,) = struct.unpack(layout.offset, field)
        data = file.at(at, size)
    if len(data) < size:
        return []
    return list(struct.unpack(f"{layout.order}{number}{_FIELD_FORMAT[kind]}", data))


# --- containers of vendors ------------------------------------------------------------------------


def czi_header(file: Peek) -> Said:
    """The header's segment says where directory and metadata are, and whether an update is pending."""
    head = file.at(0, 112)
    if not head.strip(b"\0"):
        return waits(f"{file.name} is still empty")
    if not head.startswith(b"ZISRAWFILE") or len(head) < 112:
        return unknown(f"{file.name} is no CZI")
    part, directory, metadata, pending = struct.unpack("<iqqi", head[80:104])
    if pending:
        return waits(f"{file.name}: an update is pending")
    for at, name in ((directory, b"ZISRAWDIRECTORY"), (metadata, b"ZISRAWMETADATA")):
        if at == 0 and part:
            continue  # only the first file of several has metadata
        if at <= 0:
            return waits(f"{file.name}: the {name[6:].decode().lower()} is not written yet")
        segment = file.at(at, 32)
        used = int.from_bytes(segment[24:32], "little")
        if not segment.startswith(name) or at + 32 + used > file.size_bytes:
            return waits(f"{file.name} ends before its {name[6:].decode().lower()}")
    return fine(f"{file.name} has its directory and metadata")


ND2_MAGIC = b"\xda\xce\xbe\x0a"
ND2_MAP = b"ND2 CHUNK MAP SIGNATURE 0000001!"


def nd2_trailer(file: Peek) -> Said:
    """The last 40 bytes name the chunk map, which is written last."""
    head = file.at(0, 4)
    if not head.strip(b"\0"):
        return waits(f"{file.name} is still empty")
    if head != ND2_MAGIC:
        return unknown(f"{file.name} is of an old kind of ND2, or none")
    end = file.end(40)
    if not end.startswith(ND2_MAP):
        return waits(f"{file.name} has no chunk map yet")
    (at,) = struct.unpack("<Q", end[32:])
    if file.at(at, 4) != ND2_MAGIC:
        return waits(f"{file.name}: the chunk map is not where the end of the file says")
    return fine(f"{file.name} has its chunk map")


def lif_blocks(file: Peek) -> Said:
    """Memory blocks follow one another to the end of the file."""
    head = file.at(0, 13)
    if not head.strip(b"\0"):
        return waits(f"{file.name} is still empty")
    if len(head) < 13 or head[:4] != b"\x70\0\0\0" or head[8] != 0x2A:
        return unknown(f"{file.name} is no LIF")
    (size,) = struct.unpack("<i", head[4:8])
    at = 8 + size
    named = len(_LIF_BLOCK.findall(file.at(13, size - 5).decode("utf-16-le", "replace")))
    filled = 0
    for count in range(MOST_STEPS):
        if at == file.size_bytes:
            return _lif_counted(file, filled, named)
        if at > file.size_bytes:
            return waits(f"{file.name} is shorter than its block {count} says")
        block = file.at(at, 22)
        if not block.strip(b"\0") and count:
            return _lif_counted(file, filled, named)  # newer ones are filled up with zeros
        if len(block) < 14 or block[:4] != b"\x70\0\0\0" or block[8] != 0x2A:
            return waits(f"{file.name}: block {count + 1} is not written to the end")
        (description,) = struct.unpack("<i", block[4:8])
        if block[13] == 0x2A:
            (length,) = struct.unpack("<i", block[9:13])
        elif len(block) > 17 and block[17] == 0x2A:
            (length,) = struct.unpack("<q", block[9:17])
        else:
            return unknown(f"{file.name}: block {count + 1} is of an unknown kind")
        if description < 0 or length < 0:
            return unknown(f"{file.name}: block {count + 1} is of an unknown kind")
        at += 8 + description + length
        filled += length > 0
    return unknown(f"{file.name} has more than {MOST_STEPS} blocks")


_LIF_BLOCK = re.compile(r'<Memory\b(?=[^>]*\bMemoryBlockID=)[^>]*\bSize="[1-9]')
"""A block with something in it; folders of a project have empty ones."""


def _lif_counted(file: Peek, blocks: int, named: int) -> Said:
    if blocks < named:
        return waits(f"{file.name} names {named} blocks, {blocks} are there")
    return fine(f"{file.name} is whole: {blocks} blocks")


def hdf5_end(file: Peek) -> Said:
    """The superblock says where the file ends, and in its newest form whether it is open for writing."""
    head = file.at(0, 64)
    if not head.strip(b"\0"):
        return waits(f"{file.name} is still empty")
    if not head.startswith(b"\x89HDF\r\n\x1a\n") or len(head) < 64:
        return unknown(f"{file.name} is no HDF5 file")
    version = head[8]
    width, first = (head[9], 12) if version >= 2 else (head[13], 28 if version == 1 else 24)
    if width not in (4, 8) or version > 3:
        return unknown(f"{file.name} is of an unknown kind of HDF5")
    if version == 3 and head[11] & 1:
        return waits(f"{file.name} is marked as open for writing")
    end = int.from_bytes(head[first + 2 * width : first + 3 * width], "little")
    if end > file.size_bytes or end == 0:
        return waits(f"{file.name} is shorter than its header says")
    return fine(f"{file.name} ends where its header says")


# --- NDTiff ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Indexed:
    """One image of an NDTiff index: the file, and where its data in it ends."""

    file: str
    end: int


def ndtiff_entries(data: bytes) -> Iterator[Indexed | None]:
    """The entries of an index; None for one that is not whole, which is the last."""
    at = 0
    while at < len(data):
        try:
            (axes,) = struct.unpack_from("<I", data, at)
            (name,) = struct.unpack_from("<I", data, at + 4 + axes)
            start = at + 8 + axes
            numbers = struct.unpack_from("<IIIIIIII", data, start + name)
        except struct.error:
            yield None
            return
        if axes == 0 or name == 0:
            yield None
            return
        _pixels, _width, _height, _kind, _compression, metadata, metadata_bytes, _packed = numbers
        text = data[start : start + name].decode("utf-8", "replace")
        yield Indexed(text, metadata + metadata_bytes)
        at = start + name + 32


CONTENTS: dict[CheckKind, Callable[[Peek], Said]] = {
    CheckKind.TIFF_CHAIN: tiff_chain,
    CheckKind.CZI_HEADER: czi_header,
    CheckKind.ND2_TRAILER: nd2_trailer,
    CheckKind.LIF_BLOCKS: lif_blocks,
    CheckKind.HDF5_END: hdf5_end,
}
"""What looks into one file at a time."""
