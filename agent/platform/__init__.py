"""The operating system behind one protocol; :func:`select` gives the one this machine has."""

from __future__ import annotations

import sys
from pathlib import Path

from agent.platform.base import Platform

__all__ = ["Platform", "select"]


def select(machine_dir: Path | None = None, user_dir: Path | None = None) -> Platform:
    """Return this machine's platform; the directories override where its data goes."""
    if sys.platform == "win32":
        from agent.platform.windows import WindowsPlatform

        return WindowsPlatform(machine_dir, user_dir)
    from agent.platform.posix import PosixPlatform

    return PosixPlatform(machine_dir, user_dir)
