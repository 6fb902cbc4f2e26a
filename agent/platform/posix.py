"""The protocol on Linux: development, tests and the demo. No Windows machine runs this."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import signal
import socket
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from agent.platform import files
from agent.platform import vault as vaults
from agent.platform.base import Autostart, Lock, Room, Vault

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Number of ioprio_set, which the C library does not offer."""
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_IDLE = 3 << 13


class FileLock:
    """`flock` on a file: the kernel lets go when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Try to take it."""
        if self._descriptor is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class PosixPlatform:
    """Linux. ``machine`` and ``user`` put the data elsewhere (tests, the demo)."""

    listing_is_truth = True

    def __init__(self, machine: Path | None = None, user: Path | None = None) -> None:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        # On a microscope this would be shared; a development machine has one user.
        self._machine = machine or state / "omero-ferry" / "machine"
        self._user = user or state / "omero-ferry" / "user"

    def machine_dir(self) -> Path:
        """Where what was detected is kept."""
        self._machine.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._machine

    def user_dir(self) -> Path:
        """Where what was ordered is kept."""
        self._user.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._user

    def hostname(self) -> str:
        """The machine's name."""
        return socket.gethostname()

    def session_id(self) -> str:
        """User and login session."""
        return f"{os.getuid()}-{os.environ.get('XDG_SESSION_ID', '0')}"

    def policies(self) -> Mapping[str, Any]:
        """There are none here."""
        return {}

    def machine_settings(self) -> Mapping[str, Any]:
        """The installer writes no registry here."""
        return {}

    def share_lock(self, share: str) -> Lock:
        """A lock file beside the machine's data."""
        return FileLock(self.machine_dir() / f"scan-{share}.lock")

    @cached_property
    def _vault(self) -> Vault:
        return vaults.choose()

    def vault(self) -> Vault:
        """The desktop's secret service where there is one."""
        return self._vault

    def protect(self, secret: bytes) -> bytes:
        """The file's mode is what protects it here; only Windows has a key per user to seal with."""
        return secret

    def unprotect(self, sealed: bytes) -> bytes:
        """Undo :meth:`protect`."""
        return sealed

    def write_private(self, path: Path, content: bytes) -> None:
        """Write whole or not at all, mode 0600."""
        files.write_private(path, content)

    def running_programs(self) -> frozenset[str] | None:
        """Read /proc, where the kernel cuts names at 15 characters."""
        names: set[str] = set()
        try:
            numbers = [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()]
        except OSError:
            return None
        for number in numbers:
            try:
                name = Path("/proc", number, "comm").read_text(encoding="utf-8", errors="replace").strip()
            except OSError:
                continue  # it ended while we looked
            names.add(name.lower().removesuffix(".exe"))
        return frozenset(names)

    def idle_seconds(self) -> float | None:
        """Neither X11 nor Wayland says it without a library of its own: not known."""
        return None

    def long_path(self, path: Path) -> Path:
        """There is no such limit here."""
        return path

    def resolve_mount(self, path: Path) -> str:
        """Drive letters do not exist here."""
        return str(path)

    def is_being_written(self, path: Path) -> bool | None:
        """A read lease is granted only where nobody has the file open for writing; it is given back at once.

        The kernel grants it to the file's owner, on local file systems; elsewhere the answer is None.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # Who opens the file in this moment makes the kernel tell us so: by a signal that is ignored
            # unless somebody waits for it, in place of SIGIO, which would end the process.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            return True if error.errno == errno.EAGAIN else None
        finally:
            os.close(descriptor)
        return False

    def room(self, path: Path) -> Room | None:
        """Free and total bytes."""
        return files.room(path)

    def lower_priority(self) -> None:
        """Nice 10: behind everything a person waits for."""
        if os.getpriority(os.PRIO_PROCESS, 0) < 10:
            os.setpriority(os.PRIO_PROCESS, 0, 10)

    def lower_thread(self) -> None:
        """Nice 19 and the idle class of disk access, for this thread alone (both are per thread on Linux)."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        call = _IOPRIO_SET.get(platform.machine())
        if call is not None:
            # A refusal (a container's filter) leaves the thread where it is: that is no fault.
            ctypes.CDLL(None, use_errno=True).syscall(call, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_CLASS_IDLE)

    def io_bytes(self) -> int | None:
        """What read and write calls moved, of files and sockets."""
        try:
            lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        return sum(int(line.split()[1]) for line in lines if line.startswith(("rchar:", "wchar:")))

    def autostart(self) -> Autostart:
        """The XDG autostart entry of this user."""
        entry = Path.home() / ".config" / "autostart" / "omero-ferry.desktop"
        return Autostart.ON if entry.exists() else Autostart.OFF
