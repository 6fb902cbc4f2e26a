"""What must be true after a run of faults: nothing lost, nothing doubled, nothing let go wrongly.

A microscope may have written a file several times: every content that it ever had is noted. What is on the
buffer now must be its last content, unless it was deleted upon a release; and what OMERO holds of an order
must be one of the contents that it had.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.checker import disk
from tests.checker.omero import OmeroContent, OmeroFile
from tests.checker.verdict import Places

Contents = Mapping[str, Sequence[tuple[int, str]]]
"""Relative path below the buffer → every (bytes, SHA-1) it ever had, the last one last."""
SHA1_HASHER = "SHA1-160"


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """One order as the bridge tells it, and the files that were sealed into it last."""

    id: str
    share: str
    stage: str
    files: tuple[str, ...]
    not_images: frozenset[str] = frozenset()
    """Files that no reader takes: they stay outside OMERO."""

    @property
    def proven(self) -> bool:
        """The bridge says that OMERO holds it."""
        return self.stage in ("proven", "released", "retired")

    @property
    def ended(self) -> bool:
        """Nothing is left to do for it but to be let go."""
        return self.proven or self.stage in ("cancelled", "discarded")


@dataclass(slots=True)
class Aftermath:
    """Counts; ``problems`` is empty exactly when all holds."""

    orders: int = 0
    proven: int = 0
    files: int = 0
    freed: int = 0
    lost: int = 0
    doubled: int = 0
    wrongly_released: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing contradicts the promises."""
        return not self.problems and not (self.lost or self.doubled or self.wrongly_released)


class Ground:
    """Disks and OMERO at one moment, looked up by order and path."""

    def __init__(self, places: Places, omero: OmeroContent) -> None:
        self.places = places
        self.omero = omero
        prefix = places.staging.as_posix().lstrip("/") + "/"
        self.held: dict[tuple[str, str], list[OmeroFile]] = defaultdict(list)
        for item in omero.files:
            if item.client_path.startswith(prefix):
                _share, order, path = item.client_path[len(prefix) :].split("/", 2)
                self.held[(order, path)].append(item)

    def why_not_proven(self, order: OrderFacts, path: str, contents: Contents) -> str:
        """What is wrong with the claim that OMERO holds this file of this order; empty where it does.

        OMERO's file is read here and now: its bytes are one of the contents that the microscope wrote, its
        SHA-1 is the one that OMERO stored, and while a staged name is there it is the same inode.
        """
        items = self.held.get((order.id, path), [])
        # What OMERO gave up on after the upload stays until its administrator deletes it; no data is in it.
        given_up = self.omero.without_images & self.omero.finished_uploads
        items = [item for item in items if item.fileset_id not in given_up] or items
        if len(items) != 1:
            return f"{path} of order {order.id} is in OMERO {len(items)} times"
        item = items[0]
        if not self.omero.images_by_fileset.get(item.fileset_id):
            return f"{path} of order {order.id} is in fileset {item.fileset_id}, which has no image"
        if not item.managed.is_file():
            return f"{path} of order {order.id}: {item.managed} is not there"
        managed = disk.facts(item.managed)
        if (managed.size_bytes, managed.sha1) not in contents.get(path, ()):
            return f"{path} of order {order.id}: OMERO's bytes were never written by the microscope"
        if (item.hasher, item.hash, item.size_bytes) != (SHA1_HASHER, managed.sha1, managed.size_bytes):
            return f"{path} of order {order.id}: OMERO's hash is not that of its file"
        staged = self.places.staging / order.share / order.id / path
        if staged.exists():
            found = staged.lstat()
            if (found.st_dev, found.st_ino) != (managed.device, managed.inode):
                return f"{path} of order {order.id}: staged and managed names are two files"
        elif order.stage not in ("released", "retired"):
            return f"{path} of order {order.id} left staging before its order was released"
        return ""

    def held_sha1(self, order: str, path: str) -> str:
        """SHA-1 of OMERO's file of that order, read now; empty where there is none."""
        for item in self.held.get((order, path), ()):
            if item.managed.is_file():
                return disk.sha1_of(item.managed)
        return ""


