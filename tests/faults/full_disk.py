"""The story of a state folder whose disk is full, told where that disk is in sight: ``python -m … TOP``."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Any

import requests

from tests.e2e.plain_client import Json
from tests.faults.story import Story, eventually, staged_bytes
from tests.loopback.site import SHARE, LoopbackSite
from tests.loopback.small_disk import fill

FULL_SECONDS = 12.0


def intent(story: Story, path: str) -> Json:
    return {"share": SHARE, "path": path, "kind": "file", "target": story.target()}


def put(story: Story, path: str) -> tuple[int, Json]:
    """Order without expecting anything."""
    answer = requests.put(
        f"{story.site.bridge_url}/v1/orders/{uuid.uuid4()}",
        headers={
            "Ferry-Workstation": f"{story.client.workstation}:{story.client.key}",
            "Authorization": f"Bearer {story.client.token}",
        },
        json=intent(story, path),
        timeout=90,
    )
    found: dict[str, Any] = answer.json()
    return answer.status_code, {**found, "retry_after": answer.headers.get("Retry-After")}


def tell(site: LoopbackSite) -> None:
    """Orders run, the disk of the state folder fills to its last byte, and is emptied again."""
    story = Story.begin(site)
    first = story.order(story.stack("alice/before.ome.tif"))
    story.proven(first, seconds=120)
    pulled, waiting = (
        story.stack("alice/pulled.ome.tif", frames=2, side=1024),
        story.stack("alice/next.ome.tif"),
    )
    filler = site.state / "filler"
    accepted: list[str] = []
    with story.slow_buffer(512):
        orders = [story.order(pulled), story.order(waiting)]
        eventually(lambda: staged_bytes(site, orders[0]) > 0, 90, "the pull has begun")
        fill(filler)
        deadline = time.monotonic() + 60
        while True:  # what the write-ahead log had before is used up first
            fill(filler)
            status, said = put(story, story.stack(f"alice/late-{len(accepted)}.ome.tif"))
            if status != 201:
                break
            accepted.append(said["id"])
            assert time.monotonic() < deadline, "the disk never became full"
        assert (status, said["code"]) == (503, "database_full"), said
        assert said["remedy"] and said["retry_after"], said
        fill(filler)
        time.sleep(FULL_SECONDS)
        assert site.program("bridge").running(), "a full disk is no reason to end"
        filler.unlink()
    story.proven(*orders, seconds=180)
    for order in accepted:
        # Each 201 is there; its manifest was never sent, so it waits for its workstation.
        assert story.client.state(order)["stage"] == "accepted"
    refused = f"alice/late-{len(accepted)}.ome.tif"
    story.proven(story.order(refused), seconds=120)
    story.require_once("alice/before.ome.tif", pulled, waiting, refused)
    print(f"accepted while filling: {len(accepted)}")


def main() -> None:
    with LoopbackSite(Path(sys.argv[1])) as site:
        tell(site)


if __name__ == "__main__":
    main()
