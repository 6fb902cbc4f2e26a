"""From rows to ``omero.model`` objects: loaded graphs with unloaded references at their edges.

A tree says what comes loaded: ``{"child": {"annotationLinks": {}}, "details.owner": {}}``. Everything else
is what OMERO sends for it: an unloaded object for a reference, an unloaded collection. One row becomes one
Python object in a graph, so that links find their parents again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import omero
import omero.model
from omero import rtypes

from server_bridge.sandbox.model import DETAILS_REFS, ENTITIES, Entity, Many
from server_bridge.sandbox.security import Caller
from server_bridge.sandbox.store import Store

Tree = dict[str, Any]

WRAPPERS: dict[str, Any] = {
    "str": rtypes.rstring,
    "int": rtypes.rint,
    "long": rtypes.rlong,
    "bool": lambda value: rtypes.rbool(bool(value)),
    "double": rtypes.rdouble,
    "time": rtypes.rtime,
    "length": lambda value: omero.model.LengthI(value, omero.model.enums.UnitsLength.MICROMETER),
}


def wrap(kind: str, value: Any) -> Any:
    """A column's value as the RType (or Length) of that kind; null stays null."""
    return None if value is None else WRAPPERS[kind](value)


def ice_class(name: str) -> Any:
    return getattr(omero.model, f"{name}I")


