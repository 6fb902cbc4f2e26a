"""What a path means: one function takes it apart, and what it yields is only a suggestion."""

from __future__ import annotations

import pytest

from agent.core import template
from agent.core.template import TargetSuggestion
from server_bridge.contract import AcquisitionRule, TargetKind


@pytest.mark.parametrize(
    ("text", "path", "fields"),
    [
        (
            "{user}/{project}/{acquisition}",
            "alice/Actin/run 1",
            {"user": "alice", "project": "Actin", "acquisition": "run 1"},
        ),
        ("{user}/{acquisition}", "alice/img.vsi", {"user": "alice", "acquisition": "img.vsi"}),
        (
            "{date}_{user}/{acquisition}",
            "2024-05-01_alice_m/run",
            {"date": "2024-05-01", "user": "alice_m", "acquisition": "run"},
        ),
        ("data/{user}/{acquisition}", "Data/bob/x", {"user": "bob", "acquisition": "x"}),
        ("{user}_data/{acquisition}", "somebody else/x", {"acquisition": "x"}),
        ("{user}/{any}/{acquisition}", "bob/whatever/x", {"user": "bob", "acquisition": "x"}),
        # A stray file lies less deep; with items = "files" others lie deeper.
        ("{user}/{project}/{acquisition}", "alice/stray.czi", {"user": "alice", "acquisition": "stray.czi"}),
        ("{user}/{acquisition}", "alice/monday/deep/x.nd2", {"user": "alice", "acquisition": "x.nd2"}),
        ("{group}/{dataset}", "lab/x", {"group": "lab", "dataset": "x", "acquisition": "x"}),
        ("", "alice/x", {}),
    ],
)
def test_a_path_is_taken_apart(text: str, path: str, fields: dict[str, str]) -> None:
    assert template.parse(text, path) == fields


def test_a_template_implies_the_depth() -> None:
    assert AcquisitionRule(template="{user}/{project}/{acquisition}", depth=1).levels == 3
    assert AcquisitionRule(template="/{user}/{acquisition}/").levels == 2
    assert AcquisitionRule(depth=4).levels == 4


def test_folders_suggest_project_and_dataset() -> None:
    fields = template.parse("{user}/{project}/{acquisition}", "alice/Actin/exp1_t*.tif")
    assert template.suggest(fields, is_plate=False) == TargetSuggestion(
        person="alice", project_name="Actin", container_name="exp1"
    )


def test_a_plate_suggests_a_screen_and_no_project() -> None:
    fields = template.parse("{user}/{project}/{acquisition}", "alice/Kinases/plate 1")
    assert template.suggest(fields, is_plate=True) == TargetSuggestion(
        person="alice", kind=TargetKind.SCREEN, container_name="Kinases"
    )
    assert template.suggest({}, is_plate=True) == TargetSuggestion(kind=TargetKind.SCREEN)
    assert template.suggest({}, is_plate=False) is None


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("img.vsi", "img"),
        ("exp.companion.ome", "exp"),
        ("a.ome.tif", "a"),
        ("exp1_t*.tif", "exp1"),
        ("run_z*_t*.ome.tif", "run"),
        ("x.ome.zarr", "x"),
        ("run 1", "run 1"),
        ("spool*.tif", "spool"),
        ("*.tif", "*"),
    ],
)
def test_a_dataset_is_named_like_the_acquisition(name: str, title: str) -> None:
    assert template.title_of(name) == title
