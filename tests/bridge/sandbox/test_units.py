"""Which files make which units: ``omero import -f`` and the readers behind it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from server_bridge.sandbox.faults import Faults
from server_bridge.sandbox.images.readers import read
from server_bridge.sandbox.images.unit import CorruptFileError, Unit, UnknownFormatError
from server_bridge.sandbox.importer.candidates import Scan, scan
from tests.bridge.conftest_sandbox import RunningSandbox
from tests.bridge.sandbox.conftest import write_companion, write_multi, write_plate, write_tiff


def look(path: Path, depth: int = 4) -> Scan:
    return scan([path], depth, Faults(path), lambda level, message: None)


def names(units: list[Unit]) -> list[list[str]]:
    return [[file.name for file in unit.files] for unit in units]


def test_plain_tiffs_are_units_of_their_own(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a_t1.tif")
    write_tiff(tmp_path / "a_t2.tif")
    assert names(look(tmp_path).units) == [["a_t1.tif"], ["a_t2.tif"]]


def test_a_companion_takes_the_files_it_names(tmp_path: Path) -> None:
    write_companion(tmp_path, 2)
    write_tiff(tmp_path / "alone.tif")
    assert names(look(tmp_path).units) == [
        ["stack.companion.ome", "plane_0.tif", "plane_1.tif"],
        ["alone.tif"],
    ]


def test_a_companion_may_name_files_of_other_directories(tmp_path: Path) -> None:
    companion = write_companion(tmp_path / "inside", 2)
    companion.write_text(companion.read_text().replace("plane_0.tif", "../outside/elsewhere.tif"))
    outside = write_tiff(tmp_path / "outside" / "elsewhere.tif", (16, 16))
    (tmp_path / "inside" / "plane_0.tif").unlink()
    (unit,) = look(tmp_path).units
    assert [file.resolve() for file in unit.files] == [
        companion,
        outside,
        tmp_path / "inside" / "plane_1.tif",
    ]


def test_a_companion_whose_files_are_all_gone_is_an_error(tmp_path: Path) -> None:
    companion = write_companion(tmp_path, 2)
    for path in tmp_path.glob("*.tif"):
        path.unlink()
    with pytest.raises(CorruptFileError):
        read(companion)
    assert look(tmp_path).errors == 1


def test_a_renamed_multi_image_file_stands_alone(tmp_path: Path) -> None:
    path = write_multi(tmp_path / "before.ome.tif", 2).rename(tmp_path / "after.ome.tif")
    unit = read(path)
    assert unit.files == (path,)
    assert len(unit.images) == 2


def test_a_plate_is_known_as_one(tmp_path: Path) -> None:
    unit = read(write_plate(tmp_path, 2, 2))
    assert unit.is_plate
    assert [(well.row, well.column, well.images) for well in unit.plates[0].wells] == [
        (0, 0, (0,)),
        (0, 1, (1,)),
        (1, 0, (2,)),
        (1, 1, (3,)),
    ]


def test_photographs_are_images_too(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    Image.new("L", (20, 10)).save(tmp_path / "b.jpg")
    found = look(tmp_path).units
    assert [(unit.format, unit.images[0].size_c) for unit in found] == [("PNG", 3), ("JPEG", 1)]


@pytest.mark.parametrize("name", ["notes.txt", "table.csv", "Thumbs.db", "settings.xml", "empty.tif"])
def test_other_files_are_unknown(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("" if name == "empty.tif" else "<settings/>")
    with pytest.raises(UnknownFormatError):
        read(path)
    found = look(tmp_path)
    assert (found.units, found.unknown, found.errors) == ([], 1, 0)


def test_a_truncated_tiff_is_corrupt(tmp_path: Path) -> None:
    whole = write_tiff(tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:40])
    found = look(tmp_path)
    assert (found.units, found.errors) == ([], 1)


def test_an_unreadable_file_is_passed_over(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif").chmod(0)
    found = look(tmp_path)
    assert (found.units, found.unknown, found.errors, found.seen) == ([], 0, 0, 1)


def test_an_unreadable_directory_is_passed_over(tmp_path: Path) -> None:
    write_tiff(tmp_path / "open" / "a.tif")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        assert names(look(tmp_path).units) == [["a.tif"]]
    finally:
        closed.chmod(0o700)


def test_hidden_files_and_deep_directories_are_not_looked_at(tmp_path: Path) -> None:
    write_tiff(tmp_path / ".hidden.tif")
    write_tiff(tmp_path / "1" / "2" / "3" / "seen.tif")
    write_tiff(tmp_path / "1" / "2" / "3" / "4" / "too deep.tif")
    assert names(look(tmp_path).units) == [["seen.tif"]]
    assert len(look(tmp_path, depth=5).units) == 2


def test_fake_plates_need_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "p&plates=1&plateRows=2&plateCols=3&fields=2.fake"
    path.touch()
    unit = read(path)
    assert len(unit.images) == 12
    assert len(unit.plates[0].wells) == 6


def test_the_command_shows_units_as_documented(sandbox: RunningSandbox, tmp_path: Path) -> None:
    companion = write_plate(tmp_path / "plate", 1, 2)
    single = write_tiff(tmp_path / "single.tif")
    done = sandbox.omero("import", "-f", tmp_path, user=None)
    assert done.code == 0
    assert done.out.splitlines() == [
        "#======================================",
        f"# Group: {single} SPW: false Reader: loci.formats.in.TiffDelegateReader",
        str(single),
        "#======================================",
        f"# Group: {companion} SPW: true Reader: loci.formats.in.OMETiffReader",
        str(companion),
        str(companion.parent / "well_0.tif"),
        str(companion.parent / "well_1.tif"),
    ]


def test_the_command_shows_units_as_yaml(sandbox: RunningSandbox, tmp_path: Path) -> None:
    single = write_tiff(tmp_path / "single.tif")
    done = sandbox.omero("import", "-f", "--output", "yaml", tmp_path, user=None)
    assert yaml.safe_load(done.out) == [
        {
            "group": str(single),
            "spw": False,
            "reader": "loci.formats.in.TiffDelegateReader",
            "files": [str(single)],
        }
    ]


def test_no_units_is_exit_code_125(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    done = sandbox.omero("import", "-f", tmp_path, user=None)
    assert (done.code, done.out) == (125, "")


def test_names_that_are_not_utf8_are_shown_as_they_are(sandbox: RunningSandbox, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "plain.tif").rename(tmp_path / "caf\udce9.tif")
    done = subprocess.run(
        ["omero", "import", "-f", str(tmp_path)], env=sandbox.env, capture_output=True, check=False
    )
    assert os.fsencode(path) in done.stdout.splitlines()
