"""Names that a microscope or a person may give, all the way: pulled, imported, proven, released."""

from __future__ import annotations

import hashlib
import os
import subprocess
import unicodedata

import pytest

from server_bridge.contract import Condition, Stage
from server_bridge.omero.paths import client_path
from server_bridge.orders.models import OrderFile
from server_bridge.retention.release import recheck
from tests.bridge.pipeline.world import World, age
from tests.bridge.sandbox.conftest import write_tiff

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FOLDER = 'alice/-odd #1; "x"'
NAMES = (
    "-rf #1; a|pipe.tif",
    ' folder in blanks /- group: it\'s "x".tif',
    "folder ends in dot./back\\#012slash *[1].tif",
    unicodedata.normalize("NFC", "🔬 é composed.tif"),
    unicodedata.normalize("NFD", "ü decomposed.tif"),
    "x" * 251 + ".tif",
)
"""Each an import of its own: few names, each with several oddities."""


def test_every_odd_name_is_proven_under_its_own_bytes(world: World) -> None:
    for number, name in enumerate(NAMES):
        write_tiff(world.buffer / FOLDER / name, (16, 16 + number))
    age(world.buffer / "alice")
    paths = {f"{FOLDER}/{name}" for name in NAMES}
    order_id = world.order(FOLDER)
    with world.running():
        world.wait_proven(order_id, seconds=400)
    files = world.files(order_id)
    assert set(files) == paths
    held = {one["hash"] for one in world.in_omero(order_id)}
    for path in paths:
        digest = hashlib.sha1((world.buffer / path).read_bytes()).hexdigest()
        assert files[path].sha1 == files[path].omero_sha1 == digest
        assert digest in held
        assert os.fsencode(path) == os.fsencode(
            world.staged(order_id, path).relative_to(world.staged(order_id, ""))
        )
    prefix = client_path(str(world.staged(order_id, "x")))[:-1]
    assert {one["path"] for one in world.in_omero(order_id)} == {
        client_path(str(world.staged(order_id, path)))[len(prefix) :] for path in paths
    }
    answer = recheck(world.context, order_id)
    assert answer.released
    assert {file.path for file in answer.files} == paths


def test_the_same_name_in_another_unicode_form_is_told_and_not_guessed(world: World) -> None:
    """The agent (SMB) saw composed names, the storage holds decomposed ones: waiting would never end."""
    composed, decomposed = (unicodedata.normalize(form, "alice/run/é.tif") for form in ("NFC", "NFD"))
    write_tiff(world.buffer / decomposed)
    age(world.buffer / "alice")
    order_id = world.order("alice/run")
    with world.context.store.write() as session:
        session.query(OrderFile).filter(OrderFile.order_id == order_id).update({"path": composed})
    with world.running():
        order = world.wait(order_id, lambda order: order.condition == Condition.ATTENTION)
    assert (order.stage, world.reason(order_id)) == (Stage.ACCEPTED, "names_differ")
    assert order.reason is not None and "\\u0301" in order.reason["detail"]
    assert not world.staged(order_id, "").exists()


def test_names_that_differ_only_in_case_on_the_share_are_refused_before_anything_is_pulled(
    world: World,
) -> None:
    """The workstation's system shows one of them (Windows folds case), the storage holds both."""
    write_tiff(world.buffer / "alice/run/Cell.tif")
    age(world.buffer / "alice")
    order_id = world.order("alice/run")
    write_tiff(world.buffer / "alice/run/cell.tif", (20, 20))
    with world.running():
        order = world.wait_reason(order_id, "source_changed")
    assert (order.stage, order.sealed) == (Stage.ACCEPTED, False)
    assert order.reason is not None and "cell.tif" in order.reason["detail"]
    listed = subprocess.run(
        ["find", str(world.site.staging_dir), "-mindepth", "2", "-type", "f"], capture_output=True, check=True
    )
    assert listed.stdout == b""
