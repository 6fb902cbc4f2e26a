"""The real ``omero import`` through the bridge: how files group, and imports in place as a person."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from server_bridge.config import OmeroConfig
from server_bridge.contract import Target
from server_bridge.errors import NeedsAttention
from server_bridge.omero.connection import Session
from server_bridge.omero.directory import list_containers, resolve_target
from server_bridge.omero.import_failures import explain
from server_bridge.omero.importer import ImportRun, ImportStep, StepKind, run_import, scan_units
from server_bridge.omero.names import NS_ORDER
from server_bridge.omero.paths import client_path
from server_bridge.omero.receipts import filesets_by_client_path
from server_bridge.processes.runner import ProcessRunner
from server_bridge.sandbox.faults import set_fault
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.omero.conftest import AsPerson, config_for
from tests.bridge.sandbox.conftest import write_companion, write_multi, write_plate, write_tiff

RUNNER = ProcessRunner()
ORDER = "6f1f7c1e-3f0d-4c52-9d5e-000000000001"


def imported(
    config: OmeroConfig, session: Session, main: Path, target: str = "", **more: object
) -> ImportRun:
    if not target:
        target = next(
            f"Dataset:{item.id}" for item in list_containers(session, "dataset").items if item.may_add
        )
    return run_import(
        config,
        session.key,
        target,
        [main],
        ORDER,
        username=session.username,
        runner=RUNNER,
        **more,  # type: ignore[arg-type]
    )


def test_a_folder_is_grouped_as_bio_formats_groups_it(config: OmeroConfig, staging: Path) -> None:
    write_tiff(staging / "single.tif")
    write_multi(staging / "series.ome.tif")
    write_companion(staging / "stack")
    write_plate(staging / "plate")
    (staging / "notes.txt").write_text("not an image")
    units = {
        Path(unit.main).relative_to(staging).as_posix(): unit for unit in scan_units(config, staging, RUNNER)
    }
    assert set(units) == {
        "single.tif",
        "series.ome.tif",
        "stack/stack.companion.ome",
        "plate/plate.companion.ome",
    }
    assert len(units["stack/stack.companion.ome"].files) == 4
    assert [name for name, unit in units.items() if unit.spw] == ["plate/plate.companion.ome"]
    assert not any("notes.txt" in file for unit in units.values() for file in unit.files)


def test_one_file_is_a_unit_of_its_own(config: OmeroConfig, staging: Path) -> None:
    path = write_tiff(staging / "Zürich µm 50 %.tif")
    (unit,) = scan_units(config, path, RUNNER)
    assert (unit.main, unit.files) == (str(path), (str(path),))


def test_folders_deeper_than_bio_formats_looks_are_found(config: OmeroConfig, staging: Path) -> None:
    path = write_tiff(staging / "a/b/c/d/e/f/deep.tif")
    assert [unit.main for unit in scan_units(config, staging, RUNNER)] == [str(path)]


def test_nothing_to_import_is_an_empty_list(config: OmeroConfig, staging: Path) -> None:
    (staging / "notes.txt").write_text("nothing")
    assert scan_units(config, staging, RUNNER) == []


def test_a_file_that_a_reader_fails_at_is_named_with_what_it_said(
    sandbox: RunningSandbox, config: OmeroConfig, staging: Path
) -> None:
    whole, bad = write_tiff(staging / "whole.tif"), write_tiff(staging / "a: b.tif")
    (staging / "notes.txt").write_text("no reader takes it, which is no failure")
    set_fault(sandbox.data, "scan", "fail", match=bad.name)
    unread: dict[str, str] = {}
    assert [unit.main for unit in scan_units(config, staging, RUNNER, unread=unread)] == [str(whole)]
    assert unread == {str(bad): "sandbox fault at scan"}


def stand_in(tmp_path: Path, output: str, code: int = 0) -> str:
    """A program that answers a scan with this output."""
    answer = tmp_path / "answer"
    answer.write_text(output)
    program = tmp_path / "omero"
    program.write_text(f"#!/bin/sh\ncat '{answer}'\nexit {code}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (
            "# Group: {root}/a.companion.ome SPW: false Reader: x\n{root}/a.companion.ome\n{root}/../b.tif\n",
            "unit_leaves_acquisition",
        ),
        ("# Group: {root}-other/a.tif SPW: false Reader: x\n", "unit_leaves_acquisition"),
        (
            "# Group: {root}/a SPW: false Reader: x\n{root}/a\n{root}/c\n"
            "# Group: {root}/b SPW: false Reader: x\n{root}/b\n{root}/c\n",
            "units_overlap",
        ),
    ],
)
def test_units_that_are_not_the_acquisitions_own_are_refused(
    sandbox: RunningSandbox, staging: Path, tmp_path: Path, output: str, code: str
) -> None:
    config = config_for(sandbox, omero_cli=stand_in(tmp_path, output.format(root=staging)))
    with pytest.raises(NeedsAttention) as refused:
        scan_units(config, staging, RUNNER)
    assert refused.value.code == code


def test_a_scan_that_fails_is_not_an_empty_acquisition(
    sandbox: RunningSandbox, staging: Path, tmp_path: Path
) -> None:
    with pytest.raises(NeedsAttention) as failed:
        scan_units(config_for(sandbox, omero_cli=stand_in(tmp_path, "", 1)), staging, RUNNER)
    assert failed.value.code == "scan_failed"


def test_an_import_links_reports_its_steps_and_names_the_order(
    config: OmeroConfig, alice: Session, service: Session, staging: Path
) -> None:
    path = write_tiff(staging / "cell.tif")
    steps: list[ImportStep] = []
    run = imported(config, alice, path, on_step=steps.append, output_path=staging.parent / "one.log")
    assert (run.returncode, run.ended, run.last_error) == (0, "exited", "")
    assert len(run.filesets) == len(run.images) == 1
    assert [step.step for step in steps if step.step] == [1, 2, 3, 4, 5]
    assert steps[-1].kind is StepKind.DONE
    assert run.log_file_id is not None
    (found,) = filesets_by_client_path(service, [client_path(str(path))])[client_path(str(path))]
    assert (found.fileset_id, found.image_ids) == (run.filesets[0], run.images)
    assert path.stat().st_nlink == 2
    notes = service.rows(
        "select l.child.id from ImageAnnotationLink l where l.parent.id = :id", {"id": run.images[0]}
    )
    texts = service.rows(
        "select a.textValue from CommentAnnotation a where a.ns = :ns and a.id in (:ids)",
        {"ns": NS_ORDER, "ids": [int(row[0]) for row in notes]},
    )
    assert texts == [(ORDER,)]


def test_a_plate_goes_into_a_screen(config: OmeroConfig, as_person: AsPerson, staging: Path) -> None:
    companion = write_plate(staging / "plate")
    with as_person("bob", "Screens") as bob:
        target = resolve_target(
            bob, Target.model_validate({"group_id": bob.group_id, "kind": "screen", "container_name": "S1"})
        )
        run = imported(config, bob, companion, target.specification)
        assert (run.returncode, len(run.plates)) == (0, 1)
        assert bob.rows(
            "select l.child.id from ScreenPlateLink l where l.parent.id = :id", {"id": target.container_id}
        ) == [(run.plates[0],)]


def test_several_images_of_one_file_are_one_fileset(
    config: OmeroConfig, alice: Session, staging: Path
) -> None:
    run = imported(config, alice, write_multi(staging / "series.ome.tif", 3))
    assert (len(run.filesets), len(run.images)) == (1, 3)


def test_a_companion_set_is_linked_whole(config: OmeroConfig, alice: Session, staging: Path) -> None:
    run = imported(config, alice, write_companion(staging / "stack"))
    assert (run.returncode, len(run.images)) == (0, 1)
    assert all(path.stat().st_nlink == 2 for path in (staging / "stack").iterdir())


def test_a_target_that_is_not_there_is_told_in_words(
    config: OmeroConfig, alice: Session, staging: Path
) -> None:
    run = imported(config, alice, write_tiff(staging / "lost.tif"), "Dataset:999999")
    assert run.returncode == 2
    assert not run.filesets
    assert explain(run.returncode, run.ended, run.last_error, run.output).code == "target_gone"


def test_another_persons_dataset_is_refused_in_words(
    config: OmeroConfig, alice: Session, staging: Path
) -> None:
    bobs = next(i.id for i in list_containers(alice, "dataset").items if i.name == "time lapse")
    run = imported(config, alice, write_tiff(staging / "not-there.tif"), f"Dataset:{bobs}")
    assert run.returncode != 0
    assert isinstance(explain(run.returncode, run.ended, run.last_error, run.output), NeedsAttention)


def test_an_ended_session_is_told_in_words(config: OmeroConfig, as_person: AsPerson, staging: Path) -> None:
    path = write_tiff(staging / "late.tif")
    with as_person("alice") as session:
        key = session.key
    run = run_import(config, key, "Dataset:1", [path], ORDER, username="alice", runner=RUNNER)
    assert run.returncode != 0
    assert key not in run.output + run.last_error
    assert explain(run.returncode, run.ended, run.last_error, run.output).code == "omero_session_lost"


def test_no_argument_of_ours_holds_the_session_key_and_no_file_keeps_it(
    config: OmeroConfig, alice: Session, staging: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started: list[list[str]] = []

    class Watched(ProcessRunner):
        def run(self, argv, **rest):  # type: ignore[no-untyped-def, override]
            started.append(list(argv))
            return super().run(argv, **rest)

    log = staging.parent / "kept.log"
    run_import(
        config,
        alice.key,
        "Dataset:1",
        [write_tiff(staging / "secret.tif")],
        ORDER,
        username="alice",
        runner=Watched(),
        output_path=log,
    )
    assert not any(alice.key in word for argv in started for word in argv)
    assert alice.key not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_import_leaves_no_process_and_says_so(
    config: OmeroConfig, sandbox: RunningSandbox, alice: Session, staging: Path
) -> None:
    path = write_tiff(staging / "stopped-here.tif")
    set_fault(sandbox.data, "link", "delay:60", match="stopped-here")
    stop = threading.Event()

    def on_step(step: ImportStep) -> None:
        if step.kind is StepKind.LINKING:
            stop.set()

    run = imported(config, alice, path, on_step=on_step, stop_event=stop)
    assert run.ended == "stopped"
    assert explain(run.returncode, run.ended, run.last_error, run.output).code == "import_stopped"
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(path) not in listing


def test_output_is_bounded(config: OmeroConfig, alice: Session, staging: Path) -> None:
    log = staging.parent / "bounded.log"
    run = imported(config, alice, write_tiff(staging / "noisy.tif"), output_path=log)
    assert run.returncode == 0
    assert 0 < log.stat().st_size < 4 << 20
    assert os.access(log, os.R_OK)


def test_output_that_has_no_room_ends_no_import(config: OmeroConfig, alice: Session, staging: Path) -> None:
    run = imported(config, alice, write_tiff(staging / "full.tif"), output_path=Path("/dev/full"))
    assert (run.returncode, len(run.filesets)) == (0, 1), run.output
