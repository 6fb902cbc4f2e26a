"""What rsync writes, as data.

stdout carries three kinds of text, cut at CR and LF by the process runner: our tagged lines (``@F|`` per
pulled item, ``@L|`` per listed item, formats in `server_bridge.mover.command`), progress updates
(``--info=progress2``), and remarks. In ``LC_ALL=C`` a name is pure ASCII: control bytes, bytes from 0x80
on, and a backslash-hash that could be mistaken for an escape are written ``\\#ooo``. So one line is always
one item, and decoding works on bytes.

A file's line *announces*: rsync writes it before the rename, and also (with an all-zero digest) for a file
that failed its verification. Only a look at the final name confirms.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache

_ESCAPE = re.compile(rb"\\#([0-7]{3})")
_PROGRESS = re.compile(
    rb"\s*(\d+)\s+(\d+)%\s+([\d.]+)([kMGTP]?B)/s\s+(\d+):(\d\d):(\d\d)"
    rb"(?:\s+\(xfr#(\d+), (?:ir|to)-chk=(\d+)/(\d+)\))?\s*\Z"
)
_DIGEST = re.compile(rb"[0-9a-f]{40}\Z")
_SKIPPED = re.compile(rb'skipping non-regular file "(.*)"\Z', re.DOTALL)
#: stderr lines that name one file; the name may be an absolute path of the far side, or relative to a module.
_NAMED = (
    ("source_damaged", re.compile(rb'read errors mapping "(.*)"(?: \(in .*\))?: Input/output error')),
    ("source_damaged", re.compile(rb'send_files failed to open "(.*)"(?: \(in .*\))?: Input/output error')),
    ("source_missing", re.compile(rb'link_stat "(.*)"(?: \(in .*\))? failed: No such file or directory')),
    ("source_unreadable", re.compile(rb'link_stat "(.*)"(?: \(in .*\))? failed: Permission denied \(13\)')),
    ("source_unreadable", re.compile(rb'send_files failed to open "(.*)"(?: \(in .*\))?: ')),
    ("folder_unreadable", re.compile(rb'opendir "(.*)"(?: \(in .*\))? failed: ')),
    ("source_unreadable", re.compile(rb'change_dir "(.*)"(?: \(in .*\))? failed: Permission denied')),
    ("source_unreadable", re.compile(rb'read errors mapping "(.*)"(?: \(in .*\))?: ')),
    ("source_vanished", re.compile(rb'file has vanished: "(.*)"(?: \(in .*\))?\s*\Z')),
    ("partial_unusable", re.compile(rb'\[receiver\] open "(.*)" failed: ')),
)  # fmt: skip
_UNVERIFIED = re.compile(
    rb"(?:WARNING|ERROR): (.*) failed verification -- update (?:discarded|retained|put into)"
)


@dataclass(frozen=True, slots=True)
class FileLine:
    """One item that the receiver handled. ``sha1`` is None for a folder, an unchanged file, a failed
    verification.
    """

    itemize: str
    size_bytes: int
    sha1: str | None
    path: str
    verification_failed: bool = False

    @property
    def is_file(self) -> bool:
        return self.itemize[1:2] == "f"


@dataclass(frozen=True, slots=True)
class ListLine:
    """One item of a listing. ``kind`` is rsync's letter: f file, d folder, L link, D device, S special."""

    kind: str
    size_bytes: int
    mtime_s: int
    path: str


@dataclass(frozen=True)
class Skipped:
    """A name that is neither a file, a folder nor a link."""

    path: str


@dataclass(frozen=True)
class Progress:
    """rsync's own counter: bytes of this run that are written, those taken from a partial file included."""

    bytes_done: int
    files_done: int | None


@dataclass(frozen=True)
class Remark:
    """Anything else."""

    text: str


@dataclass(frozen=True)
class NamedProblem:
    """A line of stderr about one file. ``name`` is as rsync wrote it, decoded: see `match_name`."""

    code: str
    name: str


Line = FileLine | ListLine | Skipped | Progress | Remark


def decode_name(raw: bytes) -> str:
    """Undo rsync's escapes; bytes that are not UTF-8 become lone surrogates."""
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), raw).decode("utf-8", "surrogateescape")


def encode_name(name: str) -> bytes:
    """Write a name as rsync does with ``LC_ALL=C`` (for tests and recorded outputs)."""
    raw = name.encode("utf-8", "surrogateescape")
    out = bytearray()
    for index, byte in enumerate(raw):
        needs = (byte < 32 and byte != 9) or byte >= 128
        if byte == 0x5C and re.match(rb"#[0-9]{3}", raw[index + 1 : index + 5]):
            needs = True
        out += b"\\#%03o" % byte if needs else bytes([byte])
    return bytes(out)


def parse_line(line: bytes) -> Line:
    """Parse one line of stdout (without its end). Never raises: what is not understood is a `Remark`."""
    if line.startswith(b"@F|"):
        return _file_line(line)
    if line.startswith(b"@L|"):
        return _list_line(line)
    found = _PROGRESS.match(line)
    if found is not None:
        return Progress(int(found[1]), int(found[8]) if found[8] else None)
    skipped = _SKIPPED.match(line)
    if skipped is not None:
        return Skipped(decode_name(skipped[1]))
    return _remark(line)


def _remark(line: bytes) -> Remark:
    return Remark(line.decode("utf-8", "backslashreplace"))


def _file_line(line: bytes) -> FileLine | Remark:
    fields = line.split(b"|", 4)
    if len(fields) < 5 or not fields[2].strip().isdigit():
        return _remark(line)
    digest = fields[3].strip()
    zero = digest.strip(b"0") == b"" and digest != b""
    return FileLine(
        itemize=fields[1].decode("ascii", "replace"),
        size_bytes=int(fields[2]),
        sha1=digest.decode("ascii") if _DIGEST.match(digest) and not zero else None,
        path=decode_name(fields[4]),
        verification_failed=zero,
    )


def _list_line(line: bytes) -> ListLine | Remark:
    fields = line.split(b"|", 4)
    if len(fields) < 5 or len(fields[1]) < 2 or not fields[2].strip().isdigit():
        return _remark(line)
    try:
        mtime_s = _seconds(fields[3])
    except ValueError:
        return _remark(line)
    return ListLine(fields[1].decode("ascii", "replace")[1], int(fields[2]), mtime_s, decode_name(fields[4]))


@lru_cache(maxsize=1024)
def _seconds(listed: bytes) -> int:
    # Files of one acquisition share their seconds, and strptime is slow.
    return calendar.timegm(time.strptime(listed.decode("ascii"), "%Y/%m/%d-%H:%M:%S"))


def parse_error_line(line: bytes) -> NamedProblem | None:
    """The file that a line of stderr is about, if it is about one."""
    for code, pattern in _NAMED:
        found = pattern.search(line)
        if found is not None:
            return NamedProblem(code, decode_name(found[1]))
    found = _UNVERIFIED.match(line)
    return None if found is None else NamedProblem("verification_failed", decode_name(found[1]))


def match_name(name: str, wanted: Container[str]) -> str | None:
    """The wanted path that rsync means by ``name``.

    The far side may write an absolute path whose beginning we do not know: the longest tail that is wanted
    is meant.
    """
    parts = name.split("/")
    for start in range(len(parts)):
        tail = "/".join(part for part in parts[start:] if part not in {"", "."})
        if tail in wanted:
            return tail
    return None
