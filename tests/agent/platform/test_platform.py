"""The operating system behind the protocol: what every system does, and the pure parts of Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PureWindowsPath

import keyring.backend
import keyring.backends.fail
import keyring.backends.null
import keyring.errors
import pytest

from agent.platform import select, windows
from agent.platform import vault as vaults
from agent.platform.base import Autostart
from agent.platform.vault import KeyringVault, MemoryVault, choose
from tests.wine.here import on_wine


@pytest.mark.parametrize(
    ("path", "long"),
    [
        ("Z:\\data\\a.tif", "\\\\?\\Z:\\data\\a.tif"),
        ("\\\\server\\share\\a.tif", "\\\\?\\UNC\\server\\share\\a.tif"),
        ("\\\\?\\Z:\\a", "\\\\?\\Z:\\a"),
        ("data\\a.tif", "data\\a.tif"),
    ],
)
def test_windows_long_paths(path: str, long: str) -> None:
    assert str(windows.long_form(PureWindowsPath(path))) == long


@pytest.mark.parametrize(
    ("now", "at_input", "seconds"), [(5_000, 2_000, 3.0), (1_000, 0xFFFFFFFF - 999, 2.0), (7, 7, 0.0)]
)
def test_idle_time_survives_the_end_of_windows_counter(now: int, at_input: int, seconds: float) -> None:
    assert windows.idle_of(now, at_input) == seconds


@pytest.mark.parametrize(
    ("run", "approved", "state"),
    [
        (None, None, Autostart.OFF),
        ("ferry.exe", None, Autostart.ON),
        ("ferry.exe", b"\x02" + bytes(11), Autostart.ON),
        ("ferry.exe", b"\x03" + bytes(11), Autostart.SWITCHED_OFF),
    ],
)
def test_a_person_who_switched_autostart_off_is_seen(
    run: str | None, approved: bytes | None, state: Autostart
) -> None:
    assert windows.autostart_of(run, approved) is state


def test_program_names_compare_without_case_and_exe() -> None:
    assert windows.program_name("ZEN.EXE") == "zen"


def test_two_processes_cannot_hold_a_shares_lock_and_a_kill_frees_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from agent.platform import select\n"
        "lock = select(Path(sys.argv[1]), Path(sys.argv[1])).share_lock('scope1')\n"
        "sys.stdout.write(str(lock.acquire()) + '\\n'); sys.stdout.flush(); time.sleep(60)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    mine = select(tmp_path, tmp_path).share_lock("scope1")
    assert not mine.acquire()
    other.kill()
    other.wait(10)
    other.stdout.close()
    assert mine.acquire()
    mine.release()


def test_this_program_is_among_the_running_ones() -> None:
    found = select().running_programs()
    assert found is not None and any(name.startswith(("python", "pytest")) for name in found)


@pytest.mark.skipif(on_wine(), reason="wine counts no bytes of a process")
def test_the_bytes_that_this_process_moved_are_counted(tmp_path: Path) -> None:
    platform = select()
    before = platform.io_bytes()
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    after = platform.io_bytes()
    assert before is not None and after is not None and after - before >= 1_000_000


class Store(keyring.backend.KeyringBackend):
    """A store in memory that behaves like a system's, or fails like one."""

    priority = 5  # type: ignore[assignment]
    persist = "enterprise"

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, str] = {}
        self.broken = False

    def _check(self) -> None:
        if self.broken:
            raise keyring.errors.KeyringLocked("locked")

    def get_password(self, service: str, username: str) -> str | None:
        self._check()
        return self.kept.get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self._check()
        self.kept[username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._check()
        if self.kept.pop(username, None) is None:
            raise keyring.errors.PasswordDeleteError("not found")


def test_the_vault_keeps_locally_and_forgets() -> None:
    store = Store()
    vault = choose(store)
    assert isinstance(vault, KeyringVault) and store.persist == "local machine"
    vault.set("session", "x" * vaults.LONGEST_SECRET)
    assert vault.persistent and vault.get("session")
    vault.delete("session")
    vault.delete("session")
    assert vault.get("session") is None and store.kept == {}


def test_a_secret_longer_than_windows_takes_is_refused_everywhere() -> None:
    with pytest.raises(ValueError, match="1281"):
        choose(Store()).set("session", "x" * 1281)


@pytest.mark.parametrize("backend", [keyring.backends.fail.Keyring(), keyring.backends.null.Keyring()])
def test_a_store_that_keeps_nothing_is_not_used_and_that_is_said(
    backend: keyring.backend.KeyringBackend,
) -> None:
    vault = choose(backend)
    assert isinstance(vault, MemoryVault) and not vault.persistent and vault.notice


def test_a_plain_text_store_is_refused() -> None:
    plain = type("PlaintextKeyring", (Store,), {"__module__": "keyrings.alt.file"})()
    assert isinstance(choose(plain), MemoryVault)


def test_a_store_that_fails_in_use_is_replaced_by_memory() -> None:
    store = Store()
    vault = choose(store)
    store.broken = True
    vault.set("session", "secret")
    assert vault.get("session") == "secret" and not vault.persistent and vault.notice
