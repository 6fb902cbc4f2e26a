"""Reading a manifest's gzip NDJSON in bounded memory, and what must hold for every line of it.

Nothing here knows the database. A body that would unpack to more than its limit is refused while it
unpacks, so a small "zip bomb" costs no more than the limit.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError

from server_bridge.contract import MAX_MANIFEST_ENTRIES, AcquisitionKind, ManifestEntry, place_holds
from server_bridge.errors import BadRequest
from server_bridge.mover import paths

MAX_BODY_BYTES = 128 * 1024**2
"""Of the body as it travels."""
MAX_UNPACKED_BYTES = 512 * 1024**2
MAX_LINE_BYTES = 64 * 1024
_CHUNK_BYTES = 256 * 1024
_LARGEST = 2**63 - 1
_SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One file of a manifest: as `ManifestEntry`, at a quarter of its memory (there may be a million)."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest, by path. ``digest`` covers content and whether it is sealed."""

    entries: tuple[Line, ...]
    sealed: bool
    digest: str
    size_bytes: int


class Body(Protocol):
    """Where the bytes come from: a file, or a spooled one."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


_LIST_AGAIN = "Let the workstation list the acquisition again; if that does not help, update its agent."


def _bad(detail: str, code: str = "manifest_not_valid", remedy: str = _LIST_AGAIN) -> BadRequest:
    return BadRequest(detail, code=code, title="The manifest is not valid", remedy=remedy)


def too_large() -> BadRequest:
    """The refusal of a manifest beyond its limits."""
    return BadRequest(
        f"A manifest has at most {MAX_MANIFEST_ENTRIES:,} files.",
        code="manifest_too_large",
        title="The manifest is too large",
        remedy="Order the acquisition in parts (its subfolders).",
        status=413,
    )


def _unpacked(body: Body, gzipped: bool) -> Iterator[bytes]:
    total = 0
    # 32 + MAX_WBITS would accept zlib too; the contract says gzip.
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if gzipped else None
    while chunk := body.read(_CHUNK_BYTES):
        while chunk:
            if unpacker is None:
                piece, chunk = chunk, b""
            else:
                if unpacker.eof:
                    raise _bad("There are bytes after the end of the gzip stream.")
                try:
                    piece = unpacker.decompress(chunk, _CHUNK_BYTES)
                except zlib.error as error:
                    raise _bad(f"The body is not gzip: {error}.") from error
                chunk = unpacker.unconsumed_tail or unpacker.unused_data
            total += len(piece)
            if total > MAX_UNPACKED_BYTES:
                raise too_large()
            yield piece
    if unpacker is not None and not unpacker.eof:
        raise _bad("The body ends before its gzip stream does.", remedy="Send it again.")


def _lines(body: Body, gzipped: bool) -> Iterator[bytes]:
    rest = b""
    for piece in _unpacked(body, gzipped):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE_BYTES:
            raise _bad(f"A line has more than {MAX_LINE_BYTES} bytes.")
    yield rest


def read_manifest(
    body: Body,
    *,
    gzipped: bool,
    sealed: bool,
    order_path: str,
    kind: AcquisitionKind,
    members: tuple[str, ...] = (),
    longest_path_bytes: int = paths.LONGEST_PATH_BYTES,
) -> Manifest:
    """Parse and check a manifest of one order.

    Raises:
        BadRequest: naming the first lines or paths that do not fit.
    """
    entries: list[Line] = []
    for number, line in enumerate(_lines(body, gzipped), 1):
        if not line.strip():
            continue
        if len(entries) >= MAX_MANIFEST_ENTRIES:
            raise too_large()
        try:
            entry = ManifestEntry.model_validate_json(line)
        except ValidationError as error:
            _refuse_name(line)
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _bad(f"Line {number}{': ' + where if where else ''}: {first['msg']}.") from error
        entries.append(Line(entry.path, entry.size_bytes, entry.mtime_ns))
    return manifest_of(
        entries,
        sealed=sealed,
        order_path=order_path,
        kind=kind,
        members=members,
        longest_path_bytes=longest_path_bytes,
    )


def _refuse_name(line: bytes) -> None:
    """Say it of the file where a line is refused only for a name that is not UTF-8.

    Raises:
        BadRequest: ``path_not_utf8``, naming the file as far as it can be shown.
    """
    try:
        found = json.loads(line.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    path = found.get("path") if isinstance(found, dict) else None
    problem = paths.check_path(path) if isinstance(path, str) else None
    if problem is not None and problem.code == "path_not_utf8":
        raise BadRequest(problem.detail, code=problem.code, title=problem.title, remedy=problem.remedy)


def manifest_of(
    entries: list[Line],
    *,
    sealed: bool,
    order_path: str,
    kind: AcquisitionKind,
    members: tuple[str, ...] = (),
    longest_path_bytes: int = paths.LONGEST_PATH_BYTES,
) -> Manifest:
    """Check the entries of one order and make its manifest of them.

    Raises:
        BadRequest: naming the first paths that do not fit.
    """
    _check(entries, order_path, kind, members, sealed, longest_path_bytes)
    entries.sort(key=lambda entry: entry.path)
    digest = hashlib.sha256(b"sealed\n" if sealed else b"open\n")
    for entry in entries:
        digest.update(f"{entry.path}\0{entry.size_bytes}\0{entry.mtime_ns}\n".encode())
    return Manifest(tuple(entries), sealed, digest.hexdigest(), sum(entry.size_bytes for entry in entries))


def _check(
    entries: list[Line],
    order_path: str,
    kind: AcquisitionKind,
    members: tuple[str, ...],
    sealed: bool,
    longest_bytes: int,
) -> None:
    problems = paths.check_manifest([entry.path for entry in entries], longest_bytes)
    if problems:
        first = problems[0]
        more = len(problems) - _SHOWN_PROBLEMS
        raise BadRequest(
            " ".join(problem.detail for problem in problems[:_SHOWN_PROBLEMS])
            + (f" And {more} more." if more > 0 else ""),
            code=first.code,
            title=first.title,
            remedy=first.remedy,
        )
    _refuse(
        entries,
        lambda entry: max(entry.size_bytes, abs(entry.mtime_ns)) > _LARGEST,
        "has a size or a time that no file has",
    )
    if kind is AcquisitionKind.FILE:
        _refuse(entries, lambda entry: entry.path != order_path, "is not the ordered file")
    elif kind is AcquisitionKind.GROUP:
        _refuse(
            entries,
            lambda entry: not place_holds(order_path, members, entry.path),
            "is no member of the ordered group",
        )
    else:
        _refuse(
            entries, lambda entry: not entry.path.startswith(order_path + "/"), "is not in the ordered folder"
        )
    if sealed and not entries:
        raise BadRequest(
            "A sealed manifest names at least one file.",
            code="manifest_empty",
            title="There is nothing to bring over",
            remedy="Look whether the acquisition's files are where they should be.",
        )


def _refuse(entries: list[Line], bad: Callable[[Line], bool], why: str) -> None:
    found = [entry.path for entry in entries if bad(entry)]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise _bad(f"{paths.shown(found[0])!r}{more} {why}.", code="manifest_outside")
