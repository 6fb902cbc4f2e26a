"""One running site per module: the stories of a module leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.story import Story
from tests.loopback.site import LoopbackSite


@pytest.fixture(scope="module")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSite]:
    """Sandbox OMERO, rsync daemon and bridge."""
    with LoopbackSite(tmp_path_factory.mktemp("faults") / "site") as running:
        yield running


@pytest.fixture(scope="module")
def told_story(running_site: LoopbackSite) -> Story:
    """Alice at her workstation; her notes gather what all stories of the module wrote."""
    return Story.begin(running_site)


@pytest.fixture
def story(told_story: Story) -> Iterator[Story]:
    """The module's site, all of it well before and after: a failed story must not fail the next."""
    yield told_story
    told_story.all_well()
