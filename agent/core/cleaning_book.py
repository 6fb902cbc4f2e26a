"""Which copies are to be deleted on the buffer, how far that is, and what stayed: kept on the disk.

The file is the machine's, not a person's: whoever asked may have logged off, and the process that looks at
the share goes on with it. A job is written before the first file goes, so that after a power cut the agent
knows what it had begun; what is gone it sees on the share, and the bridge is asked anew.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from agent.core.database import Database, from_text, to_text
from server_bridge.contract import Reason

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        order_id TEXT PRIMARY KEY, share TEXT NOT NULL, path TEXT NOT NULL, person TEXT NOT NULL,
        asked_by TEXT NOT NULL, asked_at TEXT NOT NULL, state TEXT NOT NULL, may_delete INTEGER NOT NULL
        DEFAULT 1, begun INTEGER NOT NULL DEFAULT 0, ended_at TEXT, next_try_at TEXT, reason TEXT,
        files_done INTEGER NOT NULL DEFAULT 0, files_total INTEGER NOT NULL DEFAULT 0,
        bytes_done INTEGER NOT NULL DEFAULT 0, bytes_total INTEGER NOT NULL DEFAULT 0,
        stayed_count INTEGER NOT NULL DEFAULT 0, stayed TEXT NOT NULL DEFAULT '{}')
    """,
)
MOST_STAYED_KEPT = 20


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    """Each file is gone, or stayed for a reason of its own."""
    STOPPED = "stopped"
    """A person stopped it, or staff took the right to delete away."""
    REFUSED = "refused"
    """The bridge does not release it."""


LIVE = frozenset({JobState.QUEUED, JobState.RUNNING})


@dataclass(frozen=True, slots=True)
class Job:
    """One order whose copy is to be deleted."""

    order_id: str
    share: str
    path: str
    person: str
    """Whose data it is."""
    asked_by: str
    """Who asked; empty: the share's policy."""
    asked_at: datetime
    state: JobState = JobState.QUEUED
    may_delete: bool = True
    """False: only see what is gone, and report it."""
    begun: bool = False
    """Files may be gone of which the bridge does not know."""
    ended_at: datetime | None = None
    next_try_at: datetime | None = None
    reason: Reason | None = None
    files_done: int = 0
    files_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    stayed_count: int = 0
    stayed: dict[str, str] = field(default_factory=dict)
    """Path → why, of the first few that stayed."""

    @property
    def is_going(self) -> bool:
        """Whether copies go, or will: not of one that only waits to report what went."""
        return self.state is JobState.RUNNING or (self.state is JobState.QUEUED and self.may_delete)

    @property
    def title(self) -> str:
        """As on its card."""
        return self.path.rpartition("/")[2]


def _job(row: sqlite3.Row) -> Job:
    asked_at = from_text(row["asked_at"])
    assert asked_at is not None  # NOT NULL column
    return Job(
        order_id=row["order_id"],
        share=row["share"],
        path=row["path"],
        person=row["person"],
        asked_by=row["asked_by"],
        asked_at=asked_at,
        state=JobState(row["state"]),
        may_delete=bool(row["may_delete"]),
        begun=bool(row["begun"]),
        ended_at=from_text(row["ended_at"]),
        next_try_at=from_text(row["next_try_at"]),
        reason=Reason.model_validate_json(row["reason"]) if row["reason"] else None,
        files_done=row["files_done"],
        files_total=row["files_total"],
        bytes_done=row["bytes_done"],
        bytes_total=row["bytes_total"],
        stayed_count=row["stayed_count"],
        stayed=json.loads(row["stayed"]),
    )


