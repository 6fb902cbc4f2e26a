"""Deleting: rows and managed names go together, staged names stay, and not everybody may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import omero
import omero.cmd
import pytest

from server_bridge.sandbox.faults import set_fault
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.sandbox.conftest import Connect, dataset_id, rows, write_multi, write_tiff
from tests.bridge.sandbox.test_import import client_path, ids


def delete(connection: Any, targets: dict[str, list[int]], dry_run: bool = False) -> Any:
    return submit(connection, omero.cmd.Delete2(targetObjects=targets, dryRun=dry_run))


def submit(connection: Any, request: Any) -> Any:
    handle = connection.c.sf.submit(request, connection.SERVICE_OPTS)
    try:
        return handle.getResponse()
    finally:
        handle.close()


def fileset_of(connection: Any, path: Path) -> int:
    found: int = rows(
        connection,
        "select fe.fileset.id from FilesetEntry fe where fe.clientPath = :cp",
        cp=client_path(path),
    )[0][0]
    return found


def test_a_fileset_without_images_goes_with_its_links(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    set_fault(sandbox.data, "step1", "fail", match=client_path(path))
    assert sandbox.omero("import", "--transfer=ln", path).code == 2
    with connect("alice") as alice:
        fileset = fileset_of(alice, path)
        assert path.stat().st_nlink == 2
        response = delete(alice, {"Fileset": [fileset]})
        assert isinstance(response, omero.cmd.Delete2Response)
        assert response.deletedObjects["ome.model.fs.Fileset"] == [fileset]
        assert rows(alice, "select fs.id from Fileset fs where fs.id = :id", id=fileset) == []
        assert (
            rows(
                alice, "select j.id from FilesetJobLink l join l.child j where l.parent.id = :id", id=fileset
            )
            == []
        )
    assert path.stat().st_nlink == 1
    assert path.exists()


def test_a_dry_run_only_tells(sandbox: RunningSandbox, connect: Connect, source: Path) -> None:
    path = write_tiff(source / "a.tif")
    image = ids(sandbox.omero("import", "--transfer=ln", path).out)[0]
    with connect("alice") as alice:
        response = delete(alice, {"Image": [image]}, dry_run=True)
        assert response.deletedObjects["ome.model.core.Image"] == [image]
        assert "ome.model.core.OriginalFile" in response.deletedObjects
        assert alice.getObject("Image", image) is not None
    assert path.stat().st_nlink == 2


def test_the_command_deletes_an_image_with_its_fileset(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    image = ids(sandbox.omero("import", "--transfer=ln", path).out)[0]
    assert sandbox.omero("login").code == 0
    done = sandbox.omero("delete", "--report", f"Image:{image}", user=None)
    assert done.code == 0, done.err
    with connect("alice") as alice:
        assert alice.getObject("Image", image) is None
    assert path.stat().st_nlink == 1


def test_a_fileset_is_not_split(sandbox: RunningSandbox, connect: Connect, source: Path) -> None:
    images = ids(sandbox.omero("import", "--transfer=ln", write_multi(source / "m.ome.tif", 2)).out)
    with connect("alice") as alice:
        refused = delete(alice, {"Image": images[:1]})
        assert isinstance(refused, omero.cmd.ERR)
        assert "while Image" in refused.parameters["message"]
        assert isinstance(delete(alice, {"Image": images}), omero.cmd.Delete2Response)


def test_members_do_not_delete_what_others_own(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    image = ids(sandbox.omero("import", "--transfer=ln", path).out)[0]
    with connect("bob") as bob:
        refused = delete(bob, {"Image": [image]})
        assert isinstance(refused, omero.cmd.GraphException)
        assert "not permitted to delete" in refused.message
        with pytest.raises(omero.CmdError):
            bob.deleteObjects("Image", [image], wait=True)
    with connect("ferry") as ferry:
        assert isinstance(delete(ferry, {"Image": [image]}), omero.cmd.ERR)
    with connect("carol") as carol:
        assert isinstance(delete(carol, {"Image": [image]}), omero.cmd.Delete2Response)


def test_a_dataset_goes_with_its_images_but_not_with_shared_ones(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    with connect("alice") as alice:
        made = []
        for name in ("first", "second"):
            dataset = omero.model.DatasetI()
            dataset.name = omero.rtypes.rstring(name)
            made.append(alice.getUpdateService().saveAndReturnObject(dataset, alice.SERVICE_OPTS).id.val)
        alone, shared = (
            ids(sandbox.omero("import", "--transfer=ln", "-d", str(made[0]), write_tiff(source / name)).out)[
                0
            ]
            for name in ("alone.tif", "shared.tif")
        )
        link = omero.model.DatasetImageLinkI()
        link.parent, link.child = omero.model.DatasetI(made[1], False), omero.model.ImageI(shared, False)
        alice.getUpdateService().saveObject(link, alice.SERVICE_OPTS)
        alice.deleteObjects("Dataset", [made[0]], wait=True)
        assert alice.getObject("Dataset", made[0]) is None
        assert alice.getObject("Image", alone) is None
        assert alice.getObject("Image", shared) is not None


def test_comments_go_with_what_they_describe_and_tags_stay(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    with connect("alice") as alice:
        dataset = omero.model.DatasetI()
        dataset.name = omero.rtypes.rstring("annotated")
        tag, comment = omero.model.TagAnnotationI(), omero.model.CommentAnnotationI()
        tag.textValue = comment.textValue = omero.rtypes.rstring("words")
        dataset.linkAnnotation(tag)
        dataset.linkAnnotation(comment)
        saved = alice.getUpdateService().saveAndReturnObject(dataset, alice.SERVICE_OPTS)
        annotations = sorted(link.child.id.val for link in saved.copyAnnotationLinks())
        alice.deleteObjects("Dataset", [saved.id.val], wait=True)
        kinds = rows(alice, "select a.class from Annotation a where a.id in (:ids)", ids=annotations)
        assert kinds == [["TagAnnotation"]]


def test_an_unknown_request_is_named(connect: Connect) -> None:
    with connect("alice") as alice:
        handle = alice.c.sf.submit(
            omero.cmd.Chmod2(targetObjects={"ExperimenterGroup": [3]}, permissions="rw----")
        )
        response = handle.getResponse()
        handle.close()
        assert isinstance(response, omero.cmd.ERR)
        assert "Chmod2" in response.parameters["message"]


def test_an_image_moves_to_another_group_with_its_files_and_without_its_dataset(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    with connect("alice") as alice:
        embryos = dataset_id(alice, "embryos")
        image = ids(sandbox.omero("import", "--transfer=ln", "-d", str(embryos), path).out)[0]
        platform = alice.getAdminService().lookupGroup("Platform").id.val
        refused = submit(alice, omero.cmd.Chgrp2(targetObjects={"Image": [image]}, groupId=5))
        assert isinstance(refused, omero.cmd.ERR)
        moved = submit(alice, omero.cmd.Chgrp2(targetObjects={"Image": [image]}, groupId=platform))
        assert moved.includedObjects["ome.model.core.Image"] == [image]
        assert "ome.model.containers.DatasetImageLink" in moved.deletedObjects
        groups = rows(
            alice,
            "select i.details.group.name, fs.details.group.name, o.details.group.name from Image i"
            " join i.fileset fs join fs.usedFiles fe join fe.originalFile o where i.id = :id",
            id=image,
        )
        assert groups == [["Platform", "Platform", "Platform"]]
        assert rows(alice, "select l.id from DatasetImageLink l where l.child.id = :id", id=image) == []
