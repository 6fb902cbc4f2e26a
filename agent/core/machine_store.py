"""What this machine detected and what the bridge told it: one file for all Windows sessions.

The process that holds a share's lock writes acquisitions; every process reads them. Whose order it became is
not in here but in the person's outbox.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from agent.core import witness
from agent.core.acquisition import Acquisition
from agent.core.database import Database, from_text, to_text
from agent.core.database_care import Damage
from agent.core.pauses import Longest
from agent.core.settle import Override
from server_bridge.contract import AcquisitionKind, OrderState, Stage

MIGRATIONS = (
    """
    CREATE TABLE acquisitions (
        id TEXT PRIMARY KEY, share TEXT NOT NULL, path TEXT NOT NULL, kind TEXT NOT NULL,
        first_seen_at TEXT NOT NULL, person_then TEXT NOT NULL, file_count INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL, last_change_at TEXT NOT NULL, fingerprint BLOB NOT NULL,
        content BLOB NOT NULL, finished_at TEXT, override TEXT NOT NULL DEFAULT '', override_at TEXT,
        holds TEXT NOT NULL DEFAULT '[]', problem TEXT NOT NULL DEFAULT '',
        successor_of TEXT NOT NULL DEFAULT '', gone_at TEXT);
    CREATE UNIQUE INDEX one_live_place ON acquisitions (share, path) WHERE gone_at IS NULL;
    CREATE TABLE presence (
        session TEXT PRIMARY KEY, username TEXT NOT NULL, since TEXT NOT NULL, seen_at TEXT NOT NULL);
    CREATE TABLE share_status (share TEXT PRIMARY KEY, status TEXT NOT NULL);
    CREATE TABLE orders (id TEXT PRIMARY KEY, share TEXT NOT NULL, path TEXT NOT NULL,
        revision INTEGER NOT NULL, state TEXT NOT NULL, updated_at TEXT NOT NULL);
    CREATE INDEX orders_by_place ON orders (share, path);
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)
    """,
    "ALTER TABLE acquisitions ADD COLUMN members TEXT NOT NULL DEFAULT '[]'",
    """
    ALTER TABLE acquisitions ADD COLUMN format TEXT NOT NULL DEFAULT '';
    ALTER TABLE acquisitions ADD COLUMN ordered_at TEXT
    """,
    """
    ALTER TABLE acquisitions ADD COLUMN rests_since TEXT;
    ALTER TABLE acquisitions ADD COLUMN quiet_needed_seconds REAL NOT NULL DEFAULT 0;
    ALTER TABLE acquisitions ADD COLUMN reopened_at TEXT;
    ALTER TABLE acquisitions ADD COLUMN witnesses TEXT NOT NULL DEFAULT '[]';
    CREATE TABLE pauses (
        share TEXT NOT NULL, format TEXT NOT NULL, acquisition TEXT NOT NULL, seconds REAL NOT NULL,
        ended_at TEXT NOT NULL, PRIMARY KEY (share, format, acquisition))
    """,
)
BEFORE_IMPORT = frozenset({Stage.ACCEPTED, Stage.PULLING, Stage.VERIFYING})
"""Until then an order may be taken back, sent elsewhere and sealed anew."""
ENDED = frozenset({Stage.RETIRED, Stage.CANCELLED, Stage.DISCARDED})
PAUSES_KEPT = timedelta(days=180)
"""A microscope whose habits changed is not waited for for ever."""
_STILL_THERE = (
    "EXISTS (SELECT 1 FROM acquisitions AS a"
    " WHERE a.gone_at IS NULL AND a.share = orders.share AND a.path = orders.path)"
)
"""A released copy may lie for weeks: without its order it would look like data that nobody ordered."""
PRESENCE_LEASE = timedelta(minutes=2)
"""A session whose process died without signing out counts as present for this long."""


def _acquisition(row: sqlite3.Row) -> Acquisition:
    first_seen, last_change = from_text(row["first_seen_at"]), from_text(row["last_change_at"])
    assert first_seen is not None and last_change is not None  # NOT NULL columns
    return Acquisition(
        id=row["id"],
        share=row["share"],
        path=row["path"],
        kind=AcquisitionKind(row["kind"]),
        first_seen_at=first_seen,
        person_then=row["person_then"],
        file_count=row["file_count"],
        size_bytes=row["size_bytes"],
        last_change_at=last_change,
        fingerprint=row["fingerprint"],
        content=row["content"],
        finished_at=from_text(row["finished_at"]),
        override=row["override"],
        override_at=from_text(row["override_at"]),
        rests_since=from_text(row["rests_since"]),
        quiet_needed_seconds=row["quiet_needed_seconds"],
        reopened_at=from_text(row["reopened_at"]),
        witnesses=witness.from_json(row["witnesses"]),
        problem=row["problem"],
        successor_of=row["successor_of"],
        members=tuple(json.loads(row["members"])),
        format=row["format"],
    )


@lru_cache(maxsize=2048)
def _order_state(text: str) -> OrderState:
    """The window's thread reads the same states every second."""
    return OrderState.model_validate_json(text)


