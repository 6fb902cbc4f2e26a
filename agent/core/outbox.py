"""The outbox: what persons of this Windows user ordered, until the bridge has confirmed it.

An entry is written, and on the disk, before the person sees "sending"; it leaves only by the bridge's word.
Every order carries its own narrow grant, sealed for this Windows user, so that signing out, logging off or a
power cut strands nothing and leaves nothing behind that could create *further* orders.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from uuid import UUID, uuid4

from agent.core.database import Database, from_text, to_text
from agent.core.database_care import Damage
from agent.core.habits import Habits
from agent.platform.base import Platform
from server_bridge.contract import CommandKind, CommandRequest, OrderIntent, Reason, Target

MIGRATIONS = (
    """
    CREATE TABLE orders (
        id TEXT PRIMARY KEY, acquisition TEXT NOT NULL, person TEXT NOT NULL, intent TEXT NOT NULL,
        grant BLOB NOT NULL, state TEXT NOT NULL, reason TEXT, tries INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL, next_try_at TEXT, accepted_content BLOB, accepted_sealed INTEGER NOT NULL
        DEFAULT 0, accepted_revision INTEGER NOT NULL DEFAULT 0, accepted_at TEXT);
    CREATE INDEX orders_by_acquisition ON orders (acquisition);
    CREATE TABLE manifests (
        order_id TEXT PRIMARY KEY REFERENCES orders (id), revision INTEGER NOT NULL, sealed INTEGER NOT NULL,
        content BLOB NOT NULL, body BLOB NOT NULL, file_count INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
        confirmed INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE commands (
        id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders (id), request TEXT NOT NULL,
        state TEXT NOT NULL, reason TEXT, created_at TEXT NOT NULL);
    CREATE TABLE freed (
        order_id TEXT PRIMARY KEY, report TEXT NOT NULL);
    CREATE TABLE standing (person TEXT PRIMARY KEY, target TEXT NOT NULL, since TEXT NOT NULL);
    CREATE TABLE recents (
        person TEXT NOT NULL, target TEXT NOT NULL, used_at TEXT NOT NULL, PRIMARY KEY (person, target));
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)
    """,
)


class EntryState(StrEnum):
    """Where an order stands between this outbox and the bridge."""

    NEW = "new"
    """Not confirmed by the bridge yet."""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The bridge said no; a person decides."""
    WITHDRAWN = "withdrawn"
    """Cancelled or replaced before the bridge had it, or ended there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One order as the outbox keeps it."""

    id: UUID
    acquisition: str
    person: str
    """Who ordered it, and whose grant it carries."""
    intent: OrderIntent
    sealed_grant: bytes
    """Only :meth:`Outbox.grant_of` opens it, when it is sent."""
    state: EntryState
    reason: Reason | None
    tries: int
    created_at: datetime
    accepted_content: bytes | None
    """Digest of the manifest that the bridge confirmed last."""
    accepted_sealed: bool
    accepted_revision: int
    accepted_at: datetime | None
    """When the bridge confirmed that manifest."""

    @property
    def owner(self) -> str:
        """Whose data it is: staff order for others."""
        return self.intent.owner or self.person

    def __repr__(self) -> str:
        """Short, and without the grant: an entry may end up in a log."""
        return f"Entry({self.id}, {self.person}, {self.intent.share}:{self.intent.path}, {self.state.value})"


@dataclass(frozen=True, slots=True)
class StoredManifest:
    order_id: UUID
    revision: int
    sealed: bool
    content: bytes
    body: bytes
    """gzip NDJSON, ready to send."""
    file_count: int
    size_bytes: int
    confirmed: bool


@dataclass(frozen=True, slots=True)
class StoredCommand:
    request: CommandRequest
    order_id: UUID


@lru_cache(maxsize=1024)
def _intent(text: str) -> OrderIntent:
    """Intents never change once written, and the window's thread reads them every second."""
    return OrderIntent.model_validate_json(text)


