"""Real mounts that go away, come back, become read-only or unreadable under a real agent.

After each fault: nothing is lost from the machine's file, nothing was judged finished that was not, and all
of it is found again. The agent lives in a mount namespace of its own; the share's folder is there with or
without a volume on it, as a mount point is.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.acquisition import Acquisition
from tests.agent.conftest import MARKER
from tests.bridge import namespaces
from tests.bridge.namespaces import Namespace
from tests.bridge.rsyncd import LoopbackSshd
from tests.faults.workstation import QUIET_SECONDS, Session, Workstation, gone_ids

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces.are_possible(), reason="no unprivileged namespaces on this machine"),
]
MANY = 20_000
"""Files, so that most of the time a pass is under way."""


class Mounted(Workstation):
    """The share is a volume (memory, bound to the share's folder) in the agent's own namespace."""

    def __init__(self, top: Path, namespace: Namespace) -> None:
        super().__init__(top, make=False)
        self.namespace = namespace
        self.top_of_share = self.shares["scope1"]
        self._disk = top / "disk"
        self._disk.mkdir()
        namespace.root("mount", "-t", "tmpfs", "-o", "mode=755", "disk", self._disk)
        self.data = namespace.inside(self._disk)
        """The volume's content, from outside, whether it is mounted on the share or not."""
        (self.data / MARKER).touch()
        self.mount()

    def mount(self) -> None:
        self.namespace.root("mount", "--bind", self._disk, self.top_of_share)

    def unmount(self) -> None:
        # Lazily: a pass may be in it, and a network that goes away asks nobody.
        self.namespace.root("umount", "--lazy", self.top_of_share)

    def remount(self, options: str) -> None:
        self.namespace.root("mount", "-o", f"remount,bind,{options}", "disk", self.top_of_share)

    def agent(self) -> Session:
        return self.session("alice", self.namespace.prefix())

    def write(self, path: str, content: bytes = b"x") -> Path:
        file = self.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def settled(self, *paths: str) -> dict[str, Acquisition]:
        """Wait until these are judged finished."""
        self.until(
            lambda: all((row := self.found().get(path)) and row.finished_at for path in paths),
            f"{paths} are finished",
        )
        return self.found()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Mounted]:
    with Namespace() as namespace, Mounted(tmp_path, namespace) as made:
        yield made


