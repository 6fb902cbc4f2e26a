"""What a person sees of OMERO, and where OMERO lets her add."""

from __future__ import annotations

import pytest

from server_bridge.contract import NewContainer, Target, TargetKind
from server_bridge.errors import NeedsAttention
from server_bridge.omero.directory import (
    create_container,
    find_container,
    list_containers,
    list_groups,
    list_tags,
    resolve_target,
)
from server_bridge.omero.names import NS_ORDER
from server_bridge.omero.session import Session, parameters
from tests.bridge.omero.conftest import AsPerson


def names(session: Session, **asked: object) -> dict[str, bool]:
    found = list_containers(session, "dataset", **asked)  # type: ignore[arg-type]
    return {item.name: item.may_add for item in found.items}


def dataset(session: Session, name: str) -> int:
    return next(item.id for item in list_containers(session, "dataset").items if item.name == name)


def test_groups_are_the_persons_own(alice: Session) -> None:
    assert [group.name for group in list_groups(alice)] == ["Cytoskeleton", "Platform"]


def test_in_a_read_annotate_group_others_datasets_are_seen_and_not_added_to(alice: Session) -> None:
    found = names(alice)
    assert found["embryos"] is True
    assert found["time lapse"] is False, "bob's"


def test_in_a_private_group_only_her_own_are_seen(as_person: AsPerson) -> None:
    with as_person("carol", "Platform") as carol:
        assert names(carol) == {}
    with as_person("alice", "Platform") as alice:
        assert names(alice) == {"beads": True}


def test_in_a_read_write_group_others_datasets_take_her_data(as_person: AsPerson) -> None:
    with as_person("carol", "Screens") as carol:
        assert names(carol)["pilot"] is True


def test_datasets_come_with_their_projects(alice: Session) -> None:
    project = next(item for item in list_containers(alice, "project").items if item.name == "Actin project")
    inside = list_containers(alice, "dataset", project_id=project.id).items
    assert {"embryos", "cell migration"} <= {item.name for item in inside}
    assert all(item.project_ids == (project.id,) for item in inside)
    assert project.child_count is not None
    assert project.child_count >= 2


def test_search_is_for_part_of_a_name_in_any_case(alice: Session) -> None:
    assert set(names(alice, text="EMBRY")) == {"embryos"}
    assert names(alice, text="no such thing") == {}


def test_a_long_list_says_that_it_is_cut(alice: Session) -> None:
    first = list_containers(alice, "dataset", limit=1)
    assert first.truncated
    assert len(first.items) == 1
    second = list_containers(alice, "dataset", limit=1, offset=1)
    assert second.items[0].id != first.items[0].id
    assert not list_containers(alice, "dataset", limit=500).truncated


def test_a_container_of_another_of_her_groups_is_found_with_its_group(
    as_person: AsPerson, alice: Session, groups: dict[str, int]
) -> None:
    with as_person("alice", "Platform") as other:
        beads = dataset(other, "beads")
    found = find_container(alice, "dataset", beads)
    assert found is not None
    assert found.group_id == groups["Platform"]


def test_a_container_she_may_not_see_is_not_there(as_person: AsPerson) -> None:
    with as_person("alice", "Platform") as alice:
        beads = dataset(alice, "beads")
    with as_person("bob") as bob:
        assert find_container(bob, "dataset", beads) is None


def test_screens_are_listed(as_person: AsPerson) -> None:
    with as_person("bob", "Screens") as bob:
        screens = {item.name: item.owner for item in list_containers(bob, "screen").items}
    assert screens["Kinase inhibitors"] == "bob"
    assert screens["siRNA library"] == "carol"


def test_own_tags_come_first_and_none_twice(as_person: AsPerson, alice: Session) -> None:
    import omero.model
    from omero.rtypes import rstring

    def tag(session: Session, text: str) -> None:
        made = omero.model.TagAnnotationI()
        made.textValue = rstring(text)
        session.save(made, doing="making a tag")

    with as_person("bob") as bob:
        tag(bob, "tubulin")
        tag(bob, "actin")
    tag(alice, "tubulin")
    tag(alice, "zyxin")
    found = list_tags(alice).items
    assert found.index("zyxin") < found.index("actin")
    assert len(set(found)) == len(found)
    assert list_tags(alice, "YXI").items == ("zyxin",)


# -- targets --------------------------------------------------------------------------------------------


