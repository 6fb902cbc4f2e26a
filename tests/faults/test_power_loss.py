"""The order in which the bridge syncs, commits, answers and unlinks: what a power loss would find.

kill -9 cannot show it, since what a killed process wrote is in the kernel. So a whole life of an order runs
under strace, and the order of the system calls is held against the promises. Where strace may not trace,
this fails: the promise is not shown then.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.checker.disk import sha1_of
from tests.databases import on_postgresql
from tests.faults.faulty_site import within
from tests.faults.story import Story
from tests.faults.syscalls import Call, Trace, read_calls, traced
from tests.loopback.processes import healthy, python_module
from tests.loopback.site import PROJECT, SHARE, LoopbackSite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(on_postgresql(), reason="PostgreSQL's own processes write the orders to the disk"),
]
ANSWERED = ("HTTP/1.1 200", "HTTP/1.1 201")
FREED = "files were deleted on the buffer"


class TracedSite(LoopbackSite):
    """The bridge runs under strace."""

    @property
    def trace_file(self) -> Path:
        return self.top / "bridge.strace"

    def start_bridge(self) -> None:
        command = python_module(
            "tests.faults.bridge_with_points", str(self.top / "points"), str(self.site_file)
        )
        program = self._program("bridge", traced(command, self.trace_file))
        program.start(lambda: healthy(self.bridge_url), 180)


@dataclass(frozen=True)
class Life:
    """One order's whole life, and every system call of it."""

    site: TracedSite
    order: str
    files: tuple[str, ...]
    sha1: dict[str, str]
    trace: Trace
    backup: Trace

    @property
    def wal(self) -> Path:
        return self.site.state / "ferry.sqlite3-wal"

    def staged(self, path: str) -> Path:
        return self.site.staging / SHARE / self.order / path

    def commit_of(self, words: str, what: str, after: int = -1) -> tuple[Call, Call]:
        """The write of a WAL frame that holds these words, and the sync that made it last."""
        written = self.trace.first(
            lambda call: call.is_write and call.on(self.wal) and words in call.text,
            f"{what} in the WAL",
            after,
        )
        synced = self.trace.first(
            lambda call: call.is_sync and call.on(self.wal), f"a sync of the WAL after {what}", written.ended
        )
        return written, synced

    def syncs_staging(self, call: Call) -> bool:
        """A sync of the file system that holds staging."""
        return call.name == "syncfs" and f"<{self.site.staging}" in call.text


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Ordered, pulled, imported, proven, released, deleted, reported, dropped; then a backup."""
    with TracedSite(tmp_path_factory.mktemp("power") / "site", retry_base_seconds=5) as site:
        story = Story.begin(site)
        path = story.folder("alice/power", "a.ome.tif", "b.ome.tif")
        order = story.order(path)
        story.client.wait_for_stage(order, "released", seconds=180)
        files = tuple(sorted(story.notes.files))
        sha1 = {name: sha1_of(site.buffer / name) for name in files}
        release = story.client.call("GET", f"/v1/orders/{order}/release")
        assert release["released"], release
        for name in files:
            (site.buffer / name).unlink()
        story.client.call("POST", f"/v1/orders/{order}/freed", json={"paths": list(files)})
        story.client.wait_for_stage(order, "retired", seconds=120)
        site.program("bridge").stop(60)
        assert within(60, lambda: not _is_traced(site.trace_file))
        trace = Trace.read(site.trace_file)
        yield Life(site, order, files, sha1, trace, _traced_backup(site))


def _is_traced(output: Path) -> bool:
    """Whether strace still writes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = entry.joinpath("cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"strace") and str(output).encode() in words:
                return True
    return False


def _traced_backup(site: TracedSite) -> Trace:
    output = site.top / "backup.strace"
    done = subprocess.run(
        traced([sys.executable, "-m", "server_bridge.cli", "backup", "--site", str(site.site_file)], output),
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert within(60, lambda: not _is_traced(output))
    return Trace.read(output)


def _answer(call: Call) -> bool:
    return call.is_write and any(f'"{start}' in call.text for start in ANSWERED)


def _renamed_to(path: Path) -> Callable[[Call], bool]:
    """rsync's temporary name becomes the final one; both are relative to the order's directory."""

    def is_it(call: Call) -> bool:
        names = call.text.split('"')[1::2]
        return (
            call.name.startswith("rename")
            and len(names) == 2
            and f".{path.name}." in names[0]
            and names[1].endswith(path.name)
        )

    return is_it


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("order.accept", "the order"),
        ("manifest 1: 2 files, sealed", "the manifest"),
        (FREED, "the report of deleted files"),
    ],
)
def test_what_was_answered_is_on_the_disk(life: Life, words: str, what: str) -> None:
    written, synced = life.commit_of(words, what)
    answer = life.trace.first(_answer, f"the answer to {what}", written.began)
    assert synced.ended < answer.began, f"{what} was answered before the disk had it"


