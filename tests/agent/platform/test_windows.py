r"""Windows behind the protocol, on Windows itself (or on what passes for it: ``./dev test-wine``)."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("about Windows", allow_module_level=True)

import winreg

from agent.core.clock import SystemClock
from agent.core.listing import marker_present
from agent.platform import windows
from agent.platform.base import Autostart
from agent.platform.vault import LONGEST_SECRET, KeyringVault
from agent.platform.windows import MutexLock, WindowsPlatform


@pytest.fixture
def platform(tmp_path: Path) -> WindowsPlatform:
    return WindowsPlatform(tmp_path / "machine", tmp_path / "user")


# --- paths ------------------------------------------------------------------------------------------------


def test_what_lies_deeper_than_260_characters_is_made_listed_and_read(
    platform: WindowsPlatform, tmp_path: Path
) -> None:
    deep = tmp_path
    while len(str(deep)) < 400:
        deep = deep / ("x" * 60)
    long = platform.long_path(deep)
    long.mkdir(parents=True)
    (long / "a.tif").write_bytes(b"pixels")
    assert [one.name for one in os.scandir(long)] == ["a.tif"]
    assert (long / "a.tif").stat().st_size == 6


def test_the_marker_is_found_below_a_long_path(platform: WindowsPlatform, tmp_path: Path) -> None:
    deep = platform.long_path(tmp_path.joinpath(*["y" * 80] * 4))
    deep.mkdir(parents=True)
    (deep / ".marker").touch()
    marker_present(deep, ".marker")


@pytest.mark.parametrize("name", ["a:b.tif", "a?.tif", "a*.tif", "a|b.tif", 'a".tif'])
def test_names_that_windows_has_no_file_for_are_refused_by_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError):
        (tmp_path / name).write_bytes(b"x")
    assert not any(entry.is_file() and entry.stat().st_size for entry in os.scandir(tmp_path))


def test_a_drive_that_is_no_share_stands_for_itself(platform: WindowsPlatform) -> None:
    assert platform.resolve_mount(Path("Q:\\data")) == "Q:\\data"
    assert platform.resolve_mount(Path("\\\\server\\share\\data")) == "\\\\server\\share\\data"


# --- who writes -------------------------------------------------------------------------------------------


def test_a_file_that_is_open_for_writing_is_seen_and_left_alone(
    platform: WindowsPlatform, tmp_path: Path
) -> None:
    file = tmp_path / "growing.tif"
    with file.open("wb") as writer:
        writer.write(b"x" * 10)
        writer.flush()
        assert platform.is_being_written(file) is True
        # The writer is not disturbed by having been asked about.
        writer.write(b"y" * 10)
    assert platform.is_being_written(file) is False
    assert file.read_bytes() == b"x" * 10 + b"y" * 10


def test_readers_are_no_writers(platform: WindowsPlatform, tmp_path: Path) -> None:
    file = tmp_path / "read.tif"
    file.write_bytes(b"x")
    with file.open("rb"):
        assert platform.is_being_written(file) is False


def test_a_file_that_is_not_there_tells_nothing(platform: WindowsPlatform, tmp_path: Path) -> None:
    assert platform.is_being_written(tmp_path / "gone.tif") is None


# --- secrets ----------------------------------------------------------------------------------------------


def test_what_was_sealed_for_this_user_opens_again_and_looks_like_nothing(platform: WindowsPlatform) -> None:
    sealed = platform.protect(b"a grant")
    assert b"a grant" not in sealed
    assert platform.unprotect(sealed) == b"a grant"


def test_what_this_user_did_not_seal_is_refused(platform: WindowsPlatform) -> None:
    with pytest.raises(OSError):
        platform.unprotect(b"somebody else's bytes")


def test_windows_own_vault_keeps_a_token_of_the_longest_size_and_forgets_it(
    platform: WindowsPlatform,
) -> None:
    vault = platform.vault()
    assert isinstance(vault, KeyringVault)
    name = f"test-{uuid.uuid4()}"
    token = "ü" * LONGEST_SECRET
    try:
        vault.set(name, token)
        assert vault.persistent and vault.get(name) == token
    finally:
        vault.delete(name)
    assert vault.get(name) is None
    with pytest.raises(ValueError):
        vault.set(name, token + "x")


# --- the machine ------------------------------------------------------------------------------------------


def test_a_lock_of_the_machine_is_one_for_all_processes_and_ends_with_its_own() -> None:
    name = f"test-{uuid.uuid4()}"
    program = (
        "import sys; from agent.platform.windows import MutexLock\n"
        "lock = MutexLock(sys.argv[1]); sys.stdout.write(str(lock.acquire()) + '\\n'); sys.stdout.flush()\n"
        "sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    mine = MutexLock(name)
    assert not mine.acquire()
    other.kill()
    other.communicate()
    assert mine.acquire() and mine.acquire()
    mine.release()


def test_this_session_and_this_machine_have_names(platform: WindowsPlatform) -> None:
    user, _, session = platform.session_id().rpartition("-")
    assert user and session.isdigit()
    assert platform.hostname()


def test_running_programs_are_named_without_exe(platform: WindowsPlatform) -> None:
    found = platform.running_programs()
    assert found is not None and "python" in found
    assert not any(name.endswith(".exe") for name in found)


def test_idle_time_is_a_time(platform: WindowsPlatform) -> None:
    idle = platform.idle_seconds()
    assert idle is None or 0 <= idle < 100 * 24 * 3600


def test_a_volume_has_room_and_one_that_is_not_there_has_none(
    platform: WindowsPlatform, tmp_path: Path
) -> None:
    room = platform.room(tmp_path)
    assert room is not None and 0 < room.free_bytes <= room.total_bytes
    assert platform.room(Path("Q:\\nothing")) is None


def test_the_bytes_that_this_process_moved_are_told(platform: WindowsPlatform, tmp_path: Path) -> None:
    before = platform.io_bytes()
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    after = platform.io_bytes()
    assert before is not None and after is not None and after >= before


def test_one_thread_steps_back_and_the_process_stays_below_normal(platform: WindowsPlatform) -> None:
    kernel = ctypes.WinDLL("kernel32")
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    failed: list[BaseException] = []

    def work() -> None:
        try:
            platform.lower_thread()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed
    platform.lower_priority()
    here = ctypes.c_void_p(kernel.GetCurrentProcess())
    assert kernel.GetPriorityClass(here) == windows.BELOW_NORMAL_PRIORITY_CLASS


# --- the registry -----------------------------------------------------------------------------------------


KEYS = ("MACHINE_KEY", "POLICY_KEY", "RUN_KEY", "APPROVED_KEY")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Keys of the test's own in the place of the product's."""
    top = rf"Software\OMERO Ferry test {uuid.uuid4()}"
    for name in KEYS:
        monkeypatch.setattr(windows, name, rf"{top}\{name}")
    yield top
    for root in (winreg.HKEY_LOCAL_MACHINE, winreg.HKEY_CURRENT_USER):
        for below in (r"\MACHINE_KEY\shares", *(f"\\{name}" for name in KEYS), ""):
            try:
                winreg.DeleteKey(root, top + below)
            except FileNotFoundError:
                continue


