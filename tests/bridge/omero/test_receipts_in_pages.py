"""A fileset of very many files is read in pages, and none of them is lost between two."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from server_bridge.omero import receipts
from tests.benchmarks.stand_in import StandIn


@pytest.mark.parametrize("files", [1, 3, 4, 7])
def test_every_file_of_a_fileset_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    monkeypatch.setattr(receipts, "FILES_AT_ONCE", 2)
    staged = []
    for number in range(files):
        path = tmp_path / f"plane{number}.tif"
        path.touch()
        staged.append((path, f"{number:040x}"))
    omero = StandIn(tmp_path / "managed", "alice")
    omero.import_unit(1, staged[:1])
    omero.import_unit(2, staged)
    found = receipts.filesets_by_id(cast(Any, omero), [1, 2])
    assert [one.name for one in found[1].files] == ["plane0.tif"]
    assert [one.name for one in found[2].files] == [path.name for path, _ in staged]
    assert [one.sha1 for one in found[2].files] == [sha1 for _, sha1 in staged]
    assert found[2].files[0].managed_abs_path.samefile(staged[0][0])
