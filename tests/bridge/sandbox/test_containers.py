"""Projects, datasets, screens and annotations, and who may link what."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import omero
import omero.model
import pytest
from omero.gateway import MapAnnotationWrapper, TagAnnotationWrapper
from omero.rtypes import rstring

from tests.bridge.sandbox.conftest import Connect, dataset_id, rows

NS = omero.constants.metadata.NSCLIENTMAPANNOTATION


def new_dataset(connection: Any, name: str | None = None) -> Any:
    made = omero.model.DatasetI()
    made.name = rstring(name or f"dataset {uuid.uuid4()}")
    return connection.getUpdateService().saveAndReturnObject(made, connection.SERVICE_OPTS)


def link(connection: Any, project: int, dataset: int) -> None:
    made = omero.model.ProjectDatasetLinkI()
    made.setParent(omero.model.ProjectI(project, False))
    made.setChild(omero.model.DatasetI(dataset, False))
    connection.getUpdateService().saveObject(made, connection.SERVICE_OPTS)


def project_id(connection: Any, name: str) -> int:
    found: int = rows(connection, "select p.id from Project p where p.name = :name", name=name)[0][0]
    return found


def test_the_seeded_places_are_listed(connect: Connect) -> None:
    with connect("alice") as alice:
        project = alice.getObject("Project", attributes={"name": "Actin project"})
        assert {child.getName() for child in project.listChildren()} >= {"embryos", "cell migration"}
        assert project.countChildren() >= 2
        assert "screen-12" in {one.getName() for one in alice.getObjects("Dataset", opts={"orphaned": True})}


def test_a_project_with_a_dataset_is_saved_in_one_go(connect: Connect) -> None:
    name = f"project {uuid.uuid4()}"
    with connect("alice") as alice:
        project = omero.model.ProjectI()
        project.name = rstring(name)
        dataset = omero.model.DatasetI()
        dataset.name = rstring("inside")
        project.linkDataset(dataset)
        saved = alice.getUpdateService().saveAndReturnObject(project, alice.SERVICE_OPTS)
        assert saved.linkedDatasetList()[0].id.val > 0
        found = rows(
            alice,
            "select d.name, p.details.owner.omeName, p.details.group.name from Dataset d"
            " join d.projectLinks l join l.parent p where p.id = :id",
            id=saved.id.val,
        )
        assert found == [["inside", "alice", "Cytoskeleton"]]


def test_a_dataset_needs_a_name(connect: Connect) -> None:
    with connect("alice") as alice, pytest.raises(omero.ValidationException, match="name"):
        alice.getUpdateService().saveObject(omero.model.DatasetI(), alice.SERVICE_OPTS)


def test_private_data_is_seen_by_its_owner_and_by_administrators(connect: Connect) -> None:
    query = "select d.name from Dataset d where d.name = 'beads'"
    with (
        connect("alice") as alice,
        connect("carol") as carol,
        connect("bob") as bob,
        connect("ferry") as ferry,
    ):
        assert rows(alice, query) == [["beads"]]
        assert rows(carol, query) == []
        assert rows(bob, query) == []
        assert rows(ferry, query) == [["beads"]]


def test_a_call_sees_the_group_of_its_context_only(connect: Connect) -> None:
    with connect("alice") as alice:
        query = alice.getQueryService()
        platform = alice.getAdminService().lookupGroup("Platform").id.val
        screens = alice.getAdminService().lookupGroup("Screens").id.val
        hql = "select d from Dataset d where d.name = 'beads'"
        assert query.findAllByQuery(hql, None) == []
        assert len(query.findAllByQuery(hql, None, {"omero.group": str(platform)})) == 1
        with pytest.raises(omero.SecurityViolation):
            query.findAllByQuery(hql, None, {"omero.group": str(screens)})


def test_nothing_is_written_to_all_groups_at_once(connect: Connect) -> None:
    with connect("alice") as alice, pytest.raises(omero.SecurityViolation):
        made = omero.model.DatasetI()
        made.name = rstring("nowhere")
        alice.getUpdateService().saveObject(made, {"omero.group": "-1"})


def test_links_do_not_cross_groups(connect: Connect) -> None:
    with connect("alice") as alice, pytest.raises(omero.SecurityViolation, match="MIXED GROUP"):
        link(alice, project_id(alice, "Calibration"), new_dataset(alice).id.val)


def test_a_member_of_a_read_annotate_group_links_nothing_into_others_places(connect: Connect) -> None:
    with connect("bob") as bob:
        embryos = bob.getObject("Dataset", dataset_id(bob, "embryos"))
        assert not embryos.canLink()
        assert embryos.canAnnotate()
        with pytest.raises(omero.SecurityViolation, match="READ-ONLY"):
            link(bob, project_id(bob, "Actin project"), new_dataset(bob).id.val)


def test_a_member_of_a_read_write_group_does(connect: Connect) -> None:
    with connect("carol", group="Screens") as carol:
        link(carol, project_id(carol, "Drug response"), new_dataset(carol).id.val)


def test_the_same_link_is_not_made_twice(connect: Connect) -> None:
    with connect("alice") as alice:
        project, dataset = project_id(alice, "Actin project"), new_dataset(alice).id.val
        link(alice, project, dataset)
        with pytest.raises(omero.ValidationException, match="unique constraint"):
            link(alice, project, dataset)


def test_names_change_for_those_who_may_edit(connect: Connect) -> None:
    with connect("alice") as alice, connect("bob") as bob:
        made = new_dataset(alice)
        mine = alice.getObject("Dataset", made.id.val)
        mine.setDescription("new words")
        mine.save()
        assert alice.getObject("Dataset", made.id.val).getDescription() == "new words"
        theirs = bob.getObject("Dataset", made.id.val)
        theirs.setDescription("other words")
        with pytest.raises(omero.SecurityViolation):
            bob.getUpdateService().saveObject(theirs._obj, bob.SERVICE_OPTS)


def test_tags_and_key_value_pairs_come_back_in_order(connect: Connect) -> None:
    with connect("alice") as alice:
        dataset = alice.getObject("Dataset", new_dataset(alice).id.val)
        tag = TagAnnotationWrapper(alice)
        tag.setValue(f"tag {uuid.uuid4()}")
        tag.save()
        dataset.linkAnnotation(tag)
        pairs = MapAnnotationWrapper(alice)
        pairs.setNs(NS)
        pairs.setValue([["stain", "phalloidin"], ["day", "2"], ["stain", "DAPI"]])
        pairs.save()
        dataset.linkAnnotation(pairs)
        found = list(alice.getObject("Dataset", dataset.getId()).listAnnotations())
        assert {one.getValue() for one in found if one.OMERO_TYPE is omero.model.TagAnnotationI} == {
            tag.getValue()
        }
        maps = [one for one in found if one.OMERO_TYPE is omero.model.MapAnnotationI]
        assert maps[0].getValue() == [("stain", "phalloidin"), ("day", "2"), ("stain", "DAPI")]
        assert [one.getId() for one in dataset.listAnnotations(ns=NS)] == [pairs.getId()]
        by_value = list(alice.getObjects("TagAnnotation", attributes={"textValue": tag.getValue()}))
        assert [one.getId() for one in by_value] == [tag.getId()]


def test_datasets_are_found_by_their_key_value_pairs(connect: Connect) -> None:
    mark = str(uuid.uuid4())
    with connect("alice") as alice:
        dataset = alice.getObject("Dataset", new_dataset(alice).id.val)
        pairs = MapAnnotationWrapper(alice)
        pairs.setValue([["order", mark]])
        pairs.save()
        dataset.linkAnnotation(pairs)
        found = rows(
            alice,
            "select d.id from Dataset d join d.annotationLinks l join l.child a join a.mapValue mv"
            " where mv.name = 'order' and mv.value = :mark",
            mark=mark,
        )
        assert found == [[dataset.getId()]]


def test_annotations_of_one_kind_have_ids_of_their_own(connect: Connect) -> None:
    with connect("alice") as alice:
        tag, comment = omero.model.TagAnnotationI(), omero.model.CommentAnnotationI()
        tag.textValue = comment.textValue = rstring("same words")
        saved = alice.getUpdateService().saveAndReturnArray([tag, comment], alice.SERVICE_OPTS)
        assert saved[0].id.val != saved[1].id.val
        kinds = rows(
            alice,
            "select a.class from Annotation a where a.id in (:ids) order by a.id",
            ids=[s.id.val for s in saved],
        )
        assert kinds == [["TagAnnotation"], ["CommentAnnotation"]]


def test_screens_are_made_and_listed(connect: Connect) -> None:
    with connect("bob", group="Screens") as bob:
        screen = omero.model.ScreenI()
        screen.name = rstring(f"screen {uuid.uuid4()}")
        saved = bob.getUpdateService().saveAndReturnObject(screen, bob.SERVICE_OPTS)
        names = {one.getName() for one in bob.getObjects("Screen")}
        assert {saved.name.val, "Kinase inhibitors", "siRNA library"} <= names


def test_hierarchies_are_loaded_in_one_call(connect: Connect) -> None:
    with connect("alice") as alice:
        container = alice.getContainerService()
        found = container.loadContainerHierarchy("Project", None, None, alice.SERVICE_OPTS)
        names = {p.name.val: {d.name.val for d in p.linkedDatasetList()} for p in found}
        assert names["Actin project"] >= {"embryos", "cell migration"}
        assert "Microtubules" in names
        mine = omero.sys.ParametersI().exp(alice.getUserId()).leaves()
        own = container.loadContainerHierarchy("Project", None, mine, alice.SERVICE_OPTS)
        assert "Microtubules" not in {project.name.val for project in own}
        assert all(dataset.isImageLinksLoaded() for p in own for dataset in p.linkedDatasetList())


def test_files_are_attached_and_read_back(connect: Connect, tmp_path: Path) -> None:
    protocol = tmp_path / "protocol.txt"
    protocol.write_text("Fix, permeabilise, stain.\n" * 2000)
    with connect("alice") as alice, connect("bob") as bob:
        dataset = alice.getObject("Dataset", new_dataset(alice).id.val)
        attached = alice.createFileAnnfromLocalFile(str(protocol), mimetype="text/plain", ns="ferry")
        dataset.linkAnnotation(attached)
        (found,) = bob.getObject("Dataset", dataset.getId()).listAnnotations(ns="ferry")
        assert found.getFile().getName() == "protocol.txt"
        assert found.getFile().getSize() == protocol.stat().st_size
        assert b"".join(found.getFileInChunks()) == protocol.read_bytes()
        alice.deleteObjects("FileAnnotation", [attached.getId()], wait=True)
        assert bob.getObject("FileAnnotation", attached.getId()) is None


def test_the_service_account_writes_nothing_of_its_own_into_groups(connect: Connect) -> None:
    with connect("ferry") as ferry:
        group = ferry.getAdminService().lookupGroup("Cytoskeleton").id.val
        dataset = omero.model.DatasetI()
        dataset.name = rstring("not allowed")
        with pytest.raises(omero.SecurityViolation):
            ferry.getUpdateService().saveObject(dataset, {"omero.group": str(group)})
        theirs = ferry.getQueryService().get("Dataset", dataset_id(ferry, "embryos"), {"omero.group": "-1"})
        theirs.name = rstring("renamed")
        with pytest.raises(omero.SecurityViolation):
            ferry.getUpdateService().saveObject(theirs, {"omero.group": str(group)})


def test_private_files_are_read_by_their_owner_only(connect: Connect, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    with connect("alice", group="Platform") as alice, connect("carol", group="Platform") as carol:
        attached = alice.createFileAnnfromLocalFile(str(secret))
        file_id = attached.getFile().getId()
        store = carol.c.sf.createRawFileStore()
        with pytest.raises(omero.SecurityViolation):
            store.setFileId(file_id)
        store.close()
        own = alice.c.sf.createRawFileStore()
        own.setFileId(file_id)
        assert own.read(0, 4) == b"mine"
        own.close()
