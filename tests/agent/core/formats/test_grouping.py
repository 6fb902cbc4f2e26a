"""Names go in, acquisitions come out: each name in one place, whatever the order, and for good."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.core.formats import grouping, series
from agent.core.formats.grouping import Entry, Item
from agent.core.formats.known import BY_ID, KNOWN
from agent.core.formats.rules import used_by
from server_bridge.contract import FORMATS, AcquisitionKind, AcquisitionRule, OrderIntent, Target

DEFAULT = used_by(AcquisitionRule(), KNOWN)
EVERYTHING = KNOWN

STEMS = ("exp1", "exp10", "exp1_a", "Exp1", "a", "_a_", "q[1]", "x (1)", "t 1", "sc1_t1", "{b}", "a*")
TAILS = (
    *(".vsi", ".VSI", ".oir", "_00001", "_00002", ".czi", "(1).czi", " (2).czi", ".lif", ".lifext", ".nd2"),
    *(".companion.ome", ".ome.tif", "_t1.ome.tif", "_t2.ome.tif", "-b.ome.tiff", "_s1_t1.ome.tif"),
    *("_t001.tif", "_t002.tif", "_t1.tif", "_t10.tif", "_z1_t1_c1.TIF", "_z2_t1_c1.TIF", "_t1_copy.tif"),
    *("0001.tif", ".tif", ".txt", ".ims", ""),
)
FOLDERS = ("_exp1_", "_Exp1_", "_EXP1_", "_exp10_", "_q[1]_", "_a_", "b.zarr", "plain", "_z_")
entries = st.lists(
    st.one_of(
        st.builds(lambda stem, tail: Entry(stem + tail), st.sampled_from(STEMS), st.sampled_from(TAILS)),
        st.builds(lambda name: Entry(name, is_folder=True), st.sampled_from(FOLDERS)),
    ),
    max_size=25,
    unique_by=lambda entry: entry.name,
)


def claimed(item: Item, names: list[str]) -> set[str]:
    """What an order for this item would bring, as the bridge reads it."""
    return {name for name in names if grouping.holds(item.members, name)} if item.members else {item.name}


def places(found: grouping.Grouped, names: list[str]) -> dict[str, str]:
    """Name → the acquisition that it is in; plain folders stand for themselves."""
    placed: dict[str, str] = {}
    for item in found.items:
        for name in claimed(item, names):
            assert name not in placed, f"{name} is in {placed[name]} and in {item.name}"
            placed[name] = item.name
    for name in found.folders:
        assert name not in placed
        placed[name] = f"{name}/"
    assert placed.keys() == set(names)
    return placed


@settings(max_examples=400, deadline=None)
@given(entries, st.randoms(use_true_random=False))
def test_every_name_is_in_exactly_one_acquisition_whatever_the_order(
    listed: list[Entry], chance: random.Random
) -> None:
    names = [entry.name for entry in listed]
    found = grouping.group(listed, EVERYTHING)
    places(found, names)
    shuffled = list(listed)
    chance.shuffle(shuffled)
    assert grouping.group(shuffled, EVERYTHING) == found
    assert len({item.name for item in found.items}) == len(found.items), "a name is an acquisition's place"


@settings(max_examples=400, deadline=None)
@given(entries)
def test_each_group_can_be_ordered(listed: list[Entry]) -> None:
    for item in grouping.group(listed, EVERYTHING).items:
        OrderIntent(
            share="scope1",
            path=f"alice/{item.name}",
            kind=item.kind,
            members=item.members,
            target=Target(group_id=1, container_name="x"),
        )


@settings(max_examples=400, deadline=None)
@given(entries, st.integers(0, 25))
@example([Entry("exp1.czi"), Entry("exp1(1).czi")], 1)
@example([Entry("exp1_t001.tif"), Entry("exp1_t002.tif")], 1)
@example([Entry("exp1_t1.ome.tif"), Entry("exp1.companion.ome")], 1)
def test_what_is_finished_or_ordered_keeps_its_files_when_more_come(listed: list[Entry], cut: int) -> None:
    early, names = listed[:cut], [entry.name for entry in listed]
    first = grouping.group(early, EVERYTHING)
    before = places(first, [entry.name for entry in early])
    fixed = [item for item in first.items if not item.awaits]
    after = places(grouping.group(listed, EVERYTHING, fixed), names)
    for name, place in before.items():
        if not place.endswith("/") and place in {item.name for item in fixed}:
            assert after[name] == place


GROWING = (
    [f"run_t{number:03}.tif" for number in range(1200)],
    [f"run_t{number}.tif" for number in range(1200)],
    [f"run_z{z}_t{t}.ome.tif" for t in range(40) for z in range(12)],
    ["a.vsi", "_a_/"],
    ["a.oir", "a_00001", "a_00002"],
    ["a.czi", "a (1).czi", "a (2).czi"],
    ["a.lif", "a.lifext"],
    ["a.companion.ome", "a.ome.tif", "a_s1.ome.tif", "a_s2.ome.tif"],
)


@pytest.mark.parametrize("names", GROWING, ids=lambda names: names[0])
@pytest.mark.parametrize("others", [(), ("a1.vsi", "a_b.txt", "run.tif", "run_test.tif", "plain/")])
def test_a_growing_acquisition_is_one_from_its_first_file_on(
    names: list[str], others: tuple[str, ...]
) -> None:
    """Members are chosen at first sight; no later file changes them or falls beside them."""
    beside = [Entry(name.rstrip("/"), name.endswith("/")) for name in others]
    parts = [Entry(name.rstrip("/"), name.endswith("/")) for name in names]
    first = grouping.group([*beside, parts[0]], DEFAULT)
    (item,) = [
        one
        for one in first.items
        if one.kind is AcquisitionKind.GROUP
        and one.name[0] in names[0]
        and grouping.holds(one.members, parts[0].name)
    ]
    for count in (2, 3, len(parts) // 2, len(parts)):
        found = grouping.group([*beside, *parts[:count]], DEFAULT)
        assert item in found.items
        assert claimed(item, [one.name for one in (*beside, *parts)]) >= {one.name for one in parts[:count]}
        assert not claimed(item, [one.name for one in beside])


def test_one_prefix_does_not_make_one_acquisition() -> None:
    found = grouping.group(
        [
            *(Entry(f"exp1_t{number:03}.tif") for number in range(3)),
            *(Entry(f"exp10_t{number:03}.tif") for number in range(3)),
            *(Entry(name) for name in ("exp2.companion.ome", "exp20.companion.ome")),
            *(Entry(name) for name in ("exp2_s1.ome.tif", "exp20_s1.ome.tif", "exp1.tif", "exp10.tif")),
        ],
        DEFAULT,
    )
    assert {item.name for item in found.items} == {
        *(
            "exp1_t*.tif",
            "exp10_t*.tif",
            "exp2.companion.ome",
            "exp20.companion.ome",
            "exp1.tif",
            "exp10.tif",
        ),
    }


def test_names_that_overlap_become_one_acquisition_rather_than_share_a_file() -> None:
    names = ["a.companion.ome", "a_b.companion.ome", "a_b_1.ome.tif", "a_1.ome.tif"]
    found = grouping.group([Entry(name) for name in names], DEFAULT)
    assert [item.name for item in found.items] == ["a.companion.ome"]
    assert claimed(found.items[0], names) == set(names)


def test_a_late_file_takes_its_parts_over_unless_they_are_kept() -> None:
    early = grouping.group([Entry("_a_", is_folder=True)], DEFAULT)
    (part,) = early.items
    assert part.kind is AcquisitionKind.FOLDER and part.awaits
    both = [Entry("_a_", is_folder=True), Entry("a.vsi")]
    assert [item.name for item in grouping.group(both, DEFAULT).items] == ["a.vsi"]
    kept = grouping.group(both, DEFAULT, [part])
    assert {item.name: item.kind for item in kept.items} == {
        "_a_": AcquisitionKind.FOLDER,
        "a.vsi": AcquisitionKind.FILE,
    }


def test_upper_and_lower_case_are_one_image_on_windows_and_two_where_both_exist() -> None:
    one = grouping.group([Entry("IMG.VSI"), Entry("_img_", is_folder=True)], DEFAULT)
    assert [item.name for item in one.items] == ["IMG.VSI"]
    two = grouping.group(
        [Entry("IMG.vsi"), Entry("img.vsi"), Entry("_IMG_", is_folder=True), Entry("_img_", is_folder=True)],
        DEFAULT,
    )
    assert {item.name: item.members for item in two.items} == {
        "IMG.vsi": ("IMG.vsi", "_IMG_"),
        "img.vsi": ("img.vsi", "_img_"),
    }


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("exp1_t001.tif", "exp1_t*.tif"),
        ("exp_T0001Z001C1.tif", "exp_T*Z*C*.tif"),
        ("exp_s1_t2.ome.tif", "exp_s*_t*.ome.tif"),
        ("z01c02.tiff", "z*c*.tiff"),
        ("a[1]_t1.tif", "a[1]_t*.tif"),
    ],
)
def test_numbers_of_axes_make_a_series(name: str, title: str) -> None:
    parsed = series.parse(name, counter=False)
    assert parsed is not None and parsed.key.title == title
    assert grouping.holds(series.patterns(parsed.key, [parsed.numbers]), name)


@pytest.mark.parametrize(
    "name", ["sample_s1.tif", "mouse_p2.tif", "exp10.tif", "cat1.tif", "test.tif", "t1.txt", "x_t1b2.png"]
)
def test_names_that_people_give_are_no_series(name: str) -> None:
    assert series.parse(name, counter=False) is None


def test_a_running_number_is_a_series_only_where_a_rule_says_so() -> None:
    snaps = [Entry("snap_0001.tif"), Entry("snap_0002.tif")]
    assert len(grouping.group(snaps, DEFAULT).items) == 2
    wished = used_by(AcquisitionRule(formats=("+tiff-counter",)), KNOWN)
    assert [item.name for item in grouping.group(snaps, wished).items] == ["snap_*.tif"]


def test_a_rule_chooses_its_formats() -> None:
    def ids(*formats: str) -> set[str]:
        return {rule.id for rule in used_by(AcquisitionRule(formats=formats), KNOWN)}

    assert ids() == set()
    assert ids("czi", "vsi") == {"czi", "vsi"}
    assert ids("-tiff-series") == {rule.id for rule in DEFAULT} - {"tiff-series"}
    assert ids("+tiff-counter") == {rule.id for rule in DEFAULT} | {"tiff-counter"}
    assert ids("a-format-of-next-year", "nd2") == {"nd2"}


def test_the_contract_names_the_formats_that_are_known() -> None:
    assert tuple(rule.id for rule in KNOWN) == FORMATS
    assert len(BY_ID) == len(KNOWN)


@pytest.mark.parametrize("rule", KNOWN, ids=lambda rule: rule.id)
def test_a_format_says_what_it_rests_on(rule: object) -> None:
    known = BY_ID[rule.id]  # type: ignore[attr-defined]
    assert known.title and known.source
    if known.last:
        assert "[infer]" in known.last or known.checks or known.series


def test_many_images_in_one_folder_are_divided_without_trying_all_with_all() -> None:
    """Ten thousand images beside each other: names are looked up, not compared with one another."""
    calls = 0
    real = grouping.fnmatchcase

    def counted(name: str, pattern: str) -> bool:
        nonlocal calls
        calls += 1
        return real(name, pattern)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "fnmatchcase", counted)
        found = grouping.group([Entry(f"img{number}.vsi") for number in range(10_000)], (BY_ID["vsi"],))
    assert len(found.items) == 10_000
    assert calls < 200_000
