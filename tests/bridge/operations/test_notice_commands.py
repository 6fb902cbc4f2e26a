"""`notices`, `mail-test`, `aging`, `discard-unordered`, `order take-over` and `order accept-left-out`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server_bridge.cli import app
from server_bridge.config import SiteConfig
from server_bridge.contract import AcquisitionKind, Condition, OrderIntent, Reason, Target
from server_bridge.notices import mail_state
from server_bridge.orders import intake, notices, people
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import AuditEntry, Notice, OrderFile, utcnow
from server_bridge.orders.store import Store
from server_bridge.sandbox.ports import free_port
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.notices import smtp
from tests.bridge.operations.conftest import Ferry, as_toml
from tests.bridge.pipeline.world import World
from tests.bridge.sandbox.conftest import write_tiff

STAFF = Caller(username="staff", is_staff=True)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    return make_site(tmp_path)


@pytest.fixture
def store(site: SiteConfig) -> Store:
    return make_store(site)


@pytest.fixture
def run(site: SiteConfig, tmp_path: Path) -> Run:
    """Run a command, with other values of ``[mail]`` where given: exit code, stdout, stderr."""

    def go(*arguments: str, **mail: object) -> tuple[int, str, str]:
        path = tmp_path / "site.toml"
        changed = site.model_copy(
            update={"mail": type(site.mail).model_validate({**site.mail.model_dump(), **mail})}
        )
        path.write_text(as_toml(changed))
        done = CliRunner().invoke(app, list(arguments), env={"FERRY_SITE": str(path), "COLUMNS": "200"})
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return done.exit_code, done.stdout, done.stderr

    return go


def put(store: Store, site: SiteConfig, path: str) -> str:
    intent = OrderIntent(
        share="conf", path=path, kind=AcquisitionKind.FOLDER, target=Target(group_id=3, container_id=11),
        owner="alice",
    )  # fmt: skip
    return intake.accept(store, site, uuid.uuid4(), intent, STAFF, utcnow())[0].id


def need(store: Store, order_id: str, code: str) -> None:
    with store.write() as session:
        order = store.get(session, order_id)
        reason = Reason(code=code, title="Somebody is needed")
        store.set_condition(session, order, Condition.ATTENTION, who="bridge", text="", reason=reason)


def test_notices_are_listed_with_what_became_of_their_mails(site: SiteConfig, store: Store, run: Run) -> None:
    assert run("notices")[1].splitlines() == [
        "Nobody is mailed: the site file has no [mail].", "No notices.",
    ]  # fmt: skip
    order_id = put(store, site, "scope1/run")
    need(store, order_id, "left_out")
    now = utcnow()
    with store.write() as session:
        session.query(Notice).one().mailed_person_at = now
        gone = Reason(code="share_away", title="It was \x1b[31maway")
        notices.post(session, now, key="outage:share_away:conf:", kind="outage", reason=gone)
        notices.withdraw(session, now, prefix="outage:")
        failing = Reason(code="mail_away", title="The mail server cannot be reached", detail="no route")
        mail_state.write(session, mail_state.MailState(failing=failing), now)
    said = run("notices", host="localhost", security="none", sender="a@example.org", staff=["b@example.org"])
    assert "No mail goes out: The mail server cannot be reached [mail_away] no route" in said[1]
    assert f"{order_id[:8]}  Somebody is needed [left_out]" in said[1]
    assert "share_away" not in said[1]
    everything = run("notices", "--all")[1]
    assert "withdrawn" in everything and "\x1b" not in everything
    (found,) = json.loads(run("notices", "--json")[1])["notices"]
    assert (found["person"], found["mailed_staff_at"]) == ("alice", None)
    assert found["mailed_person_at"]


def test_a_test_mail_goes_out_and_a_failure_is_one_line(run: Run) -> None:
    code, _, err = run("mail-test", "ada@example.org")
    assert (code, "No mail server" in err) == (1, True)
    mail = {"host": "localhost", "security": "none", "sender": "a@example.org", "staff": ["b@example.org"]}
    with smtp.running() as post:
        code, out, _ = run("mail-test", "ada@example.org", port=post.port, **mail)
        assert (code, "took the mail" in out) == (0, True)
        assert post.mails[0][0] == ["ada@example.org"]
        assert run("mail-test", "ada\nBcc: x@example.org", port=post.port, **mail)[0] == 1
        post.refuse["gone@example.org"] = "550 no such user"
        code, _, err = run("mail-test", "gone@example.org", port=post.port, **mail)
        assert (code, "550 no such user" in err, "Traceback" in err) == (1, True, False)
        checked = run("check-config", port=post.port, **mail)[1]
        assert f"OK      mail: localhost:{post.port} answers" in checked
    closed = run("check-config", port=free_port(), **mail)[1]
    assert "PROBLEM mail: The mail server cannot be reached" in closed


def test_aging_lists_what_is_not_in_omero_and_near_its_end(site: SiteConfig, store: Store, run: Run) -> None:
    assert "Nothing comes to the end" in run("aging")[1]
    order_id = put(store, site, "scope1/old")
    with store.write() as session:
        store.get(session, order_id).first_seen_at = utcnow() - timedelta(days=58)
    out = run("aging")[1]
    assert f"accepted {order_id[:8]}" in out and "conf:scope1/old" in out
    (found,) = json.loads(run("aging", "--json")[1])
    assert (found["person"], round(found["days_left"])) == ("alice", 2)
    assert run("aging", "--share", "other", "--json")[1] == "[]\n"


def test_unordered_data_is_given_up_by_name_and_nothing_is_deleted(
    site: SiteConfig, store: Store, run: Run, tmp_path: Path
) -> None:
    buffer = tmp_path / "buffer"
    (buffer / "scope1" / "test").mkdir(parents=True)
    (buffer / "scope1" / "test" / "a.tif").write_bytes(b"12345")
    away = run("discard-unordered", "conf", "scope1/test", "--reason", "calibration")
    assert (away[0], "marker" in away[2]) == (1, True), "a share without its marker is away"
    (buffer / ".omero-ferry-share").touch()
    assert run("discard-unordered", "conf", "scope1/test", "--reason", " ")[0] == 1
    assert run("discard-unordered", "conf", "../etc", "--reason", "x")[0] == 1
    assert run("discard-unordered", "conf", "scope1/none", "--reason", "x")[0] == 1
    code, out, err = run("discard-unordered", "conf", "scope1/test", "--reason", "calibration")
    assert code == 0, err
    assert "1 files, 5 B, given up" in out and "Nothing was deleted" in out
    assert (buffer / "scope1" / "test" / "a.tif").exists()
    with store.read() as session:
        (entry,) = session.query(AuditEntry).filter(AuditEntry.action == "unordered.discard").all()
    assert entry.who.startswith("operator ")
    assert (entry.detail["reason"], entry.detail["files"]) == ("calibration", 1)
    put(store, site, "scope1/test")
    taken = run("discard-unordered", "conf", "scope1/test", "--reason", "calibration")
    assert (taken[0], "is on its way" in taken[2]) == (1, True)


def test_staff_accept_what_stays_outside_omero(site: SiteConfig, store: Store, run: Run) -> None:
    order_id = put(store, site, "scope1/run")
    need(store, order_id, "left_out")
    with store.write() as session:
        store.get(session, order_id).asks_left_out = True
        for name in ("a.txt", "b.txt"):
            session.add(OrderFile(order_id=order_id, path=f"scope1/run/{name}", size_bytes=1, mtime_ns=1))
    assert "nobody asked" in run("order", "accept-left-out", order_id, "scope1/run/c.txt")[2]
    assert run("order", "accept-left-out", order_id, "scope1/run/a.txt")[0] == 0
    assert store.order(order_id).asks_left_out
    assert run("order", "accept-left-out", order_id)[0] == 0
    assert not store.order(order_id).asks_left_out
    rules = {file.rule for file in store.files(order_id)}
    assert len(rules) == 1 and rules.pop().startswith("accepted by operator ")


@pytest.mark.slow
def test_an_order_of_somebody_who_left_is_given_to_another_member(world: World, ferry: Ferry) -> None:
    write_tiff(world.buffer / "alice" / "left" / "a.tif")
    order_id = world.order("alice/left")
    code, _, err = ferry("order", "take-over", order_id, "--as", "bob")
    assert (code, "This order is somebody's" in err) == (1, True)
    people.departed(world.context.store, "alice", {}, utcnow(), "the platform staff")
    assert "OMERO does not know" in ferry("order", "take-over", order_id, "--as", "nobody")[2]
    code, out, err = ferry("order", "take-over", order_id, "--as", "bob", "--note", "alice left")
    assert code == 0, err
    assert "taken over by bob: alice left" in out
    order = world.look(order_id)
    assert (order.person, order.ordered_by, order.condition) == ("bob", "bob", "queued")
    world.cancel(order_id)
