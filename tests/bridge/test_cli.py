"""The command line: one clear line and exit code 1 where something is wrong, and it works beside a server."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server_bridge.cli import app
from server_bridge.config import HttpConfig, SiteConfig, is_loopback
from server_bridge.contract import (
    AcquisitionKind,
    OrderIntent,
    Release,
    ReleasedFile,
    Stage,
    Target,
    WorkstationRegistration,
)
from server_bridge.errors import ConfigurationError
from server_bridge.mover.staging_disk import StagingUnlinkable
from server_bridge.operations import check_config, release_formats
from server_bridge.operations.serve import require_safe_listening, serve_lock
from server_bridge.orders import intake, workstations
from server_bridge.orders.callers import Caller
from server_bridge.orders.models import AuditEntry, utcnow
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store

STAFF = Caller(username="staff", is_staff=True)


def ferry(
    *arguments: str, site: Path | None = None, process: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `ferry-bridge`: as a process, or in this one, where a test needs many short runs."""
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "FERRY_SITE": str(site) if site else None}
    if not process:
        done = CliRunner().invoke(app, list(arguments), env=environment)
        unexpected = done.exception is not None and not isinstance(done.exception, SystemExit)
        assert not unexpected, repr(done.exception)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)
    whole = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", "server_bridge.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={name: value for name, value in whole.items() if value is not None},
        check=False,
    )


