"""What the agent asks of the operating system, as one protocol. Nothing else in the agent names a system.

``posix.py`` serves development, tests and the demo; ``windows.py`` is what microscopes run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

SERVICE = "OMERO Ferry"
"""Name of our entries in the system's credential store."""


class Autostart(StrEnum):
    """Whether the agent starts with every session of this machine."""

    ON = "on"
    OFF = "off"
    SWITCHED_OFF = "switched-off"
    """Installed to start, but this person switched it off in the task manager."""


@dataclass(frozen=True, slots=True)
class Room:
    """Free and total bytes of the volume a directory is on."""

    free_bytes: int
    total_bytes: int


class Vault(Protocol):
    """A small credential store of the signed-in Windows (or desktop) user."""

    @property
    def persistent(self) -> bool:
        """Whether what is put here is still there after a restart."""
        ...

    @property
    def notice(self) -> str:
        """Why it is not persistent, in words for the person; empty where it is."""
        ...

    def get(self, name: str) -> str | None:
        """Return the secret, or None."""
        ...

    def set(self, name: str, secret: str) -> None:
        """Keep a secret of at most 1280 characters (the Windows vault's limit)."""
        ...

    def delete(self, name: str) -> None:
        """Forget a secret; one that is not there is fine."""
        ...


class Lock(Protocol):
    """A machine-wide lock that dies with its process."""

    def acquire(self) -> bool:
        """Try to take it, without waiting; True also where it is held already by this object."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class Platform(Protocol):
    """The operating system as the core needs it."""

    listing_is_truth: bool
    """Whether a directory listing's size and time are those of the file. NTFS updates them when a handle is
    closed, so on Windows the verdict asks each file itself (`os.stat`)."""

    def machine_dir(self) -> Path:
        """Where what was detected is kept, for all users of the machine."""
        ...

    def user_dir(self) -> Path:
        """Where what this user's people ordered is kept; no other user can read it."""
        ...

    def hostname(self) -> str: ...

    def session_id(self) -> str:
        """Identify this desktop session among those of the machine."""
        ...

    def policies(self) -> Mapping[str, Any]:
        """Settings enforced by the administrator's policy; they are locked."""
        ...

    def machine_settings(self) -> Mapping[str, Any]:
        """Settings the installer wrote for the whole machine."""
        ...

    def share_lock(self, share: str) -> Lock:
        """The lock that decides which process of this machine scans the share."""
        ...

    def vault(self) -> Vault: ...

    def protect(self, secret: bytes) -> bytes:
        """Seal bytes so that only this user can read them from a file."""
        ...

    def unprotect(self, sealed: bytes) -> bytes:
        """Undo :meth:`protect`.

        Raises:
            OSError: where another user, or another machine, sealed them.
        """
        ...

    def write_private(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all, readable by its owner only (machine key: by the machine)."""
        ...

    def running_programs(self) -> frozenset[str] | None:
        """Names of running programs in lower case without ``.exe``; None where the system does not tell."""
        ...

    def idle_seconds(self) -> float | None:
        """Since the last input in this desktop session; None where the system does not tell."""
        ...

    def long_path(self, path: Path) -> Path:
        """The path in the form that has no 260-character limit."""
        ...

    def resolve_mount(self, path: Path) -> str:
        """What a drive letter stands for (``\\\\server\\share``), for display; the path itself elsewhere."""
        ...

    def is_being_written(self, path: Path) -> bool | None:
        """Whether a program has this file open for writing; None where the system does not tell.

        Opens the file for a moment and reads nothing. A program that opens it for writing in that moment may
        be refused or held up, so it is asked after the quiet time only, and where staff allow it.
        """
        ...

    def room(self, path: Path) -> Room | None:
        """Free and total bytes where ``path`` is; None where the system does not tell."""
        ...

    def lower_priority(self) -> None:
        """Step behind the microscope's programs, for processor and disk."""
        ...

    def lower_thread(self) -> None:
        """Step back further with the calling thread, for good: it looks at shares and nobody waits for it."""
        ...

    def io_bytes(self) -> int | None:
        """Bytes that this process has read and written so far; None where the system does not tell."""
        ...

    def autostart(self) -> Autostart: ...
