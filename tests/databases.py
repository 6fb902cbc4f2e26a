"""The databases that tests work on: SQLite in the site's folder, or PostgreSQL in a cluster of the run's own.

With ``FERRY_TEST_DATABASE=postgresql`` every site that a test makes gets a database of its own in one real
cluster: made with initdb in a folder of the run, flushed to the disk as in a datacenter, reached through a
socket that only this user can open. The run's first process starts it and hands it to xdist's workers by
the environment. What a test made below its ``tmp_path`` is dropped with it: a database takes eight megabytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

KIND = "FERRY_TEST_DATABASE"
SOCKET = "FERRY_TEST_POSTGRESQL"
"""Folder of the socket of the run's cluster."""
USER = "ferry"
PREFIX = "ferry-pg-"
OPTIONS = {
    "listen_addresses": "''",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # A cluster for tests never sleeps long enough to need these workers, and two cores are shared.
    "autovacuum": "off",
    "max_parallel_workers_per_gather": "0",
}


def on_postgresql() -> bool:
    """Whether this run puts the bridge's tables into PostgreSQL."""
    return os.environ.get(KIND, "sqlite") == "postgresql"


def programs() -> Path:
    """Where initdb and pg_ctl are; Debian keeps them off the PATH.

    Raises:
        FileNotFoundError: where PostgreSQL is not installed.
    """
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: int(one.parts[-3]))
    if not places:
        raise FileNotFoundError("PostgreSQL's initdb is not there: apt-get install postgresql")
    return places[-1].parent


@dataclass
class Cluster:
    """One PostgreSQL of our own, in one folder. ``port`` only names the socket."""

    folder: Path
    port: int = 5432

    @classmethod
    def make(cls) -> Cluster:
        """Make and start one. Its folder's name is short: a socket's path holds 107 bytes."""
        _remove_orphans()
        made = cls(Path(tempfile.mkdtemp(prefix=PREFIX)))
        (made.folder / "owner").write_text(f"{os.getpid()}\n")
        try:
            made._run("initdb", "-D", str(made.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
            made.start()
        except BaseException:
            made.remove()
            raise
        return made

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(programs() / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            log = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stdout}{log}")

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        options = " ".join(f"-c {name}={value}" for name, value in OPTIONS.items())
        # The answer of pg_ctl must not be waited for on a pipe that the server inherits.
        self._pg_ctl("start", "-w", "-t", "60", "-l", str(self.log), "-o", f"-k {self.folder} {options}")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast``, or ``immediate`` as a crash does."""
        self._pg_ctl("stop", "-w", "-t", "60", "-m", mode)

    def _pg_ctl(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(programs() / "pg_ctl"), "-D", str(self.data), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            timeout=120,
            check=False,
        )
        if done.returncode:
            log = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
            raise RuntimeError(f"pg_ctl {' '.join(arguments)}: exit code {done.returncode}\n{log}")

    def running(self) -> bool:
        """Whether its server lives."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, 0)
        except (OSError, ValueError, IndexError):
            return False
        return True

    def remove(self) -> None:
        """End it and delete all of it."""
        if self.running():
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self.stop("immediate")
        if self.running():
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- databases ------------------------------------------------------------------------------------

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A connection beside the bridge's own, in autocommit."""
        return psycopg.connect(host=str(self.folder), user=USER, dbname=database, autocommit=True)

    def url(self, database: str) -> str:
        """The database as a site file names it."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"

    def create(self, database: str) -> str:
        """Make a database where it is missing. Returns its URL."""
        with self.connect() as connection, contextlib.suppress(psycopg.errors.DuplicateDatabase):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop a database, also one that somebody still has open."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
            )

    def end_connections(self, database: str) -> int:
        """What an admin's `pg_terminate_backend`, or a firewall, does to everybody. Returns how many."""
        with self.connect() as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,)
            ).fetchall()
        return len(ended)


def _remove_orphans() -> None:
    """End clusters whose run was killed before it could."""
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner"):
        try:
            os.kill(int(owner.read_text()), 0)
        except ProcessLookupError:
            Cluster(owner.parent).remove()
        except (OSError, ValueError):
            continue  # somebody else's, or one that is just being made


@contextlib.contextmanager
def run_cluster() -> Iterator[Cluster | None]:
    """The cluster of a whole run, named in the environment for its children; None on SQLite."""
    if not on_postgresql() or SOCKET in os.environ:
        yield None
        return
    cluster = Cluster.make()
    os.environ[SOCKET] = str(cluster.folder)
    try:
        yield cluster
    finally:
        del os.environ[SOCKET]
        cluster.remove()


_made: dict[str, Path] = {}
"""Database → the folder of its site, of this process."""


def url_for(top: Path) -> str:
    """``database_url`` of the site below ``top``: empty (SQLite), or a PostgreSQL database of its own.

    The same folder always gets the same database.
    """
    if not on_postgresql():
        return ""
    cluster = Cluster(Path(os.environ[SOCKET]))
    name = f"site_{hashlib.sha256(str(top.resolve()).encode()).hexdigest()[:16]}"
    if name not in _made:
        cluster.create(name)
        _made[name] = top.resolve()
    return cluster.url(name)


def drop_below(folder: Path) -> None:
    """Drop the databases of sites below a folder whose test has ended."""
    if not _made:
        return
    ended = [name for name, top in _made.items() if top.is_relative_to(folder.resolve())]
    for name in ended:
        Cluster(Path(os.environ[SOCKET])).drop(name)
        del _made[name]


def wait_ready(cluster: Cluster, seconds: float = 60.0) -> None:
    """Return when a restarted cluster answers questions again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with cluster.connect() as connection:
                connection.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
