"""`ferry-bridge backup` and `ferry-bridge restore`: the orders, kept daily, weekly and monthly.

A backup runs beside the bridge, from a timer. Which old ones go is decided by one pure function that never
lets go of the newest one, nor of what it does not understand (a file from the future, a foreign name).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig, load_site
from server_bridge.context import refuse_root
from server_bridge.errors import ConfigurationError
from server_bridge.human import human_bytes, plain
from server_bridge.operations.terminal import JsonOption, SiteOption, operator, say, say_json, told
from server_bridge.orders import snapshots
from server_bridge.orders.feed import RESTORED_FACT
from server_bridge.orders.models import SiteFact, utcnow

DAILY, WEEKLY, MONTHLY = 7, 5, 12
_NAME = "ferry-%Y%m%dT%H%M%SZ.sqlite3"
_CLOCK_TOLERANCE = timedelta(days=1)
_YOUNG = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Keep:
    """How many days, weeks and months have a backup each."""

    daily: int = DAILY
    weekly: int = WEEKLY
    monthly: int = MONTHLY


def superseded(moments: Iterable[datetime], now: datetime, keep: Keep) -> frozenset[datetime]:
    """Which backups may go. Pure.

    The newest of each of the last ``daily`` days that have one stays, and so for ISO weeks and months (UTC).
    Whatever is asked for, the newest of all stays, and what is younger than a day (somebody made it before
    she tried something). One from the future stays and counts for nothing: a clock that once was wrong must
    not cost a good backup.
    """
    past = sorted((one for one in moments if one <= now + _CLOCK_TOLERANCE), reverse=True)
    kept = {one for one in past if now - one < _YOUNG} | set(past[:1])
    rules: tuple[tuple[int, Callable[[datetime], object]], ...] = (
        (keep.daily, lambda at: at.date()),
        (keep.weekly, lambda at: at.isocalendar()[:2]),
        (keep.monthly, lambda at: (at.year, at.month)),
    )
    for count, period_of in rules:
        newest: dict[object, datetime] = {}
        for at in past:
            newest.setdefault(period_of(at), at)
        kept |= set(list(newest.values())[:count])
    return frozenset(past) - kept


def taken_at(path: Path) -> datetime | None:
    """When a backup of that name was made; None for a name that is not ours."""
    try:
        at = datetime.strptime(path.name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return at if at.strftime(_NAME) == path.name else None


def database_file(site: SiteConfig) -> Path:
    """The orders' SQLite file.

    Raises:
        ConfigurationError: for PostgreSQL, which has tools of its own.
    """
    url = make_url(site.url)
    if url.get_backend_name() != "sqlite":
        raise ConfigurationError(
            f"The orders are in {url.get_backend_name()} (database {url.database!r} on "
            f"{url.host or 'this host'}).",
            title="This command is for SQLite",
            remedy="Use `pg_dump --format=custom` for a backup, or your site's backup of PostgreSQL. To put "
            "one back: stop the bridge, `pg_restore --clean`, then `DROP SCHEMA IF EXISTS dbos CASCADE` (the "
            "engine's attempts; the bridge makes it anew), start, and `ferry-bridge prove --all`.",
        )
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("database_url names no file.", title="There is nothing to back up")
    return Path(url.database)


def make_backup(
    source: Path, folder: Path, keep: Keep, now: Callable[[], datetime] = utcnow
) -> tuple[Path, snapshots.Snapshot, list[Path]]:
    """Make one backup in ``folder`` and drop the superseded ones; returns it, what it holds, what went.

    Raises:
        ConfigurationError: where another backup runs in that folder, or it failed; then nothing is dropped.
    """
    with _alone(folder):
        for left in folder.glob(f".ferry-*{snapshots.PARTIAL}"):
            left.unlink(missing_ok=True)  # of a backup that was killed; we are alone
        target = _free_name(folder, now)
        snapshot = snapshots.save(source, target)
        # By name, so that copying the folder elsewhere (new mtimes) changes nothing.
        found = {at: path for path in folder.iterdir() if (at := taken_at(path)) is not None}
        gone = [found[at] for at in sorted(superseded(found, now(), keep)) if found[at] != target]
        for path in gone:
            path.unlink(missing_ok=True)
    return target, snapshot, gone


def _free_name(folder: Path, now: Callable[[], datetime]) -> Path:
    while (target := folder / now().strftime(_NAME)).exists():
        time.sleep(0.1)  # names have a resolution of one second
    return target


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / ".ferry-backup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"Another backup writes to {folder}.", title="A backup runs already", remedy="Let it end."
            ) from error
        yield
    finally:
        os.close(descriptor)


def folder_for(site: SiteConfig, given: Path | None) -> Path:
    """Where backups go. Only the default folder is made: a named one that is missing is a disk that is away.

    Raises:
        ConfigurationError: where it is not there.
    """
    if given is None:
        folder = site.state_dir / "backups"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder
    if not given.is_dir():
        raise ConfigurationError(
            f"{given} is not a folder.",
            title="The backup folder is not there",
            remedy="Mount it, or make it (mode 0700, owned by the bridge's user).",
        )
    return given


@told
def backup(
    site: SiteOption,
    to: Annotated[
        Path | None, typer.Option(help="Folder; default: backups in the state folder.", show_default=False)
    ] = None,
    daily: Annotated[int, typer.Option(min=0, help="Days to keep one of.")] = DAILY,
    weekly: Annotated[int, typer.Option(min=0, help="Weeks to keep one of.")] = WEEKLY,
    monthly: Annotated[int, typer.Option(min=0, help="Months to keep one of.")] = MONTHLY,
    as_json: JsonOption = False,
) -> None:
    """Back up the orders, also while the bridge serves; old backups go daily, weekly, monthly."""
    refuse_root()
    config = load_site(site)
    source = database_file(config)
    path, held, gone = make_backup(source, folder_for(config, to), Keep(daily, weekly, monthly))
    if as_json:
        say_json(
            {
                "path": str(path),
                "size_bytes": held.size_bytes,
                "orders": held.orders,
                "revision": held.revision,
                "removed": [str(one) for one in gone],
            }
        )
        return
    say(plain(f"{path}: {held.orders} orders, {human_bytes(held.size_bytes)}, checked"))
    if gone:
        say(f"{len(gone)} older backups went ({daily} daily, {weekly} weekly, {monthly} monthly are kept)")


def restore_file(site: SiteConfig, file: Path, who: str) -> tuple[snapshots.Snapshot, Path | None]:
    """Put a backup in the orders' place; returns what it holds and where the replaced file is kept.

    Raises:
        ConfigurationError: where the bridge runs, the file is no good, or somebody has the orders open.
    """
    from server_bridge.operations.serve import serve_lock
    from server_bridge.orders.database import open_database
    from server_bridge.orders.migrating import migrate
    from server_bridge.orders.store import Store
    from server_bridge.pipeline.engine import engine_url

    live = database_file(site)
    with serve_lock(site.state_dir):
        aside = live.with_name(f"{live.name}.before-restore-{utcnow():%Y%m%dT%H%M%S%fZ}")
        held = snapshots.put_back(file, live, aside)
        # The engine hands out each attempt once and for ever, and the orders' attempts are counted anew from
        # the backup on: with its old tables an attempt would be taken for one that already ran.
        tables = engine_url(site.url, site.state_dir).removeprefix("sqlite:///")
        for ending in ("", "-wal", "-shm"):
            Path(tables + ending).unlink(missing_ok=True)
        engine = open_database(site.url)
        try:
            migrate(engine)
            store = Store(engine)
            with store.write(notify=False) as session:
                store.audit(session, who, "database.restored", str(file), orders=held.orders)
                _mark_restored(session, file)
        finally:
            engine.dispose()
    return held, aside if aside.exists() else None


def _mark_restored(session: Session, file: Path) -> None:
    """Remember that this database stood still for a while: agents ask for each of their orders again."""
    now, taken = utcnow(), taken_at(file)
    value = {
        "epoch": uuid.uuid4().hex,
        "file": str(file),
        "taken_at": taken.isoformat() if taken else None,
        "behind_seconds": (now - taken).total_seconds() if taken else None,
    }
    session.merge(SiteFact(name=RESTORED_FACT, value=value, at=now))


@told
def restore(
    site: SiteOption,
    file: Annotated[Path, typer.Argument(help="A file that `ferry-bridge backup` made.")],
) -> None:
    """Put a backup in the orders' place; the bridge must be stopped. What was there is kept beside it."""
    refuse_root()
    config = load_site(site)
    held, aside = restore_file(config, file, operator())
    say(plain(f"{database_file(config)} is now {file}: {held.orders} orders."))
    if aside is not None:
        say(plain(f"What was there is kept as {aside}."))
    if held.revision != snapshots.revisions()[0]:
        say(f"Its schema was {held.revision} and was brought up to date.")
    say("Start the bridge, then run `ferry-bridge prove --all`: it checks every receipt against OMERO.")
