"""The application against OMERO's own protocol: unmodified omero-py, the sandbox server, nothing made up."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from server_bridge.app import create_app
from server_bridge.context import build_context
from server_bridge.operations import check_omero
from server_bridge.orders import workstations
from tests.bridge.bridge_site import make_site
from tests.bridge.conftest_sandbox import PASSWORDS, RunningSandbox
from tests.bridge.test_cli import ferry, write_site


@pytest.fixture
def real(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[TestClient]:
    site = make_site(tmp_path)
    site.omero.password_file.write_text(PASSWORDS["ferry"] + "\n")
    omero = site.omero.model_copy(update={"port": sandbox.ssl_port, "omerodir": sandbox.omerodir})
    site = site.model_copy(update={"omero": omero, "staff": ("bob",)})
    context = build_context(site)
    with TestClient(create_app(context), raise_server_exceptions=False) as http:
        yield http


def sign_in(http: TestClient, username: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Headers of an approved workstation with this person signed in, and the person."""
    key = uuid.uuid4().hex
    made = http.post("/v1/workstation", json={"name": f"w-{key[:6]}", "key": key}).json()
    parts = http.app.state.parts  # type: ignore[attr-defined]
    workstations.approve(parts.store, parts.site, made["name"], {"conf": "."}, "test")
    headers = {"Ferry-Workstation": f"{made['id']}:{key}"}
    answer = http.post(
        "/v1/session", json={"username": username, "password": PASSWORDS[username]}, headers=headers
    )
    assert answer.status_code == 201, answer.text
    return {**headers, "Authorization": f"Bearer {answer.json()['token']}"}, answer.json()["person"]


def group_of(person: dict[str, Any], name: str) -> int:
    return int(next(group["id"] for group in person["groups"] if group["name"] == name))


