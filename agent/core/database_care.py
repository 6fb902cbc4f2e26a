"""Copies of the agent's databases, and what is done about a damaged one: set aside, never deleted, said.

A copy is made before a migration and once a day at a start, in SQLite's own way (other sessions may write
meanwhile), checked before it counts, and the newest few stay. A file that SQLite calls damaged is renamed;
the newest good copy takes its place, and whatever can still be read of the damaged one is put over it.
Everything in these files is safe to have twice: orders and commands have ids of their own, and the bridge is
asked about each.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from agent.core.errors import AgentError
from server_bridge.contract import Reason

log = logging.getLogger(__name__)
COPIES_KEPT = 3
COPIED_EVERY = timedelta(days=1)
CHECK_SECONDS = 20.0
"""A start waits no longer for the check of a large file; what is wrong is found when it is met."""
_MARK = ".copy-"
_ASIDE = ".damaged-"
_LOGS = ("-wal", "-shm")
_SHARING_VIOLATION = 32
"""Windows' word for a file that somebody has open: it cannot be renamed."""
_STEPS_BETWEEN_LOOKS = 10_000
"""SQLite's virtual machine does these in about a millisecond."""


class DatabaseUnusable(AgentError):
    """It can be neither used nor set aside: a full or read-only disk, another program that holds it."""

    code = "database_unusable"
    title = "The agent cannot use its own files"


class CopyFailed(Exception):
    """No copy could be made of a file that stays as it is."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What was found at a start, and what became of it."""

    set_aside: Path | None
    """None where the file was not there at all, although there were copies of it."""
    copy_of: datetime | None
    """When the copy was made that took its place; None where there was none."""
    rows: int
    """Rows that were still readable in the damaged file."""


def unusable(path: Path, error: Exception) -> DatabaseUnusable:
    """The refusal to start on a file that can be neither used nor set aside."""
    return DatabaseUnusable(
        f"{path}: {error}",
        remedy="Is the disk full, or may this user not write there? Mend it, then start the agent again.",
    )


def look_after(path: Path, version: int, *, alone: bool = True) -> Damage | None:
    """Make sure, before anybody uses it, that a file is sound and that there is a copy of it.

    Args:
        path: the database; nothing happens where it was never there.
        version: the schema that this program brings; an older file is about to be migrated.
        alone: whether no other session has it open, or can open it meanwhile.

    Raises:
        DatabaseUnusable: where it can be neither used nor set aside.
    """
    is_there = path.exists()
    if not is_there and not copies_of(path) and not _log_of(path).exists():
        return None
    damage = None
    try:
        if not is_there or not is_sound(path, CHECK_SECONDS):
            if not alone:
                raise _open_elsewhere(path)
            damage = _replace(path)
        if path.exists():
            _copy_if_due(path, version)
    except CopyFailed as error:
        # The file itself is sound, and nothing about it is to change: a copy is for worse days than this one.
        log.warning("%s: no copy was made: %s", path, error)
    except (OSError, sqlite3.OperationalError) as error:
        if getattr(error, "winerror", None) == _SHARING_VIOLATION:
            raise _open_elsewhere(path) from error
        raise unusable(path, error) from error
    return damage


def _open_elsewhere(path: Path) -> DatabaseUnusable:
    return DatabaseUnusable(
        f"{path} is damaged, and another session of this machine has it open.",
        remedy="Sign the other Windows users out, or start this machine again: then the agent sets the file "
        "aside and goes on. Orders are in files of their own.",
    )


def is_sound(path: Path, seconds: float = float("inf")) -> bool:
    """Whether SQLite can read all of it, as far as it comes in that time.

    Raises:
        sqlite3.OperationalError: where it cannot be asked (locked, disk).
    """
    if path.stat().st_size == 0:
        # A new file; one that lost its content has copies that remember it, or a log.
        return not copies_of(path) and not _log_of(path).exists()
    try:
        with closing(_read_only(path)) as connection:
            until = time.monotonic() + seconds
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_LOOKS)
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            log.warning("%s: nothing wrong was found in %.0f s; it is larger than that", path, seconds)
            return True
        raise
    except sqlite3.DatabaseError as error:
        log.error("%s: %s", path, error)
        return False
    if said != "ok":
        log.error("%s: %s", path, said)
    return bool(said == "ok")


def _read_only(path: Path) -> sqlite3.Connection:
    """Who only looks leaves the log alone. Otherwise the last who closes a file deletes its log, also that of
    a damaged file, which may hold what nothing else does (measured with SQLite 3.40)."""
    return sqlite3.connect(f"file:{quote(path.as_posix(), safe='/:')}?mode=ro", uri=True, timeout=15)


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + _LOGS[0])


def copies_of(path: Path) -> list[Path]:
    """The copies of a database, newest first."""
    return sorted(path.parent.glob(f"{path.name}{_MARK}*[0-9]"), reverse=True)