class MachineStore:
    """Acquisitions, who is signed in, the state of shares, the bridge's orders, and single facts."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS)

    @property
    def damage(self) -> Damage | None:
        """What was wrong with the file when it was opened."""
        return self._database.damage

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # --- acquisitions ---------------------------------------------------------------------------------

    def acquisitions(self, share: str | None = None) -> list[Acquisition]:
        """Those that are there, in the order in which they were first seen."""
        rows = self._database.connection().execute(
            "SELECT * FROM acquisitions WHERE gone_at IS NULL AND (?1 IS NULL OR share = ?1) "
            "ORDER BY first_seen_at, id",
            (share,),
        )
        return [_acquisition(row) for row in rows]

    def said(self, share: str) -> dict[str, datetime | None]:
        """Place → when a person last said something about what is there, in whichever session."""
        rows = self._database.connection().execute(
            "SELECT path, override_at FROM acquisitions"
            " WHERE gone_at IS NULL AND share = ? AND override_at IS NOT NULL",
            (share,),
        )
        return {row["path"]: from_text(row["override_at"]) for row in rows}

    def acquisition(self, acquisition_id: str) -> Acquisition | None:
        """One acquisition, also one that is gone."""
        row = (
            self._database.connection()
            .execute("SELECT * FROM acquisitions WHERE id = ?", (acquisition_id,))
            .fetchone()
        )
        return _acquisition(row) if row else None

    def record(self, changed: Iterable[Acquisition], gone: Iterable[str], now: datetime) -> None:
        """Write what one complete pass found; all of it or nothing. Overrides stay the persons'."""
        with self._database.write() as connection:
            # Names that went come first: a place may be taken anew in the same pass.
            for acquisition_id in gone:
                connection.execute(
                    "UPDATE acquisitions SET gone_at = ? WHERE id = ? AND gone_at IS NULL",
                    (to_text(now), acquisition_id),
                )
            for found in changed:
                connection.execute(
                    "INSERT INTO acquisitions (id, share, path, kind, first_seen_at, person_then, file_count,"
                    " size_bytes, last_change_at, fingerprint, content, finished_at, problem, successor_of,"
                    " rests_since, quiet_needed_seconds, witnesses, reopened_at, members, format)"
                    " VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)"
                    " ON CONFLICT (id) DO UPDATE SET members = excluded.members, format = excluded.format,"
                    " kind = excluded.kind, file_count = excluded.file_count,"
                    " size_bytes = excluded.size_bytes, last_change_at = excluded.last_change_at,"
                    " fingerprint = excluded.fingerprint, content = excluded.content,"
                    # What a person said while this pass ran was not heeded in it: the next one does.
                    " finished_at = CASE WHEN acquisitions.override_at IS ?21 THEN excluded.finished_at END,"
                    " rests_since = excluded.rests_since,"
                    " quiet_needed_seconds = excluded.quiet_needed_seconds,"
                    " witnesses = excluded.witnesses, reopened_at = excluded.reopened_at,"
                    " problem = excluded.problem",
                    (
                        found.id,
                        found.share,
                        found.path,
                        found.kind.value,
                        to_text(found.first_seen_at),
                        found.person_then,
                        found.file_count,
                        found.size_bytes,
                        to_text(found.last_change_at),
                        found.fingerprint,
                        found.content,
                        to_text(found.finished_at),
                        found.problem,
                        found.successor_of,
                        to_text(found.rests_since),
                        found.quiet_needed_seconds,
                        witness.to_json(found.witnesses),
                        to_text(found.reopened_at),
                        json.dumps(found.members),
                        found.format,
                        to_text(found.override_at),
                    ),
                )

    def note_ordered(self, acquisition_id: str, now: datetime) -> None:
        """A person of this machine ordered it: from now on its place and its members are an order's."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE acquisitions SET ordered_at = ? WHERE id = ?", (to_text(now), acquisition_id)
            )

    def ordered(self, share: str) -> frozenset[str]:
        """The ids of acquisitions of a share that are there and were ordered on this machine."""
        rows = self._database.connection().execute(
            "SELECT id FROM acquisitions WHERE share = ? AND gone_at IS NULL AND ordered_at IS NOT NULL",
            (share,),
        )
        return frozenset(row["id"] for row in rows)

    def override(self, acquisition_id: str, override: Override, now: datetime) -> None:
        """Keep what a person said; "not yet" also takes the verdict back."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE acquisitions SET override = ?1, override_at = ?2, finished_at = "
                "CASE WHEN ?1 = 'not-yet' THEN NULL ELSE finished_at END WHERE id = ?3",
                (override.value, to_text(now), acquisition_id),
            )

    def succeed(self, old: Acquisition, person: str, now: datetime) -> str:
        """Start a new acquisition at the same place: OMERO took the old one, and it changed since.

        Returns:
            The new acquisition's id.
        """
        new_id = str(uuid4())
        with self._database.write() as connection:
            connection.execute(
                "UPDATE acquisitions SET gone_at = ? WHERE id = ? AND gone_at IS NULL",
                (to_text(now), old.id),
            )
            connection.execute(
                "INSERT INTO acquisitions (id, share, path, kind, first_seen_at, person_then, file_count,"
                " size_bytes, last_change_at, fingerprint, content, finished_at, successor_of,"
                " members, format) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    new_id,
                    old.share,
                    old.path,
                    old.kind.value,
                    to_text(now),
                    person,
                    old.file_count,
                    old.size_bytes,
                    to_text(old.last_change_at),
                    old.fingerprint,
                    old.content,
                    to_text(old.finished_at),
                    old.id,
                    json.dumps(old.members),
                    old.format,
                ),
            )
        return new_id

    # --- pauses ---------------------------------------------------------------------------------------

    def note_pause(
        self, share: str, data_format: str, acquisition: str, seconds: float, now: datetime
    ) -> None:
        """An acquisition went on after a pause; its longest one is kept."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO pauses VALUES (?,?,?,?,?) ON CONFLICT (share, format, acquisition) DO UPDATE SET"
                " seconds = MAX(seconds, excluded.seconds), ended_at = excluded.ended_at",
                (share, data_format, acquisition, seconds, to_text(now)),
            )

    def pauses(self, share: str, since: datetime) -> list[Longest]:
        """The longest pause per format of a share, of those that ended since."""
        rows = self._database.connection().execute(
            "SELECT format, MAX(seconds) AS seconds, COUNT(*) AS acquisitions FROM pauses"
            " WHERE share = ? AND ended_at >= ? GROUP BY format ORDER BY format",
            (share, to_text(since)),
        )
        return [Longest(row["format"], row["seconds"], row["acquisitions"]) for row in rows]

    # --- presence -------------------------------------------------------------------------------------

    def sign_in(self, session: str, username: str, now: datetime) -> None:
        """Note who is signed in in a desktop session; a repeat says "still here"."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO presence VALUES (?1, ?2, ?3, ?3) ON CONFLICT (session) DO UPDATE SET "
                "since = CASE WHEN username = ?2 THEN since ELSE ?3 END, username = ?2, seen_at = ?3",
                (session, username, to_text(now)),
            )

    def sign_out(self, session: str) -> None:
        """Nobody is signed in in that session any more."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM presence WHERE session = ?", (session,))

    def present(self, now: datetime) -> dict[str, datetime]:
        """Who is signed in at this machine, over all its sessions, and since when."""
        rows = self._database.connection().execute(
            "SELECT username, MIN(since) AS since FROM presence WHERE seen_at >= ? GROUP BY username",
            (to_text(now - PRESENCE_LEASE),),
        )
        return {row["username"]: datetime.fromisoformat(row["since"]) for row in rows}

    # --- the bridge's orders --------------------------------------------------------------------------

    def keep_orders(self, states: Iterable[OrderState]) -> None:
        """Keep what the bridge said, unless something newer is there already."""
        rows = [
            (str(s.id), s.share, s.path, s.revision, s.model_dump_json(), to_text(s.updated_at))
            for s in states
        ]
        if not rows:
            return
        with self._database.write() as connection:
            connection.executemany(
                "INSERT INTO orders VALUES (?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET"
                " revision = excluded.revision, state = excluded.state, updated_at = excluded.updated_at"
                " WHERE excluded.revision >= orders.revision",
                rows,
            )

    def orders(self, since: datetime) -> list[OrderState]:
        """The bridge's orders that changed since, or whose data is still there, newest first."""
        rows = self._database.connection().execute(
            f"SELECT state FROM orders WHERE updated_at >= ? OR {_STILL_THERE} ORDER BY updated_at DESC",
            (to_text(since),),
        )
        return [_order_state(row["state"]) for row in rows]

    def order(self, order_id: str) -> OrderState | None:
        """One order as the bridge last told it."""
        row = (
            self._database.connection()
            .execute("SELECT state FROM orders WHERE id = ?", (order_id,))
            .fetchone()
        )
        return _order_state(row["state"]) if row else None

    def forget_order(self, order_id: str) -> None:
        """The bridge does not know it (any more)."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM orders WHERE id = ?", (order_id,))

    def forget_all_orders(self) -> None:
        """The bridge has another database: what it said before no longer counts.

        That an order has ended is remembered until the bridge says otherwise: what a person cancelled must
        not be ordered again because the bridge forgot it.
        """
        with self._database.write() as connection:
            rows = connection.execute("SELECT id, state FROM orders").fetchall()
            ended = {
                (row["id"],) for row in rows if OrderState.model_validate_json(row["state"]).stage in ENDED
            }
            connection.executemany("UPDATE orders SET revision = 0 WHERE id = ?", ended)
            live = [(row["id"],) for row in rows if (row["id"],) not in ended]
            connection.executemany("DELETE FROM orders WHERE id = ?", live)

    def forget_orders(self, before: datetime) -> None:
        """Drop orders that nobody looks at any more; the bridge keeps their history."""
        with self._database.write() as connection:
            connection.execute(
                f"DELETE FROM orders WHERE updated_at < ? AND NOT {_STILL_THERE}", (to_text(before),)
            )
            connection.execute("DELETE FROM acquisitions WHERE gone_at < ?", (to_text(before),))
            connection.execute("DELETE FROM pauses WHERE ended_at < ?", (to_text(before - PAUSES_KEPT),))

    # --- shares and single facts ----------------------------------------------------------------------

    def set_share_status(self, share: str, status: Mapping[str, object]) -> None:
        """Keep how a share answered, for the other sessions of this machine."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO share_status VALUES (?,?) ON CONFLICT (share) DO UPDATE SET "
                "status = excluded.status",
                (share, json.dumps(status)),
            )

    def share_statuses(self) -> dict[str, dict[str, object]]:
        """How every share answered last."""
        rows = self._database.connection().execute("SELECT share, status FROM share_status")
        return {row["share"]: json.loads(row["status"]) for row in rows}

    def set_fact(self, name: str, value: str) -> None:
        """Keep one value."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO facts VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    def fact(self, name: str) -> str | None:
        """One value, or None."""
        row = (
            self._database.connection().execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        )
        return str(row["value"]) if row else None
