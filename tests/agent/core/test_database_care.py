"""Damaged files are set aside and said; copies are made before migrations and once a day."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core import database_care
from agent.core.database import Database, DatabaseAway
from agent.core.database_care import copies_of, in_words, is_sound
from agent.core.machine_store import MachineStore
from agent.core.outbox import EntryState, Outbox
from server_bridge.contract import AcquisitionKind, OrderIntent, Target
from tests.agent.conftest import OwnPlatform

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
FIRST = "CREATE TABLE things (id INTEGER PRIMARY KEY, word TEXT NOT NULL)"
SECOND = "ALTER TABLE things ADD COLUMN more TEXT NOT NULL DEFAULT 'new'"


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "box.sqlite3"


def put(path: Path, *words: str, migrations: tuple[str, ...] = (FIRST,)) -> None:
    database = Database(path, migrations)
    with database.write() as connection:
        for word in words:
            connection.execute("INSERT INTO things (word) VALUES (?)", (word,))
    database.close()


def words(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM things ORDER BY id")]


def age_copies(path: Path) -> None:
    """As if the copies had been made two days ago."""
    for copy in copies_of(path):
        at = database_care._made_at(copy) - timedelta(days=2)
        copy.rename(copy.with_name(f"{path.name}.copy-{at:%Y%m%dT%H%M%S%f}"))


def spoil(path: Path, start: int = 0, length: int = 4096) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * length)


# --- copies -----------------------------------------------------------------------------------------------


def test_a_new_file_needs_no_copy(path: Path) -> None:
    put(path, "one")
    assert copies_of(path) == []


def test_a_start_makes_one_copy_a_day_and_keeps_the_newest_few(path: Path) -> None:
    for number in range(6):
        put(path, f"word {number}")
        put(path)
        age_copies(path)
    copies = copies_of(path)
    assert len(copies) == database_care.COPIES_KEPT
    assert words(copies[0]) == [f"word {number}" for number in range(5)]
    put(path)
    assert len(copies_of(path)) == database_care.COPIES_KEPT


def test_a_copy_is_made_before_a_migration_however_fresh_the_last_one(path: Path) -> None:
    put(path, "one")
    put(path, "two")
    (fresh,) = copies_of(path)
    put(path, migrations=(FIRST, SECOND))
    newest, _older = copies_of(path)
    assert newest != fresh and words(newest) == ["one", "two"]
    with closing(sqlite3.connect(newest)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,), "as it was before"


def test_a_migration_that_fails_leaves_the_file_and_a_copy(path: Path) -> None:
    put(path, "one")
    with pytest.raises(database_care.DatabaseUnusable):
        Database(path, (FIRST, "ALTER TABLE nothing ADD COLUMN more TEXT"))
    assert words(path) == ["one"] and words(copies_of(path)[0]) == ["one"]
    put(path, "two")
    assert words(path) == ["one", "two"]


def test_a_kill_in_the_middle_of_a_migration_leaves_a_sound_file(path: Path) -> None:
    put(path, *(f"word {number}" for number in range(50)))
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom agent.core.database import Database\n"
        f"Database(Path(sys.argv[1]), ({FIRST!r}, {SECOND!r}, 'SELECT 1'))\n"
    )
    for moment in ("backup", "ALTER"):
        hook = (
            "import sys\n"
            f"def die(event, arguments):\n"
            f"    if event == 'sqlite3.connect' and {moment!r} == 'backup' and 'half' in str(arguments):\n"
            f"        import os; os._exit(9)\n"
            "sys.addaudithook(die)\n"
        )
        before = "import os, sqlite3\nreal = sqlite3.connect\n" if moment == "ALTER" else ""
        trace = (
            "def connect(*args, **kwargs):\n"
            "    made = real(*args, **kwargs)\n"
            "    made.set_trace_callback(lambda said: 'ALTER' in said and os._exit(9))\n"
            "    return made\n"
            "sqlite3.connect = connect\n"
            if moment == "ALTER"
            else ""
        )
        died = subprocess.run(
            [sys.executable, "-c", hook + before + trace + program, str(path)], timeout=60, check=False
        )
        assert died.returncode == 9, moment
        assert is_sound(path) and len(words(path)) == 50
    put(path, "more", migrations=(FIRST, SECOND))
    assert len(words(path)) == 51
    assert not list(path.parent.glob("*.damaged-*"))


def test_a_second_opening_takes_no_lock_from_the_first(path: Path) -> None:
    """Two sessions of a machine, one of them with the file open twice: each sees what the other writes."""
    put(path, "one")
    first, second = Database(path, (FIRST,)), Database(path, (FIRST,))
    assert second.connection().execute("SELECT count(*) FROM things").fetchone()[0] == 1
    program = (
        "import sys\nfrom pathlib import Path\nfrom agent.core.database import Database\n"
        f"database = Database(Path(sys.argv[1]), ({FIRST!r},))\n"
        "with database.write() as connection:\n"
        "    connection.execute('INSERT INTO things (word) VALUES (?)', (sys.argv[2],))\n"
        "database.close()\n"
    )
    for word in ("two", "three"):
        # It opens, looks whether the file is sound, and closes: twice, with everything that SQLite tidies up.
        subprocess.run([sys.executable, "-c", program, str(path), word], timeout=60, check=True)
    with first.write() as connection:
        connection.execute("INSERT INTO things (word) VALUES ('four')")
    seen = [word for (word,) in second.connection().execute("SELECT word FROM things ORDER BY id")]
    assert seen == ["one", "two", "three", "four"] == words(path)
    first.close()
    second.close()


# --- damage -----------------------------------------------------------------------------------------------


def test_a_damaged_file_is_set_aside_and_its_copy_takes_its_place(path: Path) -> None:
    put(path, "one")
    put(path, "two")  # the copy that this start makes knows "one" alone
    spoil(path)
    database = Database(path, (FIRST,))
    damage = database.damage
    assert damage is not None and damage.copy_of is not None and damage.rows == 0
    assert damage.set_aside.exists() and words(path) == ["one"]
    database.close()
    assert Database(path, (FIRST,)).damage is None


def test_what_a_damaged_file_still_tells_is_put_over_the_copy(path: Path) -> None:
    put(path, "one")
    put(path, *(f"word {number} " + "x" * 400 for number in range(200)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil(path, path.stat().st_size - 4096)  # the last rows' page
    assert not is_sound(path)
    damage = Database(path, (FIRST,)).damage
    assert damage is not None and 50 < damage.rows < 201
    assert len(words(path)) == damage.rows


def test_a_damaged_file_without_a_copy_makes_room_for_a_new_one(path: Path) -> None:
    path.write_bytes(b"this is no database, it was one" * 300)
    database = Database(path, (FIRST,))
    assert database.damage is not None and database.damage.copy_of is None
    assert words(path) == []
    assert database.damage.set_aside.read_bytes().startswith(b"this is no database")


def test_a_file_that_lost_its_content_is_damaged_and_a_fresh_one_is_not(path: Path) -> None:
    put(path, "one")
    put(path)
    path.write_bytes(b"")
    assert Database(path, (FIRST,)).damage is not None and words(path) == ["one"]
    fresh = path.with_name("fresh.sqlite3")
    fresh.touch()
    assert Database(fresh, (FIRST,)).damage is None


def test_a_damaged_copy_is_passed_over_for_an_older_one(path: Path) -> None:
    put(path, "one")
    put(path)
    age_copies(path)
    put(path, "two")
    newest, _older = copies_of(path)
    spoil(newest)
    spoil(path)
    assert Database(path, (FIRST,)).damage is not None
    assert words(path) == ["one"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9000)), min_size=1, max_size=4))
def test_no_damage_keeps_the_agent_from_starting_or_deletes_what_was_there(
    tmp_path: Path, hits: list[tuple[int, int]]
) -> None:
    top = tmp_path / uuid4().hex
    top.mkdir()
    path = top / "box.sqlite3"
    put(path, "first")
    put(path, *(f"word {number} " + "y" * 300 for number in range(300)))
    for page, length in hits:
        spoil(path, page * 4096, length)
    spoiled = path.read_bytes()
    database = Database(path, (FIRST,))
    if database.damage is None:
        assert "first" in words(path)
    else:
        assert database.damage.set_aside.read_bytes() == spoiled
        assert words(path)[:1] == ["first"] or len(words(path)) >= 1
    with database.write() as connection:
        connection.execute("INSERT INTO things (word) VALUES ('later')")
    assert words(path)[-1] == "later"
    database.close()


def test_a_copy_that_cannot_be_made_keeps_nobody_from_starting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, "one")

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(database_care, "_to_disk", full)
    put(path, "two")
    assert words(path) == ["one", "two"] and copies_of(path) == []
    with pytest.raises(database_care.DatabaseUnusable, match="No space left"):
        Database(path, (FIRST, SECOND))
    assert not list(path.parent.glob("*half*"))


def test_rows_are_salvaged_over_a_copy_from_before_an_upgrade(path: Path) -> None:
    put(path, "one")
    put(path)
    both = (FIRST, SECOND)
    put(path, *(f"word {number} " + "x" * 400 for number in range(200)), migrations=both)
    for copy in copies_of(path)[:-1]:
        copy.unlink()  # what is left is of the older agent
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil(path, path.stat().st_size - 4096)
    damage = Database(path, both).damage
    assert damage is not None and damage.rows > 50
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT DISTINCT more FROM things").fetchall() == [("new",)]


# --- several sessions, and starts that are ended in the middle -------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from agent.core.database import Database, DatabaseAway
database = Database(Path(sys.argv[1]), (sys.argv[2],))
print("open", flush=True)
for line in sys.stdin:
    with database.write() as connection:
        connection.execute("INSERT INTO things (word) VALUES (?)", (line.strip(),))
    print("written", flush=True)
database.close()
"""