def _made_at(copy: Path) -> datetime:
    return datetime.strptime(_stamp_of(copy, _MARK), "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)


def _stamp_of(path: Path, mark: str) -> str:
    """The time in a name; such texts sort as times do."""
    return path.name.rpartition(mark)[2]


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")


def _copy_if_due(path: Path, version: int) -> None:
    newest = next((_made_at(copy) for copy in copies_of(path)), None)
    with closing(sqlite3.connect(path, timeout=15)) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == 0:
            return  # nothing was ever put into it
        fresh = newest is not None and datetime.now(UTC) - newest < COPIED_EVERY
        if fresh and found >= version:
            return
        try:
            _copy(path, connection)
        except (OSError, sqlite3.OperationalError) as error:
            if found >= version:
                raise CopyFailed(str(error)) from error
            raise
    for old in copies_of(path)[COPIES_KEPT:]:
        old.unlink(missing_ok=True)


def _copy(path: Path, connection: sqlite3.Connection) -> None:
    half = path.with_name(f".{path.name}{_MARK}half-{os.getpid()}")
    try:
        os.close(os.open(half, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        with closing(sqlite3.connect(half)) as target:
            connection.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        if not is_sound(half):
            raise sqlite3.OperationalError(f"the copy of {path.name} is not sound")
        _to_disk(half)
        half.replace(path.with_name(f"{path.name}{_MARK}{_stamp()}"))
    finally:
        half.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _last_aside(path: Path) -> Path | None:
    """What was set aside after the newest copy was made: by a start that may not have come to its end."""
    copies = copies_of(path)
    since = _stamp_of(copies[0], _MARK) if copies else ""
    found = max(path.parent.glob(f"{path.name}{_ASIDE}*[0-9]"), default=None)
    return found if found is not None and _stamp_of(found, _ASIDE) > since else None


def _replace(path: Path) -> Damage:
    aside = path.with_name(f"{path.name}{_ASIDE}{_stamp()}")
    if not path.exists():
        # Gone, or an earlier start was ended between here and the copy: then it goes on.
        aside = _last_aside(path) or aside
    for suffix in ("", *_LOGS):
        # The file itself first: without its log it may look sound, and what that held would be lost unsaid.
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    copy = next((one for one in copies_of(path) if is_sound(one)), None)
    rows = 0
    if copy is not None:
        half = path.with_name(f".{path.name}{_MARK}back-{os.getpid()}")
        half.write_bytes(copy.read_bytes())
        half.chmod(0o600)
        rows = sum(_salvage(aside, half)) if aside.exists() else 0
        _to_disk(half)
        half.replace(path)
    log.error(
        "%s was damaged: set aside as %s; %s, %d rows read from it",
        path, aside.name, f"the copy {copy.name} took its place" if copy else "there is no copy", rows,
    )  # fmt: skip
    return Damage(aside if aside.exists() else None, _made_at(copy) if copy is not None else None, rows)


def _salvage(damaged: Path, into: Path) -> Iterator[int]:
    """Put every row over the copy's that can still be read, table by table; how many of each."""
    with (
        closing(_read_only(damaged)) as source,
        closing(sqlite3.connect(into, isolation_level=None)) as target,
    ):
        names = [name for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            known = {row[1] for row in target.execute(f"PRAGMA table_info({name})")}
            count = 0
            # What cannot be read ends the table, what does not fit is left out: better than nothing.
            with suppress(sqlite3.DatabaseError):
                rows = source.execute(f"SELECT * FROM {name}")
                # The copy may be of an older agent, without the columns that came since.
                taken = [(place, one[0]) for place, one in enumerate(rows.description) if one[0] in known]
                columns, places = ",".join(one for _, one in taken), ",".join("?" * len(taken))
                for row in rows:
                    with suppress(sqlite3.IntegrityError):
                        target.execute(
                            f"INSERT OR REPLACE INTO {name} ({columns}) VALUES ({places})",
                            [row[place] for place, _ in taken],
                        )
                        count += 1
            yield count


def _aside_in_words(damage: Damage) -> str:
    aside = damage.set_aside
    return f"It was set aside as {aside.name}" if aside is not None else "It was no longer there"


def in_words(outbox: Damage | None, machine: Damage | None) -> Reason | None:
    """What a person is told of damage that was found at this start; None where all was sound."""
    if outbox is not None:
        copied = outbox.copy_of
        taken = f"the copy of {copied.astimezone():%d %B, %H:%M} took its place, " if copied else ""
        return Reason(
            code="outbox_damaged",
            title="This workstation's list of your orders was damaged",
            detail=f"{_aside_in_words(outbox)}; {taken}{outbox.rows} entries could still "
            "be read from it. What the bridge had confirmed goes on; share and OMERO are untouched.",
            remedy="Look at your cards: where one asks for a target again, choose it again. Tell the "
            "platform staff that the file was damaged: the disk may be failing.",
        )
    if machine is not None:
        return Reason(
            code="machine_file_damaged",
            title="What this workstation had noted about the share was damaged",
            detail=f"{_aside_in_words(machine)}; the share is looked at anew.",
            remedy="Nothing to do for your orders. Data that was first seen meanwhile may wait for somebody "
            "to say whose it is. Tell the platform staff: the disk may be failing.",
        )
    return None
