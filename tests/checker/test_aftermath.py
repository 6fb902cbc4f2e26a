"""The checker itself: it says nothing where all holds, and names each promise that is broken."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.checker.aftermath import Aftermath, Ground, OrderFacts, judge_aftermath, wrongly_released
from tests.checker.omero import OmeroContent, OmeroFile
from tests.checker.verdict import Places

PATH, JUNK = "alice/a.tif", "alice/Thumbs.db"


@dataclass
class Small:
    """One proven order of one image and one junk file; a test breaks one thing of it."""

    top: Path
    omero: OmeroContent = field(default_factory=OmeroContent)
    order: OrderFacts = field(
        default_factory=lambda: OrderFacts("o1", "conf", "released", (PATH, JUNK), frozenset({JUNK}))
    )
    freed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = Places(self.top / "buffer", self.top / "staging", self.top / "managed")
        self.contents: dict[str, list[tuple[int, str]]] = {}
        for path, content in ((PATH, b"pixels"), (JUNK, b"junk")):
            for file in (self.places.buffer / path, self.staged(path)):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            self.contents[path] = [(len(content), hashlib.sha1(content).hexdigest())]
        self.managed = self.places.managed / "a.tif"
        self.managed.parent.mkdir()
        self.managed.hardlink_to(self.staged(PATH))
        self.add_fileset(1, self.managed)

    def staged(self, path: str) -> Path:
        return self.places.staging / "conf" / "o1" / path

    def add_fileset(self, number: int, managed: Path, images: int = 1) -> None:
        size, sha1 = self.contents[PATH][0]
        client = str(self.staged(PATH)).lstrip("/")
        held = OmeroFile(client, managed, size, sha1, "SHA1-160", number, "alice", "Cytoskeleton")
        self.omero.files.append(held)
        self.omero.fileset_ids.add(number)
        if images:
            self.omero.images_by_fileset[number] = images

    def judge(self) -> Aftermath:
        ground = Ground(self.places, self.omero)
        return judge_aftermath(ground, self.contents, [self.order], self.freed)

    def release(self) -> list[str]:
        listed = [
            (path, (self.places.buffer / path).stat().st_size, (self.places.buffer / path).stat().st_mtime_ns)
            for path in (PATH, JUNK)
        ]
        return wrongly_released(Ground(self.places, self.omero), self.order, listed, self.contents)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def test_where_all_holds_nothing_is_said(small: Small) -> None:
    found = small.judge()
    assert found.ok, found.problems
    assert (found.orders, found.proven, found.files) == (1, 1, 2)
    assert small.release() == []


def test_deleted_upon_a_release_is_not_lost_as_long_as_omero_or_staging_has_it(small: Small) -> None:
    for path in (PATH, JUNK):
        (small.places.buffer / path).unlink()
        small.freed[path] = "o1"
    assert small.judge().ok
    small.staged(PATH).unlink()  # the link alone: OMERO's name stays
    assert small.judge().ok
    small.staged(JUNK).unlink()
    assert small.judge().lost


def test_what_left_the_buffer_by_nobodys_hand_is_lost(small: Small) -> None:
    (small.places.buffer / PATH).unlink()
    assert small.judge().lost == 1


def test_other_bytes_on_the_buffer_than_were_written_are_a_loss(small: Small) -> None:
    (small.places.buffer / PATH).write_bytes(b"garble")
    assert small.judge().lost == 1


def test_a_second_fileset_of_a_file_is_a_double(small: Small) -> None:
    small.add_fileset(2, small.managed)
    assert small.judge().doubled == 1


def test_a_fileset_without_images_is_told(small: Small) -> None:
    small.omero.fileset_ids.add(9)
    assert small.judge().problems == ["Fileset:9 was left in OMERO without an image"]


def test_an_import_that_omero_gave_up_does_not_speak_against_a_release(small: Small) -> None:
    small.add_fileset(2, small.places.managed / "other.tif", images=0)
    assert small.release(), "its upload may go on still"
    small.omero.finished_uploads.add(2)
    assert small.release() == []
    small.omero.images_by_fileset.clear()
    small.omero.finished_uploads.add(1)
    assert small.release(), "now nothing is left that holds an image"


def test_an_order_that_hangs_is_told(small: Small) -> None:
    small.order = replace(small.order, stage="pulling")
    assert small.judge().problems == ["order o1 did not end: it is pulling"]


def _copied(small: Small) -> None:
    small.managed.unlink()
    shutil.copy2(small.staged(PATH), small.managed)


def _flipped(small: Small) -> None:
    small.managed.chmod(0o600)
    small.managed.write_bytes(b"pixelz")


def _no_image(small: Small) -> None:
    small.omero.images_by_fileset.clear()


def _another_hash(small: Small) -> None:
    small.omero.files[0] = replace(small.omero.files[0], hash="0" * 40)


def _gone(small: Small) -> None:
    small.managed.unlink()


def _forgotten(small: Small) -> None:
    small.omero.files.clear()


@pytest.mark.parametrize("broken", [_copied, _flipped, _no_image, _another_hash, _gone, _forgotten])
def test_a_proof_that_does_not_hold_is_a_problem_and_its_release_is_wrong(
    small: Small, broken: object
) -> None:
    assert callable(broken)
    broken(small)
    assert not small.judge().ok
    assert len(small.release()) == 1


def test_a_file_that_was_written_again_is_not_released_wrongly(small: Small) -> None:
    source = small.places.buffer / PATH
    listed = [(PATH, source.stat().st_size, source.stat().st_mtime_ns)]
    source.write_bytes(b"later pixels")
    os.utime(source, ns=(0, 10**18))
    ground = Ground(small.places, small.omero)
    assert wrongly_released(ground, small.order, listed, small.contents) == []
    # The same size and time, and other bytes: whoever deletes cannot see it, so the release is wrong.
    listed = [(PATH, source.stat().st_size, source.stat().st_mtime_ns)]
    assert len(wrongly_released(ground, small.order, listed, small.contents)) == 1
