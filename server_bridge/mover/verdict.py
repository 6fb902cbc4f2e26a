"""What an ended rsync means: try again, wait, ask somebody, or look file by file.

The exit code alone is ambiguous (a refused option is 10 like a refused connection; everything rrsync
refuses is 12 like a broken line), so the texts decide first. Whatever the verdict, the caller looks at
every file itself: the verdict chooses the waiting time and the sentence on the card, never what is done.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server_bridge.errors import NeedsAttention, StepFailed, TransientFailure
from server_bridge.processes.runner import ChildResult, Ended


class VerdictKind(enum.Enum):
    """What the caller does next."""

    DONE = "done"
    RECONCILE = "reconcile"  #: some files: list the source again and look at each
    TRANSIENT = "transient"  #: the same call may work later
    SPACE = "space"  #: staging is full: wait for space
    PERMANENT = "permanent"  #: somebody must change something
    KILLED = "killed"  #: ended on our own demand


@dataclass(frozen=True)
class Verdict:
    """An ended transfer in words that go to the card unchanged. ``code`` is stable."""

    kind: VerdictKind
    code: str
    title: str
    detail: str = ""
    remedy: str = ""

    @property
    def is_done(self) -> bool:
        return self.kind is VerdictKind.DONE

    def error(self) -> StepFailed:
        """The verdict as the exception a step raises: transient kinds retry by themselves."""
        family = NeedsAttention if self.kind is VerdictKind.PERMANENT else TransientFailure
        return family(self.detail, code=self.code, title=self.title, remedy=self.remedy)


DONE = Verdict(VerdictKind.DONE, "done", "Everything arrived")

_SITE = "Ask the staff of the bridge to correct the share's settings."
_AWAY = "Nothing to do: the bridge tries again. If it stays, check the buffer's host and the network."
_T, _P, _S, _R = VerdictKind.TRANSIENT, VerdictKind.PERMANENT, VerdictKind.SPACE, VerdictKind.RECONCILE

#: Texts, first match wins. Each was seen with rsync 3.5.0 or OpenSSH 9.2 unless marked otherwise.
_TEXTS: tuple[tuple[str, VerdictKind, str, str, str], ...] = (
    (r"max connections \(\d+\) reached", _T, "share_busy", "The buffer serves too many transfers", _AWAY),
    (r"on remote machine: .*unknown option", _P, "rsync_incompatible",
     "The buffer's rsync is too old", "Update rsync on the buffer's host to 3.2.7 or later."),
    (r"configured to refuse", _P, "rsync_refused", "The buffer's rsync refuses our options", _SITE),
    # Before rrsync's refusals: its own words for a disk that is not mounted.
    (r"Restricted directory does not exist|rrsync error: .*No such file", _T, "share_away",
     "The buffer's disk is not there", _AWAY),
    (r"option .* has been disabled|rrsync error|rsync-ssl error", _P, "rsync_refused",
     "The buffer's rrsync refuses the request", _SITE),
    (r"auth failed on module|Permission denied \((?:publickey|password|key)|"
     r"Too many authentication failures|password file", _P, "share_auth_failed",
     "The buffer does not accept the bridge's key or password", _SITE),
    (r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No .* host key is known", _P,
     "share_host_key", "The buffer's host key is not the known one",
     "Staff must check that this is the right host and update the known host keys."),
    # Rc 5, like a refusal: but a daemon that is being restarted, or the forwarder in front of it, does this.
    (r"did not see server greeting|didn't get server startup line", _T, "share_away",
     "The buffer ends the connection before it begins", _AWAY),
    (r"rather than greeting|omitted the digest name list", _T, "share_away",
     "Something else answers in the place of the buffer's rsync",
     "Staff look what listens there, and at host and port of the share; the order goes on by itself."),
    (r"Unknown module|access denied to", _P, "share_unknown",
     "The buffer does not know this share, or not this bridge", _SITE),
    (r"@ERROR: (?:chroot|chdir) failed|\[sender\] change_dir .* failed: No such file", _T, "share_away",
     "The buffer's disk is not there", _AWAY),
    # "Bad configuration option", a missing -F file: ssh itself, before any connection (rc 255 like an
    # outage).
    (r"Bad configuration option|Can't open user config file|terminating, \d+ bad configuration|"
     r"Load key .*: (?:invalid format|error in libcrypto)|UNPROTECTED PRIVATE KEY FILE", _P,
     "ssh_configuration", "The bridge's ssh configuration for this share is not usable", _SITE),
    (r"No space left on device|Disk quota exceeded", _S, "staging_full", "The staging disk is full",
     "Staff must free space on the staging disk; the order goes on by itself."),
    # The whole site waits: whoever mounts the disk for writing again has not to touch each order.
    (r"Read-only file system", _T, "staging_read_only", "The staging disk is mounted read-only",
     "Staff check the disk (the kernel does this after errors) and mount it for writing."),
)  # fmt: skip
_COMPILED = tuple((re.compile(text), kind, code, title, remedy) for text, kind, code, title, remedy in _TEXTS)

#: Exit codes, when no text decided. ``None`` detail: the last telling line of stderr.
_CODES: dict[int, tuple[VerdictKind, str, str, str]] = {
    1: (_P, "rsync_usage", "rsync did not accept its command line", _SITE),
    2: (_P, "rsync_incompatible", "The two rsync versions do not understand each other",
        "Update rsync on the buffer's host to 3.2.7 or later."),
    3: (_P, "staging_unwritable", "rsync cannot use the given directories", _SITE),
    4: (_P, "rsync_incompatible", "The buffer's rsync lacks something the bridge needs",
        "Both sides must list sha1 in 'rsync --version' (3.2.7 or later)."),
    5: (_P, "share_unknown", "The buffer does not open this share to the bridge", _SITE),
    10: (_T, "share_away", "The buffer cannot be reached", _AWAY),
    11: (_P, "staging_unwritable", "The staging directory cannot be written",
         "Staff must check the staging disk and its permissions."),
    12: (_T, "share_away", "The connection to the buffer broke", _AWAY),
    13: (_T, "rsync_interrupted", "rsync broke off", _AWAY),
    14: (_T, "rsync_interrupted", "rsync could not start a process", _AWAY),
    19: (_T, "rsync_interrupted", "rsync was interrupted", _AWAY),
    20: (_T, "rsync_interrupted", "rsync was interrupted", _AWAY),
    21: (_T, "rsync_interrupted", "rsync lost one of its processes", _AWAY),
    22: (_P, "rsync_memory", "rsync ran out of memory", "Staff must check the memory of the bridge's host."),
    23: (_R, "files_incomplete", "Some files could not be copied", ""),
    24: (_R, "source_vanished", "Files disappeared while they were copied", ""),
    25: (_P, "rsync_usage", "rsync stopped at a limit the bridge never sets", _SITE),
    30: (_T, "share_away", "The buffer stopped answering", _AWAY),
    35: (_T, "share_away", "The buffer does not accept connections", _AWAY),
    127: (_P, "program_missing", "The program could not be started", _SITE),
    255: (_T, "share_away", "The ssh connection to the buffer failed", _AWAY),
}  # fmt: skip

STOPPED = Verdict(
    VerdictKind.KILLED,
    "stopped",
    "The transfer was stopped",
    "It was asked to stop.",
    "It resumes where it was.",
)


def staging_full(detail: str) -> Verdict:
    """The verdict of a pull that was not started for want of room."""
    remedy = "Staff must free space on the staging disk; the order goes on by itself."
    return Verdict(_S, "staging_full", "The staging disk has not enough room", detail, remedy)


def classify(returncode: int, stderr: str) -> Verdict:
    """Turn rsync's exit and stderr into a verdict. ``returncode`` is negative for a signal."""
    if returncode == 0:
        return DONE
    detail = telling_line(stderr) or _how(returncode)
    if returncode not in {23, 24}:
        # With 23 and 24 the texts are about single files; "Permission denied" of one is no refusal of all.
        for pattern, kind, code, title, remedy in _COMPILED:
            found = pattern.search(stderr)
            if found is not None:
                return Verdict(kind, code, title, _line_around(stderr, found.start()), remedy)
    if returncode < 0:
        return Verdict(
            _T, "rsync_interrupted", "rsync was ended from outside", f"signal {-returncode}. {detail}", _AWAY
        )
    kind, code, title, remedy = _CODES.get(
        returncode, (_T, "rsync_unknown", f"rsync ended with code {returncode}", _AWAY)
    )
    return Verdict(kind, code, title, detail, remedy)


