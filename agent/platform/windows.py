"""The protocol on Windows 10 and 11. Everything that only Windows has is here.

The module imports anywhere (type checks, the test suite); its functions that call Windows raise elsewhere.
It has been written from Microsoft's documentation and from facts measured under wine; no real Windows
machine is part of the test suite.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

from agent.platform import files
from agent.platform import vault as vaults
from agent.platform.base import Autostart, Lock, Room, Vault

POLICY_KEY = r"Software\Policies\OMERO Ferry"
MACHINE_KEY = r"Software\OMERO Ferry"
RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"
APPROVED_KEY = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
RUN_VALUE = "OMERO Ferry"
ERROR_ALREADY_EXISTS = 183
ERROR_SHARING_VIOLATION = 32
GENERIC_READ = 0x80000000
FILE_SHARE_READ, FILE_SHARE_DELETE = 0x1, 0x4
OPEN_EXISTING = 3
INVALID_HANDLE_VALUE = ctypes.c_void_p(-1).value
BELOW_NORMAL_PRIORITY_CLASS = 0x4000
THREAD_MODE_BACKGROUND_BEGIN = 0x00010000
TH32CS_SNAPPROCESS = 0x2
CRYPTPROTECT_UI_FORBIDDEN = 0x1
FILE_ATTRIBUTE_REPARSE_POINT = 0x400


def _dll(name: str) -> Any:
    if sys.platform != "win32":
        raise OSError(f"{name} exists on Windows only")
    return ctypes.WinDLL(name, use_last_error=True)


def _last_error() -> int:
    return int(getattr(ctypes, "get_last_error", lambda: 0)())


def long_form(path: PureWindowsPath) -> PureWindowsPath:
    r"""Return ``\\?\`` form: ``Z:\a`` → ``\\?\Z:\a``, ``\\server\share\a`` → ``\\?\UNC\server\share\a``.

    A relative path stays as it is: the prefix switches off every normalisation (facts: sdk-api, CreateFileW).
    """
    text = str(path)
    if text.startswith("\\\\?\\") or not path.is_absolute():
        return path
    if text.startswith("\\\\"):
        return PureWindowsPath("\\\\?\\UNC\\" + text[2:])
    return PureWindowsPath("\\\\?\\" + text)


def program_name(executable: str) -> str:
    """``ZEN.exe`` → ``zen``."""
    return executable.lower().removesuffix(".exe")


def autostart_of(run_value: str | None, approved: bytes | None) -> Autostart:
    """What the two keys say together: the Run value stays when a person switches an entry off.

    An even first byte in StartupApproved means "on" (2, 6), an odd one "off" (3).
    """
    if not run_value:
        return Autostart.OFF
    return Autostart.SWITCHED_OFF if approved and approved[0] & 1 else Autostart.ON


class MutexLock:
    """A named kernel object in the Global namespace, so that all sessions of the machine see it."""

    def __init__(self, name: str) -> None:
        self._name = f"Global\\OmeroFerry-{name}"
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Try to take it. The object itself is the lock: whoever made it holds it until it ends."""
        if self._handle is not None:
            return True
        kernel = _dll("kernel32")
        kernel.CreateMutexW.restype = ctypes.c_void_p
        handle = kernel.CreateMutexW(None, False, self._name)
        error = _last_error()
        if not handle:
            return False  # another user's process holds it (access denied)
        if error == ERROR_ALREADY_EXISTS:
            kernel.CloseHandle(ctypes.c_void_p(handle))
            return False
        self._handle = int(handle)
        return True

    def release(self) -> None:
        """Give it back."""
        if self._handle is not None:
            _dll("kernel32").CloseHandle(ctypes.c_void_p(self._handle))
            self._handle = None


class _Blob(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint32), ("data", ctypes.c_void_p))


class _IoCounters(ctypes.Structure):
    """IO_COUNTERS: operations, then bytes."""

    _fields_ = (
        ("reads", ctypes.c_uint64),
        ("writes", ctypes.c_uint64),
        ("others", ctypes.c_uint64),
        ("read_bytes", ctypes.c_uint64),
        ("write_bytes", ctypes.c_uint64),
        ("other_bytes", ctypes.c_uint64),
    )


class _ProcessEntry(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("usage", ctypes.c_uint32),
        ("process_id", ctypes.c_uint32),
        ("heap", ctypes.c_void_p),
        ("module", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("parent", ctypes.c_uint32),
        ("priority", ctypes.c_long),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_wchar * 260),
    )


