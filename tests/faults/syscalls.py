"""What a process asked of the kernel, and in which order: the output of strace, read for orders of events.

A crash of the process cannot show what a power loss would: everything that was written is in the kernel by
then. The order in which a program syncs, commits, answers and unlinks can be seen, and it is what decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

TRACED = (
    "fsync,fdatasync,syncfs,unlink,unlinkat,rename,renameat,renameat2,link,linkat,"
    "pwrite64,write,writev,sendto,sendmsg"
)
LONGEST_STRING = 5000
"""Of a traced argument: a page of SQLite and more."""
_CALL = re.compile(r"(\d+) +(\w+)\((.*)\Z", re.DOTALL)
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\Z", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_RESULT = re.compile(r"\) += (-?\d+)")


def traced(command: Iterable[str], output: Path) -> list[str]:
    """The command line that runs ``command`` under strace; signals reach the command, not strace."""
    options = ["-D", "-f", "-y", "-qq", "--seccomp-bpf", "-s", str(LONGEST_STRING)]
    return ["strace", *options, "-e", f"trace={TRACED}", "-e", "signal=none", "-o", str(output), *command]


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that succeeded. ``began`` and ``ended`` are places in the order of all events."""

    name: str
    text: str
    """Its arguments; descriptors with the path or the socket behind them."""
    began: int
    ended: int

    @property
    def is_sync(self) -> bool:
        """It waited for the disk to have one file."""
        return self.name in ("fsync", "fdatasync")

    @property
    def is_write(self) -> bool:
        """It put bytes into a file or a socket."""
        return self.name in ("pwrite64", "write", "writev", "sendto", "sendmsg")

    def on(self, path: Path | str) -> bool:
        """Whether its descriptor is that file."""
        return f"<{path}>" in self.text.partition(",")[0]


def read_calls(lines: Iterable[str]) -> list[Call]:
    """All calls that succeeded, by when they ended."""
    calls: list[Call] = []
    pending: dict[tuple[str, str], tuple[int, str]] = {}
    for place, line in enumerate(lines):
        line = line.rstrip("\n")
        if (found := _RESUMED.match(line)) is not None:
            pid, name, rest = found.groups()
            began, text = pending.pop((pid, name), (place, ""))
            text += rest
        elif (found := _CALL.match(line)) is not None:
            pid, name, text = found.groups()
            began = place
            if text.endswith(_UNFINISHED):
                pending[(pid, name)] = (place, text.removesuffix(_UNFINISHED))
                continue
        else:
            continue
        results = _RESULT.findall(text)
        if results and int(results[-1]) >= 0:
            calls.append(Call(name, text, began, place))
    return calls


@dataclass(frozen=True, slots=True)
class Trace:
    """One traced run."""

    calls: list[Call]

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Of strace's output file."""
        with path.open(encoding="utf-8", errors="replace") as stream:
            return cls(read_calls(stream))

    def all(self, wanted: Callable[[Call], object]) -> list[Call]:
        """Every such call, in order."""
        return [call for call in self.calls if wanted(call)]

    def first(self, wanted: Callable[[Call], object], what: str, after: int = -1) -> Call:
        """The first such call that began after ``after``; there must be one."""
        for call in sorted(self.calls, key=lambda one: one.began):
            if call.began > after and wanted(call):
                return call
        raise AssertionError(f"no such call was seen: {what}")

    def between(self, after: Call, before: Call, wanted: Callable[[Call], object]) -> bool:
        """Whether such a call began after the one had ended and ended before the other began."""
        return any(
            after.ended < call.began and call.ended < before.began and wanted(call) for call in self.calls
        )
