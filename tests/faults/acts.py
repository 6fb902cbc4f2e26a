"""The acts that a fault run plays: single files, folders, plates, a large file, and changed minds."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from tests.e2e.plain_client import listing
from tests.faults.load import PROVEN, Load, Ordered, Steps
from tests.loopback.site import SHARE


def _through(load: Load, order: Ordered, *, free: bool) -> Steps:
    yield from load.until(order, *PROVEN)
    if free:
        yield from load.let_go(order)


def single(load: Load, path: str) -> Steps:
    """One OME-TIFF."""
    file = f"{path}.ome.tif"
    load.write(lambda: load.story.stack(file))
    yield from _through(load, load.order(file, tags=["faults"]), free=True)


def units(load: Load, path: str) -> Steps:
    """A folder of several images, each an import unit."""
    load.write(lambda: load.story.folder(path, "a.ome.tif", "b.ome.tif", "deeper/c.ome.tif"))
    yield from _through(load, load.order(path), free=load.dice.random() < 0.5)


def plate(load: Load, path: str) -> Steps:
    """Files bound by a companion, junk that a pattern covers, and a file that a person is asked about."""
    load.write(lambda: load.story.plate(path))
    load.write(lambda: load.story.note(f"{path}/protocol.xyz", b"what I did\n"))
    yield from _through(load, load.order(path), free=load.dice.random() < 0.5)


def large(load: Load, path: str) -> Steps:
    """A file whose transfer takes a while."""
    file = f"{path}.ome.tif"
    load.write(lambda: load.story.stack(file, frames=8, side=1536))
    yield from _through(load, load.order(file), free=True)


def cancelled(load: Load, path: str) -> Steps:
    """Cancelled at some moment, then ordered anew; after the point of no return it simply arrives."""
    load.write(lambda: load.story.folder(path, "a.ome.tif", "b.ome.tif"))
    order = load.order(path)
    for _ in range(load.dice.randrange(8)):
        yield
    status, found = load.command(order, "cancel")
    if status == 200:
        order.state = load.client.state(order.id)
        assert order.state["stage"] == "cancelled", str(order.state)
        yield
        order = load.order(path)
    else:
        assert found["code"] in ("import_started", "units_in_omero", "command_not_now"), str(found)
    yield from _through(load, order, free=False)


def changed(load: Load, path: str) -> Steps:
    """Written again after it was sealed; the agent notices and seals again, or orders anew."""
    file = f"{path}.ome.tif"
    load.write(lambda: load.story.stack(file))
    order = load.order(file)
    for _ in range(load.dice.randrange(6)):
        yield
    load.write(lambda: load.story.stack(file, frames=2))
    if load.dice.random() < 0.5:
        load.seal(order)
    yield from load.until(order, *PROVEN)
    if load.contents[file][-1][1] not in _held(load, order, file):
        # It came to OMERO as it was before: what was written later is another order.
        order = load.order(file)
        yield from load.until(order, *PROVEN)


def _held(load: Load, order: Ordered, path: str) -> set[str]:
    """SHA-1 of what the bridge says it has of this file; by its receipts."""
    found = load.client.call("GET", f"/v1/orders/{order.id}/receipts")
    return {str(one["sha1"]) for one in found["receipts"] if one["path"] == path}


def refused(load: Load, path: str) -> Steps:
    """The same id with other content, a second order for the place, and the same data once more."""
    load.write(lambda: load.story.folder(path, "a.ome.tif"))
    order = load.order(path, seal=False)
    intent = {"share": SHARE, "path": path, "kind": "folder", "target": load.story.target()}
    status, found = load.client.ask("PUT", f"/v1/orders/{order.id}", json=intent)
    assert (status, found["code"]) == (409, "order_differs"), f"{status} {found}"
    inside = {**intent, "path": f"{path}/a.ome.tif", "kind": "file"}
    status, found = load.client.ask("PUT", f"/v1/orders/{uuid.uuid4()}", json=inside)
    assert (status, found["code"]) == (409, "place_taken"), f"{status} {found}"
    yield
    load.seal(order)
    yield from load.until(order, *PROVEN)
    again = load.order(path, seal=False)
    there = listing(load.site.buffer, path)
    status, found = load.put_manifest(again, there)
    assert (status, found["code"]) == (409, "already_imported"), f"{status} {found}"
    status, found = load.command(again, "cancel")
    assert status == 200, f"{status} {found}"
    again.state = load.client.state(again.id)


def broken_off(load: Load, path: str) -> Steps:
    """An import that dies with its fileset made and its upload unfinished: debris to be removed."""
    file = f"{path}.ome.tif"
    load.write(lambda: load.story.stack(file))
    load.story.fault("checkTarget", "kill", match=Path(file).name)
    yield from _through(load, load.order(file), free=True)


def moved_on(load: Load, path: str) -> Steps:
    """Ordered while it is written, sealed later, and sent elsewhere on the way."""
    load.write(lambda: load.story.folder(path, "a.ome.tif"))
    order = load.order(path, seal=False)
    yield
    load.write(lambda: load.story.stack(f"{path}/b.ome.tif"))
    load.seal(order)
    status, found = load.command(order, "retarget", target=load.story.target())
    assert status == 200 or found["code"] in ("import_started", "command_not_now"), f"{status} {found}"
    yield from _through(load, order, free=False)


ACTS: dict[str, Callable[[Load, str], Steps]] = {
    "single": single,
    "units": units,
    "plate": plate,
    "large": large,
    "cancelled": cancelled,
    "changed": changed,
    "refused": refused,
    "broken-off": broken_off,
    "moved-on": moved_on,
}
"""Every kind of act; a run plays them all, again and again, in an order of its seed."""