class CleaningBook:
    """One SQLite file, used by every session of the machine."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def ask(self, job: Job) -> None:
        """Keep a wish; one that runs already goes on, one that ended begins anew."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO jobs (order_id, share, path, person, asked_by, asked_at, state, bytes_total,"
                " files_total) VALUES (?1,?2,?3,?4,?5,?6,'queued',?7,?8) ON CONFLICT (order_id) DO UPDATE SET"
                " asked_by = excluded.asked_by, asked_at = excluded.asked_at, may_delete = 1,"
                " next_try_at = NULL, reason = NULL, ended_at = NULL, stayed = '{}', stayed_count = 0,"
                " state = CASE state WHEN 'running' THEN 'running' ELSE 'queued' END",
                (
                    job.order_id,
                    job.share,
                    job.path,
                    job.person,
                    job.asked_by,
                    to_text(job.asked_at),
                    job.bytes_total,
                    job.files_total,
                ),
            )

    def jobs(self, share: str | None = None) -> list[Job]:
        """All of them, in the order in which they were asked for."""
        rows = self._database.connection().execute(
            "SELECT * FROM jobs WHERE ?1 IS NULL OR share = ?1 ORDER BY asked_at, rowid", (share,)
        )
        return [_job(row) for row in rows]

    def job(self, order_id: str) -> Job | None:
        """One of them."""
        row = (
            self._database.connection()
            .execute("SELECT * FROM jobs WHERE order_id = ?", (order_id,))
            .fetchone()
        )
        return _job(row) if row else None

    def next(self, share: str, now: datetime) -> Job | None:
        """What is to be done now: what persons asked for before what the policy wants."""
        rows = self._database.connection().execute(
            "SELECT * FROM jobs WHERE share = ? AND state IN ('queued', 'running')"
            " AND (next_try_at IS NULL OR next_try_at <= ?)"
            " ORDER BY asked_by = '', asked_at, rowid LIMIT 1",
            (share, to_text(now)),
        )
        row = rows.fetchone()
        return _job(row) if row else None

    def begin(self, order_id: str, files_total: int, bytes_total: int) -> None:
        """From here on files may be gone."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'running', begun = 1, reason = NULL, files_done = 0, bytes_done = 0,"
                " files_total = ?, bytes_total = ? WHERE order_id = ?",
                (files_total, bytes_total, order_id),
            )

    def progress(self, order_id: str, files_done: int, bytes_done: int) -> None:
        """How far it is."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET files_done = ?, bytes_done = ? WHERE order_id = ?",
                (files_done, bytes_done, order_id),
            )

    def later(self, order_id: str, at: datetime | None, reason: Reason | None) -> None:
        """It could not be done now, and is tried again."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'queued', next_try_at = ?, reason = ? WHERE order_id = ?",
                (to_text(at), reason.model_dump_json() if reason else None, order_id),
            )

    def end(
        self,
        order_id: str,
        state: JobState,
        now: datetime,
        *,
        reason: Reason | None = None,
        stayed: dict[str, str] | None = None,
    ) -> None:
        """It is over; the report lies in an outbox."""
        stayed = stayed or {}
        first = dict(list(stayed.items())[:MOST_STAYED_KEPT])
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, begun = 0, ended_at = ?, next_try_at = NULL, reason = ?,"
                " stayed_count = ?, stayed = ? WHERE order_id = ?",
                (
                    state.value,
                    to_text(now),
                    reason.model_dump_json() if reason else None,
                    len(stayed),
                    json.dumps(first),
                    order_id,
                ),
            )

    def forbid(self, order_ids: list[str]) -> None:
        """Delete no more of these; what is gone is still seen and reported."""
        with self._database.write() as connection:
            for order_id in order_ids:
                connection.execute(
                    "UPDATE jobs SET may_delete = 0, next_try_at = NULL WHERE order_id = ?"
                    " AND state IN ('queued', 'running')",
                    (order_id,),
                )

    def may_delete(self, order_id: UUID | str) -> bool:
        """Whether nobody has stopped it meanwhile."""
        row = (
            self._database.connection()
            .execute("SELECT may_delete FROM jobs WHERE order_id = ?", (str(order_id),))
            .fetchone()
        )
        return bool(row and row["may_delete"])

    def drop(self, order_id: str) -> None:
        """Nobody wants it any more, and nothing of it was begun."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM jobs WHERE order_id = ? AND begun = 0", (order_id,))

    def forget(self, before: datetime) -> None:
        """Drop what ended long ago."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM jobs WHERE ended_at < ?", (to_text(before),))
