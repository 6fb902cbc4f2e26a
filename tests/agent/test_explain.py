"""What staff see before they roll a rule out: the groups, why, and what is suggested. Nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent import __main__ as program
from agent import explain
from agent.core.formats.known import KNOWN
from tests.agent.core.formats import makers


@pytest.fixture
def tree(share_top: Path) -> Path:
    for name, data in {
        "alice/Actin/img.vsi": makers.tiff(),
        "alice/Actin/_img_/stack1/frame_t_0.ets": b"pixels",
        "alice/Actin/run_t1.tif": makers.tiff(),
        "alice/Actin/run_t2.tif": makers.tiff(),
        "bob/Plates/p1/p1.HTD": b'"WellsSelection1", TRUE\n"NWavelengths", 1\n',
        "bob/Plates/p1/p1_A01_w1.TIF": makers.tiff(),
        "stray.nd2": makers.nd2(closed=False),
    }.items():
        path = share_top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return share_top


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = explain.main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


def test_it_says_what_belongs_together_and_why(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capsys, str(tree), "--template", "{user}/{project}/{acquisition}", "--items", "files"
    )
    assert status == 0
    for said in (
        "alice/Actin/img.vsi\n    group, Olympus/Evident VSI: 2 files",
        "takes: img.vsi, _img_",
        "alice/Actin/run_t*.tif",
        "suggests: user alice, project Actin, dataset run",
        "bob/Plates/p1\n    folder, MetaXpress (ImageXpress): 2 files",
        "suggests: user bob, screen Plates",
        "4 acquisitions",
    ):
        assert said in out, said
    assert "no chunk map yet" not in out, "nothing was opened"


def test_with_look_the_witness_speaks(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, str(tree), "--depth", "3", "--look")
    assert "waiting: stray.nd2 has no chunk map yet" in out
    assert "ok: p1.HTD asks for 1 images, 1 are there" in out


def test_a_rule_file_is_read_and_the_command_line_wins(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = tmp_path / "rule.toml"
    rule.write_text('[rule]\ndepth = 1\nformats = ["nd2"]\n[rule.workstations.Other]\ndepth = 2\n')
    _, out, _ = run(capsys, str(tree), "--rule", str(rule), "--json")
    found = {line["path"]: line for line in map(json.loads, out.splitlines())}
    assert set(found) == {"alice", "bob", "stray.nd2"}
    assert found["stray.nd2"]["item"]["format"] == "nd2"
    _, out, _ = run(capsys, str(tree), "--rule", str(rule), "--depth", "2", "--json")
    assert {json.loads(line)["path"] for line in out.splitlines()} == {
        "alice/Actin",
        "bob/Plates",
        "stray.nd2",
    }


def test_a_rule_as_the_bridge_lists_it_is_read(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = tmp_path / "rule.json"
    rule.write_text(json.dumps({"workstation": "x", "rule": {"depth": 2, "quiet_seconds": 60.0}}))
    _, out, _ = run(capsys, str(tree), "--rule", str(rule))
    assert "finished: after 60 s without a change" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [("dept = 1", "dept"), ("depth = 0", "depth"), ("depth = ", "rule.toml"), ('items = "x"', "items")],
)
def test_a_mistake_in_the_rule_is_one_clear_line(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "rule.toml").write_text(text)
    status, out, err = run(capsys, str(tree), "--rule", str(tmp_path / "rule.toml"))
    assert (status, out) == (2, "") and said in err and len(err.splitlines()) == 1


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, str(tmp_path / "none"))
    assert status == 1 and err


def test_the_agents_own_command_explains_too(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--explain", str(tree), "--depth", "2"]) == 0
    assert "acquisitions" in capsys.readouterr().out


def test_every_format_can_be_explained(tree: Path) -> None:
    assert all(rule.title and rule.source for rule in KNOWN)
