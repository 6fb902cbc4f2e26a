"""The staging disk as a whole: is it there, is it the right one, and is it one mount with ManagedRepository?

A mount point whose disk is not mounted is an ordinary, empty, writable directory of the disk below. Without
a look the bridge would make its folders there, pull a night's data onto the system disk, and read every
staged file as lost. So the staging directory carries a marker with an identity that the bridge remembers;
while the marker is not in sight, or is another one, staging is *away*: an outage, from which nothing is
concluded about any file. (A device number would not do: it is another one after each boot.)

That staging and ManagedRepository are one mount is tried, not computed: bind mounts and container volumes
show one device and refuse the link all the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from pathlib import Path

from server_bridge.errors import TransientFailure
from server_bridge.mover.durability import fsync_dir

MARKER = ".omero-ferry-staging"
_TEXT = "By this file OMERO Ferry knows that its staging disk is mounted. Leave it where it is.\n"
_LONGEST = 4096


class StagingAway(TransientFailure):
    """The staging disk cannot be seen, or it is another one. Nothing may be concluded about any staged
    file."""

    status = 503
    code = "staging_away"
    title = "The staging disk is not there"


class StagingUnlinkable(TransientFailure):
    """No file can get from staging into ManagedRepository by a hard link: no import can work. ``code`` says
    why."""


def read_marker(top: Path) -> str | None:
    """The identity that the marker in ``top`` names; None where there is no marker.

    Raises:
        StagingAway: where the disk does not let us look (which is no proof of an absent marker).
    """
    try:
        descriptor = os.open(top / MARKER, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(top, error) from error
    try:
        text = os.read(descriptor, _LONGEST).decode("utf-8", "replace")
    except OSError as error:
        raise _unreadable(top, error) from error
    finally:
        os.close(descriptor)
    return text.partition("\n")[0].strip()


def make_marker(top: Path) -> str:
    """Make the marker with a new identity, and return that. Never replaces one.

    Raises:
        OSError: where it cannot be written, or one is there already.
    """
    identity = uuid.uuid4().hex
    # Under its own name only when it is whole: a marker that a full disk left empty would be another disk's.
    draft = top / f"{MARKER}.{identity}"
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o440), "w") as file:
            file.write(f"{identity}\n{_TEXT}")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, top / MARKER)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    fsync_dir(top)
    return identity


def require(top: Path, identity: str) -> None:
    """Return where ``top`` is the disk with that identity.

    Raises:
        StagingAway: where it is not, saying how to make it so on purpose.
    """
    found = read_marker(top)
    if found == identity:
        return
    seen = "is not there" if found is None else f"belongs to another staging disk ({found[:40]!r})"
    raise StagingAway(
        f"The marker {top / MARKER} {seen}: the disk is probably not mounted.",
        remedy="Mount the staging disk; every order then goes on by itself. If staging was moved on purpose, "
        f"with everything in it, its marker must hold the line {identity}",
    )


def _unreadable(top: Path, error: OSError) -> StagingAway:
    return StagingAway(
        f"{top / MARKER}: {error.strerror or error}.",
        remedy="Staff check the staging disk and its mount; every order then goes on by itself.",
    )


def trial_link(staging: Path, managed: Path) -> None:
    """Make a hard link from staging into ManagedRepository and remove it, as every import does.

    Raises:
        StagingUnlinkable: where it cannot be made, saying what the kernel's word means here.
    """
    name = f".omero-ferry-trial-{uuid.uuid4().hex}"
    source, link = staging / name, managed / name
    try:
        source.touch(mode=0o440, exist_ok=False)
        os.link(source, link)
        if source.stat().st_ino != link.stat().st_ino:
            raise StagingUnlinkable(
                f"{link} is a copy, not a link.",
                code="not_one_mount",
                title="The filesystem copies instead",
                remedy="Use a filesystem with hard links for both.",
            )
    except OSError as error:
        raise _link_refused(error, staging, managed) from error
    finally:
        for made in (link, source):
            # What could not be made cannot be removed either; the reason is on its way already.
            with contextlib.suppress(OSError):
                made.unlink()


def _link_refused(error: OSError, staging: Path, managed: Path) -> StagingUnlinkable:
    match error.errno:
        case errno.EXDEV:
            return StagingUnlinkable(
                f"{staging} and {managed} are two mounts for the kernel (EXDEV), maybe of one disk: bind "
                "mounts, container volumes and systemd's ReadWritePaths= make a mount of their own.",
                code="not_one_mount",
                title="No hard link is possible between staging and ManagedRepository",
                remedy="Put both below one mount point, and give that one to the container or service.",
            )
        case errno.EACCES | errno.EPERM:
            return StagingUnlinkable(
                f"{error.filename2 or error.filename}: {error.strerror}.",
                code="managed_repository_access",
                title="The bridge's user may not link into ManagedRepository",
                remedy="Run the bridge as OMERO.server's own user.",
            )
        case errno.ENOENT:
            return StagingUnlinkable(
                f"{error.filename2 or error.filename} is not there.",
                code="managed_repository_away",
                title="ManagedRepository is not where it should be",
                remedy="Mount it on this host at the path OMERO uses, or set omero.managed_repository.",
            )
        case errno.ENOSPC | errno.EDQUOT:
            return StagingUnlinkable(
                f"{error.filename2 or error.filename}: {error.strerror}.",
                code="staging_full",
                title="The staging disk has not enough room",
                remedy="Staff must free space on the staging disk; the order goes on by itself.",
            )
        case errno.EROFS:
            return StagingUnlinkable(
                f"{error.filename2 or error.filename}: {error.strerror}.",
                code="staging_read_only",
                title="The staging disk is mounted read-only",
                remedy="Staff check the disk (the kernel does this after errors) and mount it for writing.",
            )
    return StagingUnlinkable(
        f"{error.filename}: {error.strerror}",
        code="managed_repository_access",
        title="The trial hard link failed",
        remedy="Staff run `ferry-bridge check-config` as the bridge's user.",
    )
