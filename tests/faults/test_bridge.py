"""The bridge's own ground gives way: a full disk, kill -9 at any moment, the engine's tables gone."""

from __future__ import annotations

import os
import random
import time

import psycopg
import pytest

from tests.faults.story import Story, eventually, staged_bytes
from tests.loopback.site import SHARE

pytestmark = pytest.mark.slow
KILLS = 6


def _start_anew(story: Story) -> None:
    story.site.program("bridge").kill()
    story.site.start_bridge()


def test_a_full_staging_disk_is_waited_for(story: Story) -> None:
    path = story.stack("alice/full.ome.tif")
    room, none = "keep_free_bytes = 67108864", f"keep_free_bytes = {10**15}"
    story.change_site(room, none)
    story.restart_bridge()
    order = story.order(path)
    state = story.told(order, "staging_full", stage="pulling", condition="waiting")
    assert staged_bytes(story.site, order) == 0
    story.staff_say(order, state["reason"])
    story.change_site(none, room)
    story.restart_bridge()
    story.proven(order)
    story.require_once(path)


def test_a_staging_directory_that_cannot_be_written_is_named(story: Story) -> None:
    path = story.stack("alice/unwritable.ome.tif")
    shut = story.site.staging / SHARE
    shut.mkdir(exist_ok=True)
    mode = shut.stat().st_mode
    shut.chmod(0o500)
    try:
        order = story.order(path)
        state = story.told(order, "disk_failed", stage="pulling", condition="waiting")
        assert str(shut) in state["reason"]["detail"]
    finally:
        shut.chmod(mode)
    story.proven(order)
    story.require_once(path)


def test_the_engines_database_is_not_needed_to_finish_every_order_once(story: Story) -> None:
    folder = story.folder("alice/engineless", "a.ome.tif", "b.ome.tif")
    story.fault("importFileset", "delay:20", match="b.ome.tif")
    order = story.order(folder)
    eventually(lambda: story.held().count(f"{folder}/a.ome.tif"), 60, "the first unit is in OMERO")
    waiting = story.order(story.stack("alice/queued.ome.tif"))
    story.site.program("bridge").kill()
    story.clear_faults()
    _lose_engine(story)
    story.site.start_bridge()
    story.proven(order, waiting)
    story.require_once(f"{folder}/a.ome.tif", f"{folder}/b.ome.tif", "alice/queued.ome.tif")


def _lose_engine(story: Story) -> None:
    if story.site.database_url:
        with psycopg.connect(story.site.database_url.replace("+psycopg", "")) as connection:
            connection.execute("DROP SCHEMA dbos CASCADE")
        return
    engines = list(story.site.state.glob("engine.sqlite3*"))
    assert engines
    for path in engines:
        path.unlink()


def test_kill_9_at_random_moments_loses_and_doubles_nothing(story: Story) -> None:
    seed = int(os.environ.get("FERRY_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"FERRY_FAULT_SEED={seed}")  # pytest shows it where the story fails
    dice = random.Random(seed)
    paths = [
        story.stack("alice/random-one.ome.tif"),
        story.stack("alice/random-big.ome.tif", frames=2, side=768),
        story.folder("alice/random-units", "a.ome.tif", "b.ome.tif"),
        story.plate("alice/random-plate"),
    ]
    story.fault("step2", "delay:1", count=3, match="random")
    with story.slow_buffer(3072):
        orders = [story.order(path) for path in paths]
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.2, 4.0))
            _start_anew(story)
        story.proven(*orders, seconds=90)
    files = [path for path in story.notes.files if path.startswith("alice/random")]
    junk = {"Thumbs.db", "desktop.ini"}
    story.require_once(*(path for path in files if path.rsplit("/", 1)[1] not in junk))
    states = [story.client.state(order) for order in orders]
    assert [state["result"]["image_count"] for state in states] == [1, 1, 2, 2], f"seed {seed}"
    assert [len(state["result"]["fileset_ids"]) for state in states] == [1, 1, 2, 1], f"seed {seed}"