class _LastInput(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint32), ("ticks", ctypes.c_uint32))


def idle_of(ticks_now: int, ticks_at_input: int) -> float:
    """Seconds between two readings of the 32-bit millisecond counter, which begins anew after 49.7 days."""
    return ((ticks_now - ticks_at_input) & 0xFFFFFFFF) / 1000.0


def _dpapi(function: str, data: bytes) -> bytes:
    """CryptProtectData or CryptUnprotectData with the user's own key, without any dialog."""
    source_bytes = ctypes.create_string_buffer(data, len(data))
    source = _Blob(len(data), ctypes.cast(source_bytes, ctypes.c_void_p).value)
    result = _Blob()
    done = getattr(_dll("crypt32"), function)(
        ctypes.byref(source), None, None, None, None, CRYPTPROTECT_UI_FORBIDDEN, ctypes.byref(result)
    )
    if not done:
        raise OSError(_last_error(), f"{function} refused")
    try:
        return ctypes.string_at(result.data or 0, result.size)
    finally:
        local_free = _dll("kernel32").LocalFree
        local_free.argtypes = [ctypes.c_void_p]
        local_free(result.data)


def _registry_values(path: str) -> dict[str, Any]:
    """All values of a key of HKEY_LOCAL_MACHINE; its subkey ``shares`` becomes a table."""
    if sys.platform != "win32":
        return {}
    import winreg

    found: dict[str, Any] = {}
    try:
        with winreg.OpenKey(
            winreg.HKEY_LOCAL_MACHINE, path, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY
        ) as key:
            for index in range(winreg.QueryInfoKey(key)[1]):
                name, value, _kind = winreg.EnumValue(key, index)
                found[name] = value
    except FileNotFoundError:
        return {}
    if not path.endswith("\\shares"):
        shares = _registry_values(path + "\\shares")
        if shares:
            found["shares"] = shares
    return found


