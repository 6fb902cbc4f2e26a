"""Whether this Windows is one: wine is where some of its facts are made up."""

from __future__ import annotations

import ctypes
import sys


def on_wine() -> bool:
    """wine's ntdll says that it is wine's."""
    return sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
