"""A file is proven when every fact holds; any single wrong one and there is no proof."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.omero.paths import client_path
from server_bridge.omero.proof import FileProblem, FileProof, NameOnDisk, judge, prove_file
from server_bridge.omero.receipts import ManagedFile, split_client_path

STAGED = "/staging/conf/42/run/a:b.tif"
MANAGED = "/OMERO/ManagedRepository/alice_2/a;b.tif"
SHA1 = hashlib.sha1(b"bytes").hexdigest()


def held(**changes: object) -> ManagedFile:
    whole = ManagedFile(
        original_file_id=7,
        path="alice_2/",
        name="a;b.tif",
        size=5,
        sha1=SHA1,
        hasher="SHA1-160",
        client_folder="staging/conf/42/run/",
        client_name="a;b.tif",
        managed_repository="/OMERO/ManagedRepository",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


NAME = NameOnDisk(device=1, inode=99, links=2, regular=True, size=5, mtime_s=1000)


def decide(
    staged: NameOnDisk | None = NAME,
    managed: NameOnDisk | None = NAME,
    size: int = 5,
    mtime_s: int = 1000,
    sha1: str | None = SHA1,
    file: ManagedFile | None = None,
) -> FileProof | FileProblem:
    return judge(STAGED, MANAGED, staged, managed, size, mtime_s, sha1, file or held())


def test_all_facts_together_are_a_proof() -> None:
    assert decide() == FileProof(
        sha1=SHA1,
        size=5,
        mtime_s=1000,
        device=1,
        inode=99,
        links=2,
        original_file_id=7,
        managed_path=MANAGED,
    )


def test_a_digest_in_capitals_is_the_same_digest() -> None:
    assert isinstance(decide(sha1=SHA1.upper()), FileProof)


WRONG: dict[str, tuple[Callable[[], FileProof | FileProblem], str]] = {
    "no staged name": (lambda: decide(staged=None), "staged_missing"),
    "no managed name": (lambda: decide(managed=None), "managed_missing"),
    "staged name is a link": (lambda: decide(staged=replace(NAME, regular=False)), "not_regular"),
    "managed name is a link": (lambda: decide(managed=replace(NAME, regular=False)), "not_regular"),
    "another file": (lambda: decide(file=held(client_name="else.tif")), "other_file"),
    "another inode": (lambda: decide(managed=replace(NAME, inode=98)), "inode_differs"),
    "another device": (lambda: decide(managed=replace(NAME, device=2)), "inode_differs"),
    "one name only": (
        lambda: decide(staged=replace(NAME, links=1), managed=replace(NAME, links=1)),
        "inode_differs",
    ),
    "source size": (lambda: decide(size=6), "size_differs"),
    "OMERO size": (lambda: decide(file=held(size=6)), "size_differs"),
    "staged size": (lambda: decide(staged=replace(NAME, size=4)), "size_differs"),
    "mtime": (lambda: decide(mtime_s=1001), "mtime_differs"),
    "digest lost": (lambda: decide(sha1=None), "digest_lost"),
    "digest empty": (lambda: decide(sha1="", file=held(sha1="")), "digest_lost"),
    "not hashed": (lambda: decide(file=held(hasher="File-Size-64", sha1="5")), "not_hashed"),
    "another algorithm": (lambda: decide(file=held(hasher="MD5-128")), "not_hashed"),
    "another hash": (
        lambda: decide(file=held(sha1=SHA1[:-1] + ("0" if SHA1[-1] != "0" else "1"))),
        "hash_differs",
    ),
    "no hash": (lambda: decide(file=held(sha1="")), "hash_differs"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_wrong_fact_is_no_proof_and_is_named(wrong: str) -> None:
    found = WRONG[wrong][0]()
    assert isinstance(found, FileProblem)
    assert found.code == WRONG[wrong][1]
    assert found.error().code == found.code


@given(
    staged=st.builds(
        NameOnDisk,
        device=st.integers(1, 2),
        inode=st.integers(98, 99),
        links=st.integers(1, 3),
        regular=st.booleans(),
        size=st.integers(4, 5),
        mtime_s=st.integers(999, 1000),
    ),
    managed=st.builds(
        NameOnDisk,
        device=st.integers(1, 2),
        inode=st.integers(98, 99),
        links=st.integers(1, 3),
        regular=st.booleans(),
        size=st.integers(4, 5),
        mtime_s=st.integers(999, 1000),
    ),
    size=st.integers(4, 5),
    mtime_s=st.integers(999, 1000),
    sha1=st.sampled_from([SHA1, "0" * 40, None]),
    omero=st.builds(
        held,
        size=st.integers(4, 5),
        sha1=st.sampled_from([SHA1, "0" * 40, ""]),
        hasher=st.sampled_from(["SHA1-160", "File-Size-64"]),
    ),
)
def test_a_proof_never_stands_on_less(
    staged: NameOnDisk, managed: NameOnDisk, size: int, mtime_s: int, sha1: str | None, omero: ManagedFile
) -> None:
    found = decide(staged, managed, size, mtime_s, sha1, omero)
    whole = (
        staged.regular
        and managed.regular
        and (staged.device, staged.inode) == (managed.device, managed.inode)
        and staged.links >= 2
        and staged.size == size == omero.size
        and staged.mtime_s == mtime_s
        and omero.hasher == "SHA1-160"
        and sha1 is not None
        and sha1 == omero.sha1
    )
    assert isinstance(found, FileProof) == whole


# -- on a real disk -------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, ManagedFile]:
    staged, managed = tmp_path / "staged.tif", tmp_path / "managed.tif"
    staged.write_bytes(b"bytes")
    os.utime(staged, (1000, 1000.9))
    os.link(staged, managed)
    folder, name = split_client_path(client_path(str(staged)))
    at = {"path": "", "name": managed.name, "managed_repository": str(managed.parent)}
    return staged, managed, held(client_folder=folder, client_name=name, **at)


def prove(pair: tuple[Path, Path, ManagedFile], sha1: str | None = SHA1) -> FileProof | FileProblem:
    staged, managed, file = pair
    return prove_file(staged, managed, 5, 1000, sha1, file)


def test_a_hard_link_is_proven(pair: tuple[Path, Path, ManagedFile]) -> None:
    proof = prove(pair)
    assert isinstance(proof, FileProof)
    assert proof.inode == pair[0].stat().st_ino


def test_a_copy_is_not_proven(pair: tuple[Path, Path, ManagedFile]) -> None:
    staged, managed, _ = pair
    managed.unlink()
    managed.write_bytes(staged.read_bytes())
    os.utime(managed, (1000, 1000))
    assert getattr(prove(pair), "code", "") == "inode_differs"


def test_a_symbolic_link_is_not_proven(pair: tuple[Path, Path, ManagedFile]) -> None:
    staged, managed, _ = pair
    managed.unlink()
    managed.symlink_to(staged)
    assert getattr(prove(pair), "code", "") == "not_regular"


def test_a_staged_file_that_was_replaced_is_not_proven(pair: tuple[Path, Path, ManagedFile]) -> None:
    staged, *_ = pair
    staged.unlink()
    staged.write_bytes(b"bytes")
    os.utime(staged, (1000, 1000))
    assert getattr(prove(pair), "code", "") == "inode_differs"


def test_a_flipped_byte_is_not_proven(pair: tuple[Path, Path, ManagedFile]) -> None:
    staged, managed, file = pair
    staged.write_bytes(b"bytez")
    os.utime(staged, (1000, 1000))
    # OMERO hashed what was there: the flipped byte.
    found = prove((staged, managed, replace(file, sha1=hashlib.sha1(b"bytez").hexdigest())))
    assert getattr(found, "code", "") == "hash_differs"


def test_names_that_are_gone_are_told_apart(pair: tuple[Path, Path, ManagedFile]) -> None:
    staged, managed, _ = pair
    managed.unlink()
    assert getattr(prove(pair), "code", "") == "managed_missing"
    staged.unlink()
    assert getattr(prove(pair), "code", "") == "staged_missing"


def test_a_file_of_36_bytes_is_explained() -> None:
    name = replace(NAME, size=36)
    found = decide(name, name, 36, 1000, SHA1, held(size=36, sha1="0" * 40))
    assert isinstance(found, FileProblem)
    assert "36 bytes" in found.detail
