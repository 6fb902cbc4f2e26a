"""When is a unit imported? The decision that makes "once" true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_bridge.errors import NeedsAttention
from server_bridge.omero.receipts import FilesetInfo, ManagedFile, split_client_path
from server_bridge.pipeline.unit_rules import UnitAction, UnitDecision, decide

FILE = "s/conf/order/a.tif"


def fileset(
    number: int,
    *,
    images: int = 0,
    finished: bool | None = True,
    owner: str = "alice",
    group: int = 3,
    files: tuple[str, ...] = (FILE,),
) -> FilesetInfo:
    held = tuple(ManagedFile(7, "a/", "x", 1, "", "", *split_client_path(path), "/m") for path in files)
    return FilesetInfo(number, finished, tuple(range(images)), (), group, owner, held)


def ask(*filesets: FilesetInfo, failed: int | None = None, files: tuple[str, ...] = (FILE,)) -> UnitDecision:
    return decide(filesets, files=files, person="alice", group_id=3, failed_fileset_id=failed)


def test_nothing_there_is_imported() -> None:
    assert ask().action is UnitAction.IMPORT


def test_a_complete_fileset_is_adopted_beside_any_debris() -> None:
    found = ask(fileset(1, finished=False), fileset(2, images=2))
    assert (found.action, found.fileset and found.fileset.fileset_id) == (UnitAction.ADOPT, 2)


def test_a_finished_upload_belongs_to_the_server() -> None:
    assert ask(fileset(1)).action is UnitAction.WAIT
    assert ask(fileset(1, finished=None)).action is UnitAction.WAIT


def test_an_unfinished_upload_is_debris() -> None:
    assert ask(fileset(1, finished=False)).action is UnitAction.REMOVE


def test_a_fileset_that_omero_said_it_cannot_import_is_not_waited_for() -> None:
    assert ask(fileset(1), failed=1).action is UnitAction.IMPORT
    assert ask(fileset(1), fileset(2), failed=1).action is UnitAction.WAIT


def test_what_failed_before_the_last_failure_is_not_waited_for_either() -> None:
    assert ask(fileset(1), fileset(2), failed=2).action is UnitAction.IMPORT
    assert ask(fileset(1), fileset(2), fileset(3, finished=False), failed=2).action is UnitAction.REMOVE


@pytest.mark.parametrize(
    ("filesets", "code"),
    [
        ([fileset(1, images=1), fileset(2, images=1)], "imported_twice"),
        ([fileset(1, images=1, owner="bob")], "imported_elsewhere"),
        ([fileset(1, images=1, group=4)], "imported_elsewhere"),
    ],
)
def test_what_only_a_person_can_judge_is_not_touched(filesets: list[FilesetInfo], code: str) -> None:
    with pytest.raises(NeedsAttention) as caught:
        ask(*filesets)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("ordered", "word"),
    [
        ((FILE, "s/conf/order/b.tif"), "missing in OMERO"),
        (("s/conf/order/b.tif",), "more than ordered"),
        ((FILE, FILE), "missing in OMERO"),
    ],
)
def test_a_set_that_came_out_otherwise_is_never_adopted(ordered: tuple[str, ...], word: str) -> None:
    with pytest.raises(NeedsAttention) as caught:
        ask(fileset(1, images=1), files=ordered)
    assert caught.value.code == "unit_differs"
    assert word in caught.value.detail


def test_the_order_of_files_does_not_matter() -> None:
    held = ("s/a", "s/b")
    assert ask(fileset(1, images=1, files=held), files=("s/b", "s/a")).action is UnitAction.ADOPT


@given(
    st.lists(
        st.builds(
            fileset,
            st.integers(1, 5),
            images=st.integers(0, 2),
            finished=st.sampled_from([True, False, None]),
        ),
        max_size=4,
    ),
    st.none() | st.integers(1, 5),
)
def test_an_import_never_starts_beside_a_fileset_that_has_or_may_get_images(
    filesets: list[FilesetInfo], failed: int | None
) -> None:
    try:
        found = ask(*filesets, failed=failed)
    except NeedsAttention:
        return
    if found.action is UnitAction.IMPORT:
        assert all(
            not one.complete
            and one.upload_finished is not False
            and failed is not None
            and one.fileset_id <= failed
            for one in filesets
        )
    if found.action is UnitAction.REMOVE:
        assert found.fileset is not None
        assert found.fileset.upload_finished is False
        assert not found.fileset.complete
