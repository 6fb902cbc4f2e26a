"""The real ``omero import --transfer=ln`` against the sandbox."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import yaml
from omero.rtypes import unwrap

from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.sandbox.conftest import (
    Connect,
    dataset_id,
    rows,
    write_companion,
    write_multi,
    write_plate,
    write_tiff,
)

FILES = (
    "select o.path, o.name, o.size, o.hash, h.value, fe.clientPath, fs.id, fs.details.owner.omeName"
    " from FilesetEntry fe join fe.fileset fs join fe.originalFile o left outer join o.hasher h"
    " where fe.clientPath = :cp"
)
SUMMARY = re.compile(
    r"==> Summary\n(\d+) files? uploaded, (\d+) filesets? created(?:, (\d+) plates? created)?,"
    r" (\d+) images? imported, (\d+) errors? in \d+:\d\d:\d\d\.\d{3}"
)


def client_path(path: Path) -> str:
    return str(path).lstrip("/")


def ids(text: str) -> list[int]:
    return [int(one) for one in re.findall(r"\d+", text)]


def test_a_tiff_is_linked_in_place_with_its_checksum(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "cell.tif")
    with connect("alice") as alice:
        done = sandbox.omero("import", "--transfer=ln", "-d", str(dataset_id(alice, "embryos")), path)
        assert done.code == 0, done.err
        image = ids(re.fullmatch(r"Image:(\d+)\n", done.out)[1])[0]  # type: ignore[index]
        ((directory, name, size, digest, hasher, _, fileset, owner),) = rows(
            alice, FILES, cp=client_path(path)
        )
        assert (size, hasher, owner) == (path.stat().st_size, "SHA1-160", "alice")
        assert digest == hashlib.sha1(path.read_bytes()).hexdigest()
        assert sandbox.managed is not None
        managed = sandbox.managed / directory / name
        assert path.samefile(managed)
        assert path.stat().st_nlink == 2
        assert re.fullmatch(r"alice_\d+/\d{4}-\d\d/\d\d/\d\d-\d\d-\d\d\.\d{3}(__\d+)?/", directory)
        found = rows(
            alice,
            "select i.fileset.id, i.name, d.name, p.sizeX, p.sizeY, pt.value from Image i join i.pixels p"
            " join p.pixelsType pt join i.datasetLinks l join l.parent d where i.id = :id",
            id=image,
        )
        assert found == [[fileset, "cell.tif", "embryos", 32, 24, "uint8"]]
        assert f"Fileset:{fileset}" in done.err
        assert SUMMARY.search(done.err)[0].startswith("==> Summary\n1 file uploaded")  # type: ignore[index]


def test_the_log_tells_each_stage_once_and_in_order(sandbox: RunningSandbox, source: Path) -> None:
    done = sandbox.omero("import", "--transfer=ln", write_tiff(source / "a.tif"))
    stages = re.findall(
        r"FILESET_UPLOAD_\w+|FILE_UPLOAD_\w+|IMPORT_STARTED|METADATA_IMPORTED|PIXELDATA_PROCESSED|"
        r"THUMBNAILS_GENERATED|METADATA_PROCESSED|OBJECTS_RETURNED|IMPORT_DONE",
        done.err,
    )
    assert stages == [
        "FILESET_UPLOAD_PREPARATION",
        "FILESET_UPLOAD_START",
        "FILE_UPLOAD_STARTED",
        "FILE_UPLOAD_COMPLETE",
        "FILESET_UPLOAD_END",
        "IMPORT_STARTED",
        "METADATA_IMPORTED",
        "PIXELDATA_PROCESSED",
        "THUMBNAILS_GENERATED",
        "METADATA_PROCESSED",
        "OBJECTS_RETURNED",
        "IMPORT_DONE",
    ]
    assert re.search(r"METADATA_IMPORTED Step: 1 of 5  Logfile: \d+", done.err)


def test_a_directory_gives_one_yaml_document_for_each_fileset(sandbox: RunningSandbox, source: Path) -> None:
    write_tiff(source / "a.tif")
    write_multi(source / "b.ome.tif", 3)
    (source / "notes.txt").write_text("no image")
    (source / ".hidden.tif").write_bytes((source / "a.tif").read_bytes())
    done = sandbox.omero("import", "--transfer=ln", "--output", "yaml", source)
    documents = [document[0] for document in yaml.safe_load_all(done.out)]
    assert [len(document["Image"]) for document in documents] == [1, 3]
    assert "[1 unknowns]" in done.err
    assert SUMMARY.search(done.err)[2] == "2"  # type: ignore[index]


def test_output_files_are_written_by_the_python_side(sandbox: RunningSandbox, source: Path) -> None:
    path = write_tiff(source / "a.tif")
    logs = source / "logs"
    done = sandbox.omero(
        "import",
        "--transfer=ln",
        "--output",
        "yaml",
        "--file",
        logs / "out.yml",
        "--errs",
        logs / "err.log",
        path,
    )
    assert done.code == 0
    assert "Fileset" in yaml.safe_load((logs / "out.yml").read_text())[0]
    assert "IMPORT_DONE" in (logs / "err.log").read_text()


def test_several_images_of_one_file_are_named_and_sized(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_multi(source / "stage.ome.tif", 2)
    done = sandbox.omero("import", "--transfer=ln", path)
    with connect("alice") as alice:
        found = rows(
            alice,
            "select i.name, i.series from Image i where i.id in (:ids) order by i.series",
            ids=ids(done.out),
        )
    assert found == [["stage.ome.tif [pos0]", 0], ["stage.ome.tif [pos1]", 1]]


def test_a_companion_and_its_files_are_one_fileset(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    companion = write_companion(source / "stack")
    done = sandbox.omero("import", "--transfer=ln", source)
    assert done.code == 0, done.err
    with connect("alice") as alice:
        found = rows(
            alice,
            "select fe.clientPath, o.name from Image i join i.fileset fs join fs.usedFiles fe"
            " join fe.originalFile o where i.id = :id order by index(fe)",
            id=ids(done.out)[0],
        )
        names = ["stack.companion.ome", "plane_0.tif", "plane_1.tif", "plane_2.tif"]
        assert [name for _, name in found] == names
        assert found[0][0] == client_path(companion)
        assert rows(alice, "select p.sizeZ from Pixels p where p.image.id = :id", id=ids(done.out)[0]) == [
            [3]
        ]


def test_a_plate_goes_to_its_screen_with_its_wells(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    write_plate(source / "plate", 2, 3)
    with connect("bob", group="Screens") as bob:
        screen = rows(bob, "select s.id from Screen s where s.name = 'Kinase inhibitors'")[0][0]
        done = sandbox.omero(
            "import", "--transfer=ln", "-r", str(screen), source / "plate", user="bob", group="Screens"
        )
        assert done.code == 0, done.err
        plate = ids(re.fullmatch(r"Plate:(\d+)\n", done.out)[1])[0]  # type: ignore[index]
        wells = rows(
            bob,
            "select w.row, w.column, count(ws) from Plate p join p.wells w join w.wellSamples ws"
            " where p.id = :id group by w.row, w.column order by w.row, w.column",
            id=plate,
        )
        assert wells == [[row, column, 1] for row in range(2) for column in range(3)]
        assert rows(bob, "select l.parent.id from ScreenPlateLink l where l.child.id = :id", id=plate) == [
            [screen]
        ]
        by_fileset = rows(
            bob,
            "select distinct p.id from Plate p join p.wells w join w.wellSamples ws join ws.image i"
            " join i.fileset fs join fs.usedFiles fe where fe.clientPath = :cp",
            cp=client_path(source / "plate" / "plate.companion.ome"),
        )
        assert by_fileset == [[plate]]
        assert SUMMARY.search(done.err)[3] == "1"  # type: ignore[index]


def test_annotations_given_at_the_import_reach_every_image(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_multi(source / "two.ome.tif", 2)
    done = sandbox.omero(
        "import", "--transfer=ln", "--annotation-ns", "ferry", "--annotation-text", "order 7", path
    )
    with connect("alice") as alice:
        found = rows(
            alice,
            "select i.id from Image i join i.annotationLinks l join l.child a where a.ns = 'ferry'"
            " and a.textValue = 'order 7' and i.id in (:ids)",
            ids=ids(done.out),
        )
        assert sorted(row[0] for row in found) == ids(done.out)


def test_the_way_of_transfer_is_noted_on_the_fileset(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    done = sandbox.omero("import", "--transfer=ln", write_tiff(source / "a.tif"))
    with connect("alice") as alice:
        image = alice.getObject("Image", ids(done.out)[0])
        assert image.getInplaceImport() == "ome.formats.importer.transfers.HardlinkFileTransfer"
        assert image.countImportedImageFiles() == 1
        assert image.getImportedImageFilePaths()["client_paths"] == [client_path(source / "a.tif")]


def test_an_upload_copies_the_bytes(sandbox: RunningSandbox, connect: Connect, source: Path) -> None:
    path = write_tiff(source / "a.tif", (600, 1200))
    done = sandbox.omero("import", path)
    assert done.code == 0, done.err
    assert path.stat().st_nlink == 1
    with connect("alice") as alice:
        ((_, _, size, digest, *_),) = rows(alice, FILES, cp=client_path(path))
        assert (size, digest) == (path.stat().st_size, hashlib.sha1(path.read_bytes()).hexdigest())


def test_checksums_can_be_of_another_kind(sandbox: RunningSandbox, connect: Connect, source: Path) -> None:
    path = write_tiff(source / "a.tif")
    assert sandbox.omero("import", "--transfer=ln", "--skip", "checksum", path).code == 0
    with connect("alice") as alice:
        ((_, _, size, digest, hasher, *_),) = rows(alice, FILES, cp=client_path(path))
        assert (hasher, int(digest, 16)) == ("File-Size-64", size)


def test_names_that_windows_does_not_take_are_replaced_in_client_paths(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a:b*c?.tif")
    assert sandbox.omero("import", "--transfer=ln", path).code == 0
    with connect("alice") as alice:
        found = rows(alice, FILES, cp=client_path(source / "a;bxc%.tif"))
        assert len(found) == 1


def test_a_target_is_made_by_name_and_linked_to_its_project(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    target = "Project:name:Actin project/Dataset:name:made by import"
    for name in ("a.tif", "b.tif"):
        assert sandbox.omero("import", "--transfer=ln", "-T", target, write_tiff(source / name)).code == 0
    with connect("alice") as alice:
        found = rows(
            alice,
            "select p.name, count(il) from Dataset d join d.projectLinks l join l.parent p"
            " join d.imageLinks il where d.name = 'made by import' group by p.name",
        )
        assert found == [["Actin project", 2]]


def test_paths_come_from_standard_input_too(sandbox: RunningSandbox, source: Path) -> None:
    import subprocess

    path = write_tiff(source / "a.tif")
    done = subprocess.run(
        ["omero", "import", "-f", "-"],
        input=f"{path}\n",
        env=sandbox.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(path) in done.stdout.splitlines()


def test_the_service_account_imports_as_the_person(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    with connect("ferry") as ferry:
        principal = __import__("omero").sys.Principal(name="bob", group="Screens", eventType="User")
        key = ferry.c.sf.getSessionService().createSessionWithTimeouts(principal, 0, 600_000).uuid.val
        done = sandbox.omero(
            "import",
            "-s",
            "localhost",
            "-p",
            str(sandbox.ssl_port),
            "-k",
            key,
            "--transfer=ln",
            path,
            user=None,
        )
        assert done.code == 0, done.err
        found = rows(
            ferry,
            "select fs.details.owner.omeName, fs.details.group.name from FilesetEntry fe join fe.fileset fs"
            " where fe.clientPath = :cp",
            cp=client_path(path),
        )
        assert found == [["bob", "Screens"]]


def test_the_upload_job_is_finished_and_the_import_log_readable(
    sandbox: RunningSandbox, connect: Connect, source: Path
) -> None:
    path = write_tiff(source / "a.tif")
    sandbox.omero("import", "--transfer=ln", path)
    with connect("alice") as alice:
        fileset = rows(alice, FILES, cp=client_path(path))[0][6]
        jobs = rows(
            alice,
            "select j.class, s.value from FilesetJobLink l join l.child j join j.status s"
            " where l.parent.id = :id order by index(l)",
            id=fileset,
        )
        assert jobs[0] == ["UploadJob", "Finished"]
        assert {kind for kind, status in jobs if status != "Finished"} == {
            "MetadataImportJob",
            "PixelDataJob",
            "ThumbnailGenerationJob",
            "IndexingJob",
        }
        logs = alice.getMetadataService().loadLogFiles("omero.model.Fileset", [fileset])[fileset]
        store = alice.c.sf.createRawFileStore()
        store.setFileId(logs[0].id.val)
        assert b"METADATA_IMPORTED" in store.read(0, int(unwrap(logs[0].size)))
        store.close()


@pytest.mark.slow
def test_many_files_in_one_call_stay_quick_and_complete(sandbox: RunningSandbox, source: Path) -> None:
    for place in range(60):
        write_tiff(source / f"{place:03d}.tif")
    done = sandbox.omero("import", "--transfer=ln", source)
    assert done.code == 0
    assert len(done.out.splitlines()) == 60
