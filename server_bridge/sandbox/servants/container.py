"""IContainer: counting and loading containers, in the ways omero-py asks for them."""

from __future__ import annotations

from typing import Any

import omero.sys

from server_bridge.sandbox.model import ENTITIES, Entity, entity
from server_bridge.sandbox.objects import load
from server_bridge.sandbox.servants.core import Call
from server_bridge.sandbox.servants.query import find_objects
from server_bridge.sandbox.servants.update import Update
from server_bridge.sandbox.sessions import usage

IMAGE_TREE: dict[str, Any] = {
    "pixels": {"pixelsType": {}, "dimensionOrder": {}},
    "fileset": {},
    "details.owner": {},
    "details.creationEvent": {},
}
LEAVES = {
    "Project": ("datasetLinks", "Dataset"),
    "Dataset": ("imageLinks", "Image"),
    "Screen": ("plateLinks", "Plate"),
}


def _entity(klass: str) -> Entity:
    found = entity(klass)
    if found is None:
        raise usage(f"Unknown class: {klass}")
    return found


def _ids_parameter(ids: list[int]) -> Any:
    given = omero.sys.ParametersI()
    given.addIds(ids)
    return given


class Container:
    """omero.api.IContainer."""

    def getCollectionCount(
        self, call: Call, klass: str, name: str, ids: list[int], options: Any
    ) -> dict[int, int]:
        of = _entity(klass)
        name = name.rpartition("_")[2]
        if name not in of.manies:
            raise usage(f"{of.name} has no collection {name}")
        many = of.manies[name]
        target = ENTITIES[many.target]
        visible = call.caller.visible_sql("t") if target.details else "1"
        wanted = ", ".join(str(int(one)) for one in ids or [])
        counts = dict.fromkeys(ids or [], 0)
        for row in call.store.rows(
            f'SELECT t."{many.via}" AS parent, COUNT(*) AS many FROM "{target.table}" AS t'
            f' WHERE t."{many.via}" IN ({wanted}) AND {visible} GROUP BY t."{many.via}"'
        ):
            counts[row["parent"]] = row["many"]
        return counts

    def getImages(self, call: Call, klass: str, ids: list[int], options: Any) -> list[Any]:
        queries = {
            "Image": "select i from Image i where i.id in (:ids)",
            "Dataset": "select distinct i from Image i join i.datasetLinks l where l.parent.id in (:ids)",
            "Project": "select distinct i from Image i join i.datasetLinks l join l.parent d"
            " join d.projectLinks pl where pl.parent.id in (:ids)",
        }
        name = _entity(klass).name
        if name not in queries:
            raise usage(f"The sandbox cannot get images of {name}")
        found = find_objects(call, queries[name], _ids_parameter(ids))
        return load(call.store, call.caller, ENTITIES["Image"], [one.id.val for one in found], IMAGE_TREE)

    def getUserImages(self, call: Call, options: Any) -> list[Any]:
        given = omero.sys.ParametersI().addLong("me", call.caller.user_id)
        found = find_objects(call, "select i from Image i where i.details.owner.id = :me", given)
        return load(call.store, call.caller, ENTITIES["Image"], [one.id.val for one in found], IMAGE_TREE)

    def loadContainerHierarchy(self, call: Call, klass: str, ids: list[int], options: Any) -> list[Any]:
        of = _entity(klass)
        if of.name not in LEAVES:
            raise usage(f"The sandbox knows no hierarchy of {of.name}")
        page = options.theFilter if options is not None else None
        owner = page.ownerId if page is not None else None
        hql = f"select x from {of.name} x where 1 = 1"
        given = omero.sys.ParametersI()
        if ids:
            hql += " and x.id in (:ids)"
            given.addIds(ids)
        if owner is not None:
            hql += " and x.details.owner.id = :owner"
            given.addLong("owner", owner.val)
        found = find_objects(call, f"{hql} order by x.id", given)
        wishes = options.theOptions if options is not None else None
        leaves = bool(wishes is not None and wishes.leaves is not None and wishes.leaves.val)
        return load(call.store, call.caller, of, [one.id.val for one in found], _hierarchy(of.name, leaves))

    def createDataObject(self, call: Call, given: Any, options: Any) -> Any:
        return Update().saveAndReturnObject(call, given)

    def createDataObjects(self, call: Call, given: list[Any], options: Any) -> list[Any]:
        return Update().saveAndReturnArray(call, given)

    def updateDataObject(self, call: Call, given: Any, options: Any) -> Any:
        return Update().saveAndReturnObject(call, given)

    def updateDataObjects(self, call: Call, given: list[Any], options: Any) -> list[Any]:
        return Update().saveAndReturnArray(call, given)

    def link(self, call: Call, given: list[Any], options: Any) -> list[Any]:
        return Update().saveAndReturnArray(call, given)

    def unlink(self, call: Call, given: list[Any], options: Any) -> None:
        for link in given:
            Update().deleteObject(call, link)


def _hierarchy(name: str, leaves: bool) -> dict[str, Any]:
    links, child = LEAVES[name]
    below: dict[str, Any] = {}
    if child in LEAVES and (child != "Dataset" or leaves):
        below = _hierarchy(child, leaves)
    tree: dict[str, Any] = {"details.owner": {}, "details.creationEvent": {}}
    if name != "Dataset" or leaves:
        tree[links] = {"child": below}
    return tree
