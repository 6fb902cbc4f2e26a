"""What the outbox remembers of a person's habits: her standing target, her latest targets, small facts."""

from __future__ import annotations

from datetime import datetime

from agent.core.database import Database, from_text, to_text
from server_bridge.contract import Target

RECENTS_KEPT = 12


class Habits:
    """The part of the outbox's file that no order depends on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_standing(self, person: str, target: Target | None, now: datetime) -> None:
        """ "From now on" for one person; None ends it."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM standing WHERE person = ?", (person,))
            if target is not None:
                connection.execute(
                    "INSERT INTO standing VALUES (?,?,?)", (person, target.model_dump_json(), to_text(now))
                )

    def standing(self, person: str) -> tuple[Target, datetime] | None:
        """Her standing target and since when."""
        row = (
            self._database.connection()
            .execute("SELECT target, since FROM standing WHERE person = ?", (person,))
            .fetchone()
        )
        if row is None:
            return None
        since = from_text(row["since"])
        assert since is not None  # NOT NULL column
        return Target.model_validate_json(row["target"]), since

    def note_recent(self, person: str, target: Target, now: datetime) -> None:
        """Remember a chosen target, the last dozen per person."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO recents VALUES (?,?,?) ON CONFLICT DO UPDATE SET used_at = excluded.used_at",
                (person, target.model_dump_json(), to_text(now)),
            )
            connection.execute(
                "DELETE FROM recents WHERE person = ?1 AND target NOT IN (SELECT target FROM recents"
                " WHERE person = ?1 ORDER BY used_at DESC LIMIT ?2)",
                (person, RECENTS_KEPT),
            )

    def recents(self, person: str) -> list[Target]:
        """Her latest targets, latest first."""
        rows = self._database.connection().execute(
            "SELECT target FROM recents WHERE person = ? ORDER BY used_at DESC", (person,)
        )
        return [Target.model_validate_json(row["target"]) for row in rows]

    def set_fact(self, name: str, value: str) -> None:
        """Keep one value that is no secret."""
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

    def drop_fact(self, name: str) -> None:
        """Forget one value."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM facts WHERE name = ?", (name,))

    def set_fact_of(self, person: str, name: str, value: str) -> None:
        """Keep one value for as long as a person is signed in."""
        self.set_fact(f"{person}:{name}", value)

    def fact_of(self, person: str, name: str) -> str | None:
        """One value of a person, or None."""
        return self.fact(f"{person}:{name}")

    def drop_facts_of(self, person: str) -> None:
        """Forget what was kept with :meth:`set_fact_of`."""
        prefix = f"{person}:"
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM facts WHERE substr(name, 1, ?) = ?",
                (len(prefix), prefix),
            )
