"""Plates: one unit of hundreds of files, into a screen, tagged as a plate, and the checker agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_bridge.contract import ReceiptStatus, Stage
from tests.bridge.conftest_sandbox import PASSWORDS
from tests.bridge.pipeline.test_kills import finish, kill_when
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_plate, write_tiff
from tests.checker import disk
from tests.checker import omero as checker
from tests.checker.verdict import Places, judge

# Each of these starts the importer several times: seconds alone, minutes on a machine that is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def plate_of(world: World, rows: int, columns: int) -> set[str]:
    """A plate below ``bob/plate``; the share paths of all its files."""
    write_plate(world.buffer / "bob" / "plate", rows, columns)
    age(world.buffer / "bob")
    return set(world.manifest("bob/plate"))


def order_plate(world: World, path: str = "bob/plate") -> str:
    return world.order(path, person="bob", group="Screens", screen="Screen 7", tags=("hit",))


def require_checked(world: World, paths: set[str]) -> None:
    """The independent checker finds every file once, with its bytes, under one inode."""
    assert world.sandbox.managed is not None
    written = {path: (facts.size_bytes, facts.sha1) for path, facts in disk.content(world.buffer).items()}
    places = Places(world.buffer, world.site.staging_dir, world.sandbox.managed)
    content = checker.everything("127.0.0.1", world.sandbox.ssl_port, "root", PASSWORDS["root"])
    verdict = judge(written, places, content)
    assert verdict.problems == []
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.files == verdict.same_inode == verdict.sha1_match == len(paths)


def require_on_the_plate(world: World, order_id: str) -> None:
    """One plate, in the ordered screen, tagged itself and not image by image."""
    order = world.look(order_id)
    assert order.result is not None
    (unit,) = [unit for unit in world.units(order_id) if unit.spw]
    (plate,) = unit.plate_ids
    assert order.result["plate_count"] == 1
    assert order.result["webclient_url"].endswith(f"?show=screen-{order.target['container_id']}")
    with world.context.omero.service() as session:
        assert session.rows(
            "select l.parent.id from ScreenPlateLink l where l.child.id = :plate", {"plate": plate}
        ) == [(order.target["container_id"],)]
        tag = {"tag": "hit"}
        assert session.rows(
            "select l.parent.id from PlateAnnotationLink l join l.child a where a.textValue = :tag", tag
        ) == [(plate,)]
        assert not session.rows(
            "select l.parent.id from ImageAnnotationLink l join l.child a join l.parent i "
            "where a.textValue = :tag and i.fileset.id = :fileset",
            {**tag, "fileset": unit.fileset_id},
        )


def test_a_plate_of_several_hundred_files_is_one_unit(own_world: World) -> None:
    paths = plate_of(own_world, 16, 20)
    order_id = order_plate(own_world)
    with own_world.running():
        order = own_world.wait_proven(order_id, 180)
    (unit,) = own_world.units(order_id)
    assert (unit.spw, unit.file_count, len(unit.image_ids)) == (True, 321, 320)
    assert order.result is not None and order.result["image_count"] == 320
    own_world.require_once(order_id, paths)
    assert {file.status for file in own_world.files(order_id).values()} == {ReceiptStatus.PROVEN}
    require_on_the_plate(own_world, order_id)
    require_checked(own_world, paths)


@pytest.mark.parametrize(
    ("point", "match"),
    [("checkTarget", "well_9.tif"), ("step2", "plate.companion.ome")],
    ids=["while its files are linked", "while OMERO makes its images"],
)
def test_a_plate_survives_a_kill_in_the_middle_of_its_import(
    own_world: World, point: str, match: str
) -> None:
    paths = plate_of(own_world, 3, 4)
    order_id = order_plate(own_world)
    own_world.fault(point, "delay:6" if point == "step2" else "delay:30", match=match)
    kill_when(own_world, order_id, lambda _order: struck(own_world, point))
    assert own_world.look(order_id).stage == Stage.IMPORTING
    finish(own_world, order_id)
    own_world.require_once(order_id, paths)
    require_on_the_plate(own_world, order_id)
    require_checked(own_world, paths)


def struck(world: World, point: str) -> bool:
    """A fault of one strike is used up by it."""
    return not Path(world.sandbox.data, "faults", point).exists()


def test_a_plate_beside_single_images_has_a_run_of_its_own(own_world: World) -> None:
    plate_of(own_world, 2, 2)
    for number in range(3):
        write_tiff(own_world.buffer / "bob" / "plate" / "overview" / f"{number}.tif")
    age(own_world.buffer / "bob")
    order_id = order_plate(own_world)
    with own_world.running():
        own_world.wait_proven(order_id, 180)
    own_world.require_once(order_id, set(own_world.manifest("bob/plate")))
    shared, alone = own_world.runs(order_id)
    assert "and 2 more" in shared
    assert "plate.companion.ome into Screen:" in alone
    require_on_the_plate(own_world, order_id)
