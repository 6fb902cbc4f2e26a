"""The contract: what a client may send, what it must survive, and how a grant is derived."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server_bridge import contract
from server_bridge.contract import ManifestEntry, OrderIntent, OrderState, SubmissionGrant, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def models(base: type) -> list[type]:
    return [
        value
        for value in vars(contract).values()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    ]


def test_requests_forbid_unknown_fields_and_answers_ignore_them() -> None:
    assert len(models(contract.Request)) > 8
    assert len(models(contract.Answer)) > 20
    assert {model.model_config.get("extra") for model in models(contract.Request)} == {"forbid"}  # type: ignore[attr-defined]
    assert {model.model_config.get("extra") for model in models(contract.Answer)} == {"ignore"}  # type: ignore[attr-defined]


def test_an_order_of_a_newer_bridge_can_be_read() -> None:
    state = OrderState.model_validate(
        {
            "id": "6f4f6f0e-0000-4000-8000-000000000001",
            "revision": 1,
            "person": "alice",
            "share": "conf",
            "path": "run",
            "kind": "folder",
            "target": {"group_id": 3, "container_id": 1},
            "stage": "teleporting",
            "condition": "dreaming",
            "stage_since": NOW,
            "created_at": NOW,
            "updated_at": NOW,
            "shoe_size": 42,
        }
    )
    assert state.stage == "teleporting"


@pytest.mark.parametrize(
    "target",
    [
        {"group_id": 3},
        {"group_id": 3, "container_name": "  "},
        {"group_id": 3, "kind": "screen", "container_name": "x", "project_id": 1},
        {"group_id": 3, "container_name": "x", "tags": [""]},
        {"group_id": 3, "container_name": "x" * 256},
    ],
)
def test_a_target_that_names_no_place_is_refused(target: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Target.model_validate(target)


def test_sizes_are_not_negative_and_paths_not_empty() -> None:
    for entry in (
        {"path": "a", "size_bytes": -1, "mtime_ns": 1},
        {"path": "", "size_bytes": 1, "mtime_ns": 1},
    ):
        with pytest.raises(ValidationError):
            ManifestEntry.model_validate(entry)


def test_secrets_stay_out_of_reprs() -> None:
    grant = SubmissionGrant(session_id="s", key="very-secret", expires_at=NOW)
    request = contract.SessionRequest(username="alice", password="very-secret")
    assert "very-secret" not in f"{grant!r} {request!r} {grant} {request}"


@given(st.text(min_size=1, max_size=64), st.uuids(), st.uuids())
def test_a_grant_is_one_orders_alone(key: str, order: UUID, other: UUID) -> None:
    grant = SubmissionGrant(session_id="sid", key=key, expires_at=NOW)
    value = grant.for_order(order)
    assert value == grant.for_order(order)
    assert value.startswith("grant.sid.")
    assert value.isascii()
    assert (value == grant.for_order(other)) == (order == other)
    assert value != grant.model_copy(update={"key": key + "x"}).for_order(order)


def test_an_intent_survives_json() -> None:
    intent = OrderIntent(
        share="conf",
        path="a/ü b",
        kind=contract.AcquisitionKind.FOLDER,
        target=Target(group_id=3, container_name="x", key_values=(contract.KeyValue(key="k", value="v"),)),
        first_seen_at=NOW,
    )
    assert OrderIntent.model_validate_json(intent.model_dump_json()) == intent


def test_the_contract_needs_nothing_but_pydantic() -> None:
    code = (
        "import sys\n"
        "import server_bridge.contract\n"
        "heavy = {'fastapi', 'sqlalchemy', 'omero', 'dbos', 'structlog', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def intent(path: str, kind: str, *members: str) -> OrderIntent:
    return OrderIntent.model_validate(
        {
            "share": "conf",
            "path": path,
            "kind": kind,
            "members": members,
            "target": {"group_id": 3, "container_id": 1},
        }
    )


def test_a_group_has_members_and_nothing_else_has() -> None:
    for path, kind, members in (("a/x", "group", ()), ("a/x", "folder", ("x",)), ("a/x", "group", ("b/x",))):
        with pytest.raises(ValidationError):
            intent(path, kind, *members)


@pytest.mark.parametrize(
    ("share_path", "held"),
    [
        ("a/img.vsi", True),
        ("a/_img_/stack1/frame.ets", True),
        ("a/_img_", True),
        ("a/_img_2/frame.ets", False),
        ("a/deep/img.vsi", False),
        ("b/img.vsi", False),
        ("img.vsi", False),
        ("a", False),
        ("a/IMG.vsi", False),
    ],
)
def test_a_group_holds_its_members_and_all_below_them(share_path: str, held: bool) -> None:
    assert intent("a/img.vsi", "group", "img.vsi", "_img_").holds(share_path) is held


def test_a_file_holds_itself_and_a_folder_all_below_it() -> None:
    assert intent("a/x.czi", "file").holds("a/x.czi") and not intent("a/x.czi", "file").holds("a/x.czi2")
    assert intent("a", "folder").holds("a/deep/y") and not intent("a", "folder").holds("ab/y")


def test_a_group_in_the_shares_top_holds_by_the_first_name() -> None:
    group = intent("run_*.tif", "group", "run_*.tif")
    assert group.holds("run_1.tif") and not group.holds("a/run_1.tif")
