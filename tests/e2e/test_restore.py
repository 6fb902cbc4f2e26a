"""An old backup put back under a site that went on: the whole product, and an outsider's verdict."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest

from tests.databases import on_postgresql
from tests.e2e.plain_client import listing
from tests.faults.story import Story
from tests.loopback.site import SHARE, LoopbackSite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(on_postgresql(), reason="a backup of PostgreSQL is made with pg_dump"),
]
SECONDS = 300.0


def test_after_an_old_backup_every_order_ends_once_and_nothing_is_released_wrongly(
    site: LoopbackSite,
) -> None:
    story = Story.begin(site)
    client = story.client
    known = story.order(story.folder("alice/known", "a.ome.tif"))
    freed = story.order(story.folder("alice/freed", "a.ome.tif"))
    half_path = story.folder("alice/half", "a.ome.tif")
    half = story.order(half_path, seal=False)
    for order in (known, freed):
        client.wait_for_stage(order, "released", seconds=SECONDS)
    backups = site.top / "backups"
    backups.mkdir()
    site.ferry_bridge("backup", "--to", str(backups))
    (backup,) = backups.glob("ferry-*.sqlite3")

    # The site goes on: what was open is brought, new orders come, copies are deleted.
    client.seal(half, site.buffer, half_path)
    late_path, gone_path = story.folder("alice/late", "a.ome.tif"), story.folder("alice/gone", "a.ome.tif")
    target = story.target()
    late, gone = story.order(late_path, target), story.order(gone_path, target)
    for order in (half, late, gone):
        client.wait_for_stage(order, "released", seconds=SECONDS)
    listed = listing(site.buffer, gone_path)
    for order, path in ((freed, "alice/freed"), (gone, gone_path)):
        release = client.call("GET", f"/v1/orders/{order}/release")
        assert release["released"]
        shutil.rmtree(site.buffer / path)
        paths = [file["path"] for file in release["files"]]
        client.call("POST", f"/v1/orders/{order}/freed", json={"paths": paths})
    filesets = story.in_omero().fileset_ids
    cursor = client.call("GET", "/v1/orders?after=0")["cursor"]

    site.program("bridge").stop()
    site.ferry_bridge("restore", str(backup))
    site.start_bridge()

    page = client.call("GET", f"/v1/orders?after={cursor}")
    assert page["database"], "whoever follows the feed is told that it is another database"
    assert {order["id"] for order in page["orders"]} >= {known, freed, half}
    for order in (late, gone):
        client.call("GET", f"/v1/orders/{order}", status=404)
    # What a client that follows the feed does: manifests that were lost, orders that are unknown.
    assert client.state(half)["manifest_revision"] == 0
    client.seal(half, site.buffer, half_path)
    client.order(site.buffer, SHARE, late_path, target, order_id=late)
    intent = {"share": SHARE, "path": gone_path, "kind": "folder", "target": target}
    intent["first_seen_at"] = datetime.now(UTC).isoformat()
    client.call("PUT", f"/v1/orders/{gone}", json=intent)
    client.seal_listed(gone, listed)

    for order in (half, late):
        client.wait_for_stage(order, "released", seconds=SECONDS)
    state = story.told(gone, "in_omero_unproven", stage="accepted", condition="attention")
    story.staff_say(gone, state["reason"])
    assert not client.call("GET", f"/v1/orders/{gone}/release")["released"]
    assert story.in_omero().fileset_ids == filesets, "nothing was imported a second time"
    story.require_once(*(f"alice/{name}/a.ome.tif" for name in ("known", "freed", "half", "late", "gone")))
    # Released before the backup: looked at again, file by file, when somebody asks.
    release = client.call("GET", f"/v1/orders/{known}/release")
    assert release["released"]
    assert [file["path"] for file in release["files"]] == ["alice/known/a.ome.tif"]
    story.administrator_deletes(*client.state(known)["result"]["fileset_ids"])
    assert not client.call("GET", f"/v1/orders/{known}/release")["released"]
    assert (site.buffer / "alice/known/a.ome.tif").exists()