def of_result(result: ChildResult) -> Verdict:
    """`classify`, after asking why the child ended: what we ended ourselves is no fault of the far side."""
    if result.ended is Ended.STOPPED:
        return STOPPED
    if result.ended in {Ended.STALLED, Ended.OVERTIME}:
        seconds = f"{result.duration_seconds:.0f} s"
        detail = f"Nothing moved any more; the transfer was ended {seconds} after its start."
        return Verdict(_T, "stalled", "The buffer stopped sending", detail, _AWAY)
    return classify(result.returncode, result.stderr_text)


#: Worst first: what one shard of a pull says counts for the pull.
_ORDER = (
    VerdictKind.KILLED,
    VerdictKind.SPACE,
    VerdictKind.PERMANENT,
    VerdictKind.TRANSIENT,
    VerdictKind.RECONCILE,
    VerdictKind.DONE,
)


def merge(verdicts: Iterable[Verdict]) -> Verdict:
    """The one verdict of several shards: the gravest; among equals the first."""
    return min(verdicts, key=lambda verdict: _ORDER.index(verdict.kind), default=DONE)


def telling_line(stderr: str) -> str:
    """The first line that says what happened; rsync's closing summary only when there is nothing else."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if not re.match(r"rsync error: .* \(code \d+\) at ", line)]
    found = (telling or lines or [""])[0]
    return found if len(found) <= 500 else found[:500] + "…"


def _line_around(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[start : end if end >= 0 else None].strip()[:500]


def _how(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"


#: What is wrong with single files, gravest first: the first that occurs gives a pull that is not complete
#: its code.
_FILE_REASONS: dict[str, tuple[str, str]] = {
    "source_damaged": (
        "The buffer's disk cannot read a file",
        "Staff of the buffer check its disk at once. The bridge tries again; nothing of it is imported.",
    ),
    "source_unreadable": (
        "Files cannot be read on the share",
        "Ask the staff of the microscope or the buffer to give read permission.",
    ),
    "verification_failed": (
        "Files changed or were damaged while they were copied",
        "Nothing to do: the bridge pulls them again. If it stays, check the buffer's disk.",
    ),
    "source_missing": (
        "Files are no longer on the share",
        "The bridge lists the share again. If they were moved on purpose, order the acquisition again.",
    ),
    "source_vanished": (
        "Files disappeared while they were copied",
        "The bridge lists the share again. If they were moved on purpose, order the acquisition again.",
    ),
    "source_changed": (
        "Files changed on the share",
        "The bridge lists the share again and waits until the acquisition is quiet.",
    ),
    "not_pulled": ("Files did not arrive", "Nothing to do: the bridge tries again."),
}


def of_pending(reasons: Sequence[tuple[str, str]]) -> Verdict:
    """The verdict of a transfer that ended well and still left files; ``reasons`` are (code, path) pairs."""
    codes = [code for code, _ in reasons]
    code = next((known for known in _FILE_REASONS if known in codes), "not_pulled")
    title, remedy = _FILE_REASONS[code]
    named = [path for found, path in reasons if found == code or code == "not_pulled"]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return Verdict(_R, code, title, ", ".join(repr(name) for name in named[:3]) + more, remedy)
