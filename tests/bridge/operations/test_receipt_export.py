"""Receipts as files: what coreutils says about them, and what a spreadsheet reads."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from server_bridge.config import SiteConfig
from server_bridge.contract import Condition, ReceiptStatus, Stage
from server_bridge.operations.receipt_export import export
from server_bridge.orders import receipt_formats
from server_bridge.orders.models import Order, OrderFile, utcnow
from server_bridge.orders.receipt_formats import ReceiptFormat
from server_bridge.orders.store import Store
from tests.bridge.bridge_site import make_site, make_store
from tests.bridge.operations.conftest import as_toml

ODD = (
    "plain.tif",
    "with space.tif",
    "-leading-dash",
    "#hash",
    "back\\slash",
    "new\nline",
    "carriage\rreturn",
    "ends with a return\r",
    "\\both\n\r\\",
    "*star",
    " space in front",
    "quote\"'s, and; commas",
    "=SUM(A1)",
    "größe-µm.tif",
    "gro\u0308ße.tif",
)


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    return make_site(tmp_path)


@pytest.fixture
def store(site: SiteConfig) -> Store:
    return make_store(site)


def make_order(store: Store, site: SiteConfig, names: tuple[str, ...], outside: int = 0) -> Order:
    """A proven order: rows in the database, files in staging; the last ``outside`` are not in OMERO."""
    now = utcnow()
    order = Order(
        id=str(uuid.uuid4()),
        person="alice",
        ordered_by="alice",
        share="conf",
        path="scope1/run",
        kind="folder",
        target={"group_id": 3, "container_id": 11},
        request_digest="0" * 64,
        stage=Stage.PROVEN,
        condition=Condition.QUEUED,
        stage_since=now,
        change=0,
        created_at=now,
        updated_at=now,
        proven_at=now,
    )
    with store.write() as session:
        session.add(order)
        session.flush()
        for number, name in enumerate(names):
            path, data = f"scope1/run/{name}", f"bytes of {name}".encode()
            staged = site.staging_dir / "conf" / order.id / path
            staged.parent.mkdir(parents=True, exist_ok=True)
            staged.write_bytes(data)
            proven = number < len(names) - outside
            session.add(
                OrderFile(
                    order_id=order.id,
                    path=path,
                    size_bytes=len(data),
                    mtime_ns=number,
                    sha1=hashlib.sha1(data).hexdigest(),
                    status=ReceiptStatus.PROVEN if proven else ReceiptStatus.IGNORED,
                    rule="" if proven else "ignore: *.tmp",
                    fileset_id=7 if proven else None,
                    inode=1 if proven else None,
                    proven_at=now if proven else None,
                )
            )
        store.touch(session, order)
    return order


def sha1sum(list_: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sha1sum", "--check", "--strict", "-"], input=list_, cwd=folder, capture_output=True, check=False
    )


def test_coreutils_checks_the_staged_files_by_our_list(store: Store, site: SiteConfig) -> None:
    order = make_order(store, site, ODD)
    text = "".join(export(store, order, ReceiptFormat.SHA1SUM)).encode()
    folder = site.staging_dir / "conf" / order.id
    done = sha1sum(text, folder)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert done.stdout.count(b": OK\n") == len(ODD)
    # It is a check: one other byte is found.
    (folder / "scope1/run" / "new\nline").write_bytes(b"bytes of new-line")
    done = sha1sum(text, folder)
    assert done.returncode == 1
    assert b"FAILED" in done.stdout


def test_lines_are_those_that_coreutils_writes(store: Store, site: SiteConfig) -> None:
    order = make_order(store, site, ODD)
    folder = site.staging_dir / "conf" / order.id
    names = sorted(f"scope1/run/{name}" for name in ODD)
    written = subprocess.run(["sha1sum", "--", *names], cwd=folder, capture_output=True, check=True).stdout
    ours = "".join(export(store, order, ReceiptFormat.SHA1SUM)).encode()
    assert ours.split(b"\n") == written.split(b"\n")


def test_csv_gives_every_name_back_and_pages_lose_nothing(store: Store, site: SiteConfig) -> None:
    order = make_order(store, site, ODD, outside=2)
    pages = receipt_formats.pages(store, order.id, page=4)
    text = "".join(receipt_formats.csv_lines(order.id, order.share, pages))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == receipt_formats.CSV_COLUMNS
    assert [row["path"] for row in rows] == sorted(f"scope1/run/{name}" for name in ODD)
    by_name = {row["path"].removeprefix("scope1/run/"): row for row in rows}
    assert (by_name["plain.tif"]["status"], by_name["plain.tif"]["same_inode"]) == ("proven", "yes")
    junk = by_name[ODD[-1]]
    assert (junk["status"], junk["rule"], junk["fileset_id"]) == ("ignored", "ignore: *.tmp", "")
    assert {row["order"] for row in rows} == {order.id}


def test_what_is_not_in_omero_is_not_in_the_checksum_list(store: Store, site: SiteConfig) -> None:
    order = make_order(store, site, ("a.tif", "b.tmp"), outside=1)
    text = "".join(export(store, order, ReceiptFormat.SHA1SUM))
    assert text == f"{hashlib.sha1(b'bytes of a.tif').hexdigest()}  scope1/run/a.tif\n"


def test_the_command_writes_names_as_bytes_whatever_the_locale(
    store: Store, site: SiteConfig, tmp_path: Path
) -> None:
    order = make_order(store, site, ODD, outside=1)
    (tmp_path / "site.toml").write_text(as_toml(site))

    def ferry(form: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "server_bridge.cli", "order", "receipts", order.id[:13], "--format", form],
            env={"FERRY_SITE": str(tmp_path / "site.toml"), "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=True,
        )

    done = ferry("sha1sum")
    assert sha1sum(done.stdout, site.staging_dir / "conf" / order.id).returncode == 0
    assert b"1 files have no proof" in done.stderr
    told = json.loads(ferry("json").stdout)
    assert (told["order_id"], len(told["receipts"])) == (order.id, len(ODD))
    assert {one["path"] for one in told["receipts"]} == {f"scope1/run/{name}" for name in ODD}


def test_an_order_without_files_gives_empty_documents(store: Store, site: SiteConfig) -> None:
    order = make_order(store, site, ())
    assert json.loads("".join(export(store, order, ReceiptFormat.JSON)))["receipts"] == []
    assert "".join(export(store, order, ReceiptFormat.SHA1SUM)) == ""
    assert "".join(export(store, order, ReceiptFormat.CSV)).count("\n") == 1
