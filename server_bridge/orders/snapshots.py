"""Copies of the orders' SQLite file: taken while the bridge works, judged before they are trusted, put back.

A copy is made by SQLite's online backup in one step: one read snapshot, so it is a state that was
committed, and in WAL no writer waits for it. Copying the file with `cp` would miss what is still in the WAL.
A finished copy is one file (no WAL beside it), checked, on the disk, and appears under its name at once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory

from server_bridge.errors import ConfigurationError
from server_bridge.mover.durability import fsync_dir
from server_bridge.orders import database

BUSY_SECONDS = database.BUSY_TIMEOUT_MS / 1000
PARTIAL = ".partial"
MIGRATIONS = Path(database.__file__).parent / "migrations"


class BackupFailed(ConfigurationError):
    """Nothing was kept and nothing was replaced."""

    code = "backup_failed"
    title = "The backup could not be made"


class NotABackup(ConfigurationError):
    """The file cannot stand in for the orders; nothing was replaced."""

    code = "not_a_backup"
    title = "This file is no good backup of the orders"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a copy holds."""

    revision: str
    """Of the schema (Alembic)."""
    orders: int
    size_bytes: int


def revisions(config: AlembicConfig | None = None) -> tuple[str, tuple[str, ...]]:
    """The schema's newest revision, and all revisions that this program (or ``config``) knows."""
    if config is None:
        config = AlembicConfig()
        config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    return scripts.get_current_head() or "", tuple(one.revision for one in scripts.walk_revisions())


