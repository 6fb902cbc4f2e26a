"""What the importer says, read from outputs kept in ``recorded/``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.omero.importer_output import (
    ImportResult,
    ImportStep,
    RunLog,
    ScannedUnit,
    StepKind,
    parse_error,
    parse_groups,
    parse_log_line,
    parse_result_yaml,
    reports_refusal,
)

RECORDED = Path(__file__).parent / "recorded"


def test_groups_are_read_whatever_their_files_are_called() -> None:
    plate, single = parse_groups((RECORDED / "groups.txt").read_text("utf-8"))
    assert plate == ScannedUnit(
        main="/staging/conf/42/plate 7/Experiment.exp",
        files=(
            "/staging/conf/42/plate 7/Experiment.exp",
            "/staging/conf/42/plate 7/Well D11/DsRed - Confocal - n000000.tif",
            "/staging/conf/42/plate 7/Well D11/# odd SPW: true name: x.tif",
        ),
        spw=True,
        reader="loci.formats.in.BDReader",
    )
    assert single.main == "/staging/conf/42/Zürich µ SPW: false Reader: x.lif"
    assert (single.files, single.spw) == ((single.main,), False)


def test_no_groups_are_read_from_nothing() -> None:
    assert parse_groups("") == []
    assert parse_groups("/a/file/without/a/heading.tif\n") == []


# What the mover's path rules let through: no control characters, and no line or paragraph separator trouble.
NAME = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=15).filter(
    lambda name: "/" not in name
)


@given(st.lists(st.lists(NAME, min_size=1, max_size=4, unique=True), max_size=5))
def test_every_group_and_every_file_comes_back(units: list[list[str]]) -> None:
    text = ""
    for files in units:
        text += f"#====\n# Group: /s/{files[0]} SPW: false Reader: loci.formats.in.TiffReader\n"
        text += "".join(f"/s/{name}\n" for name in files)
    assert [unit.files for unit in parse_groups(text)] == [
        tuple(f"/s/{name}" for name in files) for files in units
    ]


def test_results_of_several_filesets_are_added_up() -> None:
    assert parse_result_yaml((RECORDED / "result.yaml").read_text()) == ImportResult(
        filesets=(4102, 4103), images=(5001, 5002, 5003), plates=(12,)
    )


@pytest.mark.parametrize("text", ["", "---\n", "Image:12\n- Fileset: x\n", "Fileset: 12 files\n"])
def test_no_result_is_read_into_other_text(text: str) -> None:
    assert parse_result_yaml(text).filesets == ()


def test_the_steps_of_an_import_in_their_order() -> None:
    steps = [parse_log_line(line) for line in (RECORDED / "import.log").read_text().splitlines()]
    found = [step for step in steps if step is not None]
    assert [step.kind for step in found] == [
        StepKind.PREPARING,
        StepKind.LINKING,
        StepKind.LINKING,
        StepKind.FILE_LINKED,
        StepKind.LINKED,
        *[StepKind.IMPORTING] * 6,
        StepKind.DONE,
    ]
    assert [step.step for step in found if step.step] == [1, 2, 3, 4, 5]
    assert {step.log_file_id for step in found} == {None, 24605}
    assert found[-1] == ImportStep(StepKind.DONE, "IMPORT_DONE", path="/staging/a.fake")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "2026-11-23 15:58:57,700 18 [main] ERROR  ome.formats.ImportLibrary - Error on import: no",
            "Error on import: no",
        ),
        ("… ERROR x - INTERNAL_EXCEPTION: /staging/a.tif", "INTERNAL_EXCEPTION: /staging/a.tif"),
        ("INTERNAL_EXCEPTION: /staging/a.tif", "/staging/a.tif"),
        ("2026-11-23 15:58:57,700 18 [main] INFO  x.y - no ERROR here", None),
    ],
)
def test_errors_are_told_from_other_lines(line: str, text: str | None) -> None:
    assert parse_error(line) == text


@given(st.text())
def test_no_line_upsets_the_parsers(line: str) -> None:
    parse_log_line(line)
    parse_error(line)
    parse_result_yaml(line)
    parse_groups(line)


# --- whose line is whose, in a run over several units -------------------------------------------------

MONITOR = "2026-11-23 15:58:57,010 1137 [2-thread-1] INFO   s.importer.cli.LoggingImportMonitor - "
LIBRARY = "2026-11-23 15:58:57,010 1137 [2-thread-1] ERROR  ome.formats.importer.ImportLibrary - "


def read(log: RunLog, *lines: str) -> RunLog:
    for line in lines:
        log.take(line, parse_log_line(line))
    return log


def brought(path: str) -> list[str]:
    return [
        f"{MONITOR}FILESET_UPLOAD_PREPARATION",
        f"{MONITOR}FILE_UPLOAD_STARTED: {path}",
        f"{MONITOR}METADATA_IMPORTED Step: 1 of 5  Logfile: 24605",
        f"{MONITOR}IMPORT_DONE Imported file: {path}",
    ]


def broke_off(path: str, why: str) -> list[str]:
    return [
        f"{MONITOR}FILESET_UPLOAD_PREPARATION",
        f"{MONITOR}FILE_UPLOAD_STARTED: {path}",
        f"{LIBRARY}{why}",
        "java.lang.RuntimeException: what it means",
        "\tat ome.formats.importer.ImportLibrary.importImage(ImportLibrary.java:500)",
        "2026-11-23 15:58:57,010 1137 [main] INFO  o.f.importer.ImportLibrary - Continuing after error",
    ]


def refused(path: str) -> list[str]:
    return [
        *broke_off(path, "x")[:2],
        f"{LIBRARY}INTERNAL_EXCEPTION: {path}",
        "java.lang.RuntimeException: Failure response on import!",
        "Category: ::omero::grid::ImportRequest",
        "Name: import-unknown-format",
        *broke_off(path, "Error on import")[2:],
    ]


def test_each_unit_of_a_run_has_its_own_story() -> None:
    log = RunLog({"/s/a": "/s/a", "/s/b": "/s/b", "/s/b2": "/s/b", "/s/c": "/s/c", "/s/d": "/s/d"})
    read(log, *brought("/s/a"), *broke_off("/s/b2", "Error on import: no"), *refused("/s/c"))
    assert (log.units["/s/a"].done, log.units["/s/a"].failed) == (True, False)
    assert (log.units["/s/b"].failed, log.units["/s/b"].refused) == (True, False)
    assert log.units["/s/b"].last_error == "Error on import: no"
    assert log.units["/s/b"].lines == [
        f"{LIBRARY}Error on import: no",
        "java.lang.RuntimeException: what it means",
    ]
    assert log.units["/s/c"].refused
    assert "Name: import-unknown-format" in log.units["/s/c"].text
    assert (log.units["/s/d"].failed, log.units["/s/d"].done) == (False, False)
    assert log.done_count == 1


def test_an_error_before_a_unit_is_named_is_nobodys() -> None:
    log = RunLog({"/s/a": "/s/a", "/s/b": "/s/b"})
    read(log, *brought("/s/a"), f"{MONITOR}FILESET_UPLOAD_PREPARATION", f"{LIBRARY}Cannot link to target")
    assert not any(unit.last_error for unit in log.units.values())


def test_failures_in_a_row_are_counted_until_one_comes_through() -> None:
    log = RunLog({f"/s/{name}": f"/s/{name}" for name in "abc"})
    read(log, *broke_off("/s/a", "no"), *broke_off("/s/b", "no"))
    assert log.failures_in_a_row == 2
    read(log, *brought("/s/c"))
    assert log.failures_in_a_row == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{LIBRARY}INTERNAL_EXCEPTION: /s/a.tif", True),
        ("java.lang.RuntimeException: Failure response on import!", True),
        (f"{LIBRARY}Error on import: Failure response on import!", True),
        ("Name: import-request-failure", True),
        (
            f"{LIBRARY}Error on import: x.RejectedExecutionException: Failed to execute y after 3600000ms",
            True,
        ),
        # Files may be called anything.
        (f"{MONITOR}FILE_UPLOAD_STARTED: /s/import-INTERNAL_EXCEPTION: a.tif", False),
        (f"{MONITOR}FILE_UPLOAD_STARTED: /s/Failure response on import!.tif", False),
        (f"{LIBRARY}Error on import: Ice.ConnectionLostException", False),
    ],
)
def test_only_omeros_own_report_is_a_refusal(line: str, says: bool) -> None:
    assert reports_refusal(line) is says


@given(st.lists(st.text(), max_size=20))
def test_no_line_upsets_the_log_of_a_run(lines: list[str]) -> None:
    read(RunLog({"/s/a": "/s/a"}), *lines)
