"""Is the database what the promises stand on? Looked at once, before the bridge serves.

A committed order survives power loss only if SQLite really is in WAL mode with ``synchronous=FULL`` on a disk
of this host, or PostgreSQL really flushes commits. Each of these can be wrong without a word: SQLite answers
a refused WAL with another mode's name, file locks of a network file system hold nobody off, a role's setting
turns ``synchronous_commit`` off. So what is in force is asked for, not what was set.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from server_bridge.errors import ConfigurationError

MINIMUM_POSTGRESQL = 130_000
"""13; what was measured ran on 15."""
QUICK_CHECK_SECONDS = 20.0
"""A file that takes longer to read is checked by `ferry-bridge backup`, which reads the copy as a whole."""
_STEPS = 2_000
REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "cephfs", "ceph-fuse", "rclone", "s3fs", "davfs2")}
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


class DatabaseUnsound(ConfigurationError):
    """The bridge would promise what this database does not keep; it does not start."""

    code = "database_unsound"
    title = "The orders would not be safe in this database"


class DatabaseDamaged(ConfigurationError):
    """The file has lost something; working on would make it worse."""

    code = "database_damaged"
    title = "The orders' database is damaged"


class DatabaseAway(ConfigurationError):
    """PostgreSQL does not answer, or refuses; the supervisor tries again."""

    code = "database_away"
    title = "The database cannot be reached"


@dataclass(frozen=True, slots=True)
class Soundness:
    """What was found. ``remarks`` are for the log and `check-config`; nothing of them stops the bridge."""

    text: str
    remarks: tuple[str, ...] = ()


def require_sound(engine: Engine, *, quick_check_seconds: float = QUICK_CHECK_SECONDS) -> Soundness:
    """Look at an open database.

    Raises:
        DatabaseUnsound, DatabaseDamaged, DatabaseAway: where the bridge must not serve with it.
    """
    if engine.dialect.name == "sqlite":
        return _sqlite(engine, quick_check_seconds)
    return _postgresql(engine)


# --- SQLite -------------------------------------------------------------------------------------------


def _sqlite(engine: Engine, quick_check_seconds: float) -> Soundness:
    file = Path(engine.url.database or "")
    require_local(file, Path("/proc/self/mountinfo").read_text().splitlines())
    try:
        with engine.connect() as connection:
            found = {
                name: _pragma(connection, name) for name in ("journal_mode", "synchronous", "foreign_keys")
            }
            require_pragmas(file, found)
            whole = _quick_check(connection, file, quick_check_seconds)
    except DatabaseError as error:
        raise not_usable(engine, error) from error
    remarks = []
    if not whole:
        remarks.append(
            f"reading {file} takes over {quick_check_seconds:.0f} s; `ferry-bridge backup` reads all of it"
        )
    if open_to_others := _open_to_others(file):
        remarks.append(f"{open_to_others}: others may read it, and it holds keys; chmod 700 the state folder")
    return Soundness(f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL, {file}", tuple(remarks))


def _pragma(connection: Connection, name: str) -> str:
    return str(connection.exec_driver_sql(f"PRAGMA {name}").scalar())


def require_pragmas(file: Path, found: dict[str, str]) -> None:
    """What SQLite says is in force.

    Raises:
        DatabaseUnsound: where it is less than was asked for.
    """
    if found["journal_mode"] != "wal":
        raise DatabaseUnsound(
            f"SQLite keeps {file} in journal mode {found['journal_mode']!r}, not WAL.",
            remedy="The file system does not share memory between processes (some network ones do not): "
            "put the state folder on a disk of this host, or use PostgreSQL (database_url).",
        )
    if found["synchronous"] not in ("2", "3"):  # FULL, EXTRA
        raise DatabaseUnsound(
            f"SQLite has synchronous={found['synchronous']} on {file}: a commit may be lost with the power.",
            remedy="Take away what changes it, or use PostgreSQL (database_url).",
        )
    if found["foreign_keys"] != "1":
        raise DatabaseUnsound(
            "This SQLite was built without foreign keys.",
            remedy="Use another SQLite, or PostgreSQL (database_url).",
        )


def _quick_check(connection: Connection, file: Path, seconds: float) -> bool:
    """Whether the whole file was read and found good; False where the time was over.

    Raises:
        DatabaseDamaged: where something is wrong.
    """
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    deadline = time.monotonic() + seconds
    raw.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS)
    try:
        said = [str(row[0]) for row in raw.execute("PRAGMA quick_check(5)")]
    except sqlite3.DatabaseError as error:
        if "interrupted" in str(error):
            return False
        raise _damaged(file, str(error)) from error
    finally:
        raw.set_progress_handler(None, 0)
    if said != ["ok"]:
        raise _damaged(file, "; ".join(said))
    return True


def _damaged(file: Path, said: str) -> DatabaseDamaged:
    return DatabaseDamaged(
        f"{file}: {said}.",
        remedy="Look at the disk. Then `ferry-bridge restore` puts the last good backup in its place; what "
        "is there now is kept beside it.",
    )


def _open_to_others(file: Path) -> str:
    for one in (file, file.parent):
        mode = one.stat().st_mode
        if one == file and not file.parent.stat().st_mode & 0o005:
            continue  # nobody else comes as far as the file
        if mode & 0o004:
            return f"{one} has mode {mode & 0o777:04o}"
    return ""


def file_system_of(path: Path, mountinfo: Iterable[str]) -> tuple[str, str]:
    """Mount point and type of the file system that holds a path, by /proc/self/mountinfo's lines. Pure."""
    best, kind = "", ""
    for line in mountinfo:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4])
        inside = point == "/" or path == Path(point) or path.is_relative_to(point)
        # Of two mounts over one point the later one is in sight.
        if inside and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return best, kind


