"""What each recorded failure means for the order."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_bridge.errors import NeedsAttention, TransientFailure
from server_bridge.mover.verdict import (
    DONE,
    STOPPED,
    Verdict,
    VerdictKind,
    classify,
    merge,
    of_pending,
    of_result,
    staging_full,
)
from server_bridge.processes.runner import ChildResult, Ended

RECORDED = Path(__file__).parent / "recorded"
T, P, S, R = VerdictKind.TRANSIENT, VerdictKind.PERMANENT, VerdictKind.SPACE, VerdictKind.RECONCILE
EXPECTED = {
    "auth": (P, "share_auth_failed"),
    "chdir": (T, "share_away"),
    "daemon_top_gone": (T, "share_away"),
    "destination": (P, "staging_unwritable"),
    "list": (R, "files_incomplete"),
    "max_connections": (T, "share_busy"),
    "module": (P, "share_unknown"),
    "no_greeting": (T, "share_away"),
    "no_startup": (T, "share_away"),
    "other_service": (T, "share_away"),
    "password_missing": (P, "share_auth_failed"),
    "password_mode": (P, "share_auth_failed"),
    "path_gone": (T, "share_away"),
    "pull": (R, "files_incomplete"),
    "refused_connection": (T, "share_away"),
    "refused_option": (P, "rsync_refused"),
    "rrsync_option": (P, "rsync_refused"),
    "rrsync_subpath": (T, "share_away"),
    "rrsync_top_gone": (T, "share_away"),
    "sender_killed": (T, "share_away"),
    "ssh_config": (P, "ssh_configuration"),
    "ssh_host_key": (P, "share_host_key"),
    "ssh_key": (P, "share_auth_failed"),
    "ssh_refused": (T, "share_away"),
    "staging_full": (S, "staging_full"),
    "subpath": (T, "share_away"),
}


def test_every_recorded_failure_is_expected_here() -> None:
    assert {path.name.split(".")[0] for path in RECORDED.glob("*.stderr.*.txt")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_failure_gets_its_verdict(name: str) -> None:
    (path,) = RECORDED.glob(f"{name}.stderr.*.txt")
    found = classify(int(path.name.split(".")[2]), path.read_text())
    assert (found.kind, found.code) == EXPECTED[name]
    assert found.title and found.detail
    assert not found.detail.startswith("rsync error:"), "the telling line, not the summary"


@pytest.mark.parametrize(
    ("returncode", "kind"),
    [(0, VerdictKind.DONE), (1, P), (2, P), (4, P), (10, T), (11, P), (12, T), (14, T), (19, T), (20, T),
     (22, P), (23, R), (24, R), (25, P), (30, T), (35, T), (127, P), (255, T), (-9, T), (-15, T), (77, T)],
)  # fmt: skip
def test_every_exit_code_has_a_kind_and_words(returncode: int, kind: VerdictKind) -> None:
    found = classify(returncode, "")
    assert found.kind is kind
    assert found.title
    assert found.detail or returncode == 0


def test_a_single_unreadable_file_is_no_refusal_of_the_share() -> None:
    text = 'rsync: [sender] send_files failed to open "max connections (1) reached": Permission denied (13)\n'
    assert classify(23, text).kind is R


def test_an_option_the_far_side_does_not_know_is_for_staff() -> None:
    found = classify(
        12, "rsync: on remote machine: --trust-sender: unknown option\nrsync error: syntax (code 1)"
    )
    assert (found.kind, found.code) == (P, "rsync_incompatible")


def test_a_quota_is_as_full_as_a_disk() -> None:
    assert classify(11, 'rsync: [receiver] write failed on "x": Disk quota exceeded (122)').kind is S


def test_a_staging_disk_that_became_read_only_is_a_fault_of_the_site() -> None:
    text = 'rsync: [receiver] mkstemp "/s/.x.aB3xY9" failed: Read-only file system (30)'
    found = classify(11, text)
    assert (found.kind, found.code) == (T, "staging_read_only")


def test_a_file_that_the_buffers_disk_cannot_read_is_told_apart_from_one_that_may_not_be_read() -> None:
    assert of_pending([("source_unreadable", "a"), ("source_damaged", "b")]).code == "source_damaged"


def result(ended: Ended, returncode: int = -15) -> ChildResult:
    return ChildResult(returncode, ended, 61.0, b"", b"rsync error: received SIGTERM (code 20) at x", 0, 44)


def test_what_we_ended_ourselves_is_no_fault_of_the_far_side() -> None:
    assert of_result(result(Ended.STOPPED)) == STOPPED
    stalled = of_result(result(Ended.STALLED, 20))
    assert (stalled.kind, stalled.code) == (T, "stalled")
    assert "61 s" in stalled.detail


def test_the_gravest_shard_speaks_for_all() -> None:
    away, full = classify(10, ""), staging_full("no room")
    assert merge([DONE, away, DONE]) == away
    assert merge([away, full]) == full
    assert merge([full, STOPPED]) == STOPPED
    assert merge([]) == DONE


def test_files_left_over_name_the_gravest_reason_and_some_of_them() -> None:
    found = of_pending([("not_pulled", "a"), ("source_unreadable", "b"), ("source_changed", "c")])
    assert (found.kind, found.code, found.detail) == (R, "source_unreadable", "'b'")
    many = of_pending([("source_missing", f"f{i}") for i in range(9)])
    assert many.detail == "'f0', 'f1', 'f2' and 6 more"


def test_a_verdict_becomes_the_error_that_decides_about_retrying() -> None:
    assert isinstance(classify(10, "").error(), TransientFailure)
    assert isinstance(classify(1, "").error(), NeedsAttention)
    error = Verdict(P, "code", "title", "detail", "remedy").error()
    assert (error.code, error.title, error.detail, error.remedy) == ("code", "title", "detail", "remedy")
