"""Do a unit's files lie in staging as they were pulled? Asked just before they are linked into OMERO.

Their bytes are not read again here: a flipped bit is found after the import, where the hash that OMERO
computed must equal the one that rsync computed. Reading every byte once more would cost as much as the import
itself, and would still not see what happens between it and the import.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from server_bridge.errors import NeedsAttention
from server_bridge.mover import staging
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import ImportUnit
from server_bridge.pipeline.places import OrderPlaces


def require_as_pulled(unit: ImportUnit, members: Sequence[FileRow], places: OrderPlaces) -> None:
    """Size, time and kind of every file of the unit; its bytes only where an import was refuted by them.

    Raises:
        NeedsAttention: ``staged_changed``, ``staged_damaged``.
    """
    doubted = unit.error is not None and unit.error.get("code") == "hash_differs"
    for file in members:
        path = places.staged(file.path)
        if not staging.is_complete(path, file.size_bytes, int(file.source_mtime_s or 0)):
            raise NeedsAttention(
                f"{path} is not as it was pulled.",
                code="staged_changed",
                title="A staged file was changed or removed",
                remedy="Staff find out who writes into staging. The data on the buffer is untouched: cancel "
                "the order and order the acquisition again.",
            )
        if doubted and _sha1_of(path) != file.sha1:
            raise NeedsAttention(
                f"{path} no longer has the SHA-1 it was pulled with.",
                code="staged_damaged",
                title="A staged file was damaged on the bridge's disk",
                remedy="Staff check the staging disk. The data on the buffer is untouched: cancel the order "
                "and order the acquisition again.",
            )


def _sha1_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()