class Loader:
    """Builds one graph; make a new one for each answer."""

    def __init__(self, store: Store, caller: Caller) -> None:
        self.store = store
        self.caller = caller
        self.rows: dict[tuple[str, int], sqlite3.Row] = {}
        self.objects: dict[tuple[str, int], Any] = {}
        self.entities: dict[tuple[str, int], Entity] = {}
        self.collections: dict[tuple[str, int, str], list[int]] = {}

    def load(self, of: Entity, ids: Iterable[int], tree: Tree) -> list[Any]:
        """The objects with these ids, in this order, loaded as the tree says; ids without a row give None."""
        wanted = list(ids)
        self.collect(of, wanted, tree)
        self.build()
        return [self.objects.get((of.table, row_id)) for row_id in wanted]

    # -- first: which rows are needed

    def collect(self, of: Entity, ids: Iterable[int], tree: Tree) -> None:
        unique = list(dict.fromkeys(ids))
        missing = [row_id for row_id in unique if (of.table, row_id) not in self.rows]
        for row in self.store.by_ids(of, missing):
            self.rows[(of.table, row["id"])] = row
            self.entities[(of.table, row["id"])] = ENTITIES[row["kind"]] if of.polymorphic else of
        present = [row_id for row_id in unique if (of.table, row_id) in self.rows]
        for name, subtree in tree.items():
            self.follow(of, present, name, subtree)

    def follow(self, of: Entity, ids: list[int], name: str, subtree: Tree) -> None:
        if name in of.manies:
            many = of.manies[name]
            members = self.members(of, ids, many)
            self.collect(ENTITIES[many.target], members, subtree)
        elif name in of.refs or name.startswith("details."):
            column = name if name in of.refs else DETAILS_REFS[name.partition(".")[2]][0]
            target = of.refs.get(name) or DETAILS_REFS[name.partition(".")[2]][1]
            if column in of.refs or of.details:
                found = [self.rows[(of.table, row_id)][column] for row_id in ids]
                self.collect(ENTITIES[target], [row_id for row_id in found if row_id is not None], subtree)

    def members(self, of: Entity, ids: list[int], many: Many) -> list[int]:
        target = ENTITIES[many.target]
        order = "position, id" if target.ordered and many.ordered else "id"
        visible = self.caller.visible_sql("t") if target.details else "1"
        wanted = ", ".join(map(str, ids))
        rows = self.store.rows(
            f'SELECT t.id, t."{many.via}" AS parent FROM "{target.table}" AS t'
            f' WHERE t."{many.via}" IN ({wanted}) AND {visible} ORDER BY {order}'
        )
        for row_id in ids:
            self.collections[(of.table, row_id, many.name)] = []
        for row in rows:
            self.collections[(of.table, row["parent"], many.name)].append(row["id"])
        return [row["id"] for row in rows]

    # -- then: the objects

    def build(self) -> None:
        fresh = [key for key in self.rows if key not in self.objects]
        for key in fresh:
            made = ice_class(self.entities[key].name)(key[1], True)
            made.unloadCollections()
            self.objects[key] = made
        kinds = self.kinds_of_references(fresh)
        for key in fresh:
            self.fill(key, kinds)
        for (table, row_id, name), members in self.collections.items():
            owner = self.objects.get((table, row_id))
            if owner is not None:
                target = ENTITIES[self.entities[(table, row_id)].manies[name].target]
                loaded = [self.objects[(target.table, member)] for member in members]
                setattr(owner, f"_{name}Seq", loaded)
                setattr(owner, f"_{name}Loaded", True)

    def kinds_of_references(self, keys: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """The concrete classes of references into tables of several classes."""
        wanted: dict[str, set[int]] = {}
        for key in keys:
            for name, target_name in self.entities[key].refs.items():
                target = ENTITIES[target_name]
                row_id = self.rows[key][name]
                if target.polymorphic and row_id is not None and (target.table, row_id) not in self.objects:
                    wanted.setdefault(target.table, set()).add(row_id)
        found = {}
        for table, ids in wanted.items():
            listed = ", ".join(map(str, ids))
            for row in self.store.rows(f'SELECT id, kind FROM "{table}" WHERE id IN ({listed})'):
                found[(table, row["id"])] = row["kind"]
        return found

    def fill(self, key: tuple[str, int], kinds: dict[tuple[str, int], str]) -> None:
        of, row, made = self.entities[key], self.rows[key], self.objects[key]
        for name, kind in of.fields.items():
            if (of.name, name) == ("ExperimenterGroup", "permissions"):
                continue
            if hasattr(made, f"_{name}"):
                setattr(made, f"_{name}", wrap(kind, row[name]))
        for name, target_name in of.refs.items():
            if hasattr(made, f"_{name}"):
                setattr(made, f"_{name}", self.reference(ENTITIES[target_name], row[name], kinds))
        for name in of.maps:
            if hasattr(made, f"_{name}"):
                pairs = self.store.named_values(of, key[1], name)
                setattr(made, f"_{name}", [omero.model.NamedValue(left, right) for left, right in pairs])
        self.details(of, row, made)

    def reference(self, target: Entity, row_id: int | None, kinds: dict[tuple[str, int], str]) -> Any:
        if row_id is None:
            return None
        loaded = self.objects.get((target.table, row_id))
        if loaded is not None:
            return loaded
        name = kinds.get((target.table, row_id), target.name)
        return ice_class(name)(row_id, False)

    def details(self, of: Entity, row: sqlite3.Row, made: Any) -> None:
        details = omero.model.DetailsI()
        if of.details:
            for name, (column, target_name) in DETAILS_REFS.items():
                setattr(details, f"_{name}", self.reference(ENTITIES[target_name], row[column], {}))
            owner, group = row["details_owner"], row["details_group"]
            letters = self.caller.group_permissions.get(group, "rw----")
            permissions = omero.model.PermissionsI(letters)
            permissions._restrictions = self.caller.restrictions(owner, group)
            details._permissions = permissions
        elif of.name == "ExperimenterGroup":
            details._permissions = omero.model.PermissionsI(row["permissions"])
        else:
            details._permissions = omero.model.PermissionsI("rwrwrw")
        made._details = details


def load(store: Store, caller: Caller, of: Entity, ids: Iterable[int], tree: Tree | None = None) -> list[Any]:
    """The objects with these ids, in order; see :class:`Loader`."""
    return Loader(store, caller).load(of, ids, tree or {})


def load_one(store: Store, caller: Caller, name: str, row_id: int, tree: Tree | None = None) -> Any:
    return load(store, caller, ENTITIES[name], [row_id], tree)[0]