def write_site(site: SiteConfig, path: Path) -> Path:
    share = site.shares[0]
    path.write_text(
        f"""
name = "{site.name}"
contact = "{site.contact}"
state_dir = "{site.state_dir}"
staging_dir = "{site.staging_dir}"
database_url = "{site.database_url}"
staff = ["staff"]
[omero]
host = "127.0.0.1"
port = 1
password_file = "{site.omero.password_file}"
omerodir = "{site.omero.omerodir}"
managed_repository = "{site.staging_dir.parent / "managed"}"
call_timeout_seconds = 5
[[shares]]
id = "conf"
[shares.source]
kind = "path"
path = "{share.source.path}"  # the mounted buffer
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    return make_site(tmp_path)


@pytest.fixture
def site_file(site: SiteConfig, tmp_path: Path) -> Path:
    return write_site(site, tmp_path / "site.toml")


@pytest.fixture
def store(site: SiteConfig) -> Store:
    return make_store(site)


def put(store: Store, site: SiteConfig, path: str = "scope1/run") -> str:
    intent = OrderIntent(
        share="conf",
        path=path,
        kind=AcquisitionKind.FOLDER,
        target=Target(group_id=3, container_id=11),
        owner="alice",
    )
    order, _ = intake.accept(store, site, uuid.uuid4(), intent, STAFF, utcnow())
    return order.id


def assert_one_clear_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("ferry-bridge: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_version_and_help() -> None:
    assert ferry("--version").stdout.startswith("ferry-bridge ")
    shown = ferry("--help").stdout
    for command in (
        "serve",
        "check-config",
        "orders",
        "order",
        "workstations",
        "workstation",
        "sandbox",
        "releases",
    ):
        assert command in shown


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['ferry-bridge', '--help']\n"
        "import server_bridge.cli\n"
        "heavy = {'omero', 'Ice', 'dbos', 'fastapi', 'uvicorn'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_or_wrong_site_file_is_one_line(tmp_path: Path, site_file: Path) -> None:
    assert_one_clear_line(ferry("orders", "--site", str(tmp_path / "none")), "No site file", "--site")
    site_file.write_text(site_file.read_text().replace('name = "Test site"', "nam = 1"))
    assert_one_clear_line(ferry("orders", site=site_file), "nam")
    assert ferry("orders").returncode == 2, "without a site it says how to give one"


def test_orders_are_listed_shown_and_commanded(site: SiteConfig, store: Store, site_file: Path) -> None:
    assert ferry("orders", site=site_file, process=False).stdout == "No orders.\n"
    order_id = put(store, site, "scope1/\x1b[31mrun".replace("\x1b", "e"))
    listed = ferry("orders", site=site_file, process=False).stdout
    assert order_id[:8] in listed
    assert "Still being written" in listed
    assert json.loads(ferry("orders", "--json", site=site_file, process=False).stdout)[0]["id"] == order_id
    assert (
        json.loads(ferry("orders", "--json", "--stage", "proven", site=site_file, process=False).stdout) == []
    )
    shown = ferry("order", "show", order_id[:6], site=site_file, process=False).stdout
    assert f"order:        {order_id}" in shown
    assert (
        json.loads(ferry("order", "show", order_id, "--json", site=site_file, process=False).stdout)["person"]
        == "alice"
    )
    assert_one_clear_line(
        ferry("order", "retry", order_id, site=site_file, process=False), "still being written"
    )
    done = ferry("order", "cancel", order_id, "--note", "by hand", site=site_file, process=False)
    assert (done.returncode, store.order(order_id).stage) == (0, Stage.CANCELLED), done.stderr
    log = ferry("order", "log", order_id, site=site_file, process=False).stdout
    assert "cancelled: by hand" in log
    assert "operator" in log
    assert_one_clear_line(ferry("order", "cancel", order_id, site=site_file, process=False), "ended")
    assert_one_clear_line(ferry("order", "show", "zzzz", site=site_file, process=False), "Unknown order")
    assert order_id[:8] not in ferry("orders", site=site_file, process=False).stdout
    assert order_id[:8] in ferry("orders", "--all", site=site_file, process=False).stdout


def test_the_log_names_the_kept_output(site: SiteConfig, store: Store, site_file: Path) -> None:
    order_id = put(store, site)
    output = site.state_dir / "orders" / order_id / "1-pull.log"
    output.parent.mkdir(parents=True)
    output.write_text("rsync: hello\n")
    assert str(output) in ferry("order", "log", order_id, site=site_file).stdout


def test_workstations_are_approved_and_revoked(site: SiteConfig, store: Store, site_file: Path) -> None:
    assert "No workstation" in ferry("workstations", site=site_file, process=False).stdout
    request = WorkstationRegistration(name="scope-1", key="k" * 32, hostname="PC7")
    workstations.register(store, request, utcnow(), "here")
    assert "pending" in ferry("workstations", site=site_file, process=False).stdout
    assert_one_clear_line(
        ferry("workstation", "approve", "scope-2", "--root", "conf=a", site=site_file, process=False),
        "scope-1",
    )
    assert_one_clear_line(
        ferry("workstation", "approve", "scope-1", "--root", "conf", site=site_file, process=False),
        "SHARE=PATH",
    )
    assert_one_clear_line(
        ferry("workstation", "approve", "scope-1", "--root", "x=a", site=site_file, process=False), "conf"
    )
    assert (
        ferry(
            "workstation", "approve", "scope-1", "--root", "conf=scope1", site=site_file, process=False
        ).returncode
        == 0
    )
    row = json.loads(ferry("workstations", "--json", site=site_file, process=False).stdout)[0]
    assert (row["status"], row["roots"]) == ("approved", {"conf": "scope1"})
    assert ferry("workstation", "revoke", "scope-1", site=site_file, process=False).returncode == 0
    assert "revoked" in ferry("workstations", site=site_file, process=False).stdout
    with store.read() as session:
        who = {entry.who for entry in session.query(AuditEntry) if entry.action == "workstation.approve"}
    assert len(who) == 1
    assert who.pop().startswith("operator ")


def test_the_rules_that_workstations_get_are_listed(site: SiteConfig, store: Store, site_file: Path) -> None:
    assert "No approved workstation" in ferry("rules", site=site_file, process=False).stdout
    for name in ("scope-1", "scope-2"):
        request = WorkstationRegistration(name=name, key=name * 5, hostname="PC7")
        workstations.register(store, request, utcnow(), "here")
        workstations.approve(store, site, name, {"conf": name}, "a test")
    own = '{depth = 3, quiet_seconds = 60, format_quiet_seconds = {czi = 900}, formats = ["-tiff-series"]}'
    text = site_file.read_text(encoding="utf-8")
    site_file.write_text(
        text + f'[shares.rule.workstations]\nscope-2 = {own}\n"scope-3" = {{depth = 1}}\n', encoding="utf-8"
    )
    shown = ferry("rules", site=site_file, process=False).stdout
    assert "'scope-3', and no workstation of that name" in shown
    lines = {line.split()[0]: line for line in shown.splitlines() if line.startswith("scope")}
    assert (
        "share" in lines["scope-1"]
        and "60, czi 900" in lines["scope-2"]
        and "-tiff-series" in lines["scope-2"]
    )
    found = json.loads(
        ferry("rules", "--workstation", "scope-2", "--json", site=site_file, process=False).stdout
    )
    assert [(one["workstation"], one["own"], one["levels"]) for one in found["rules"]] == [
        ("scope-2", True, 3)
    ]
    assert found["no_such_workstation"] == ["scope-3"]


def test_revoking_a_persons_sessions_says_how_many(site_file: Path, store: Store) -> None:
    assert ferry("session", "revoke", "alice", site=site_file).stdout == "alice: 0 sessions ended.\n"


def test_openapi_needs_no_site() -> None:
    assert "/v1/orders/{order_id}" in json.loads(ferry("openapi").stdout)["paths"]


def test_the_sandbox_refuses_to_be_reachable(tmp_path: Path) -> None:
    done = ferry("sandbox", "--data", str(tmp_path / "omero"), "--host", "0.0.0.0")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "loopback" in done.stderr


@pytest.mark.parametrize(
    ("host", "safe"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("bridge.example.org", False), ("192.168.1.5", False)],
)  # fmt: skip
def test_only_loopback_goes_without_tls(host: str, safe: bool, tmp_path: Path) -> None:
    assert is_loopback(host) is safe
    if safe:
        require_safe_listening(HttpConfig(host=host))
    else:
        with pytest.raises(ConfigurationError, match="in the clear"):
            require_safe_listening(HttpConfig(host=host))
    pem = tmp_path / "x.pem"
    require_safe_listening(HttpConfig(host=host, tls_certificate_file=pem, tls_key_file=pem))
    with pytest.raises(ConfigurationError, match="Half of TLS"):
        require_safe_listening(HttpConfig(host=host, tls_key_file=pem))


def test_one_server_for_one_state_and_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    with serve_lock(tmp_path):
        code = (
            "import sys; from pathlib import Path\n"
            "from server_bridge.operations.serve import serve_lock\n"
            "with serve_lock(Path(sys.argv[1])): print('mine')\n"
        )
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "The bridge runs already" in second.stderr
        assert str(os.getpid()) in second.stderr
    third = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert third.stdout == "mine\n"


# --- releases ------------------------------------------------------------------------------------------


def release(top: Path, names: dict[str, bytes], *, seconds: float = 600) -> Release:
    files = []
    for name, content in names.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        status = path.stat()
        files.append(ReleasedFile(path=name, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns))
    now = datetime.now(UTC)
    return Release(
        order_id=uuid.uuid4(),
        released=True,
        checked_at=now,
        valid_until=now + timedelta(seconds=seconds),
        share="conf",
        files=tuple(files),
    )


def run_script(text: str, top: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-s"], input=text, cwd=top, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_script_deletes_what_is_unchanged_and_nothing_else(tmp_path: Path) -> None:
    found = release(
        tmp_path, {"a b/it's $(x).tif": b"1234", "-rf": b"12", "changed.tif": b"1234", "link.tif": b"1"}
    )
    (tmp_path / "changed.tif").write_bytes(b"12345")
    (tmp_path / "link.tif").unlink()
    (tmp_path / "link.tif").symlink_to("other.tif")
    (tmp_path / "other.tif").write_bytes(b"1")
    done = run_script("".join(release_formats.as_script([found], 2)), tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b", "changed.tif", "link.tif", "other.tif"]
    assert not list((tmp_path / "a b").iterdir())
    assert "skipped, changed: ./changed.tif" in done.stderr


def test_the_script_keeps_a_file_of_the_same_size_and_another_time(tmp_path: Path) -> None:
    found = release(tmp_path, {"a.tif": b"1234"})
    os.utime(tmp_path / "a.tif", (1, 1))
    run_script("".join(release_formats.as_script([found], 2)), tmp_path)
    assert (tmp_path / "a.tif").exists()


def test_an_old_script_does_nothing(tmp_path: Path) -> None:
    found = release(tmp_path, {"a.tif": b"1234"}, seconds=-1)
    done = run_script("".join(release_formats.as_script([found], 2)), tmp_path)
    assert (done.returncode, (tmp_path / "a.tif").exists()) == (75, True)
    assert run_script("".join(release_formats.as_script([], 2)), tmp_path).returncode == 0


def test_lists_as_nul_and_csv(tmp_path: Path) -> None:
    found = release(tmp_path, {"a,b.tif": b"1", 'c"\n.tif': b"22"})
    assert "".join(release_formats.as_nul([found])) == 'a,b.tif\0c"\n.tif\0'
    rows = list(csv.DictReader(io.StringIO("".join(release_formats.as_csv([found])))))
    assert [(row["path"], row["size_bytes"]) for row in rows] == [("a,b.tif", "1"), ('c"\n.tif', "2")]


# --- check-config --------------------------------------------------------------------------------------


def test_the_trial_link_leaves_nothing_behind(tmp_path: Path) -> None:
    staging, managed = tmp_path / "staging", tmp_path / "managed"
    staging.mkdir()
    managed.mkdir()
    assert "one mount" in check_config.trial_link(staging, managed)
    assert not list(staging.iterdir()) + list(managed.iterdir())


def test_two_mounts_are_explained(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second filesystem that an ordinary user may write on this machine")
    managed = elsewhere / f"ferry-test-{uuid.uuid4().hex}"
    managed.mkdir()
    try:
        with pytest.raises(StagingUnlinkable) as caught:
            check_config.trial_link(tmp_path, managed)
        assert "EXDEV" in caught.value.detail
        assert "one mount point" in caught.value.remedy
        assert not list(tmp_path.iterdir()) + list(managed.iterdir())
    finally:
        managed.rmdir()


def test_a_managed_repository_that_may_not_be_written_or_is_away(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    staging = tmp_path / "staging"
    staging.mkdir()
    with pytest.raises(StagingUnlinkable, match="may not link"):
        check_config.trial_link(staging, closed)
    with pytest.raises(StagingUnlinkable, match="not where it should be"):
        check_config.trial_link(staging, tmp_path / "away")
    assert not list(staging.iterdir())


def test_rsync_is_judged_by_version_and_checksums() -> None:
    good = "rsync  version 3.2.7  protocol version 31\nChecksum list:\n    xxh128 sha1 none\nCompress list:\n"
    assert check_config.judge_rsync(good) == "3.2.7 with SHA-1"
    with pytest.raises(ConfigurationError, match="too old"):
        check_config.judge_rsync(good.replace("3.2.7", "3.1.3"))
    with pytest.raises(ConfigurationError, match="SHA-1"):
        check_config.judge_rsync(good.replace(" sha1", ""))
    with pytest.raises(ConfigurationError, match="does not run"):
        check_config.rsync_version("/nonexistent/rsync")
    assert "with SHA-1" in check_config.rsync_version("rsync")


def test_an_open_state_folder_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigurationError, match="Open to others"):
        check_config.state_folder(tmp_path)
    tmp_path.chmod(0o700)
    assert check_config.state_folder(tmp_path) == str(tmp_path)


def test_check_config_names_each_problem_and_exits_1(site_file: Path) -> None:
    done = ferry("check-config", site=site_file)
    assert done.returncode == 1
    assert "name = Test site" in done.stdout
    assert "OK      rsync" in done.stdout
    assert "PROBLEM omero" in done.stdout
    assert "PROBLEM share conf" in done.stdout, "the share has no marker"
    assert "Traceback" not in done.stderr
    shown = ferry("check-config", "--show", site=site_file)
    assert (shown.returncode, "PROBLEM" in shown.stdout) == (0, False)
