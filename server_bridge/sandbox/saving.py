"""From ``omero.model`` objects to rows: what IUpdate does with a graph, and the rules it keeps.

New objects belong to the caller in her current group. A link may not cross groups and needs the right to
link (or to annotate) at both ends; changing a row needs the right to edit it.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import omero
from omero import rtypes

from server_bridge.sandbox.model import ABSTRACT, ENTITIES, ENUMERATIONS, Entity, entity, is_link
from server_bridge.sandbox.security import ALL_GROUPS, USER_GROUP, Action, Caller
from server_bridge.sandbox.sessions import usage, violation
from server_bridge.sandbox.store import Store

REQUIRED = {
    "Project": ("name",),
    "Dataset": ("name",),
    "Screen": ("name",),
    "Plate": ("name",),
    "Image": ("name",),
    "OriginalFile": ("name", "path"),
}
ADMINISTERED = {"Experimenter": "ModifyUser", "ExperimenterGroup": "ModifyGroup"}


def invalid(message: str) -> omero.ValidationException:
    return omero.ValidationException(None, "ome.conditions.ValidationException", message)


class Saver:
    """Saves graphs for one caller; use it inside one transaction."""

    def __init__(self, store: Store, caller: Caller) -> None:
        self.store = store
        self.caller = caller
        self._done: dict[int, int] = {}
        self._busy: set[int] = set()
        # Objects are known by their Python id while they are here, so they must stay alive.
        self._kept: list[Any] = []
        self._event: int | None = None

    def described(self, given: Any) -> Entity:
        found = entity(type(given).__name__)
        if found is None or (found.name in ABSTRACT):
            raise usage(f"The sandbox does not keep {type(given).__name__.removesuffix('I')}")
        return found

    def save(self, given: Any, **fixed: int) -> int:
        """The id of the object's row after saving it and all that hangs on it."""
        if given is None:
            raise usage("Cannot save a null object")
        if id(given) in self._done:
            return self._done[id(given)]
        of = self.described(given)
        self._kept.append(given)
        row_id = rtypes.unwrap(given.getId())
        if not given.isLoaded():
            return self._existing(of, row_id)
        self._busy.add(id(given))
        if of.name in (*ENUMERATIONS, "ChecksumAlgorithm"):
            row_id = self.store.enumeration(of.name, given._value.val)
            self._done[id(given)] = row_id
            return row_id
        values = self._values(of, given)
        values |= fixed
        row_id = self._insert(of, values) if row_id is None else self._change(of, row_id, values)
        self._done[id(given)] = row_id
        for name in of.maps:
            pairs = getattr(given, f"_{name}", None)
            if pairs is not None:
                self.store.set_named_values(of, row_id, name, [(pair.name, pair.value) for pair in pairs])
        self._collections(of, given, row_id)
        self._busy.discard(id(given))
        return row_id

    def _existing(self, of: Entity, row_id: int | None) -> int:
        if row_id is None:
            raise usage(f"An unloaded {of.name} needs an id")
        if self.store.value(f'SELECT 1 FROM "{of.table}" WHERE id = ?', [row_id]) is None:
            raise invalid(f"No row with the given identifier exists: [{of.name}#{row_id}]")
        return row_id

    def _values(self, of: Entity, given: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, kind in of.fields.items():
            if hasattr(given, f"_{name}"):
                value = getattr(given, f"_{name}")
                if kind == "length" and value is not None:
                    micrometres = omero.model.LengthI(value, omero.model.enums.UnitsLength.MICROMETER)
                    values[name] = micrometres.getValue()
                else:
                    values[name] = rtypes.unwrap(value)
        for name in REQUIRED.get(of.name, ()):
            if values.get(name) is None:
                raise invalid(f"not-null property references a null or transient value: {of.name}.{name}")
        for name in of.refs:
            target = getattr(given, f"_{name}", None)
            if target is not None and id(target) not in self._busy:
                values[name] = self.save(target)
            elif target is not None and id(target) in self._done:
                values[name] = self._done[id(target)]
            elif target is None and hasattr(given, f"_{name}"):
                values[name] = None
        return values

    def _collections(self, of: Entity, given: Any, row_id: int) -> None:
        for name, many in of.manies.items():
            if not getattr(given, f"_{name}Loaded", False):
                continue
            for position, member in enumerate(getattr(given, f"_{name}Seq", None) or []):
                if member is None or id(member) in self._busy:
                    continue
                fixed = {many.via: row_id}
                if many.ordered and ENTITIES[many.target].ordered and member.getId() is None:
                    fixed["position"] = position
                self.save(member, **fixed)

    # -- the rules

    def _insert(self, of: Entity, values: dict[str, Any]) -> int:
        if not of.details:
            raise violation(f"Creating {of.name} is not permitted here")
        group = self.caller.writing_group
        if group is None:
            raise violation(f"Cannot write to group: {ALL_GROUPS}")
        if group not in self.caller.member_of and "WriteOwned" not in self.caller.privileges:
            raise violation(f"{self.caller.user_name} may not write to group {group}")
        if is_link(of):
            self._check_link(of, values)
        if self._event is None:
            self._event = self.store.event(self.caller)
        return self.store.insert(of.name, self.caller, details_creation=self._event, **values)

    def _check_link(self, of: Entity, values: dict[str, Any]) -> None:
        action = Action.ANNOTATE if of.name.endswith("AnnotationLink") else Action.LINK
        for side, target_name in of.refs.items():
            target = ENTITIES[target_name]
            row = self._row(target, values.get(side), of, side)
            if not target.details:
                continue
            if row["details_group"] not in (self.caller.writing_group, USER_GROUP):
                raise omero.SecurityViolation(
                    None,
                    "ome.conditions.GroupSecurityViolation",
                    f"MIXED GROUP: {of.name}(group={self.caller.writing_group}) and"
                    f" {target_name}:Id_{row['id']}(group={row['details_group']}) cannot be linked.",
                )
            if not self.caller.may(action, row["details_owner"], row["details_group"]):
                raise omero.SecurityViolation(
                    None,
                    "ome.conditions.ReadOnlyGroupSecurityViolation",
                    f"Group is READ-ONLY. Cannot link to object: {target_name}:Id_{row['id']}",
                )
        twin = self.store.value(
            f'SELECT id FROM "{of.table}" WHERE parent = ? AND child = ? AND details_owner = ?',
            [values["parent"], values["child"], self.caller.user_id],
        )
        if twin is not None:
            raise invalid(f"duplicate key value violates unique constraint: {of.name} (parent, child, owner)")

    def _row(self, target: Entity, row_id: Any, of: Entity, side: str) -> sqlite3.Row:
        rows = self.store.by_ids(target, [row_id]) if row_id is not None else []
        if not rows:
            raise invalid(f"not-null property references a null or transient value: {of.name}.{side}")
        return rows[0]

    def _change(self, of: Entity, row_id: int, values: dict[str, Any]) -> int:
        self._existing(of, row_id)
        row = self.store.by_ids(of, [row_id])[0]
        changed = {name: value for name, value in values.items() if row[name] != value}
        if not changed:
            return row_id
        if not of.details:
            privilege = ADMINISTERED.get(of.name)
            if privilege is None or privilege not in self.caller.privileges:
                raise violation(f"Updating {of.name}:Id_{row_id} not permitted")
            changed.pop("permissions", None)
        elif not self.caller.may(Action.EDIT, row["details_owner"], row["details_group"]):
            raise violation(f"Updating {of.name}:Id_{row_id} not permitted")
        else:
            if self._event is None:
                self._event = self.store.event(self.caller)
            changed["details_update"] = self._event
        self.store.update(of, row_id, changed)
        return row_id

    # -- what to send back

    def tree_of(self, given: Any, seen: frozenset[int] = frozenset()) -> dict[str, Any]:
        """What was loaded in the given object, so that the answer has the same shape."""
        if given is None or not given.isLoaded() or id(given) in seen:
            return {}
        of, seen = self.described(given), seen | {id(given)}
        tree: dict[str, Any] = {}
        for name in of.refs:
            target = getattr(given, f"_{name}", None)
            if target is not None and target.isLoaded() and id(target) not in seen:
                tree[name] = self.tree_of(target, seen)
        for name in of.manies:
            if getattr(given, f"_{name}Loaded", False):
                members = getattr(given, f"_{name}Seq", None) or []
                tree[name] = self.tree_of(members[0], seen) if members else {}
        return tree
