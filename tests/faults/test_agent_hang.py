"""A share whose calls do not return: noticed, shown everywhere, survived; and nobody else waits for it.

The calls really hang in the kernel's door (strace holds them), in a real agent process. What a dead SMB or
NFS server does to a thread is the same to everything above.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import MARKER
from tests.faults.workstation import Hang, Workstation, gone_ids, has_ended

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workstation]:
    with Workstation(tmp_path, ("scope1", "scope2")) as made:
        yield made


def write(place: Workstation, share: str, path: str) -> None:
    file = place.shares[share] / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x")


def marker(place: Workstation) -> Path:
    """What every pass touches first."""
    return place.shares["scope1"] / MARKER


def test_a_hang_is_noticed_shown_to_every_session_and_ends_without_a_restart(
    place: Workstation, tmp_path: Path
) -> None:
    write(place, "scope1", "run1/a.tif")
    first = place.session("alice")
    place.until(lambda: "run1" in place.found(), "the first look")
    second = place.session("bob")
    place.until(lambda: second.said.get("shares") == {"scope1": True, "scope2": True}, "both answer")
    assert first.looks_at("scope1")
    with Hang(first.agent_pid, marker(place), tmp_path / "strace") as hang:
        place.until(lambda: place.status().get("silent_since"), "the hang is noticed by another thread")
        for session in (first, second):
            place.until(
                lambda session=session: session.said["shares"] == {"scope1": False, "scope2": True},
                f"{session.name} shows it",
            )
        known = place.found()
        write(place, "scope1", "run2/a.tif")
        write(place, "scope2", "other/a.tif")
        place.until(lambda: "other" in place.found("scope2"), "the other share goes on")
        assert not second.looks_at("scope1"), "the machine's lock stays with the process that hangs"
        assert place.found() == known and not gone_ids(place.store)
        hang.end()
        place.until(lambda: "run2" in place.found(), "it goes on by itself when the call returns")
    place.until(place.answers, "it answers again")
    place.until(lambda: second.said["shares"]["scope1"], "and everybody sees it")
    assert place.found()["run1"].id == known["run1"].id


def test_orders_of_the_other_shares_are_served_while_one_hangs(place: Workstation, tmp_path: Path) -> None:
    agent = place.ordering_session("alice")
    place.until(lambda: place.answers("scope1") and place.answers("scope2"), "the first looks")
    write(place, "scope1", "run1/a.tif")
    place.until(lambda: "run1" in place.found(), "one is ordered on the share that will hang")
    with Hang(agent.agent_pid, marker(place), tmp_path / "strace") as hang:
        place.until(lambda: place.status().get("silent_since"), "the hang is noticed")
        write(place, "scope2", "other/a.tif")
        place.until(lambda: place.is_sealed("other"), "the other share's order is sealed")
        assert not place.is_sealed("run1")
        hang.end()
        place.until(lambda: place.is_sealed("run1"), "and this one when the share answers")


def test_the_agent_can_be_quit_while_a_call_hangs(place: Workstation, tmp_path: Path) -> None:
    agent = place.session("alice")
    place.until(place.answers, "the first look")
    pid = agent.agent_pid
    with Hang(pid, marker(place), tmp_path / "strace"):
        place.until(lambda: place.status().get("silent_since"), "the hang is noticed")
        agent.program.signal(signal.SIGTERM)
        place.until(lambda: has_ended(pid), "it ends")
    other = place.session("bob")
    place.until(lambda: other.looks_at("scope1"), "nothing of it holds the machine's lock")


def test_when_the_process_that_hangs_is_killed_another_session_looks(
    place: Workstation, tmp_path: Path
) -> None:
    write(place, "scope1", "run1/a.tif")
    first = place.session("alice")
    place.until(lambda: "run1" in place.found(), "the first look")
    known = place.found()["run1"].id
    second = place.session("bob")
    with Hang(first.agent_pid, marker(place), tmp_path / "strace"):
        place.until(lambda: place.status().get("silent_since"), "the hang is noticed")
        first.program.signal(signal.SIGKILL)
    # Only now its thread can be gone: a call that hangs keeps a killed process, and its lock, in the kernel.
    place.until(lambda: second.looks_at("scope1"), "the other looks")
    place.until(lambda: not place.status().get("silent_since"), "and has an answer")
    assert place.found()["run1"].id == known and not place.status().get("silent_since")