class Outbox(Habits):
    """The person's file. Callers wake the sender after they wrote something."""

    def __init__(self, path: Path, platform: Platform) -> None:
        super().__init__(Database(path, MIGRATIONS))
        self._platform = platform

    @property
    def damage(self) -> Damage | None:
        """What was wrong with the file when it was opened."""
        return self._database.damage

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _entry(self, row: sqlite3.Row) -> Entry:
        created = from_text(row["created_at"])
        assert created is not None  # NOT NULL column
        return Entry(
            id=UUID(row["id"]),
            acquisition=row["acquisition"],
            person=row["person"],
            intent=_intent(row["intent"]),
            sealed_grant=row["grant"],
            state=EntryState(row["state"]),
            reason=Reason.model_validate_json(row["reason"]) if row["reason"] else None,
            tries=row["tries"],
            created_at=created,
            accepted_content=row["accepted_content"],
            accepted_sealed=bool(row["accepted_sealed"]),
            accepted_revision=row["accepted_revision"],
            accepted_at=from_text(row["accepted_at"]),
        )

    # --- orders ---------------------------------------------------------------------------------------

    def add(
        self, order_id: UUID, acquisition: str, person: str, intent: OrderIntent, grant: str, now: datetime
    ) -> None:
        """Keep a new order; earlier ones of the same acquisition that the bridge never took are withdrawn."""
        sealed_grant = self._platform.protect(grant.encode())
        with self._database.write() as connection:
            connection.execute(
                "UPDATE orders SET state = 'withdrawn' WHERE acquisition = ? AND state = 'refused'",
                (acquisition,),
            )
            connection.execute(
                "INSERT INTO orders (id, acquisition, person, intent, grant, state, created_at)"
                " VALUES (?,?,?,?,?,'new',?)",
                (
                    str(order_id),
                    acquisition,
                    person,
                    intent.model_dump_json(),
                    sealed_grant,
                    to_text(now),
                ),
            )

    def grant_of(self, entry: Entry) -> str:
        """The bearer value of one order.

        Raises:
            OSError: where another user or machine sealed it (a copied profile).
        """
        return self._platform.unprotect(entry.sealed_grant).decode()

    def entries(self) -> list[Entry]:
        """Every order that was not withdrawn, oldest first."""
        rows = self._database.connection().execute(
            "SELECT * FROM orders WHERE state != 'withdrawn' ORDER BY created_at, id"
        )
        return [self._entry(row) for row in rows]

    def entry(self, order_id: UUID) -> Entry | None:
        """One order."""
        row = (
            self._database.connection()
            .execute("SELECT * FROM orders WHERE id = ?", (str(order_id),))
            .fetchone()
        )
        return self._entry(row) if row else None

    def move(self, order_id: UUID, acquisition: str) -> None:
        """The order is about another acquisition at the same place now: what it was made for is gone."""
        with self._database.write() as connection:
            connection.execute("UPDATE orders SET acquisition = ? WHERE id = ?", (acquisition, str(order_id)))

    def set_state(self, order_id: UUID, state: EntryState, reason: Reason | None = None) -> None:
        """The bridge answered (or a person withdrew it)."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE orders SET state = ?, reason = ?, tries = tries + 1 WHERE id = ?",
                (state.value, reason.model_dump_json() if reason else None, str(order_id)),
            )

    def note_try(self, order_id: UUID, reason: Reason | None) -> None:
        """A try that neither succeeded nor failed for good."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE orders SET reason = ?, tries = tries + 1 WHERE id = ?",
                (reason.model_dump_json() if reason else None, str(order_id)),
            )

    def renew_grants(self, person: str, grant_for: dict[UUID, str]) -> None:
        """She signed in again: orders whose grant ran out can go on."""
        with self._database.write() as connection:
            for order_id, grant in grant_for.items():
                connection.execute(
                    "UPDATE orders SET grant = ?, reason = CASE state WHEN 'refused' THEN reason END"
                    " WHERE id = ? AND person = ?",
                    (self._platform.protect(grant.encode()), str(order_id), person),
                )

    def forget_place(self, order_id: UUID) -> None:
        """The bridge does not know this order (another database): put it again, with its manifest and with
        what was decided about it since."""
        self.renew_decision(order_id)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE orders SET state = 'new', accepted_content = NULL, accepted_sealed = 0,"
                " accepted_revision = 0, accepted_at = NULL WHERE id = ?",
                (str(order_id),),
            )
            connection.execute("UPDATE manifests SET confirmed = 0 WHERE order_id = ?", (str(order_id),))

    def forget_manifest(self, order_id: UUID) -> None:
        """The bridge lost what it had confirmed (another database): send the manifest again."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE orders SET accepted_content = NULL, accepted_sealed = 0, accepted_revision = 0,"
                " accepted_at = NULL WHERE id = ?",
                (str(order_id),),
            )
            connection.execute("UPDATE manifests SET confirmed = 0 WHERE order_id = ?", (str(order_id),))

    def prune(self, before: datetime, ended: list[UUID]) -> None:
        """Drop entries that are over: withdrawn ones, and those whose end the bridge told."""
        with self._database.write() as connection:
            rows = connection.execute(
                "SELECT id FROM orders WHERE state = 'withdrawn' AND created_at < ?", (to_text(before),)
            ).fetchall()
            for order_id in [row["id"] for row in rows] + [str(one) for one in ended]:
                connection.execute("DELETE FROM commands WHERE order_id = ?", (order_id,))
                connection.execute("DELETE FROM manifests WHERE order_id = ?", (order_id,))
                connection.execute("DELETE FROM orders WHERE id = ?", (order_id,))

    # --- manifests ------------------------------------------------------------------------------------

    def put_manifest(
        self,
        order_id: UUID,
        *,
        sealed: bool,
        content: bytes,
        body: bytes,
        file_count: int,
        size_bytes: int,
        at_least: int = 1,
    ) -> int:
        """Replace the order's manifest. Returns its revision, higher than any before."""
        with self._database.write() as connection:
            row = connection.execute(
                "SELECT revision FROM manifests WHERE order_id = ?", (str(order_id),)
            ).fetchone()
            revision = max(at_least, (row["revision"] if row else 0) + 1)
            connection.execute(
                "INSERT OR REPLACE INTO manifests VALUES (?,?,?,?,?,?,?,0)",
                (str(order_id), revision, int(sealed), content, body, file_count, size_bytes),
            )
        return revision

    def manifest(self, order_id: UUID) -> StoredManifest | None:
        """The order's latest manifest."""
        row = (
            self._database.connection()
            .execute("SELECT * FROM manifests WHERE order_id = ?", (str(order_id),))
            .fetchone()
        )
        if row is None:
            return None
        return StoredManifest(
            order_id=order_id,
            revision=row["revision"],
            sealed=bool(row["sealed"]),
            content=row["content"],
            body=row["body"],
            file_count=row["file_count"],
            size_bytes=row["size_bytes"],
            confirmed=bool(row["confirmed"]),
        )

    def unconfirmed_manifests(self) -> set[UUID]:
        """Orders whose latest manifest the bridge has not confirmed."""
        rows = self._database.connection().execute("SELECT order_id FROM manifests WHERE confirmed = 0")
        return {UUID(row["order_id"]) for row in rows}

    def confirm_manifest(self, manifest: StoredManifest, now: datetime) -> None:
        """The bridge has it, unless it was replaced while it was under way."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE manifests SET confirmed = 1 WHERE order_id = ? AND revision = ?",
                (str(manifest.order_id), manifest.revision),
            )
            connection.execute(
                "UPDATE orders SET accepted_content = ?, accepted_sealed = ?, accepted_revision = ?,"
                " accepted_at = ?, reason = NULL WHERE id = ?",
                (
                    manifest.content,
                    int(manifest.sealed),
                    manifest.revision,
                    to_text(now),
                    str(manifest.order_id),
                ),
            )

    def raise_revision(self, order_id: UUID, revision: int) -> None:
        """The bridge has a higher revision than we remember (restored file): go above it."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE manifests SET revision = MAX(revision, ?), confirmed = 0 WHERE order_id = ?",
                (revision, str(order_id)),
            )

    def drop_manifest(self, order_id: UUID) -> None:
        """The bridge takes no manifest any more (the import started)."""
        with self._database.write() as connection:
            connection.execute("UPDATE manifests SET confirmed = 1 WHERE order_id = ?", (str(order_id),))

    def unseal(self, order_id: UUID) -> None:
        """The bridge's own look differed: our word that it is finished no longer counts."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE orders SET accepted_sealed = 0, accepted_content = NULL WHERE id = ?",
                (str(order_id),),
            )

    # --- commands -------------------------------------------------------------------------------------

    def add_command(self, order_id: UUID, request: CommandRequest, now: datetime) -> None:
        """Keep a command until the bridge has answered it."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO commands (id, order_id, request, state, created_at) VALUES (?,?,?,'new',?)",
                (str(request.id), str(order_id), request.model_dump_json(), to_text(now)),
            )

    def pending_commands(self) -> list[StoredCommand]:
        """Commands that the bridge has not answered, oldest first."""
        rows = self._database.connection().execute(
            "SELECT * FROM commands WHERE state = 'new' ORDER BY created_at, rowid"
        )
        return [
            StoredCommand(CommandRequest.model_validate_json(row["request"]), UUID(row["order_id"]))
            for row in rows
        ]

    def finish_command(self, command_id: UUID, reason: Reason | None) -> None:
        """The bridge answered: done, or no and why."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE commands SET state = ?, reason = ? WHERE id = ?",
                (
                    "refused" if reason else "done",
                    reason.model_dump_json() if reason else None,
                    str(command_id),
                ),
            )

    def renew_cancels(self) -> None:
        """Send every cancel once more: it has an id of its own, so that a repeat changes nothing."""
        with self._database.write() as connection:
            rows = connection.execute("SELECT id, request FROM commands WHERE state = 'done'").fetchall()
            cancels = [
                (row["id"],)
                for row in rows
                if CommandRequest.model_validate_json(row["request"]).kind is CommandKind.CANCEL
            ]
            connection.executemany("UPDATE commands SET state = 'new' WHERE id = ?", cancels)

    def renew_decision(self, order_id: UUID) -> None:
        """Send once more what she decided last about one order: a restored bridge may not know of it.

        To a bridge that does, the same id again is a repeat, whatever was decided elsewhere since.
        """
        with self._database.write() as connection:
            rows = connection.execute(
                "SELECT id, request FROM commands WHERE order_id = ? AND state = 'done' ORDER BY rowid DESC",
                (str(order_id),),
            ).fetchall()
            for row in rows:
                kind = CommandRequest.model_validate_json(row["request"]).kind
                if kind in (CommandKind.CANCEL, CommandKind.RETARGET):
                    connection.execute("UPDATE commands SET state = 'new' WHERE id = ?", (row["id"],))
                    break

    def chosen_since(self, order_id: UUID) -> Target | None:
        """The target that she chose last after the order, and that the bridge took; None: the order's own."""
        rows = self._database.connection().execute(
            "SELECT request FROM commands WHERE order_id = ? AND state = 'done' ORDER BY rowid DESC",
            (str(order_id),),
        )
        requests = (CommandRequest.model_validate_json(row["request"]) for row in rows)
        return next((one.target for one in requests if one.kind is CommandKind.RETARGET), None)

    def command_refusal(self, command_id: UUID) -> Reason | None:
        """Why the bridge refused a command; None where it did not."""
        row = (
            self._database.connection()
            .execute("SELECT reason FROM commands WHERE id = ?", (str(command_id),))
            .fetchone()
        )
        return Reason.model_validate_json(row["reason"]) if row and row["reason"] else None

    def refused_commands(self) -> dict[str, Reason]:
        """Order → why the bridge refused the last command for it."""
        rows = self._database.connection().execute(
            "SELECT order_id, reason FROM commands WHERE reason IS NOT NULL"
            " AND rowid IN (SELECT max(rowid) FROM commands GROUP BY order_id)"
        )
        return {row["order_id"]: Reason.model_validate_json(row["reason"]) for row in rows}

    def withdrawn(self) -> frozenset[str]:
        """Acquisitions of which an order was withdrawn: somebody decided against it."""
        rows = self._database.connection().execute("SELECT acquisition FROM orders WHERE state = 'withdrawn'")
        return frozenset(row["acquisition"] for row in rows)

    # --- reports of what was freed --------------------------------------------------------------------

    def put_freed(self, order_id: UUID, report: str) -> None:
        """Keep a report until the bridge has it (JSON of FreedReport)."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO freed VALUES (?,?) ON CONFLICT (order_id)"
                " DO UPDATE SET report = excluded.report",
                (str(order_id), report),
            )

    def freed_reports(self) -> dict[UUID, str]:
        """Reports that the bridge has not confirmed."""
        rows = self._database.connection().execute("SELECT order_id, report FROM freed")
        return {UUID(row["order_id"]): str(row["report"]) for row in rows}

    def drop_freed(self, order_id: UUID, report: str) -> None:
        """The bridge has this report (unless a longer one took its place meanwhile)."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM freed WHERE order_id = ? AND report = ?", (str(order_id), report))


def new_order_id() -> UUID:
    """A client-made id: repeating a request with it is harmless."""
    return uuid4()
