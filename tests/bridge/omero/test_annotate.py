"""Tags, key-values, description and provenance: there after one call, and not twice after two."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import omero.model
import pytest
from omero.rtypes import rstring, unwrap

from server_bridge.config import OmeroConfig
from server_bridge.contract import Target
from server_bridge.omero.annotate import NS_CLIENT, Provenance, annotate
from server_bridge.omero.connection import Session
from server_bridge.omero.directory import list_containers
from server_bridge.omero.importer import run_import
from server_bridge.omero.names import NS_ORDER, NS_PROVENANCE
from server_bridge.omero.session import chunks
from server_bridge.processes.runner import ProcessRunner
from tests.bridge.omero.conftest import AsPerson
from tests.bridge.sandbox.conftest import write_multi, write_plate

WHERE = Provenance(
    order_id="6f1f7c1e-3f0d-4c52-9d5e-00000000000a",
    workstation="LSM 980",
    share="conf",
    path="2026/run 1",
    acquired_at=datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
    imported_at=datetime(2026, 11, 23, 10, 0, tzinfo=UTC),
    bridge_version="0.1.0",
)


def bring(config: OmeroConfig, session: Session, path: Path, target: str = "") -> tuple[int, ...]:
    target = target or next(
        f"Dataset:{item.id}" for item in list_containers(session, "dataset").items if item.may_add
    )
    run = run_import(
        config, session.key, target, [path], "o", username=session.username, runner=ProcessRunner()
    )
    return run.plates or run.images


def wanted(session: Session, **changes: object) -> Target:
    values: dict[str, object] = {
        "group_id": session.group_id,
        "container_name": "x",
        "tags": ("fixed", "40x"),
        "key_values": ({"key": "Gene", "value": "ACTB"}, {"key": "Stain", "value": "DAPI"}),
        "description": "Wing discs, third instar.",
    }
    return Target.model_validate(values | changes)


def annotations(session: Session, number: int, kind: str = "Image") -> list[tuple[str, str, object]]:
    """(class, namespace, content) of everything on an object, our import's comment left out."""
    links = session.rows(
        f"select l.child.id from {kind}AnnotationLink l where l.parent.id = :id", {"id": number}
    )
    found: list[tuple[str, str, object]] = []
    for ids in chunks([int(row[0]) for row in links]):
        for tag in session.rows("select t.textValue from TagAnnotation t where t.id in (:ids)", {"ids": ids}):
            found.append(("tag", "", tag[0]))
        for item in session.objects(
            "select distinct m from MapAnnotation m left outer join fetch m.mapValue where m.id in (:ids)",
            {"ids": ids},
        ):
            pairs = tuple((pair.name, pair.value) for pair in item.mapValue)
            found.append(("map", unwrap(item.ns), pairs))
        for ns, text in session.rows(
            "select c.ns, c.textValue from CommentAnnotation c where c.id in (:ids)", {"ids": ids}
        ):
            if ns != NS_ORDER:
                found.append(("comment", ns, text))
    return sorted(found, key=repr)


def description(session: Session, number: int) -> str:
    return str(session.rows("select i.description from Image i where i.id = :id", {"id": number})[0][0] or "")


def test_everything_is_on_every_image_and_a_repeat_adds_nothing(
    config: OmeroConfig, alice: Session, staging: Path
) -> None:
    images = bring(config, alice, write_multi(staging / "s.ome.tif", 3))
    first = annotate(alice, images, (), wanted(alice), WHERE)
    assert (first.objects, first.tags_added, first.key_values_added) == (3, 6, 3)
    assert (first.descriptions_added, first.provenance_added) == (3, 3)
    before = [annotations(alice, image) for image in images]
    for found in before:
        assert found == sorted(
            [
                ("tag", "", "40x"),
                ("tag", "", "fixed"),
                ("map", NS_CLIENT, (("Gene", "ACTB"), ("Stain", "DAPI"))),
                ("map", NS_PROVENANCE, tuple(WHERE.pairs())),
            ],
            key=repr,
        )
    again = annotate(alice, images, (), wanted(alice), WHERE)
    assert not again.changed
    assert [annotations(alice, image) for image in images] == before
    assert all(description(alice, image).count("Wing discs") == 1 for image in images)