def test_an_existing_dataset_is_taken_as_it_is(alice: Session) -> None:
    embryos = dataset(alice, "embryos")
    found = resolve_target(alice, Target(group_id=alice.group_id, container_id=embryos), "order-1")
    assert (found.specification, found.container_name, found.created) == (
        f"Dataset:{embryos}",
        "embryos",
        False,
    )


def test_a_new_dataset_is_made_once_however_often_it_is_asked(alice: Session) -> None:
    target = Target(group_id=alice.group_id, container_name="day 1", project_name="Series of 2026")
    first = resolve_target(alice, target, "order-2")
    again = [resolve_target(alice, target, order) for order in ("order-2", "order-3")]
    assert first.created
    assert [(one.container_id, one.project_id, one.created) for one in again] == [
        (first.container_id, first.project_id, False)
    ] * 2
    assert list(names(alice, project_id=first.project_id)) == ["day 1"]


def test_the_same_name_elsewhere_is_another_dataset(alice: Session) -> None:
    here = resolve_target(alice, Target(group_id=alice.group_id, container_name="day 7"), "order-4")
    there = resolve_target(
        alice, Target(group_id=alice.group_id, container_name="day 7", project_name="Elsewhere"), "order-4"
    )
    assert here.container_id != there.container_id
    assert there.created


def test_what_an_order_makes_carries_its_id(alice: Session) -> None:
    made = resolve_target(alice, Target(group_id=alice.group_id, container_name="marked"), "order-5")
    rows = alice.rows(
        "select l.child.id from DatasetAnnotationLink l where l.parent.id = :id", {"id": made.container_id}
    )
    notes = alice.rows(
        "select a.ns, a.textValue from CommentAnnotation a where a.id in (:ids)",
        {"ids": [int(row[0]) for row in rows]},
    )
    assert notes == [(NS_ORDER, "order-5")]


def test_another_persons_dataset_of_that_name_is_not_hers(as_person: AsPerson, alice: Session) -> None:
    target = Target(group_id=alice.group_id, container_name="shared name")
    with as_person("bob") as bob:
        bobs = resolve_target(bob, target, "order-6")
    hers = resolve_target(alice, target, "order-7")
    assert hers.created
    assert hers.container_id != bobs.container_id


def test_a_new_screen_stands_alone(as_person: AsPerson) -> None:
    with as_person("bob", "Screens") as bob:
        target = Target(group_id=bob.group_id, kind=TargetKind.SCREEN, container_name="Screen 8")
        made = resolve_target(bob, target, "order-8")
        assert made.specification == f"Screen:{made.container_id}"
        assert not resolve_target(bob, target, "order-8").created


def refusal(session: Session, **target: object) -> str:
    with pytest.raises(NeedsAttention) as refused:
        resolve_target(session, Target(**target), "order-9")  # type: ignore[arg-type]
    assert refused.value.remedy
    return refused.value.code


def test_each_place_that_does_not_do_has_a_reason_of_its_own(
    as_person: AsPerson, alice: Session, groups: dict[str, int]
) -> None:
    here = alice.group_id
    with as_person("alice", "Platform") as other:
        beads = dataset(other, "beads")
    bobs_project = next(
        item.id for item in list_containers(alice, "project").items if item.name == "Microtubules"
    )
    assert refusal(alice, group_id=here, container_id=10**9) == "target_gone"
    assert refusal(alice, group_id=here, container_id=beads) == "target_in_other_group"
    assert refusal(alice, group_id=here, container_id=dataset(alice, "time lapse")) == "target_not_writable"
    assert (
        refusal(alice, group_id=here, container_name="mine", project_id=bobs_project) == "target_not_writable"
    )
    assert refusal(alice, group_id=groups["Screens"], container_name="x") == "not_a_member"


def test_a_container_made_by_hand_is_hers_and_made_once(alice: Session) -> None:
    new = NewContainer(kind="project", group_id=alice.group_id, name="By hand", description="why")
    first = create_container(alice, new)
    assert (first.owner, first.may_add) == ("alice", True)
    assert create_container(alice, new).id == first.id
    inside = create_container(
        alice,
        NewContainer(kind="dataset", group_id=alice.group_id, name="inside", project_id=first.id),
    )
    assert find_container(alice, "dataset", inside.id).project_ids == (first.id,)  # type: ignore[union-attr]


def test_an_empty_list_never_reaches_omero() -> None:
    with pytest.raises(ValueError, match="ids"):
        parameters({"ids": []})
