"""What lies in staging and belongs to no living order: told, never collected.

A folder that no order knows may be the last copy of something (a database that was restored from an old
backup does not know its newest orders), and a cancelled order's files may be wanted by whoever cancelled it
too soon.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from server_bridge.config import SiteConfig
from server_bridge.contract import Stage
from server_bridge.orders.models import Order
from server_bridge.orders.store import Store

UNKNOWN = "unknown"
GIVEN_UP = (Stage.CANCELLED, Stage.DISCARDED)
_AT_ONCE = 400


@dataclass(frozen=True, slots=True)
class Leftover:
    """One folder of staging."""

    path: Path
    share: str
    order_id: str
    """Empty where the folder's name is none."""
    state: str
    """``unknown``, or the stage of an order that was given up."""


@dataclass(frozen=True, slots=True)
class Size:
    """What lies in a folder."""

    files: int
    size_bytes: int
    last_names: int
    """Files without a second name: deleting the folder would be their end."""


def leftovers(site: SiteConfig, store: Store) -> list[Leftover]:
    """Folders of staging that belong to no living order. Two listings and one query; nothing is measured."""
    found = [(share, folder) for share, folder in _folders(site.staging_dir)]
    ids = [folder.name for _share, folder in found if _is_id(folder.name)]
    stages: dict[str, tuple[str, str]] = {}
    with store.read() as session:
        for start in range(0, len(ids), _AT_ONCE):
            rows = session.execute(
                select(Order.id, Order.share, Order.stage).where(Order.id.in_(ids[start : start + _AT_ONCE]))
            )
            stages |= {order_id: (share, stage) for order_id, share, stage in rows}
    left = []
    for share, folder in found:
        known = stages.get(folder.name)
        if known is not None and known[0] == share and Stage(known[1]) not in GIVEN_UP:
            continue
        state = known[1] if known is not None and known[0] == share else UNKNOWN
        order_id = folder.name if _is_id(folder.name) else ""
        left.append(Leftover(folder, share, order_id, state))
    return left


def _folders(staging: Path) -> Iterator[tuple[str, Path]]:
    for share in _entries(staging):
        if not share.name.startswith("."):
            for order in _entries(Path(share.path)):
                yield share.name, Path(order.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (one for one in entries if one.is_dir(follow_symlinks=False)), key=lambda one: one.name
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def measure(folder: Path) -> Size:
    """Look at every file below a folder; links are not followed."""
    files = size = last = 0
    for top, _below, names in os.walk(folder):
        for name in names:
            found = Path(top, name).lstat()
            if stat.S_ISREG(found.st_mode):
                files += 1
                size += found.st_size
                last += found.st_nlink == 1
    return Size(files, size, last)