def test_signing_in_with_omeros_password(real: TestClient) -> None:
    _, person = sign_in(real, "alice")
    assert person["username"] == "alice"
    assert {group["name"] for group in person["groups"]} >= {"Cytoskeleton", "Platform"}
    wrong = real.post("/v1/session", json={"username": "alice", "password": "no"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "wrong_password")


def test_staff_find_people_in_omero_and_see_their_places(real: TestClient) -> None:
    headers, _ = sign_in(real, "bob")
    for text in ("ALI", "alice"):
        found = real.get("/v1/persons", params={"q": text}, headers=headers)
        assert found.status_code == 200, found.text
        assert [one["username"] for one in found.json()["items"]] == ["alice"]
    everybody = real.get("/v1/persons", headers=headers).json()["items"]
    assert {"alice", "bob"} <= {one["username"] for one in everybody}
    assert len(real.get("/v1/persons?limit=1", headers=headers).json()["items"]) == 1
    person = real.get("/v1/persons/alice", headers=headers).json()
    group = group_of(person, "Cytoskeleton")
    hers, _ = sign_in(real, "alice")
    name = f"hers {uuid.uuid4().hex[:6]}"
    body = {"kind": "dataset", "group_id": group, "name": name}
    assert real.post("/v1/targets/containers", json=body, headers=hers).status_code == 201
    seen = real.get(
        "/v1/targets/containers",
        params={"group": group, "kind": "dataset", "q": name, "person": "alice"},
        headers=headers,
    ).json()["items"]
    assert [(one["owner"], one["may_add"]) for one in seen] == [("alice", True)]


def test_places_are_found_made_and_ordered_into(real: TestClient) -> None:
    headers, person = sign_in(real, "alice")
    group = group_of(person, "Cytoskeleton")
    projects = real.get(f"/v1/targets/containers?group={group}&kind=project", headers=headers)
    assert projects.status_code == 200, projects.text
    name = f"day {uuid.uuid4().hex[:6]}"
    made = real.post(
        "/v1/targets/containers",
        json={"kind": "dataset", "group_id": group, "name": name},
        headers=headers,
    )
    assert made.status_code == 201, made.text
    found = real.get(
        "/v1/targets/containers",
        params={"group": group, "kind": "dataset", "q": name.upper()},
        headers=headers,
    )
    assert [item["id"] for item in found.json()["items"]] == [made.json()["id"]]
    assert real.get(f"/v1/targets/tags?group={group}", headers=headers).status_code == 200
    body = {
        "share": "conf",
        "path": "alice/run",
        "kind": "folder",
        "target": {"group_id": group, "container_id": made.json()["id"]},
        "first_seen_at": datetime.now(UTC).isoformat(),
    }
    ordered = real.put(f"/v1/orders/{uuid.uuid4()}", json=body, headers=headers)
    assert ordered.status_code == 201, ordered.text
    private = group_of(person, "Platform")
    other = {**body, "path": "alice/run2", "target": {**body["target"], "group_id": private}}  # type: ignore[dict-item]
    refused = real.put(f"/v1/orders/{uuid.uuid4()}", json=other, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "target_in_other_group"), refused.text


@pytest.mark.parametrize("path", ["containers?group=99999&kind=project", "tags?group=99999"])
def test_a_group_that_is_not_hers_is_told_as_such(real: TestClient, path: str) -> None:
    headers, _ = sign_in(real, "alice")
    answer = real.get(f"/v1/targets/{path}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_a_member")


def test_somebody_elses_dataset_in_a_read_annotate_group(real: TestClient) -> None:
    alice, person = sign_in(real, "alice")
    group = group_of(person, "Cytoskeleton")
    made = real.post(
        "/v1/targets/containers",
        json={"kind": "dataset", "group_id": group, "name": f"hers {uuid.uuid4().hex[:6]}"},
        headers=alice,
    ).json()
    bob, _ = sign_in(real, "bob")
    body = {
        "share": "conf",
        "path": "bob/run",
        "kind": "folder",
        "target": {"group_id": group, "container_id": made["id"]},
        "first_seen_at": datetime.now(UTC).isoformat(),
    }
    refused = real.put(f"/v1/orders/{uuid.uuid4()}", json=body, headers=bob)
    assert (refused.status_code, refused.json()["code"]) == (422, "target_not_writable"), refused.text


def test_ready_and_the_service_account_is_judged(real: TestClient) -> None:
    assert real.get("/readyz").json()["checks"]["omero"] == "ok"
    site = real.app.state.parts.site  # type: ignore[attr-defined]
    assert "Sudo alone" in check_omero.login(site)


def test_check_config_is_content_with_a_site_that_works(sandbox: RunningSandbox, tmp_path: Path) -> None:
    site = make_site(tmp_path)
    site.state_dir.chmod(0o700)
    (tmp_path / "buffer" / ".omero-ferry-share").touch()
    site.omero.password_file.write_text(PASSWORDS["ferry"] + "\n")
    path = write_site(site, tmp_path / "site.toml")
    text = path.read_text().replace(
        "port = 1\n", f"port = {sandbox.ssl_port}\njava = '{sandbox.java_dir}/java'\n"
    )
    text = text.replace(f'omerodir = "{tmp_path}"', f'omerodir = "{sandbox.omerodir}"')
    # Without the setting, ManagedRepository is where OMERO says that it is.
    path.write_text("\n".join(line for line in text.splitlines() if "managed_repository" not in line))
    done = ferry("check-config", site=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PROBLEM" not in done.stdout
    for what in ("managed_repository", "omero", "share conf", "rsync", "java", "staging_dir"):
        assert f"OK      {what}" in done.stdout
    assert not list(site.staging_dir.iterdir())
    wrong = site.omero.password_file
    wrong.write_text("wrong\n")
    refused = ferry("check-config", "--json", site=path)
    assert refused.returncode == 1
    assert "wrong\n" not in refused.stdout
    checks = {line["what"]: line["ok"] for line in json.loads(refused.stdout)["checks"]}
    assert (checks["omero"], checks["share conf"]) == (False, True)
