"""A PostgreSQL of its own for the tests that are about it, whatever the rest of the run works on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.databases import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster that a test may stop, crash and start again."""
    made = Cluster.make()
    yield made
    made.remove()