def test_what_a_crash_left_out_is_completed(config: OmeroConfig, alice: Session, staging: Path) -> None:
    images = bring(config, alice, write_multi(staging / "s.ome.tif", 3))
    annotate(alice, images[:1], (), wanted(alice), WHERE)
    report = annotate(alice, images, (), wanted(alice), WHERE)
    assert (report.tags_added, report.key_values_added, report.provenance_added) == (4, 2, 2)
    assert Counter(len(annotations(alice, image)) for image in images) == {4: 3}
    shared = alice.rows(
        "select m.id from MapAnnotation m where m.ns = :ns and m.name = :order",
        {"ns": NS_PROVENANCE, "order": WHERE.order_id},
    )
    assert len(shared) == 1, "one provenance for the whole order"


def test_an_existing_tag_of_hers_is_used_again(config: OmeroConfig, alice: Session, staging: Path) -> None:
    made = omero.model.TagAnnotationI()
    made.textValue = rstring("her own tag")
    number = int(unwrap(alice.save(made, doing="test").id))
    images = bring(config, alice, write_multi(staging / "s.ome.tif", 1))
    report = annotate(alice, images, (), wanted(alice, tags=("her own tag", " her own tag ")))
    assert (report.tags_added, report.tags_created) == (1, [])
    assert alice.rows(
        "select l.child.id from ImageAnnotationLink l where l.parent.id = :id and l.child.id = :tag",
        {"id": images[0], "tag": number},
    ) == [(number,)]


def test_a_tag_of_the_group_is_used_again(
    config: OmeroConfig, as_person: AsPerson, alice: Session, staging: Path
) -> None:
    with as_person("bob") as bob:
        made = omero.model.TagAnnotationI()
        made.textValue = rstring("the group's tag")
        bob.save(made, doing="test")
    images = bring(config, alice, write_multi(staging / "s.ome.tif", 1))
    assert annotate(alice, images, (), wanted(alice, tags=("the group's tag",))).tags_created == []


def test_a_private_group_takes_everything_in_her_own_session(
    config: OmeroConfig, as_person: AsPerson, staging: Path
) -> None:
    with as_person("alice", "Platform") as alice:
        images = bring(config, alice, write_multi(staging / "s.ome.tif", 1))
        annotate(alice, images, (), wanted(alice), WHERE)
        assert len(annotations(alice, images[0])) == 4


def test_a_plate_is_annotated_instead_of_its_images(
    config: OmeroConfig, as_person: AsPerson, staging: Path
) -> None:
    with as_person("bob", "Screens") as bob:
        screen = list_containers(bob, "screen").items[0]
        plates = bring(config, bob, write_plate(staging / "plate"), f"Screen:{screen.id}")
        report = annotate(bob, (), plates, wanted(bob), WHERE)
        assert report.objects == 1
        assert len(annotations(bob, plates[0], "Plate")) == 4
        assert not annotate(bob, (), plates, wanted(bob), WHERE).changed


def test_key_values_of_hers_are_completed_and_not_replaced(
    config: OmeroConfig, alice: Session, staging: Path
) -> None:
    (image,) = bring(config, alice, write_multi(staging / "s.ome.tif", 1))
    plain = {"tags": (), "description": ""}
    annotate(alice, (image,), (), wanted(alice, key_values=({"key": "Own", "value": "1"},), **plain))
    annotate(alice, (image,), (), wanted(alice, key_values=({"key": "Gene", "value": "ACTB"},), **plain))
    assert annotations(alice, image) == [("map", NS_CLIENT, (("Own", "1"), ("Gene", "ACTB")))]


def test_a_description_of_the_file_is_kept(config: OmeroConfig, alice: Session, staging: Path) -> None:
    (image,) = bring(config, alice, write_multi(staging / "s.ome.tif", 1))
    plain = {"tags": (), "key_values": ()}
    annotate(alice, (image,), (), wanted(alice, description="From the file.", **plain))
    annotate(alice, (image,), (), wanted(alice, description="From the person.", **plain))
    assert description(alice, image) == "From the file.\n\nFrom the person."


@pytest.mark.parametrize("images", [(), []])
def test_nothing_to_annotate_asks_nothing(alice: Session, images: tuple[int, ...]) -> None:
    assert not annotate(alice, images, (), wanted(alice), WHERE).changed
