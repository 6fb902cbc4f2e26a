"""The commands about backups, quarantine and leftover staging, on real files without any OMERO."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from server_bridge.cli import app
from server_bridge.context import Context
from server_bridge.contract import Condition, Reason, Stage
from server_bridge.errors import Conflict
from server_bridge.operations.source_gone import accept
from server_bridge.orders import backup_stamps, remembered
from server_bridge.retention.giving_up import drop_staging
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.operations.conftest import as_toml
from tests.bridge.retention.test_leftovers import MARKER, order

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    site = make_site(tmp_path)
    (tmp_path / "buffer" / MARKER).touch()
    return Context(site, make_store(site), cast(Any, None))


@pytest.fixture
def run(context: Context, tmp_path: Path) -> Run:
    site = tmp_path / "site.toml"
    site.write_text(as_toml(context.site))

    def call(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(
            app, list(arguments), env={"FERRY_SITE": str(site), "COLUMNS": "200", "NO_COLOR": "1"}
        )
        unexpected = done.exception is not None and not isinstance(done.exception, SystemExit)
        assert not unexpected, repr(done.exception)
        return done.exit_code, done.stdout, done.stderr

    return call


def test_a_backup_is_reported_with_when_it_began(context: Context, run: Run) -> None:
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=4)
    code, out, err = run("backup-done", "--began-at", began.isoformat(), "--note", "nightly")
    assert (code, out.startswith("Noted")) == (0, True), err
    assert run("backup-done", "--began-at", began.isoformat())[1].startswith("Known already")
    with context.store.read() as session:
        stamp = backup_stamps.latest(session)
    assert stamp is not None
    assert (stamp.covers_until, stamp.note) == (began, "nightly")
    for wrong in ("yesterday", (began + timedelta(days=2)).isoformat()):
        code, _out, err = run("backup-done", "--began-at", wrong)
        assert code == 1
        assert "ferry-bridge:" in err


def test_leftover_staging_is_listed_given_up_and_then_in_quarantine(context: Context, run: Run) -> None:
    assert "nothing but living orders" in run("staging", "list")[1]
    assert "Nothing is in quarantine" in run("quarantine", "list")[1]
    order_id = order(context, Stage.CANCELLED, "a", "b")
    (listed,) = json.loads(run("staging", "list", "--json")[1])
    assert (listed["order"], listed["state"], listed["files"], listed["last_names"]) == (
        order_id,
        "cancelled",
        2,
        2,
    )
    code, out, err = run("staging", "drop", order_id[:8], "--note", "not wanted")
    assert code == 0, err
    assert "2 files" in out and "0 stay" in out
    (kept,) = json.loads(run("quarantine", "list", "--json")[1])
    assert (kept["order"], kept["files"], kept["why"]) == (order_id, 2, "dropped_by_staff")
    assert order_id[:8] in run("quarantine", "list")[1]
    code, out, err = run("quarantine", "restore", order_id)
    assert (code, "2 files" in out) == (0, True), err
    assert context.store.order(order_id).stage == Stage.CANCELLED
    assert (context.site.staging_dir / "conf" / order_id / "run" / "a").read_bytes() == b"data a"
    code, _out, err = run("quarantine", "restore", order_id)
    assert (code, "Nothing to bring back" in err) == (1, True)
    living = order(context, Stage.PULLING, "c")
    assert run("staging", "drop", living, "--note", "x")[0] == 1
    with pytest.raises(Conflict):
        drop_staging(context, living, "operator", "x", datetime.now(UTC))


def test_a_removed_source_is_accepted_only_where_the_order_stopped_for_it(context: Context, run: Run) -> None:
    order_id = order(context, Stage.VERIFYING, "a")
    code, _out, err = run("order", "accept-source-gone", order_id, "--note", "the disk died")
    assert (code, "Nothing to accept" in err) == (1, True)
    with context.store.write() as session:
        row = context.store.get(session, order_id)
        row.manifest_revision = 3
        reason = Reason(code="source_gone", title="removed")
        context.store.set_condition(
            session, row, Condition.ATTENTION, who="bridge", text="removed", reason=reason
        )
    code, out, err = run("order", "accept-source-gone", order_id, "--note", "the disk died")
    assert code == 0, err
    assert order_id in out
    with context.store.read() as session:
        fact = remembered.recall(session, remembered.source_gone_accepted(order_id))
        assert context.store.get(session, order_id).condition == Condition.QUEUED
    assert fact is not None
    assert (fact["manifest_revision"], fact["note"]) == (3, "the disk died")
    with pytest.raises(Conflict):
        accept(context.store, order_id, "operator", "again")


def test_a_share_whose_workstations_delete_has_no_list_for_a_job(context: Context, tmp_path: Path) -> None:
    share = context.site.shares[0].model_copy(update={"deletion": "agent"})
    site = tmp_path / "agent.toml"
    site.write_text(as_toml(context.site.model_copy(update={"shares": (share,)})))
    done = CliRunner().invoke(app, ["releases", "--share", "conf"], env={"FERRY_SITE": str(site)})
    assert (done.exit_code, done.stdout) == (1, "")
    assert "deleted by its workstations" in done.stderr
