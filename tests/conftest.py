"""Fixtures that are not one area's own, and the rules that hold for every test."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["tests.bridge.conftest_sandbox"]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run as root: root hides permission faults, and `omero` refuses root anyway."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        raise pytest.UsageError("the suite runs as an unprivileged user; ./dev test drops privileges itself")