def many(place: Mounted, folder: str) -> None:
    for part in range(20):
        (place.data / folder / f"position{part}").mkdir(parents=True)
        for number in range(MANY // 20):
            (place.data / folder / f"position{part}" / f"plane{number}.tif").write_bytes(b"x")


def test_a_volume_that_goes_in_mid_pass_is_an_outage_and_comes_back_whole(place: Mounted) -> None:
    many(place, "done")
    place.write("running/a.tif")
    place.agent()
    before = place.settled("done")
    for _ in range(5):
        place.write("running/a.tif", os.urandom(8))
        place.another_look()
        place.unmount()
        place.until(lambda: not place.answers(), "it is away")
        # Long enough for many passes, and longer than the quiet time.
        time.sleep(QUIET_SECONDS / 4)
        away = place.found()
        assert away["done"] == before["done"], "an empty mount point is no deletion"
        assert away["running"].finished_at is None, "nobody looked, so it did not rest"
        place.mount()
        place.until(place.answers, "it is back")
    place.another_look()
    assert not gone_ids(place.store)
    assert place.found()["done"] == before["done"]
    assert place.settled("done", "running")["running"].id == before["running"].id


def test_what_changed_while_it_was_away_is_noticed(place: Mounted) -> None:
    place.write("run1/a.tif")
    place.agent()
    before = place.settled("run1")
    place.unmount()
    place.until(lambda: not place.answers(), "it is away")
    place.write("run1/b.tif", b"written while the workstation did not see it")
    place.mount()
    place.until(lambda: place.found()["run1"].file_count == 2, "it is noticed")
    after = place.settled("run1")["run1"]
    assert after.id == before["run1"].id and after.finished_at != before["run1"].finished_at


def test_an_outage_during_the_quiet_time_finishes_nothing_early(place: Mounted) -> None:
    place.write("run1/a.tif")
    place.agent()
    place.until(lambda: "run1" in place.found(), "it is seen")
    place.unmount()
    place.until(lambda: not place.answers(), "it is away")
    time.sleep(QUIET_SECONDS + 1)
    place.write("run1/a.tif", b"still being written, by a machine that sees the buffer")
    assert place.found()["run1"].finished_at is None
    came_back = time.time()
    place.mount()
    finished = place.settled("run1")["run1"].finished_at
    assert finished is not None and finished.timestamp() - came_back >= QUIET_SECONDS - 0.5


def test_a_read_only_remount_changes_nothing_for_who_only_looks(place: Mounted) -> None:
    place.write("run1/a.tif")
    place.agent()
    place.until(lambda: "run1" in place.found(), "it is seen")
    place.remount("ro")
    place.settled("run1")
    assert place.answers() and not place.found()["run1"].problem
    place.remount("rw")
    place.write("run2/a.tif")
    place.settled("run1", "run2")


def test_rights_that_are_taken_away_in_the_middle_lose_nothing_and_are_said(place: Mounted) -> None:
    many(place, "done")
    place.write("other/a.tif")
    place.agent()
    before = place.settled("done", "other")
    inner = place.data / "done" / "position7"
    inner.chmod(0)
    place.until(lambda: place.found()["done"].problem, "the card says it")
    assert place.answers() and "position7" in place.found()["done"].problem
    place.write("other/b.tif")
    place.until(lambda: place.found()["other"].file_count == 2, "the others go on")
    inner.chmod(0o755)
    place.until(lambda: not place.found()["done"].problem, "it is readable again")
    assert place.found()["done"] == before["done"], "and was neither changed nor judged anew"
    place.data.chmod(0)
    place.until(lambda: not place.answers(), "a share nobody may look into is away")
    place.data.chmod(0o755)
    place.until(place.answers, "it is back")
    place.another_look()
    assert place.found()["done"] == before["done"] and not gone_ids(place.store)


def test_hints_are_begun_anew_on_the_volume_that_came_back(place: Mounted) -> None:
    place.write("run1/a.tif")
    place.agent()
    place.until(lambda: "tells about changes" in place.status().get("hints", ""), "the system tells")
    place.unmount()
    place.until(lambda: not place.answers(), "it is away")
    place.mount()
    place.until(place.answers, "it is back")
    place.until(lambda: "tells about changes" in place.status().get("hints", ""), "the system tells again")


# --- a network file system ----------------------------------------------------------------------------


class SftpServer(LoopbackSshd):
    """sshd that serves files."""

    def __init__(self, tmp: Path, folder: Path) -> None:
        super().__init__(tmp, folder)
        public = (tmp / "client_key.pub").read_text()
        (tmp / "authorized_keys").write_text(f"restrict {public}")
        with (tmp / "sshd_config").open("a") as config:
            config.write("Subsystem sftp internal-sftp\n")


def why_no_sshfs() -> str:
    if shutil.which("sshfs") is None:
        return "sshfs is not installed"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "this user may not open /dev/fuse, so there is no FUSE here"
    return "" if LoopbackSshd.is_possible() else "there is no sshd"


class OverSsh(Workstation):
    """The share is sshfs over a loopback sshd."""

    def __init__(self, top: Path) -> None:
        super().__init__(top, make=False)
        self.data = top / "served"
        self.data.mkdir()
        (self.data / MARKER).touch()
        self.server = SftpServer(top / "sshd", self.data)
        self._mount_log = top / "sshfs.log"

    def __enter__(self) -> OverSsh:
        super().__enter__()
        self.server.start()
        self.mount()
        return self

    def __exit__(self, *details: object) -> None:
        self.server.sigcont()
        super().__exit__(*details)
        self.unmount()
        self.server.stop()

    def mount(self) -> None:
        keys = self.server.tmp
        options = ",".join(
            [
                f"port={self.server.port}",
                f"IdentityFile={keys / 'client_key'}",
                f"UserKnownHostsFile={keys / 'known_hosts'}",
                "reconnect,ServerAliveInterval=2,ServerAliveCountMax=2",
                "dir_cache=no,attr_timeout=0,entry_timeout=0",
            ]
        )
        top = self.shares["scope1"]
        status = os.spawnlp(os.P_WAIT, "sshfs", "sshfs", f"127.0.0.1:{self.data}", str(top), "-o", options)
        assert status == 0 and os.path.ismount(top)

    def unmount(self) -> None:
        os.spawnlp(os.P_WAIT, "fusermount3", "fusermount3", "-uz", str(self.shares["scope1"]))

    def write(self, path: str, content: bytes = b"x") -> None:
        file = self.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


@pytest.fixture
def over_ssh(tmp_path: Path) -> Iterator[OverSsh]:
    if why_no_sshfs():
        pytest.skip(why_no_sshfs())
    with OverSsh(tmp_path) as made:
        yield made


def finished(place: Workstation, path: str) -> Acquisition:
    place.until(lambda: (row := place.found().get(path)) and row.finished_at, f"{path} is finished")
    return place.found()[path]


def test_an_ssh_server_that_is_stopped_hangs_the_share_and_goes_on(over_ssh: OverSsh) -> None:
    over_ssh.write("run1/a.tif")
    over_ssh.session("alice")
    before = finished(over_ssh, "run1")
    over_ssh.server.sigstop()
    over_ssh.until(
        lambda: over_ssh.status().get("silent_since") or not over_ssh.answers(), "the share does not answer"
    )
    over_ssh.write("run2/a.tif")
    assert over_ssh.found() == {"run1": before}
    over_ssh.server.sigcont()
    over_ssh.until(lambda: "run2" in over_ssh.found(), "it goes on by itself")
    assert over_ssh.found()["run1"] == before and not gone_ids(over_ssh.store)


def test_an_ssh_server_that_is_killed_and_brought_back(over_ssh: OverSsh) -> None:
    over_ssh.write("run1/a.tif")
    over_ssh.session("alice")
    before = finished(over_ssh, "run1")
    over_ssh.write("run2/a.tif")
    over_ssh.until(lambda: "run2" in over_ssh.found(), "another is being written")
    over_ssh.server.stop()
    over_ssh.until(
        lambda: over_ssh.status().get("silent_since") or not over_ssh.answers(), "the share does not answer"
    )
    time.sleep(QUIET_SECONDS)
    assert over_ssh.found()["run2"].finished_at is None and over_ssh.found()["run1"] == before
    over_ssh.write("run3/a.tif")
    over_ssh.server.start()
    over_ssh.until(lambda: "run3" in over_ssh.found(), "what came meanwhile is found")
    assert over_ssh.found()["run1"] == before and not gone_ids(over_ssh.store)
    finished(over_ssh, "run2")
