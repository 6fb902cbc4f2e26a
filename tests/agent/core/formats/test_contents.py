"""Looking into a file: whatever is in it, there is an answer in words, and little is read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core import listing
from agent.core.errors import ShareAway
from agent.core.formats import contents, witness
from agent.core.formats.contents import CONTENTS, ChangedMeanwhile, Peek, Said, TooMuch, ndtiff_entries
from agent.core.formats.htd import expected_images
from agent.core.formats.known import KNOWN
from agent.core.formats.rules import CheckKind
from agent.core.witness import WitnessState
from server_bridge.contract import AcquisitionKind
from tests.agent.core.formats import makers

WHOLE: dict[CheckKind, list[bytes]] = {
    CheckKind.TIFF_CHAIN: [makers.tiff(3), makers.tiff(2, big=True)],
    CheckKind.CZI_HEADER: [makers.czi(), makers.czi(part=1)],
    CheckKind.ND2_TRAILER: [makers.nd2()],
    CheckKind.LIF_BLOCKS: [makers.lif(3), makers.lif(1, fill=900)],
    CheckKind.HDF5_END: [makers.hdf5(), makers.hdf5(version=2)],
}


def look(path: Path, data: bytes, judge: Callable[[Peek], Said]) -> Said:
    path.write_bytes(data)
    with Peek(path, path.name) as peek:
        return judge(peek)


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_whole_file_is_fine_and_every_beginning_of_it_is_not(kind: CheckKind, tmp_path: Path) -> None:
    for data in WHOLE[kind]:
        assert look(tmp_path / "f", data, CONTENTS[kind]).state is WitnessState.OK
        padding = len(data) - len(data.rstrip(b"\0"))  # what is cut off of a filling is not missed
        for length in range(0, len(data) - padding, max(1, len(data) // 97)):
            said = look(tmp_path / "f", data[:length], CONTENTS[kind])
            assert said.state is not WitnessState.OK, f"{length} of {len(data)}: {said.words}"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(CONTENTS)),
    st.integers(0, 1),
    st.integers(0, 5000),
    st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8)), max_size=4),
)
def test_damage_is_answered_and_raises_nothing(
    tmp_path: Path, kind: CheckKind, number: int, length: int, damage: list[tuple[int, bytes]]
) -> None:
    data = bytearray(WHOLE[kind][number % len(WHOLE[kind])])
    for at, piece in damage:
        data[at : at + len(piece)] = piece
    try:
        said = look(tmp_path / "f", bytes(data[:length]), CONTENTS[kind])
    except TooMuch:
        return  # the witness says that it is too large
    assert said.words


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 200))
def test_an_index_in_any_state_is_read_to_where_it_makes_sense(noise: bytes, cut: int) -> None:
    list(ndtiff_entries(noise))
    index = makers.ndtiff_index("a.tif=300", "b.tif=400")
    entries = list(ndtiff_entries(index[:cut]))
    assert all(entry is None or entry.file in ("a.tif", "b.tif") for entry in entries)
    assert [entry.end for entry in ndtiff_entries(index) if entry] == [300, 400]


def test_a_file_that_changes_while_it_is_looked_at_says_so(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)
    with pytest.raises(ChangedMeanwhile), Peek(path, "f") as peek:
        peek.at(0, 10)
        path.write_bytes(b"x" * 101)


def test_no_more_than_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_BYTES", 1000)
    path = tmp_path / "f"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(TooMuch), Peek(path, "f") as peek:
        for _ in range(20):
            peek.at(0, 100)


@pytest.mark.parametrize(
    ("name", "data", "state"),
    [("big.companion.ome", b"<OME>" + b" " * 5000 + b"</OME>", "unknown"), ("a.nd2", makers.nd2(), "ok")],
)
def test_what_is_too_large_is_unknown_and_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, state: str
) -> None:
    monkeypatch.setattr(contents, "MOST_BYTES", 4500)
    (tmp_path / name).write_bytes(data)
    said = witness.ask(tmp_path, name, AcquisitionKind.FILE, (), "", KNOWN)
    assert said.witnesses[0].state.value == state


@pytest.mark.skipif(sys.platform == "win32", reason="mode bits close nothing on Windows")
def test_a_file_that_may_not_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.nd2").write_bytes(makers.nd2())
    (tmp_path / "a.nd2").chmod(0)
    (said,) = witness.ask(tmp_path, "a.nd2", AcquisitionKind.FILE, (), "nd2", KNOWN).witnesses
    assert (said.state, said.words) == (WitnessState.UNKNOWN, "a.nd2 may not be read")


def test_an_error_of_the_share_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nd2").write_bytes(makers.nd2())

    def broken(self: Peek, offset: int, length: int) -> bytes:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(Peek, "at", broken)
    with pytest.raises(ShareAway):
        witness.ask(tmp_path, "a.nd2", AcquisitionKind.FILE, (), "nd2", KNOWN)


def test_what_is_gone_is_gone(tmp_path: Path) -> None:
    with pytest.raises(listing.Gone):
        witness.ask(tmp_path, "none.nd2", AcquisitionKind.FILE, (), "nd2", KNOWN)


@pytest.mark.parametrize(
    ("text", "z_folders", "images"),
    [
        ('"WellsSelection1", TRUE, FALSE\n"WellsSelection2", TRUE, TRUE\n', False, 3),
        ('"WellsSelection1", TRUE\n"Sites", FALSE\n"SiteSelection1", TRUE, TRUE\n', False, 1),
        ('"WellsSelection1", TRUE\n"Waves", TRUE\n"NWavelengths", 4\n"TimePoints", 10\n', False, 40),
        ('"WellsSelection1", TRUE\n"ZSteps", 7\n', False, 1),
        ('"WellsSelection1", TRUE\n"ZSteps", 7\n', True, 7),
        ('"WellsSelection1", FALSE\n', False, None),
        ("nothing of the kind", False, None),
        ('"WellsSelection1", TRUE\n"TimePoints", many\n', False, 1),
    ],
)
def test_the_htd_tells_how_many_images_there_will_be(text: str, z_folders: bool, images: int | None) -> None:
    assert expected_images(text, z_folders=z_folders) == images
