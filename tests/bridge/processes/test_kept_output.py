"""Output on disk is bounded, readable by its owner alone, and never worth a failed transfer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server_bridge.processes.kept_output import keep, trim


def test_output_is_kept_for_its_owner_alone_and_overwritten_by_the_same_attempt(tmp_path: Path) -> None:
    path = tmp_path / "order" / "3-pull.log"
    keep(path, "first, and longer")
    keep(path, "second \udcff")
    assert path.read_text() == "second \\udcff"
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


def test_a_disk_without_room_costs_the_output_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(Path("/dev/full"), "x" * 100_000)
    assert "No space left" in caplog.text
    (tmp_path / "file").touch()
    keep(tmp_path / "file" / "1-pull.log", "text")
    assert trim(tmp_path / "nowhere") == 0


def test_a_link_in_the_outputs_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("untouched")
    (tmp_path / "1-pull.log").symlink_to(tmp_path / "precious")
    keep(tmp_path / "1-pull.log", "overwritten")
    assert (tmp_path / "precious").read_text() == "untouched"


def test_only_the_newest_outputs_of_an_order_stay(tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / f"{number}-import.log"
        path.write_text(str(number))
        os.utime(path, (1000 + number, 1000 + number))
    (tmp_path / "lists").mkdir()
    assert trim(tmp_path, 5) == 25
    assert sorted(path.name for path in tmp_path.glob("*.log")) == [f"{n}-import.log" for n in range(25, 30)]
    assert trim(tmp_path, 5) == 0
    assert (tmp_path / "lists").is_dir()
