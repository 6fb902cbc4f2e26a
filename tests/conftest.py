"""Fixtures that are not one area's own, and the rules that hold for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings

from tests import databases

# How long an example takes says how busy the machine is.
settings.register_profile("ferry", deadline=None)
settings.load_profile("ferry")
pytest_plugins = ["tests.bridge.conftest_sandbox"]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run as root: root hides permission faults, and `omero` refuses root anyway."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        raise pytest.UsageError("the suite runs as an unprivileged user; ./dev test drops privileges itself")
    # In the run's first process; xdist's workers inherit its environment.
    ending = ExitStack()
    ending.enter_context(databases.run_cluster())
    config.add_cleanup(ending.close)


def pytest_report_header() -> str:
    """Which database the sites of this run work on."""
    return f"bridge's database: {'PostgreSQL' if databases.on_postgresql() else 'SQLite'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of SQLite's own ways have nothing to say about PostgreSQL."""
    if not databases.on_postgresql():
        return
    for item in items:
        if item.get_closest_marker("sqlite") is not None:
            item.add_marker(pytest.mark.skip(reason="about SQLite alone"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A database of a site below the test's ``tmp_path`` goes with the test."""
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    try:
        return (yield)
    finally:
        if folder is not None:
            databases.drop_below(folder)
