"""The whole bridge over the other two ways to a buffer: ssh with a forced ``rrsync -ro``, and a mount."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bridge.rsyncd import LoopbackSshd
from tests.demo.microscope import Notes, time_lapse
from tests.e2e.conftest import passwords, verdict
from tests.e2e.plain_client import PlainClient, group_id
from tests.loopback.site import SHARE, LoopbackSite

pytestmark = pytest.mark.slow


def _ssh_lines(stack: ExitStack, top: Path) -> tuple[str, ...]:
    if not LoopbackSshd.is_possible() or shutil.which("rrsync") is None:
        pytest.skip("sshd and rrsync are not installed (Debian: openssh-server, rsync)")
    source = stack.enter_context(LoopbackSshd(top / "ssh", top / "site" / "buffer")).source()
    return ('kind = "ssh"', f'host = "{source.host}"', f'config_file = "{source.config_file}"')


def _path_lines(stack: ExitStack, top: Path) -> tuple[str, ...]:
    return ('kind = "path"', f'path = "{top / "site" / "buffer"}"')


@pytest.fixture(params=[_ssh_lines, _path_lines], ids=["ssh", "path"])
def other_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LoopbackSite]:
    """A running site whose share is read in another way than through an rsync daemon."""
    with ExitStack() as stack:
        lines = request.param(stack, tmp_path)
        yield stack.enter_context(LoopbackSite(tmp_path / "site", source_lines=lines))


def test_an_acquisition_is_proven_and_released(other_site: LoopbackSite) -> None:
    site, notes = other_site, Notes()
    told = site.ferry_bridge("check-config", "--site", str(site.site_file))
    assert "PROBLEM" not in told
    assert f"OK      share {SHARE}: " in told
    # What runs is what was written, not the daemon that is the site's default.
    assert f"shares[{SHARE}].source.{site.source_lines[0].replace(chr(34), '')}\n" in told
    client = PlainClient(site.bridge_url)
    client.register("Confocal SP8")
    site.ferry_bridge("workstation", "approve", "Confocal SP8", "--root", f"{SHARE}=.")
    folder = site.buffer / "alice" / "day 1 – été"
    time_lapse(
        site.buffer, folder / "stack.ome.tif", notes, frames=2, side=64, seconds=0, stop=threading.Event()
    )
    person = client.sign_in("alice", passwords("alice"))
    target = {"group_id": group_id(person, "Cytoskeleton"), "container_name": "over another source"}

    order = client.order(site.buffer, SHARE, "alice/day 1 – été", target)
    client.wait_for_stage(order, "released")

    found = verdict(site, notes)
    assert found.problems == []
    assert found.files == found.same_inode == found.sha1_match == 1
    assert found.images == 1
    assert client.call("GET", f"/v1/orders/{order}/release")["released"] is True
