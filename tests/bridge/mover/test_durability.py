"""Syncing reaches the kernel and reports what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_bridge.mover import durability


def test_a_file_system_and_a_directory_can_be_synced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    durability.sync_filesystem(tmp_path)
    durability.sync_filesystem(tmp_path / "file")
    durability.fsync_dir(tmp_path)


def test_a_failed_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "_syncfs", lambda fd: -1)
    with pytest.raises(OSError):
        durability.sync_filesystem(tmp_path)


def test_without_syncfs_everything_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []
    monkeypatch.setattr(durability, "_syncfs", None)
    monkeypatch.setattr(durability.os, "sync", lambda: called.append(True))
    durability.sync_filesystem(tmp_path)
    assert called == [True]


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durability.sync_filesystem(tmp_path / "gone")
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").touch()
        durability.fsync_dir(tmp_path / "file")
