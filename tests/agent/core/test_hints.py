"""Hints come from the real system's notices; without them nothing is lost but speed."""

from __future__ import annotations

from pathlib import Path

from agent.core.hints import Hints
from tests.agent.conftest import until


def test_a_write_is_told_with_its_share_path(share_top: Path) -> None:
    (share_top / "alice").mkdir()
    told: list[str] = []
    hints = Hints(share_top, "alice", told.append)
    assert hints.start()
    try:
        (share_top / "alice" / "a.tif").write_bytes(b"x")
        until(lambda: "alice/a.tif" in told, "the hint")
    finally:
        hints.stop()


def test_looking_is_no_hint(share_top: Path) -> None:
    (share_top / "a.tif").write_bytes(b"x")
    told: list[str] = []
    hints = Hints(share_top, ".", told.append)
    assert hints.start()
    try:
        list(share_top.iterdir())
        (share_top / "a.tif").read_bytes()
        (share_top / "b.tif").write_bytes(b"x")
        until(lambda: "b.tif" in told, "the hint of the write")
        assert "a.tif" not in told
    finally:
        hints.stop()


def test_a_root_that_cannot_be_watched_only_loses_speed(share_top: Path) -> None:
    assert not Hints(share_top, "not/there", lambda _path: None).start()