def wrongly_released(
    ground: Ground, order: OrderFacts, released: Iterable[tuple[str, int, int]], contents: Contents
) -> list[str]:
    """What a release lets go that it must not, proven again from outside, before anything is deleted.

    Args:
        ground: now.
        order: that was released.
        released: (path, bytes, mtime in ns) of each file that may be deleted if it still looks like that.
        contents: of the microscope.
    """
    wrong = []
    for path, size, mtime_ns in released:
        if path in order.not_images:
            continue  # the person or a pattern said that it stays outside OMERO
        if said := ground.why_not_proven(order, path, contents):
            wrong.append(said)
            continue
        source = ground.places.buffer / path
        if not source.exists():
            continue
        found = source.stat()
        if found.st_size != size or abs(found.st_mtime_ns - mtime_ns) > 2_000_000_000:
            continue  # another content by now: whoever deletes sees that and leaves it
        if disk.sha1_of(source) != ground.held_sha1(order.id, path):
            wrong.append(f"{path} of order {order.id} is released and OMERO holds other bytes of it")
    return wrong


def judge_aftermath(
    ground: Ground, contents: Contents, orders: Sequence[OrderFacts], freed: Mapping[str, str]
) -> Aftermath:
    """Hold everything against everything, once all faults have ended.

    Args:
        ground: at the end.
        contents: of the microscope.
        orders: all that were made.
        freed: path → the order whose release it was deleted upon.
    """
    found = Aftermath(orders=len(orders), files=len(contents), freed=len(freed))
    _nothing_lost(found, ground, contents, orders, freed)
    _nothing_doubled(found, ground, contents)
    for order in orders:
        if not order.ended:
            found.problems.append(f"order {order.id} did not end: it is {order.stage}")
        if not order.proven:
            continue
        found.proven += 1
        for path in order.files:
            if path in order.not_images:
                staged = ground.places.staging / order.share / order.id / path
                if path in freed and not staged.exists():
                    found.lost += 1
                    found.problems.append(f"{path} was outside OMERO, and its last copy is gone")
            elif said := ground.why_not_proven(order, path, contents):
                found.problems.append(said)
    for fileset in sorted(ground.omero.without_images):
        found.problems.append(f"Fileset:{fileset} was left in OMERO without an image")
    return found


def _nothing_lost(
    found: Aftermath,
    ground: Ground,
    contents: Contents,
    orders: Sequence[OrderFacts],
    freed: Mapping[str, str],
) -> None:
    on_buffer = disk.content(ground.places.buffer)
    share_of = {order.id: order.share for order in orders}
    for path, written in contents.items():
        present = on_buffer.get(path)
        last = written[-1]
        if present is not None:
            if (present.size_bytes, present.sha1) != last:
                found.lost += 1
                found.problems.append(f"{path} is on the buffer with other bytes than were written last")
            continue
        if path not in freed:
            found.lost += 1
            found.problems.append(f"{path} left the buffer, and nobody deleted it")
            continue
        order = freed[path]
        staged = ground.places.staging / share_of[order] / order / path
        copies = {ground.held_sha1(order, path), disk.sha1_of(staged) if staged.is_file() else ""}
        if last[1] not in copies:
            found.lost += 1
            found.problems.append(f"{path} was deleted by the release of {order}, and no copy of it exists")


def _nothing_doubled(found: Aftermath, ground: Ground, contents: Contents) -> None:
    by_content: Counter[tuple[str, str]] = Counter()
    for (order, path), items in ground.held.items():
        if len({item.fileset_id for item in items}) > 1:
            found.doubled += len(items) - 1
            found.problems.append(f"{path} of order {order} is in {len(items)} filesets")
        by_content[(path, items[0].hash)] += 1
        if path not in contents:
            found.problems.append(f"{path} of order {order} is in OMERO and nobody wrote it")
    for (path, _sha1), count in by_content.items():
        if count > 1:
            found.doubled += count - 1
            found.problems.append(f"{path}: the same bytes came to OMERO by {count} orders")