def save(source: Path, target: Path) -> Snapshot:
    """Copy a database in use to a new file of mode 0600, check it, and let it appear under its name.

    Raises:
        BackupFailed: where the source is not there or is damaged, the disk is full, or the copy is not good.
        OSError: where the folder cannot be used.
    """
    if not source.is_file():
        raise BackupFailed(f"{source} is not there.", remedy="Check state_dir and database_url.")
    partial = target.with_name(f".{target.name}{PARTIAL}")
    partial.unlink(missing_ok=True)
    # Digests of tokens and keys are in it: never open to others, not even while it is written.
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        with _opened(source) as held, _opened(partial) as copy:
            held.backup(copy, pages=-1)
            # The source's WAL mode came along; a backup must be whole without a second file.
            copy.execute("PRAGMA journal_mode=DELETE")
        snapshot = inspect(partial)
        _sync_file(partial)
        partial.rename(target)
    except sqlite3.Error as error:
        raise BackupFailed(f"{source} → {target}: {error}.", remedy=_remedy(error)) from error
    except NotABackup as error:
        raise BackupFailed(
            f"The copy was read again: {error.detail}",
            remedy="The orders' file itself may be damaged: keep it and the last good backup, tell staff.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    fsync_dir(target.parent)
    return snapshot


def _remedy(error: sqlite3.Error) -> str:
    if "full" in str(error):
        return "Make room, or choose another folder (--to)."
    return "Look at the disk; the backups that are there stay as they are."


def inspect(path: Path) -> Snapshot:
    """Read a copy from its first to its last page.

    Raises:
        NotABackup: where it is damaged, is something else, or comes from a newer bridge.
    """
    if not path.is_file():
        raise NotABackup(f"{path} is not a file.", remedy="Name a file that `ferry-bridge backup` made.")
    if path.with_name(f"{path.name}-wal").exists():
        raise NotABackup(
            f"{path}-wal lies beside it: this is a database in use, not a backup.",
            remedy="Name a file that `ferry-bridge backup` made.",
        )
    try:
        with _opened(path, read_only=True) as copy:
            said = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(5)")]
            if said != ["ok"]:
                raise NotABackup(f"{path}: {'; '.join(said)}.", remedy="Take another backup.")
            broken = copy.execute("PRAGMA foreign_key_check").fetchone()
            if broken is not None:
                raise NotABackup(f"{path}: rows of {broken[0]} have lost what they belong to.")
            revision = str(copy.execute("SELECT version_num FROM alembic_version").fetchone()[0])
            orders = int(copy.execute("SELECT count(*) FROM orders").fetchone()[0])
    except (sqlite3.Error, TypeError) as error:
        raise NotABackup(f"{path}: {error}.", remedy="Take another backup.") from error
    head, known = revisions()
    if revision not in known:
        raise NotABackup(
            f"{path} has schema {revision!r}; this program knows up to {head!r}.",
            title="The backup comes from a newer bridge",
            remedy="Install the version of the bridge that made it, then restore.",
        )
    return Snapshot(revision=revision, orders=orders, size_bytes=path.stat().st_size)


def put_back(backup: Path, live: Path, aside: Path) -> Snapshot:
    """Replace the live database by a backup, in one rename; what was there is kept under ``aside``.

    Nobody may have the live file open. All orders get new places in the changes feed behind the last one
    that any agent can have seen, so that each agent is told again how every order stands.

    Raises:
        NotABackup: see :func:`inspect`.
        ConfigurationError: ``orders_in_use`` where another process has the live file open.
    """
    inspect(backup)
    partial = live.with_name(f".{live.name}{PARTIAL}")
    spare = partial.with_name(f"{partial.name}-live-wal")
    try:
        snapshot = save(backup, partial)
        wal = live.with_name(f"{live.name}-wal")
        spare.unlink(missing_ok=True)
        if wal.exists():
            # SQLite throws away a WAL that it cannot use: of a damaged file, somebody may want it yet.
            spare.hardlink_to(wal)
        seen, healthy = _close_live(live)
        with _opened(partial) as made, made:
            made.execute("UPDATE orders SET change = change + ?", (seen,))
            made.execute("UPDATE feed_counter SET value = value + ?", (seen,))
        _sync_file(partial)
        if live.exists():
            aside.hardlink_to(live)
            if spare.exists() and not healthy:
                spare.rename(aside.with_name(f"{aside.name}-wal"))
            fsync_dir(live.parent)
        for ending in ("-wal", "-shm"):
            # Left over only of a damaged or lost file; the new one must not be taken for theirs.
            live.with_name(live.name + ending).unlink(missing_ok=True)
        partial.rename(live)
    except sqlite3.Error as error:
        raise BackupFailed(
            f"{backup} → {live}: {error}.", title="The backup could not be put back"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
        spare.unlink(missing_ok=True)
    fsync_dir(live.parent)
    return snapshot


FEED_UNKNOWN = 1 << 32
"""How far the feed jumps where the damaged file does not say how far it was."""


def _close_live(live: Path) -> tuple[int, bool]:
    """Bring everything of the live database into its one file; returns how far its feed was, and whether the
    file could be read.

    Leaving WAL mode needs the file for oneself, so it also finds out whether somebody has it open.
    """
    if not live.exists():
        return FEED_UNKNOWN, False
    try:
        with _opened(live, patience_seconds=2) as held:
            held.execute("PRAGMA journal_mode=DELETE")
            return int(held.execute("SELECT value FROM feed_counter").fetchone()[0]), True
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise ConfigurationError(
                f"Another process has {live} open.",
                code="orders_in_use",
                title="The orders are in use",
                remedy="Wait for the other command to end (`fuser` names it), then restore again.",
            ) from error
        return FEED_UNKNOWN, False
    except (sqlite3.DatabaseError, TypeError):
        return FEED_UNKNOWN, False  # damaged, which may be why it is replaced; it is kept as it is


@contextlib.contextmanager
def _opened(
    path: Path, *, read_only: bool = False, patience_seconds: float = BUSY_SECONDS
) -> Iterator[sqlite3.Connection]:
    # immutable: a backup may lie on a read-only disk, and reading it must not make files beside it.
    how = "immutable=1" if read_only else "mode=rw"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=patience_seconds)
    try:
        yield connection
    finally:
        connection.close()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