@contextmanager
def another_session(path: Path) -> Iterator[subprocess.Popen[str]]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), FIRST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()


def say(holder: subprocess.Popen[str], word: str) -> None:
    assert holder.stdin is not None and holder.stdout is not None
    holder.stdin.write(word + "\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "written\n"


def test_several_sessions_use_a_sound_file(path: Path) -> None:
    put(path, "one")
    with another_session(path) as first, another_session(path) as second:
        say(first, "two")
        say(second, "three")
        put(path, "four")
        say(first, "five")
    assert words(path) == ["one", "two", "three", "four", "five"]


def test_a_damaged_file_stays_where_another_session_has_it_open(path: Path) -> None:
    put(path, *(f"word {number} " + "x" * 400 for number in range(200)))
    with another_session(path) as holder:
        spoil(path, 9 * 4096)  # not where the next row goes
        before = path.stat().st_ino
        with pytest.raises(database_care.DatabaseUnusable) as refused:
            Database(path, (FIRST,))
        assert "session" in refused.value.detail and refused.value.remedy
        if sys.platform != "win32":
            assert path.stat().st_ino == before
            say(holder, "what it writes is not lost in a file that was set aside")
    damage = Database(path, (FIRST,)).damage
    assert damage is not None and damage.set_aside is not None, "now nobody has it open"


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_setting_aside_goes_on_where_a_start_was_ended_in_the_middle(
    path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    put(path, "one")
    age_copies(path)
    put(path)
    database = Database(path, (FIRST,))
    with database.write() as connection:
        connection.execute("INSERT INTO things (word) VALUES ('two')")
    # As a power cut leaves it: the log is there, and the file itself is spoilt.
    parts = {one: one.read_bytes() for one in path.parent.glob(path.name + "*") if one.suffix != ".users"}
    database.close()
    for one, content in parts.items():
        one.write_bytes(content)
    spoil(path)
    real, done = Path.rename, 0

    def ended(self: Path, target: Path) -> Path:
        nonlocal done
        if done == steps:
            raise KeyboardInterrupt
        done += 1
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", ended)
        if steps < 3:
            with pytest.raises(KeyboardInterrupt):
                Database(path, (FIRST,))
        else:
            patched.setattr(database_care, "_salvage", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                Database(path, (FIRST,))
    damage = Database(path, (FIRST,)).damage
    assert damage is not None and damage.set_aside is not None and damage.copy_of is not None
    assert "one" in words(path)
    assert len(list(path.parent.glob(f"{path.name}.damaged-*[0-9]"))) == 1
    log = damage.set_aside.with_name(damage.set_aside.name + "-wal")
    assert log.read_bytes() == parts[path.with_name(path.name + "-wal")], (
        "the log may tell what nothing else does"
    )


def test_a_file_that_is_gone_comes_back_from_its_copy(path: Path) -> None:
    put(path, "one")
    put(path)
    path.unlink()
    damage = Database(path, (FIRST,)).damage
    assert damage is not None and damage.set_aside is None and damage.copy_of is not None
    assert words(path) == ["one"]
    reason = in_words(damage, None)
    assert reason is not None and "no longer there" in reason.detail


def test_a_check_that_takes_too_long_keeps_nobody_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, *("x" * 400 for _number in range(2000)))
    monkeypatch.setattr(database_care, "_STEPS_BETWEEN_LOOKS", 1)
    assert is_sound(path, seconds=-1.0)
    assert is_sound(path)


# --- writing ------------------------------------------------------------------------------------------------


def test_a_file_that_stays_locked_is_said_in_the_persons_words(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.core.database.BUSY_SECONDS", 0.2)
    database = Database(path, (FIRST,))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseAway) as refused, database.write():
            pass
        other.execute("ROLLBACK")
    assert path.name in refused.value.detail and refused.value.remedy
    with database.write() as connection:
        connection.execute("INSERT INTO things (word) VALUES ('later')")
    assert words(path) == ["later"]
    database.close()


def test_a_full_disk_is_said_and_leaves_what_was_there(path: Path) -> None:
    database = Database(path, (FIRST,))
    with database.write() as connection:
        connection.execute("INSERT INTO things (word) VALUES ('one')")
        # SQLite's own limit ends as a full disk does (SQLITE_FULL).
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    database.connection().execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(DatabaseAway), database.write() as connection:
        for _ in range(100):
            connection.execute("INSERT INTO things (word) VALUES (?)", ("x" * 4000,))
    database.connection().execute("PRAGMA max_page_count=1000000")
    with database.write() as connection:
        connection.execute("INSERT INTO things (word) VALUES ('two')")
    assert words(path) == ["one", "two"]
    database.close()


# --- the two files ----------------------------------------------------------------------------------------


def test_orders_survive_a_damaged_outbox_and_the_person_is_told(tmp_path: Path) -> None:
    platform = OwnPlatform(tmp_path)
    file = tmp_path / "outbox.sqlite3"
    intent = OrderIntent(
        share="scope1",
        path="alice/run1",
        kind=AcquisitionKind.FOLDER,
        target=Target(group_id=3, container_id=7),
    )
    ids: list[UUID] = []
    for _start in range(2):
        outbox = Outbox(file, platform)
        ids.append(uuid4())
        outbox.add(ids[-1], "acq", "alice", intent, "grant", NOW)
        outbox.close()
        age_copies(file)
    Outbox(file, platform).close()
    spoil(file)
    outbox = Outbox(file, platform)
    entries = {entry.id: entry for entry in outbox.entries()}
    assert set(entries) == set(ids)
    assert all(entry.state is EntryState.NEW for entry in entries.values())
    assert outbox.grant_of(entries[ids[0]]) == "grant"
    reason = in_words(outbox.damage, None)
    assert reason is not None and reason.code == "outbox_damaged" and "set aside" in reason.detail
    outbox.close()


def test_a_damaged_file_of_the_machine_is_said_when_the_outbox_is_sound(tmp_path: Path) -> None:
    file = tmp_path / "machine.sqlite3"
    MachineStore(file).close()
    spoil(file)
    store = MachineStore(file)
    reason = in_words(None, store.damage)
    assert reason is not None and reason.code == "machine_file_damaged"
    store.close()
    assert in_words(None, None) is None