def test_the_wal_itself_has_its_name_on_the_disk_before_anything_is_answered(life: Life) -> None:
    folder = life.trace.first(
        lambda call: call.is_sync and call.on(life.site.state), "a sync of the state folder"
    )
    written, _synced = life.commit_of("order.accept", "the order")
    assert folder.ended < life.trace.first(_answer, "an answer", written.began).began


def test_a_digest_is_committed_when_the_disk_has_its_file(life: Life) -> None:
    for path in life.files:
        renamed = life.trace.first(_renamed_to(life.staged(path)), f"rsync's rename of {path}")
        written, synced = life.commit_of(life.sha1[path], f"the digest of {path}")
        assert life.trace.between(renamed, written, life.syncs_staging), f"{path}: committed before the sync"
        assert synced.began > written.ended


def test_receipts_are_committed_when_the_disk_has_the_links(life: Life) -> None:
    links = life.trace.all(
        lambda call: (
            call.name in ("link", "linkat")
            and str(life.site.staging) in call.text
            and str(life.site.managed) in call.text
        )
    )
    for path in life.files:
        made = [call for call in links if path.rpartition("/")[2] in call.text]
        assert len(made) == 1, f"{path} was linked {len(made)} times"
        managed = made[0].text.split('"')[3]
        written, _synced = life.commit_of(managed, f"the receipt of {path}", made[0].ended)
        assert life.trace.between(made[0], written, life.syncs_staging), f"{path}: receipt before the sync"


def test_a_staged_link_is_dropped_when_the_disk_knows_that_the_buffer_copy_is_gone(life: Life) -> None:
    _written, synced = life.commit_of(FREED, "the report of deleted files")
    for path in life.files:
        dropped = [
            call
            for call in life.trace.all(lambda call: call.name == "unlinkat")
            # The name is unlinked in its opened folder.
            if call.on(life.staged(path).parent) and f'"{life.staged(path).name}"' in call.text
        ]
        assert len(dropped) == 1
        assert synced.ended < dropped[0].began, f"{path} was dropped before the report was on the disk"


def test_a_release_is_on_the_disk_before_it_is_told(life: Life) -> None:
    _written, synced = life.commit_of("order.released", "the release")
    told = life.trace.first(
        lambda call: call.is_write and '\\"released\\":true' in call.text, "an answer that says released"
    )
    assert synced.ended < told.began


def test_a_backup_is_on_the_disk_before_it_has_its_name_and_then_its_name_is(life: Life) -> None:
    renamed = life.backup.first(
        lambda call: call.name.startswith("rename") and ".partial" in call.text, "the backup's rename"
    )
    partial = renamed.text.split('"')[1]
    syncs = life.backup.all(lambda call: call.is_sync and call.on(partial) and call.ended < renamed.began)
    writes = life.backup.all(lambda call: call.is_write and call.on(partial))
    assert syncs and writes
    assert max(call.ended for call in writes) < max(call.began for call in syncs)
    folder = Path(partial).parent
    assert life.backup.all(lambda call: call.is_sync and call.on(folder) and call.began > renamed.ended)


def test_calls_that_overlap_are_read_with_begin_and_end() -> None:
    calls = read_calls(
        [
            "7 fdatasync(5</s/ferry.sqlite3-wal> <unfinished ...>\n",
            '8 sendto(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, "HTTP/1.1 201 Created", 20, 0, NULL, 0) = 20\n',
            "7 <... fdatasync resumed>)         = 0\n",
            '8 unlink("/s/x") = -1 ENOENT (No such file or directory)\n',
            "8 +++ exited with 0 +++\n",
        ]
    )
    assert [(call.name, call.began, call.ended) for call in calls] == [("sendto", 1, 1), ("fdatasync", 0, 2)]
    sync = calls[1]
    assert sync.is_sync and sync.on("/s/ferry.sqlite3-wal") and not sync.on("/s/ferry.sqlite3")
    assert not Trace(calls).between(sync, calls[0], lambda _call: True)
