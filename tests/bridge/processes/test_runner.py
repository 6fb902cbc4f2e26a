"""A child never outlives its attempt, never runs twice, and never fills memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from server_bridge.processes import watch
from server_bridge.processes.runner import (
    Ended,
    LockBusy,
    OrphansRemain,
    ProcessRunner,
    ProgramMissing,
    RunLock,
    end_orphans,
    run_child,
)
from tests.bridge.rsyncd import wait_until

ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


@pytest.fixture
def runner() -> ProcessRunner:
    return ProcessRunner(grace_seconds=1.0)


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def read_pid(path: Path) -> int:
    wait_until(lambda: path.exists() and path.read_text().strip().isdigit(), f"a pid in {path}")
    return int(path.read_text())


# --- output


def test_lines_end_at_carriage_return_and_line_feed_and_arrive_in_order(runner: ProcessRunner) -> None:
    lines: list[bytes] = []
    result = runner.run(shell(r"printf 'a\rb\n\r\nc d\n  e'"), env=ENV, on_stdout_line=lines.append)
    assert lines == [b"a", b"b", b"c d", b"  e"]
    assert (result.returncode, result.ended, result.stdout) == (0, Ended.EXITED, b"a\rb\n\r\nc d\n  e")


def test_both_streams_are_read_without_blocking_each_other(runner: ProcessRunner) -> None:
    errors: list[bytes] = []
    script = "i=0; while [ $i -lt 3000 ]; do echo out-$i-xxxxxxxxxxx; echo err-$i >&2; i=$((i+1)); done"
    result = runner.run(shell(script), env=ENV, on_stderr_line=errors.append)
    assert len(errors) == 3000
    assert result.stdout.count(b"\n") == 3000


def test_output_beyond_the_limit_keeps_head_and_tail(runner: ProcessRunner) -> None:
    lines: list[bytes] = []
    result = runner.run(
        shell("echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last"),
        env=ENV,
        on_stdout_line=lines.append,
        stdout_limit_bytes=2000,
    )
    assert result.stdout.startswith(b"first\n")
    assert result.stdout.endswith(b"last\n")
    assert b"bytes left out" in result.stdout
    assert len(result.stdout) < 2200
    assert result.stdout_bytes == 5_000_000 + len("first\n\nlast\n")
    assert (lines[0], lines[-1]) == (b"first", b"last")


def test_nothing_is_inherited_but_what_is_given(
    runner: ProcessRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERRY_SECRET", "never to be seen")
    result = runner.run(shell("env; cat"), env=ENV)
    assert b"never to be seen" not in result.stdout
    assert result.returncode == 0, "stdin is at its end: cat returns"


def test_exit_code_and_signal_are_told_apart(runner: ProcessRunner) -> None:
    assert runner.run(shell("exit 23"), env=ENV).returncode == 23
    killed = runner.run(shell("kill -9 $$"), env=ENV)
    assert (killed.returncode, killed.signal_number, killed.ended) == (-9, 9, Ended.EXITED)


def test_a_missing_program_is_named_with_a_remedy(runner: ProcessRunner, tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing) as caught:
        runner.run(["no-such-program"], env=ENV)
    assert caught.value.code == "program_missing"
    assert "no-such-program" in caught.value.remedy
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    with pytest.raises(ProgramMissing):
        runner.run([str(plain)], env=ENV)


# --- ending


def test_a_set_stop_event_ends_the_whole_group(runner: ProcessRunner, tmp_path: Path) -> None:
    stop = threading.Event()
    pid_file = tmp_path / "pid"
    timer = threading.Thread(target=lambda: (read_pid(pid_file), stop.set()))
    timer.start()
    result = runner.run(shell(f"sleep 300 & echo $! > {pid_file}; wait"), env=ENV, stop_event=stop)
    timer.join()
    assert result.ended is Ended.STOPPED
    assert not is_alive(read_pid(pid_file))


def test_a_child_that_ignores_term_is_killed(tmp_path: Path) -> None:
    stop = threading.Event()
    lines: list[bytes] = []

    def seen(line: bytes) -> None:
        lines.append(line)
        stop.set()

    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    result = ProcessRunner(grace_seconds=0.3).run(
        shell(script), env=ENV, on_stdout_line=seen, stop_event=stop
    )
    assert (result.ended, result.signal_number) == (Ended.STOPPED, signal.SIGKILL)


def test_a_stopped_child_is_ended_too(runner: ProcessRunner) -> None:
    result = runner.run(shell("kill -STOP $$; echo unreachable"), env=ENV, stall_seconds=0.5)
    assert result.ended is Ended.STALLED
    assert result.returncode != 0


def test_a_silent_child_is_stalled(runner: ProcessRunner) -> None:
    result = runner.run(shell("echo hello; sleep 300"), env=ENV, stall_seconds=0.5)
    assert result.ended is Ended.STALLED
    assert result.stdout == b"hello\n"


def test_a_child_that_keeps_talking_is_not_stalled(runner: ProcessRunner) -> None:
    script = "i=0; while [ $i -lt 12 ]; do echo $i; sleep 0.2; i=$((i+1)); done"
    assert runner.run(shell(script), env=ENV, stall_seconds=1.5).ended is Ended.EXITED


def test_a_silent_child_that_moves_data_is_working_not_stalled(runner: ProcessRunner) -> None:
    # rsync is silent for minutes while it reads a large partial file to compute its block sums.
    script = textwrap.dedent(
        """
        import time
        until = time.monotonic() + 3
        with open("/dev/zero", "rb", buffering=0) as zero:
            while time.monotonic() < until:
                zero.read(1 << 20)
                time.sleep(0.01)
        """
    )
    result = runner.run([sys.executable, "-c", script], env=ENV, stall_seconds=1.0)
    assert (result.ended, result.returncode) == (Ended.EXITED, 0)


def test_a_deadline_ends_a_talkative_child(runner: ProcessRunner) -> None:
    result = runner.run(shell("while :; do echo x; sleep 0.05; done"), env=ENV, deadline_seconds=0.5)
    assert result.ended is Ended.OVERTIME


def test_an_exception_of_a_line_handler_ends_the_child_and_is_raised(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"

    def broken(line: bytes) -> None:
        raise ValueError(line.decode())

    with pytest.raises(ValueError, match="ready"):
        runner.run(shell(f"echo $$ > {pid_file}; echo ready; sleep 300"), env=ENV, on_stdout_line=broken)
    assert not is_alive(read_pid(pid_file))


def test_a_grandchild_left_behind_is_ended_before_the_return(runner: ProcessRunner, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    result = runner.run(shell(f"sleep 300 & echo $! > {pid_file}"), env=ENV)
    assert result.returncode == 0
    assert not is_alive(read_pid(pid_file))


# --- the lock


def test_one_run_at_a_time_under_one_lock(runner: ProcessRunner, tmp_path: Path) -> None:
    lock_path = tmp_path / "order.lock"
    with RunLock.acquire(lock_path) as lock:
        with pytest.raises(LockBusy) as caught:
            runner.run(shell("true"), env=ENV, lock_path=lock_path)
        assert caught.value.holders == (os.getpid(),)
        assert runner.run(shell("true"), env=ENV, lock=lock).returncode == 0
    assert run_child(shell("true"), ENV, lock_path=lock_path).returncode == 0


def test_a_living_run_of_another_process_is_left_alone(tmp_path: Path) -> None:
    lock_path = tmp_path / "order.lock"
    other, pid_file = start_bridge(tmp_path, lock_path, "exec sleep 300")
    try:
        child = read_pid(pid_file)
        with pytest.raises(LockBusy) as caught:
            RunLock.acquire(lock_path)
        assert other.pid in caught.value.holders
        assert is_alive(child)
    finally:
        other.kill()
        other.wait()
    end_orphans(lock_path)


def test_locks_of_other_orders_do_not_leak_into_children(runner: ProcessRunner, tmp_path: Path) -> None:
    with RunLock.acquire(tmp_path / "a.lock"), RunLock.acquire(tmp_path / "b.lock") as mine:
        result = runner.run(shell("ls -l /proc/self/fd"), env=ENV, lock=mine)
    assert b"b.lock" in result.stdout
    assert b"a.lock" not in result.stdout


BRIDGE = """
import sys
from pathlib import Path
from server_bridge.processes.runner import ProcessRunner
script, lock, death_signal = sys.argv[1:]
ProcessRunner(death_signal=death_signal == "yes").run(
    ["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, lock_path=Path(lock)
)
"""


def start_bridge(
    tmp_path: Path, lock_path: Path, script: str, death_signal: bool = False
) -> tuple[subprocess.Popen[bytes], Path]:
    """Another process that runs a child under the lock; the child's shell writes its pid first."""
    pid_file = tmp_path / "child.pid"
    script = f"echo $$ > {pid_file}; {script}"
    process = subprocess.Popen(
        [sys.executable, "-c", BRIDGE, script, str(lock_path), "yes" if death_signal else "no"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,
    )
    return process, pid_file


def test_the_kernel_ends_the_child_of_a_killed_bridge(tmp_path: Path) -> None:
    bridge, pid_file = start_bridge(tmp_path, tmp_path / "order.lock", "exec sleep 300", death_signal=True)
    child = read_pid(pid_file)
    bridge.kill()
    bridge.wait()
    wait_until(lambda: not is_alive(child), "the child follows its bridge")


def test_an_orphan_that_kept_the_lock_is_ended_before_the_next_run(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    lock_path = tmp_path / "order.lock"
    bridge, pid_file = start_bridge(tmp_path, lock_path, "exec sleep 300")
    child = read_pid(pid_file)
    bridge.kill()
    bridge.wait()
    assert is_alive(child), "a child without a death signal survives"
    with RunLock.acquire(lock_path) as lock:
        assert child in lock.ended_orphans
        assert not is_alive(child)


def test_an_orphan_that_closed_the_lock_is_found_by_its_mark(tmp_path: Path) -> None:
    # As Python's subprocess in `omero import` does: its java child inherits no descriptor.
    lock_path = tmp_path / "order.lock"
    script = (
        "for f in /proc/self/fd/*; do n=${f##*/}; [ $n -gt 2 ] && eval \"exec $n>&-\"; done; trap '' TERM;"
    )
    bridge, pid_file = start_bridge(tmp_path, lock_path, script + " while :; do sleep 0.1; done")
    child = read_pid(pid_file)
    bridge.kill()
    bridge.wait()
    found = end_orphans(lock_path, timeout_seconds=15, grace_seconds=0.5)
    assert child in found
    assert not is_alive(child)


def test_processes_of_other_orders_are_never_touched(tmp_path: Path) -> None:
    bridge, pid_file = start_bridge(tmp_path, tmp_path / "one.lock", "exec sleep 300")
    child = read_pid(pid_file)
    bridge.kill()
    bridge.wait()
    assert end_orphans(tmp_path / "two.lock") == ()
    assert is_alive(child)
    assert child in end_orphans(tmp_path / "one.lock")


def test_children_outlive_the_thread_that_asked_for_them(runner: ProcessRunner) -> None:
    # The kernel's death signal is tied to the forking thread: a pool's worker may end, the child must not.
    children: list[subprocess.Popen[bytes]] = []
    worker = threading.Thread(
        target=lambda: children.append(runner._spawn(shell("sleep 0.3; echo done"), ENV, None, None))
    )
    worker.start()
    worker.join()
    out, _ = children[0].communicate(timeout=60)
    assert (out, children[0].returncode) == (b"done\n", 0)


# --- what cannot be ended, and what gets away


def test_a_child_is_the_leader_of_a_session_and_group_of_its_own(runner: ProcessRunner) -> None:
    script = "import os; print(os.getpid(), os.getpgid(0), os.getsid(0))"
    said = runner.run([sys.executable, "-c", script], env=ENV).stdout.split()
    assert len(set(said)) == 1
    assert int(said[0]) != os.getpgid(0)


def test_a_stream_without_any_line_end_is_cut_into_pieces(runner: ProcessRunner) -> None:
    sizes: list[int] = []
    result = runner.run(
        shell("head -c 20000000 /dev/zero >&2"),
        env=ENV,
        on_stderr_line=lambda line: sizes.append(len(line)),
        stderr_limit_bytes=1000,
    )
    assert sum(sizes) == result.stderr_bytes == 20_000_000
    assert max(sizes) <= (1 << 20) + (1 << 16), "no line may grow without end in memory"
    assert len(result.stderr) < 1200


def test_a_daemon_that_left_the_group_is_ended_before_the_next_child_starts(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    pid_file, lock_path = tmp_path / "pid", tmp_path / "order.lock"
    script = f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 300 >/dev/null 2>&1' & exit 0"
    assert runner.run(shell(script), env=ENV, lock_path=lock_path).returncode == 0
    daemon = read_pid(pid_file)
    with RunLock.acquire(lock_path) as lock:
        assert daemon in lock.ended_orphans
        assert not is_alive(daemon)


@pytest.fixture
def unkillable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals have no effect, as on a process that waits for a hung disk in the kernel."""
    monkeypatch.setattr(watch.Watch, "_signal", lambda self, number: None)
    monkeypatch.setattr(watch, "signal_verified", lambda pid, number, still: None)
    monkeypatch.setattr(watch, "_UNKILLABLE_SECONDS", 0.5)


def test_a_child_that_no_signal_reaches_is_reported_and_keeps_its_lock(
    unkillable: None, tmp_path: Path
) -> None:
    lock_path, pid_file = tmp_path / "order.lock", tmp_path / "pid"
    with pytest.raises(OrphansRemain) as caught:
        ProcessRunner(grace_seconds=0.2, death_signal=False).run(
            shell(f"echo $$ > {pid_file}; exec sleep 300"), env=ENV, lock_path=lock_path, stall_seconds=0.3
        )
    child = read_pid(pid_file)
    assert caught.value.pids == (child,)
    assert "Check the mounts" in caught.value.remedy
    assert is_alive(child)
    # The disk answers again: whoever comes next ends it first.
    with RunLock.acquire(lock_path) as lock:
        assert child in lock.ended_orphans
        assert not is_alive(child)


def test_a_member_of_the_group_that_no_signal_reaches_is_reported_too(
    unkillable: None, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(OrphansRemain) as caught:
        ProcessRunner(grace_seconds=0.2).run(
            shell(f"sleep 300 >/dev/null 2>&1 & echo $! > {pid_file}"), env=ENV
        )
    left = read_pid(pid_file)
    assert caught.value.pids == (left,)
    os.kill(left, signal.SIGKILL)
