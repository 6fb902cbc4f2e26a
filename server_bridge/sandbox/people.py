"""Users, groups and memberships, as the services and the security need them."""

from __future__ import annotations

import sqlite3

from server_bridge.sandbox.model import ENTITIES
from server_bridge.sandbox.security import ALL_PRIVILEGES, SYSTEM_GROUP, USER_GROUP
from server_bridge.sandbox.store import Store

EXPERIMENTER = ENTITIES["Experimenter"]


class People:
    """Look-ups over the experimenter tables; every answer is read afresh."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def by_name(self, name: str) -> sqlite3.Row | None:
        return self.store.row("SELECT * FROM experimenter WHERE omeName = ?", [name])

    def by_id(self, user: int) -> sqlite3.Row | None:
        return self.store.row("SELECT * FROM experimenter WHERE id = ?", [user])

    def group_by_name(self, name: str) -> sqlite3.Row | None:
        return self.store.row("SELECT * FROM experimentergroup WHERE name = ?", [name])

    def group_by_id(self, group: int) -> sqlite3.Row | None:
        return self.store.row("SELECT * FROM experimentergroup WHERE id = ?", [group])

    def memberships(self, user: int) -> list[tuple[int, bool]]:
        """(group, is owner of it) in the user's own order: the default group comes first."""
        rows = self.store.rows(
            'SELECT parent, "owner" FROM groupexperimentermap WHERE child = ? ORDER BY position, id', [user]
        )
        return [(row["parent"], bool(row["owner"])) for row in rows]

    def default_group(self, user: int) -> int | None:
        """The first group of the user that is not the group of all users."""
        groups = [group for group, _ in self.memberships(user) if group != USER_GROUP]
        return groups[0] if groups else None

    def is_active(self, user: int) -> bool:
        """Whether the user may sign in: OMERO takes inactive people out of the group ``user``."""
        return any(group == USER_GROUP for group, _ in self.memberships(user))

    def privileges(self, user: int) -> frozenset[str]:
        """An administrator's privileges: all but those that her configuration switches off."""
        if not any(group == SYSTEM_GROUP for group, _ in self.memberships(user)):
            return frozenset()
        off = {
            name.removeprefix("AdminPrivilege:")
            for name, value in self.store.named_values(EXPERIMENTER, user, "config")
            if name.startswith("AdminPrivilege:") and value.lower() == "false"
        }
        return frozenset(ALL_PRIVILEGES) - off

    def permissions(self) -> dict[int, str]:
        rows = self.store.rows("SELECT id, permissions FROM experimentergroup")
        return {row["id"]: row["permissions"] for row in rows}

    # -- making people

    def add_group(
        self, name: str, permissions: str, description: str = "", fixed_id: int | None = None
    ) -> int:
        values = {"name": name, "permissions": permissions, "description": description, "ldap": False}
        if fixed_id is not None:
            values["id"] = fixed_id
        return self.store.insert("ExperimenterGroup", None, **values)

    def add_user(self, name: str, first: str, last: str, email: str = "", fixed_id: int | None = None) -> int:
        values = {"omeName": name, "firstName": first, "lastName": last, "email": email, "ldap": False}
        if fixed_id is not None:
            values["id"] = fixed_id
        return self.store.insert("Experimenter", None, **values)

    def join(self, user: int, group: int, owner: bool = False) -> None:
        """Make the user a member of the group (or change whether she owns it); new groups come last."""
        with self.store.transaction():
            known = self.store.value(
                "SELECT id FROM groupexperimentermap WHERE parent = ? AND child = ?", [group, user]
            )
            if known is not None:
                self.store.execute('UPDATE groupexperimentermap SET "owner" = ? WHERE id = ?', [owner, known])
                return
            position = self.store.value(
                "SELECT COALESCE(MAX(position) + 1, 0) FROM groupexperimentermap WHERE child = ?", [user]
            )
            self.store.insert(
                "GroupExperimenterMap", None, parent=group, child=user, owner=owner, position=position
            )

    def leave(self, user: int, group: int) -> None:
        self.store.execute("DELETE FROM groupexperimentermap WHERE parent = ? AND child = ?", [group, user])

    def make_default(self, user: int, group: int) -> None:
        with self.store.transaction():
            first = self.store.value(
                "SELECT COALESCE(MIN(position) - 1, 0) FROM groupexperimentermap WHERE child = ?", [user]
            )
            self.store.execute(
                "UPDATE groupexperimentermap SET position = ? WHERE parent = ? AND child = ?",
                [first, group, user],
            )
