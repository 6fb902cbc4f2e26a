"""A share with a marker and one acquisition, the far ends that serve it, and a runner."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_bridge.mover.listing import list_source
from server_bridge.mover.pull import PulledFile, WantedFile
from server_bridge.mover.sources import PathSource, Source
from server_bridge.processes.runner import ProcessRunner
from tests.bridge.rsyncd import LoopbackSshd, RsyncDaemon

MARKER = ".omero-ferry-share"
#: Names that a microscope, a person or another system may make; every one is a legal name for OMERO.
ODD_NAMES = (
    "-rf",
    "--delete",
    "#first",
    ";first",
    "~tilde",
    " leading blank",
    "trailing blank ",
    "a|pipe|b.tif",
    "hash#134 \\#012x.tif",
    "back\\slash",
    "quote\"s'.tif",
    "CON.txt",
    "colon:name?.tif",
    "*star[1].tif",
    "é-nfc.tif",
    "e\u0301-nfd.tif",
    "日本語.czi",
    ".hidden.abcdef",
    "x" * 255,
)


def fill(path: Path, size_bytes: int, seed: int = 0) -> Path:
    """A file of incompressible, repeatable content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = hashlib.shake_128(f"{path.name}{seed}".encode()).digest(min(size_bytes, 1 << 20))
    with path.open("wb") as file:
        for offset in range(0, size_bytes, 1 << 20):
            part = hashlib.sha1(f"{seed}{offset}".encode()).digest() + block
            file.write(part[: min(1 << 20, size_bytes - offset)])
    return path


def sha1_of(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def wanted_in(source: Source, folder: str, runner: ProcessRunner) -> list[WantedFile]:
    """The manifest of a folder, as the bridge makes it: from its own listing."""
    entries = list_source(source, folder, runner).entries.values()
    return [WantedFile(entry.path, entry.size_bytes, entry.mtime_s) for entry in entries]


def assert_identical(confirmed: tuple[PulledFile, ...], share: Path, staging: Path) -> None:
    """Every confirmed file is in staging with the share's bytes, and its SHA-1 is that of the bytes."""
    assert confirmed
    for pulled in confirmed:
        staged = staging / pulled.path
        assert pulled.sha1 == sha1_of(share / pulled.path) == sha1_of(staged), pulled.path
        facts = staged.lstat()
        assert facts.st_size == pulled.size_bytes
        assert oct(facts.st_mode & 0o7777) == "0o440", pulled.path


@pytest.fixture
def runner() -> ProcessRunner:
    return ProcessRunner(grace_seconds=3.0)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """The top of a share with its marker and a small acquisition ``lab/run 1``."""
    top = tmp_path / "share"
    run = top / "lab" / "run 1"
    (run / "sub").mkdir(parents=True)
    (top / MARKER).touch()
    fill(run / "image.czi", 300_000)
    fill(run / "sub" / "meta.xml", 1_234)
    (run / "empty.txt").touch()
    for path in run.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000.75))
    return top


@pytest.fixture
def big(share: Path) -> Path:
    """Six million bytes in the acquisition: at a limited rate, time for something to happen."""
    return fill(share / "lab" / "run 1" / "big.czi", 6_000_000)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    return tmp_path / "staging" / "share" / "order-1"


@pytest.fixture
def mounted(share: Path) -> PathSource:
    return PathSource(share)


@pytest.fixture
def daemon(tmp_path: Path, share: Path) -> Iterator[RsyncDaemon]:
    with RsyncDaemon(tmp_path / "daemon", share) as server:
        yield server


@pytest.fixture
def sshd(tmp_path: Path, share: Path) -> Iterator[LoopbackSshd]:
    assert LoopbackSshd.is_possible(), "openssh-server is a declared dependency of the tests"
    with LoopbackSshd(tmp_path / "sshd", share) as server:
        yield server


@pytest.fixture(params=["path", "daemon", "ssh"])
def source(request: pytest.FixtureRequest, share: Path) -> Source:
    """The same share through each kind of source."""
    if request.param == "path":
        return PathSource(share)
    if request.param == "daemon":
        daemon: RsyncDaemon = request.getfixturevalue("daemon")
        return daemon.source()
    sshd: LoopbackSshd = request.getfixturevalue("sshd")
    return sshd.source()


@pytest.fixture(scope="session", autouse=True)
def _unprivileged() -> None:
    assert os.getuid() != 0, "run the tests as an unprivileged user: root hides permission faults"
    assert shutil.which("rsync"), "rsync is a declared dependency of the tests"
