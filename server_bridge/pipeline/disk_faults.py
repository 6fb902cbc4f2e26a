"""What an error of the bridge's own disks means for an order. Pure.

Full, and mounted read-only (which the kernel does by itself after errors), are faults of the site: every
order meets them, none is to blame, and each goes on by itself when the disk is well again. Any other error
is tried a few times.
"""

from __future__ import annotations

import errno
from pathlib import Path

from server_bridge.errors import TransientFailure

_FULL = (errno.ENOSPC, errno.EDQUOT)


def of_os_error(error: OSError, staging_dir: Path) -> TransientFailure:
    """The failure that stands on the order for an error met outside of rsync and OMERO."""
    said = f"{type(error).__name__}: {error}"
    name = str(error.filename or "")
    staged = name == str(staging_dir) or name.startswith(f"{staging_dir}/")
    if error.errno in _FULL and staged:
        return TransientFailure(
            said,
            code="staging_full",
            title="The staging disk is full",
            remedy="Staff must free space on the staging disk; the order goes on by itself.",
        )
    if error.errno in _FULL:
        # An error of write(2) names no file: it may be either disk.
        return TransientFailure(
            said,
            code="disk_full",
            title="A disk of the bridge is full",
            remedy="Staff must free space where state_dir and staging_dir lie; the order goes on by itself.",
        )
    if error.errno == errno.EROFS:
        return TransientFailure(
            said,
            code="staging_read_only" if staged else "disk_read_only",
            title="A disk of the bridge is mounted read-only",
            remedy="Staff check the disk (the kernel does this after errors) and mount it for writing; the "
            "order goes on by itself.",
        )
    return TransientFailure(
        said,
        code="disk_failed",
        title="A disk of the bridge failed",
        remedy="The bridge tries again. If it stays, staff check staging and state folder.",
    )
