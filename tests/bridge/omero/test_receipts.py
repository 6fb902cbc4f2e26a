"""What OMERO holds of our files before, after and in the middle of an import; the one thing we delete."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.config import OmeroConfig
from server_bridge.errors import FerryError, NeedsAttention
from server_bridge.omero.connection import Omero, Session
from server_bridge.omero.directory import list_containers
from server_bridge.omero.importer import ImportRun, run_import
from server_bridge.omero.paths import client_path
from server_bridge.omero.receipts import (
    FileProof,
    FilesetInfo,
    ManagedFile,
    debris_objection,
    filesets_by_client_path,
    filesets_by_id,
    prove_file,
    remove_debris,
)
from server_bridge.processes.runner import ProcessRunner
from server_bridge.sandbox.faults import set_fault
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.omero.conftest import AsPerson
from tests.bridge.sandbox.conftest import write_companion, write_multi, write_plate, write_tiff

RUNNER = ProcessRunner()


@dataclass
class Lock:
    """A held run lock; -1 is a released one."""

    fd: int = 5


def bring(config: OmeroConfig, session: Session, main: Path) -> ImportRun:
    place = next(item for item in list_containers(session, "dataset").items if item.may_add)
    return run_import(
        config,
        session.key,
        f"Dataset:{place.id}",
        [main],
        "order-receipts",
        username=session.username,
        runner=RUNNER,
    )


def the_only(session: Session, path: Path) -> FilesetInfo:
    stored = client_path(str(path))
    (found,) = filesets_by_client_path(session, [stored])[stored]
    return found


def test_before_an_import_nothing_is_there(service: Session, staging: Path) -> None:
    paths = [client_path(str(staging / name)) for name in ("a.tif", "b.tif")]
    assert filesets_by_client_path(service, paths) == dict.fromkeys(paths, ())


def test_no_path_is_no_question(service: Session) -> None:
    assert filesets_by_client_path(service, []) == {}
    assert filesets_by_id(service, []) == {}


def test_after_an_import_every_fact_is_there(
    config: OmeroConfig, alice: Session, service: Session, sandbox: RunningSandbox, staging: Path
) -> None:
    path = write_tiff(staging / "a: strange* näme?.tif")
    run = bring(config, alice, path)
    found = the_only(service, path)
    assert (found.fileset_id, found.image_ids, found.plate_ids) == (run.filesets[0], run.images, ())
    assert (found.upload_finished, found.complete, found.owner) == (True, True, "alice")
    assert found.group_id == alice.group_id
    (file,) = found.files
    assert (file.size, file.hasher) == (path.stat().st_size, "SHA1-160")
    assert file.sha1 == hashlib.sha1(path.read_bytes()).hexdigest()
    assert sandbox.managed is not None
    assert file.managed_abs_path.is_relative_to(sandbox.managed)
    proof = prove_file(
        path, file.managed_abs_path, path.stat().st_size, int(path.stat().st_mtime), file.sha1, file
    )
    assert isinstance(proof, FileProof)


def test_the_person_sees_of_her_own_filesets_what_the_service_sees(
    config: OmeroConfig, alice: Session, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "mine.tif")
    bring(config, alice, path)
    assert the_only(alice, path) == the_only(service, path)


def test_a_private_group_is_seen_by_the_service_too(
    config: OmeroConfig, as_person: AsPerson, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "private.tif")
    with as_person("alice", "Platform") as alice:
        bring(config, alice, path)
    assert the_only(service, path).complete
    with as_person("bob") as bob:
        stored = client_path(str(path))
        assert filesets_by_client_path(bob, [stored]) == {stored: ()}


def test_every_file_of_a_set_leads_to_its_fileset(
    config: OmeroConfig, alice: Session, service: Session, staging: Path
) -> None:
    bring(config, alice, write_companion(staging / "stack"))
    paths = sorted((staging / "stack").iterdir())
    found = filesets_by_client_path(service, [client_path(str(path)) for path in paths])
    assert len(found) == 4
    assert len({one[0].fileset_id for one in found.values()}) == 1
    fileset = next(iter(found.values()))[0]
    assert {file.client_path for file in fileset.files} == set(found)
    assert (len(fileset.files), fileset.image_count) == (4, 1)


def test_images_and_plates_are_counted(
    config: OmeroConfig, as_person: AsPerson, service: Session, staging: Path
) -> None:
    with as_person("bob", "Screens") as bob:
        series, plate = write_multi(staging / "s.ome.tif", 3), write_plate(staging / "plate")
        bring(config, bob, series)
        screen = list_containers(bob, "screen").items[0]
        run = run_import(config, bob.key, f"Screen:{screen.id}", [plate], "o", username="bob", runner=RUNNER)
    assert the_only(service, series).image_count == 3
    found = the_only(service, plate)
    assert (found.image_count, found.plate_ids) == (4, run.plates)


def test_a_site_may_say_where_it_sees_the_repository(
    config: OmeroConfig, alice: Session, staging: Path, tmp_path: Path
) -> None:
    path = write_tiff(staging / "elsewhere.tif")
    bring(config, alice, path)
    moved = Omero(config.model_copy(update={"managed_repository": tmp_path}))
    with moved.service() as session:
        assert the_only(session, path).files[0].managed_abs_path.is_relative_to(tmp_path)


def test_an_import_twice_is_seen_as_two_filesets_oldest_first(
    config: OmeroConfig, alice: Session, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "twice.tif")
    first, second = bring(config, alice, path), bring(config, alice, path)
    stored = client_path(str(path))
    found = filesets_by_client_path(service, [stored])[stored]
    assert [one.fileset_id for one in found] == [*first.filesets, *second.filesets]


UNFINISHED = ("check36", "link", "checkTarget", "hash", "verifyUpload")
FINISHED = ("step1",)


@pytest.mark.parametrize("point", [*UNFINISHED, *FINISHED])
def test_a_failed_import_leaves_a_fileset_without_images_that_tells_how_far_it_came(
    config: OmeroConfig,
    sandbox: RunningSandbox,
    alice: Session,
    service: Session,
    staging: Path,
    point: str,
) -> None:
    path = write_tiff(staging / f"fails-at-{point}.tif")
    set_fault(sandbox.data, point, "fail", match=f"fails-at-{point}")
    run = bring(config, alice, path)
    assert run.returncode != 0
    found = the_only(service, path)
    assert not found.complete
    assert found.upload_finished is (point in FINISHED)


def test_debris_goes_and_the_staged_file_stays_and_can_be_imported(
    config: OmeroConfig, sandbox: RunningSandbox, alice: Session, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "debris-here.tif")
    content = path.read_bytes()
    set_fault(sandbox.data, "verifyUpload", "fail", match="debris-here")
    bring(config, alice, path)
    left = the_only(service, path)
    assert path.stat().st_nlink == 2
    removed = remove_debris(alice, [left.fileset_id], [client_path(str(path))], Lock())
    assert [one.fileset_id for one in removed] == [left.fileset_id]
    assert filesets_by_id(service, [left.fileset_id]) == {}
    assert path.read_bytes() == content
    assert path.stat().st_nlink == 1
    assert remove_debris(alice, [left.fileset_id], [client_path(str(path))], Lock()) == []
    bring(config, alice, path)
    assert the_only(service, path).complete


def test_an_import_that_came_through_is_never_removed(
    config: OmeroConfig, alice: Session, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "whole.tif")
    bring(config, alice, path)
    with pytest.raises(NeedsAttention) as refused:
        remove_debris(alice, [the_only(service, path).fileset_id], [client_path(str(path))], Lock())
    assert refused.value.code == "not_debris"
    assert the_only(service, path).complete


def test_an_import_that_the_server_still_works_on_is_not_removed(
    config: OmeroConfig, sandbox: RunningSandbox, alice: Session, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "finished-upload.tif")
    set_fault(sandbox.data, "step1", "fail", match="finished-upload")
    bring(config, alice, path)
    with pytest.raises(NeedsAttention) as refused:
        remove_debris(alice, [the_only(service, path).fileset_id], [client_path(str(path))], Lock())
    assert "upload is finished" in refused.value.detail


def test_the_service_account_may_not_delete(
    config: OmeroConfig, sandbox: RunningSandbox, alice: Session, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "not-the-service.tif")
    set_fault(sandbox.data, "verifyUpload", "fail", match="not-the-service")
    bring(config, alice, path)
    left = the_only(service, path)
    with pytest.raises(NeedsAttention):
        remove_debris(service, [left.fileset_id], [client_path(str(path))], Lock())
    with pytest.raises(FerryError):
        service.delete("Fileset", left.fileset_id, left.group_id, doing="trying")
    assert filesets_by_id(service, [left.fileset_id])


FILE = ManagedFile(1, "a/", "x", 1, "", "", "s/", "x", "/m")
DEBRIS = FilesetInfo(1, False, (), (), 3, "alice", (FILE,))
OURS = frozenset({"s/x", "s/y"})


def test_debris_is_removed_when_all_conditions_hold() -> None:
    assert debris_objection(DEBRIS, OURS, "alice", importer_gone=True) == ""


@pytest.mark.parametrize(
    ("fileset", "ours", "user", "gone"),
    [
        (DEBRIS, OURS, "alice", False),
        (replace(DEBRIS, image_ids=(1,)), OURS, "alice", True),
        (replace(DEBRIS, plate_ids=(1,)), OURS, "alice", True),
        (replace(DEBRIS, upload_finished=True), OURS, "alice", True),
        (replace(DEBRIS, upload_finished=None), OURS, "alice", True),
        (DEBRIS, OURS, "bob", True),
        (replace(DEBRIS, files=()), OURS, "alice", True),
        (DEBRIS, frozenset({"s/y"}), "alice", True),
        (replace(DEBRIS, files=(FILE, replace(FILE, client_name="z"))), OURS, "alice", True),
        (DEBRIS, frozenset(), "alice", True),
    ],
)
def test_one_condition_less_and_it_stays(
    fileset: FilesetInfo, ours: frozenset[str], user: str, gone: bool
) -> None:
    assert debris_objection(fileset, ours, user, importer_gone=gone)


@given(
    images=st.lists(st.integers(), max_size=1),
    finished=st.sampled_from([True, False, None]),
    paths=st.lists(st.sampled_from(["s/x", "s/y", "s/z"]), max_size=3),
    gone=st.booleans(),
)
def test_nothing_with_images_or_a_finished_upload_is_ever_removed(
    images: list[int], finished: bool | None, paths: list[str], gone: bool
) -> None:
    fileset = replace(
        DEBRIS,
        image_ids=tuple(images),
        upload_finished=finished,
        files=tuple(replace(FILE, client_name=path[2:]) for path in paths),
    )
    removed = not debris_objection(fileset, OURS, "alice", importer_gone=gone)
    assert removed == (not images and finished is False and gone and bool(paths) and set(paths) <= OURS)


def test_a_released_lock_is_no_lock(
    config: OmeroConfig, sandbox: RunningSandbox, alice: Session, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "unlocked.tif")
    set_fault(sandbox.data, "verifyUpload", "fail", match="unlocked")
    bring(config, alice, path)
    with pytest.raises(NeedsAttention):
        remove_debris(alice, [the_only(service, path).fileset_id], [client_path(str(path))], Lock(-1))