def put(root: int, key: str, name: str, value: object, kind: int = winreg.REG_SZ) -> None:
    with winreg.CreateKeyEx(root, key, 0, winreg.KEY_WRITE | winreg.KEY_WOW64_64KEY) as opened:
        winreg.SetValueEx(opened, name, 0, kind, value)  # type: ignore[arg-type]


def test_settings_of_the_installer_and_of_policies_are_read_where_they_are_written(
    platform: WindowsPlatform, keys: str
) -> None:
    assert platform.machine_settings() == {} and platform.policies() == {}
    put(winreg.HKEY_LOCAL_MACHINE, windows.MACHINE_KEY, "bridge_url", "https://bridge.example.org")
    put(winreg.HKEY_LOCAL_MACHINE, windows.MACHINE_KEY, "hints", 0, winreg.REG_DWORD)
    put(winreg.HKEY_LOCAL_MACHINE, windows.MACHINE_KEY + r"\shares", "scope1", "Z:\\")
    put(winreg.HKEY_LOCAL_MACHINE, windows.POLICY_KEY, "quiet", 1, winreg.REG_DWORD)
    assert platform.machine_settings() == {
        "bridge_url": "https://bridge.example.org",
        "hints": 0,
        "shares": {"scope1": "Z:\\"},
    }
    assert platform.policies() == {"quiet": 1}


def test_a_person_who_switched_autostart_off_is_seen(platform: WindowsPlatform, keys: str) -> None:
    assert platform.autostart() is Autostart.OFF
    put(winreg.HKEY_LOCAL_MACHINE, windows.RUN_KEY, windows.RUN_VALUE, "C:\\ferry\\omero-ferry.exe")
    assert platform.autostart() is Autostart.ON
    for first, state in ((2, Autostart.ON), (3, Autostart.SWITCHED_OFF), (6, Autostart.ON)):
        put(
            winreg.HKEY_CURRENT_USER, windows.APPROVED_KEY, windows.RUN_VALUE,
            bytes([first]) + bytes(11), winreg.REG_BINARY,
        )  # fmt: skip
        assert platform.autostart() is state


def test_the_clock_of_windows_goes_forward() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    assert clock.monotonic() >= before and clock.now().tzinfo is not None
