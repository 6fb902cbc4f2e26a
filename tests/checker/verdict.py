"""Putting both views together: is every byte that left the buffer in OMERO, once, without a second copy?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.checker import disk
from tests.checker.omero import OmeroContent


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are, as an outsider knows it."""

    buffer: Path
    staging: Path
    managed: Path


@dataclass(slots=True)
class Verdict:
    """Counts; ``problems`` is empty exactly when all holds."""

    files: int = 0
    bytes: int = 0
    images: int = 0
    same_inode: int = 0
    sha1_match: int = 0
    left_out: int = 0
    disk_ratio: float = 0.0
    freed_bytes: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing contradicts the promises."""
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "ok": self.ok}


def judge(
    written: Mapping[str, tuple[int, str]],
    places: Places,
    omero: OmeroContent,
    *,
    staged: Mapping[str, disk.FileFacts] | None = None,
) -> Verdict:
    """Hold what a microscope wrote against disks and OMERO.

    Args:
        written: relative path below the buffer → (bytes, SHA-1), noted by whoever wrote the files.
        places: buffer, staging and managed repository.
        omero: what OMERO says it holds.
        staged: staging as it was before its links were dropped (for a check after retirement).
    """
    verdict = Verdict()
    on_buffer = disk.content(places.buffer)
    in_staging = disk.content(places.staging) if staged is None else dict(staged)
    by_name: dict[str, list[tuple[str, disk.FileFacts]]] = {}
    for path, facts in in_staging.items():
        # <share>/<order id>/<path below the share>
        by_name.setdefault("/".join(path.split("/")[2:]), []).append((path, facts))

    imported: dict[str, str] = {}
    clients = Counter(item.client_path for item in omero.files)
    for client_path, count in clients.items():
        if count > 1:
            verdict.doubled += count - 1
            verdict.problems.append(f"{client_path} is in {count} filesets")
    empty = omero.fileset_ids - set(omero.images_by_fileset)
    for fileset in sorted(empty):
        verdict.problems.append(f"Fileset:{fileset} has no image")

    prefix = places.staging.as_posix().lstrip("/") + "/"
    for item in omero.files:
        if not item.client_path.startswith(prefix):
            continue
        staged_path = item.client_path[len(prefix) :]
        relative = "/".join(staged_path.split("/")[2:])
        if not item.managed.is_file():
            verdict.problems.append(f"{item.managed} is in OMERO's database and not on its disk")
            continue
        managed = disk.facts(item.managed)
        verdict.files += 1
        verdict.bytes += managed.size_bytes
        if relative in imported:
            verdict.doubled += 1
            verdict.problems.append(f"{relative} was imported twice")
        imported[relative] = managed.sha1
        source = written.get(relative)
        if source is None:
            verdict.problems.append(f"{relative} is in OMERO and nobody wrote it")
        elif (managed.size_bytes, managed.sha1, item.hash) == (source[0], source[1], source[1]):
            verdict.sha1_match += 1
        else:
            verdict.problems.append(f"{relative}: the bytes in OMERO are not the bytes that were written")
        twin = in_staging.get(staged_path)
        if twin is not None and (twin.device, twin.inode) == (managed.device, managed.inode):
            verdict.same_inode += 1
        else:
            verdict.problems.append(f"{relative}: staged and managed names are not one inode")

    verdict.images = sum(omero.images_by_fileset.values())
    for relative, (size, sha1) in written.items():
        present = on_buffer.get(relative)
        if relative not in imported:
            verdict.left_out += 1
        if present is not None:
            if present.sha1 != sha1:
                verdict.problems.append(f"{relative} changed on the buffer")
            continue
        verdict.freed_bytes += size
        if relative in imported:
            copies = {imported[relative]}
        else:  # covered by a rule: the staged copy is what is left of it
            copies = {facts.sha1 for _path, facts in by_name.get(relative, ())}
        if sha1 not in copies:
            verdict.lost += 1
            verdict.problems.append(f"{relative} left the buffer and no copy of it exists")
    used = disk.used_bytes((places.staging, places.managed))
    verdict.disk_ratio = round(used / verdict.bytes, 4) if verdict.bytes else 0.0
    return verdict