def _registry_value(machine: bool, path: str, name: str) -> Any:
    if sys.platform != "win32":
        return None
    import winreg

    root = winreg.HKEY_LOCAL_MACHINE if machine else winreg.HKEY_CURRENT_USER
    try:
        with winreg.OpenKey(root, path, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as key:
            return winreg.QueryValueEx(key, name)[0]
    except FileNotFoundError:
        return None


class WindowsPlatform:
    """Windows. Data goes to ProgramData (machine) and LocalAppData (user): nothing of ours roams."""

    listing_is_truth = False

    def __init__(self, machine: Path | None = None, user: Path | None = None) -> None:
        self._machine = machine or Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "OMERO Ferry"
        self._user = user or Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "OMERO Ferry"

    def machine_dir(self) -> Path:
        """ProgramData; the installer gives its users the right to write there."""
        self._machine.mkdir(parents=True, exist_ok=True)
        return self._machine

    def user_dir(self) -> Path:
        """LocalAppData, which its user alone can read."""
        self._user.mkdir(parents=True, exist_ok=True)
        return self._user

    def hostname(self) -> str:
        """The machine's name."""
        return os.environ.get("COMPUTERNAME") or socket.gethostname()

    def session_id(self) -> str:
        """User and terminal session (fast user switching, RDP)."""
        number = ctypes.c_uint32(0)
        _dll("kernel32").ProcessIdToSessionId(os.getpid(), ctypes.byref(number))
        return f"{os.environ.get('USERNAME', '')}-{number.value}"

    def policies(self) -> Mapping[str, Any]:
        """The Policies key that Group Policy and Intune write and no user can."""
        return _registry_values(POLICY_KEY)

    def machine_settings(self) -> Mapping[str, Any]:
        """The key that the installer writes."""
        return _registry_values(MACHINE_KEY)

    def share_lock(self, share: str) -> Lock:
        """A named mutex of the machine."""
        return MutexLock(f"scan-{share}")

    @cached_property
    def _vault(self) -> Vault:
        return vaults.choose()

    def vault(self) -> Vault:
        """The Credential Manager, with local persistence."""
        return self._vault

    def protect(self, secret: bytes) -> bytes:
        """Seal with DPAPI: only this Windows user on this machine can open it."""
        return _dpapi("CryptProtectData", secret)

    def unprotect(self, sealed: bytes) -> bytes:
        """Open what :meth:`protect` sealed."""
        return _dpapi("CryptUnprotectData", sealed)

    def write_private(self, path: Path, content: bytes) -> None:
        """Write whole or not at all. The folder's ACL is the installer's: mode bits mean nothing here."""
        files.write_private(path, content)

    def running_programs(self) -> frozenset[str] | None:
        """A Toolhelp snapshot: one cheap call that opens no process (enumerating handles can hang)."""
        kernel = _dll("kernel32")
        kernel.CreateToolhelp32Snapshot.restype = ctypes.c_void_p
        handle = kernel.CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0)
        if handle in (None, ctypes.c_void_p(-1).value):
            return None
        names: set[str] = set()
        entry = _ProcessEntry(size=ctypes.sizeof(_ProcessEntry))
        more = kernel.Process32FirstW(ctypes.c_void_p(handle), ctypes.byref(entry))
        while more:
            names.add(program_name(str(entry.name)))
            more = kernel.Process32NextW(ctypes.c_void_p(handle), ctypes.byref(entry))
        kernel.CloseHandle(ctypes.c_void_p(handle))
        return frozenset(names)

    def idle_seconds(self) -> float | None:
        """GetLastInputInfo: keyboard and mouse of this session alone."""
        last = _LastInput(size=ctypes.sizeof(_LastInput))
        if not _dll("user32").GetLastInputInfo(ctypes.byref(last)):
            return None
        ticks = _dll("kernel32").GetTickCount
        ticks.restype = ctypes.c_uint32
        return idle_of(int(ticks()), int(last.ticks))

    def long_path(self, path: Path) -> Path:
        r"""``\\?\`` form."""
        return Path(str(long_form(PureWindowsPath(str(path)))))

    def resolve_mount(self, path: Path) -> str:
        """WNetGetConnection; another logon session's drive letter is not connected here."""
        drive = PureWindowsPath(str(path)).drive
        if len(drive) != 2:
            return str(path)
        buffer = ctypes.create_unicode_buffer(1024)
        length = ctypes.c_uint32(1024)
        if _dll("mpr").WNetGetConnectionW(drive, buffer, ctypes.byref(length)):
            return str(path)
        return str(buffer.value) + str(path)[2:]

    def is_being_written(self, path: Path) -> bool | None:
        """Ask for a handle that tolerates readers and deleters but no writer, and close it at once.

        A sharing violation says that somebody writes, also on another machine: the file server arbitrates.
        "Access denied" says nothing (KB172240).
        """
        kernel = _dll("kernel32")
        kernel.CreateFileW.restype = ctypes.c_void_p
        handle = kernel.CreateFileW(
            ctypes.c_wchar_p(str(self.long_path(path))),
            ctypes.c_uint32(GENERIC_READ),
            ctypes.c_uint32(FILE_SHARE_READ | FILE_SHARE_DELETE),
            None,
            ctypes.c_uint32(OPEN_EXISTING),
            ctypes.c_uint32(0),
            None,
        )
        error = _last_error()
        if handle is None or handle == INVALID_HANDLE_VALUE:
            return True if error == ERROR_SHARING_VIOLATION else None
        kernel.CloseHandle(ctypes.c_void_p(handle))
        return False

    def room(self, path: Path) -> Room | None:
        """Free and total bytes."""
        return files.room(path)

    def lower_priority(self) -> None:
        """Below normal. Background mode would also cut memory priority, which makes the window sluggish."""
        kernel = _dll("kernel32")
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.SetPriorityClass(ctypes.c_void_p(kernel.GetCurrentProcess()), BELOW_NORMAL_PRIORITY_CLASS)

    def lower_thread(self) -> None:
        """Background mode for this thread: lowest processor, disk and memory priority. For the whole process
        it would take the window with it."""
        kernel = _dll("kernel32")
        kernel.GetCurrentThread.restype = ctypes.c_void_p
        kernel.SetThreadPriority(ctypes.c_void_p(kernel.GetCurrentThread()), THREAD_MODE_BACKGROUND_BEGIN)

    def io_bytes(self) -> int | None:
        """GetProcessIoCounters; listing a share's folders counts as "other", which is what we mostly do."""
        kernel = _dll("kernel32")
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        counters = _IoCounters()
        done = kernel.GetProcessIoCounters(
            ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(counters)
        )
        if not done:
            return None
        return int(counters.read_bytes + counters.write_bytes + counters.other_bytes)

    def autostart(self) -> Autostart:
        """HKLM Run (every user) and what this user switched off."""
        run = _registry_value(True, RUN_KEY, RUN_VALUE)
        approved = _registry_value(False, APPROVED_KEY, RUN_VALUE) or _registry_value(
            True, APPROVED_KEY, RUN_VALUE
        )
        return autostart_of(run, approved)
