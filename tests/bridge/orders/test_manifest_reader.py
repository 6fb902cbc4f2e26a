"""Reading manifests: bounded, exact, and the same however the bytes are cut."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.contract import AcquisitionKind
from server_bridge.errors import BadRequest
from server_bridge.orders import manifest_reader
from server_bridge.orders.manifest_reader import Manifest, read_manifest


def read(body: bytes, gzipped: bool = True, sealed: bool = True) -> Manifest:
    return read_manifest(
        io.BytesIO(body), gzipped=gzipped, sealed=sealed, order_path="run", kind=AcquisitionKind.FOLDER
    )


def lines(*entries: tuple[str, int, int]) -> bytes:
    return b"".join(
        json.dumps({"path": path, "size_bytes": size, "mtime_ns": mtime}).encode() + b"\n"
        for path, size, mtime in entries
    )


files = st.dictionaries(
    st.text(alphabet="abcdefgh0123", min_size=1, max_size=8).map("run/".__add__),
    st.tuples(st.integers(0, 2**50), st.integers(-(2**60), 2**60)),
    min_size=1,
    max_size=20,
)


@given(files, st.booleans())
def test_every_line_arrives_and_the_order_of_lines_does_not_matter(
    found: dict[str, tuple[int, int]], gzipped: bool
) -> None:
    entries = [(path, *facts) for path, facts in found.items()]
    forward, backward = lines(*entries), lines(*reversed(entries))
    pack = gzip.compress if gzipped else bytes
    manifest = read(pack(forward), gzipped)
    assert {e.path: (e.size_bytes, e.mtime_ns) for e in manifest.entries} == found
    assert manifest.size_bytes == sum(size for size, _ in found.values())
    assert read(pack(backward), gzipped).digest == manifest.digest


def test_open_and_sealed_are_different_content() -> None:
    body = gzip.compress(lines(("run/a", 1, 1)))
    assert read(body).digest != read(body, sealed=False).digest


def test_several_gzip_members_are_refused_not_dropped() -> None:
    body = gzip.compress(lines(("run/a", 1, 1))) + gzip.compress(lines(("run/b", 1, 1)))
    with pytest.raises(BadRequest, match="after the end"):
        read(body)


def test_a_small_body_that_unpacks_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_reader, "MAX_UNPACKED_BYTES", 4 * 1024**2)
    bomb = gzip.compress(b"\n" * 64 * 1024**2)
    assert len(bomb) < 100_000
    with pytest.raises(BadRequest) as caught:
        read(bomb)
    assert caught.value.code == "manifest_too_large"


def test_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_reader, "MAX_MANIFEST_ENTRIES", 2)
    with pytest.raises(BadRequest, match="at most 2 files"):
        read(gzip.compress(lines(*((f"run/{number}", 1, 1) for number in range(3)))))


def test_a_line_without_end() -> None:
    with pytest.raises(BadRequest, match="A line has more"):
        read(b"x" * 1024**2, gzipped=False)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_a_bad_request(body: bytes) -> None:
    for gzipped in (True, False):
        try:
            read(body, gzipped)
        except BadRequest as error:
            assert error.code


def test_memory_grows_by_a_few_hundred_bytes_per_line() -> None:
    count, begun = 30_000, 0

    class Endless(io.RawIOBase):
        """The lines as they come, so that the body itself takes no room."""

        def read(self, size: int = -1, /) -> bytes:
            nonlocal begun
            some = range(begun, min(begun + size // 100, count))
            begun += len(some)
            return lines(*((f"run/well {one // 100:03}/image_{one:06}.ome.tif", one, one) for one in some))

    tracemalloc.start()
    try:
        manifest = read_manifest(
            Endless(), gzipped=False, sealed=True, order_path="run", kind=AcquisitionKind.FOLDER
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(manifest.entries) == count
    assert peak / count < 600, "a manifest of a million lines must fit a small machine"
