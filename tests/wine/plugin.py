"""What tests/conftest.py does for a run on Linux and a run on Windows needs too."""

from __future__ import annotations

import platform
import sys

from hypothesis import settings

settings.register_profile("ferry", deadline=None)
settings.load_profile("ferry")


def pytest_report_header() -> str:
    """On which Windows, or what passes for it."""
    return f"Windows: {platform.version()}, {sys.implementation.name} {platform.python_version()}"
