"""Is the disk there at all? Thousands of missing files are concluded from an empty mount point otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from server_bridge.errors import Unavailable


def require_disk(folder: Path, name: str) -> None:
    """A disk that is not mounted is an outage.

    Raises:
        Unavailable: where the folder is missing or has nothing in it.
    """
    try:
        with os.scandir(folder) as entries:
            empty = next(entries, None) is None
        why = "is empty" if empty else ""
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    if why:
        raise _away(name, f"{name} {folder} {why}.")


def require_one_disk(staging: Path, managed: Path) -> None:
    """Staging and ManagedRepository are both there, and on one filesystem, as they were when files were
    linked.

    Raises:
        Unavailable: otherwise.
    """
    require_disk(managed, "ManagedRepository")
    require_disk(staging, "The staging folder")
    if managed.stat().st_dev != staging.stat().st_dev:
        raise _away("ManagedRepository", f"{managed} and {staging} are on two disks now.")


def _away(name: str, what: str) -> Unavailable:
    return Unavailable(
        what,
        code="disk_away",
        title=f"{name} is away",
        remedy="Mount it and prove again. Nothing was concluded. (Where it was lost for good: put any "
        "file there first, so that it is not taken for an empty mount point.)",
    )
