"""One site on loopback for the end-to-end tests, and what belongs to every story told on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checker import omero as checker_omero
from tests.checker.verdict import Places, Verdict, judge
from tests.demo.microscope import Notes
from tests.e2e.plain_client import PlainClient
from tests.loopback.site import SHARE, LoopbackSite

ROOT_PASSWORD = "root-sandbox"


def passwords(username: str) -> str:
    """The training password of a sandbox person."""
    return f"{username}-sandbox"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LoopbackSite]:
    """Sandbox OMERO, rsync daemon and bridge, all running."""
    with LoopbackSite(tmp_path / "site") as running:
        yield running


@pytest.fixture
def workstation(site: LoopbackSite) -> PlainClient:
    """A registered and approved workstation, nobody signed in."""
    client = PlainClient(site.bridge_url)
    client.register("Confocal SP8")
    site.ferry_bridge("workstation", "approve", "Confocal SP8", "--root", f"{SHARE}=.")
    return client


def verdict(site: LoopbackSite, notes: Notes) -> Verdict:
    """What an outsider finds on the disks and in OMERO."""
    omero = checker_omero.everything("127.0.0.1", int(site.omero["ssl_port"]), "root", ROOT_PASSWORD)
    return judge(notes.files, Places(site.buffer, site.staging, site.managed), omero)