def require_local(file: Path, mountinfo: Iterable[str]) -> None:
    """A network file system's locks and shared memory do not keep two writers apart.

    Raises:
        DatabaseUnsound: where the file lies on one.
    """
    point, kind = file_system_of(file.resolve(), mountinfo)
    if kind in REMOTE:
        raise DatabaseUnsound(
            f"{file} lies on {point}, which is {kind}: SQLite's locks and its WAL need a disk of this host.",
            title="The orders' file lies on a network file system",
            remedy="Move state_dir to a local disk, or use PostgreSQL (database_url).",
        )


# --- PostgreSQL ---------------------------------------------------------------------------------------

_SETTINGS = ("server_version_num", "server_encoding", "synchronous_commit", "fsync", "full_page_writes")


def _postgresql(engine: Engine) -> Soundness:
    try:
        with engine.connect() as connection:
            found = {name: str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in _SETTINGS}
            found["standby"] = str(connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar())
    except DatabaseError as error:
        raise not_usable(engine, error) from error
    return judge_postgresql(place_of(engine), found)


def place_of(engine: Engine) -> str:
    """Which database, in words; the URL may hold a password."""
    url = engine.url
    if engine.dialect.name == "sqlite":
        return str(url.database)
    return f"database {url.database!r} on {url.host or url.query.get('host', 'this host')}"


def not_usable(engine: Engine, error: DatabaseError) -> ConfigurationError:
    """What the database's refusal means for whoever starts the bridge, in its own first words."""
    said = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
    remedy = "Start PostgreSQL, or correct database_url; the password belongs into ~/.pgpass (mode 0600)."
    if engine.dialect.name == "sqlite":
        if not isinstance(error, OperationalError):  # "malformed", "not a database"
            return _damaged(Path(engine.url.database or ""), said)
        remedy = "Look at the disk and at who else has the file open (`fuser`), then start again."
    return DatabaseAway(f"{place_of(engine)}: {said}.", remedy=remedy)


def judge_postgresql(where: str, found: dict[str, str]) -> Soundness:
    """What a server's settings mean for a committed order. Pure.

    Raises:
        DatabaseUnsound: where a commit is not safe, or names cannot be kept.
    """
    version = int(found["server_version_num"])
    if version < MINIMUM_POSTGRESQL:
        raise DatabaseUnsound(
            f"PostgreSQL {version // 10_000} is older than {MINIMUM_POSTGRESQL // 10_000} ({where}).",
            title="PostgreSQL is too old",
            remedy="Use a newer server.",
        )
    if found["standby"] == "True":
        raise DatabaseUnsound(
            f"The server is a standby ({where}).", remedy="Name the primary in database_url."
        )
    if found["server_encoding"] != "UTF8":
        raise DatabaseUnsound(
            f"The database keeps {found['server_encoding']} ({where}): not every file's name fits.",
            remedy="CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
        )
    if found["synchronous_commit"] == "off":
        raise DatabaseUnsound(
            f"synchronous_commit is off ({where}): an order that was answered could be lost with the power.",
            remedy="ALTER ROLE … SET synchronous_commit = on, then start again.",
        )
    remarks = [
        f"{name} is off on the PostgreSQL server: a power loss may cost the whole database"
        for name in ("fsync", "full_page_writes")
        if found[name] == "off"
    ]
    return Soundness(f"PostgreSQL {version // 10_000}.{version % 10_000}, {where}", tuple(remarks))
