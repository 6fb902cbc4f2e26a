"""IMetadata and ITypes: annotations, log files, enumerations."""

from __future__ import annotations

from typing import Any

import omero.sys

from server_bridge.sandbox.model import ABSTRACT, ENTITIES, ENUMERATIONS, entity
from server_bridge.sandbox.objects import load
from server_bridge.sandbox.servants.core import Call
from server_bridge.sandbox.servants.query import find_objects
from server_bridge.sandbox.sessions import usage


def _short(name: str) -> str:
    return name.rpartition(".")[2]


class Metadata:
    """omero.api.IMetadata."""

    def loadLogFiles(self, call: Call, klass: str, ids: list[int]) -> dict[int, list[Any]]:
        if _short(klass) != "Fileset":
            raise usage(f"The sandbox has log files of filesets only, not of {klass}")
        found: dict[int, list[Any]] = {}
        for fileset in ids:
            given = omero.sys.ParametersI().addId(fileset)
            found[fileset] = find_objects(
                call,
                "select o from FilesetJobLink l join l.child j join j.originalFileLinks f join f.child o"
                " where l.parent.id = :id and o.mimetype = 'application/omero-log-file'",
                given,
            )
        return found

    def loadAnnotations(
        self, call: Call, klass: str, ids: list[int], types: list[str], annotators: list[int], options: Any
    ) -> dict[int, list[Any]]:
        of = entity(_short(klass))
        if of is None or "annotationLinks" not in of.manies:
            raise usage(f"{klass} has no annotations")
        wanted = {_short(one) for one in types or []}
        found: dict[int, list[Any]] = {row_id: [] for row_id in ids}
        for row_id in ids:
            given = omero.sys.ParametersI().addId(row_id)
            links = find_objects(
                call, f"select l from {of.name}AnnotationLink l where l.parent.id = :id order by l.id", given
            )
            children = [link.child.id.val for link in links]
            tree: dict[str, Any] = {"details.owner": {}, "details.creationEvent": {}, "file": {}}
            for annotation in load(call.store, call.caller, ENTITIES["Annotation"], children, tree):
                owner = annotation.details.owner.id.val
                kind = type(annotation).__name__.removesuffix("I")
                if (not wanted or kind in wanted) and (not annotators or owner in annotators):
                    found[row_id].append(annotation)
        return found

    def loadAnnotation(self, call: Call, ids: list[int]) -> list[Any]:
        given = omero.sys.ParametersI().addIds(ids)
        return find_objects(call, "select a from Annotation a where a.id in (:ids)", given)

    def loadSpecifiedAnnotations(
        self, call: Call, klass: str, include: list[str], exclude: list[str], options: Any
    ) -> list[Any]:
        of = entity(_short(klass))
        if of is None or of.table != "annotation":
            raise usage(f"{klass} is not a kind of annotation")
        found = find_objects(call, f"select a from {of.name} a order by a.id", None)
        names = [(one, one.ns.val if one.ns is not None else None) for one in found]
        return [
            one for one, ns in names if (not include or ns in include) and (not exclude or ns not in exclude)
        ]


class Types:
    """omero.api.ITypes."""

    def allEnumerations(self, call: Call, klass: str) -> list[Any]:
        name = _short(klass)
        if name not in (*ENUMERATIONS, "ChecksumAlgorithm"):
            raise usage(f"The sandbox has no enumeration {klass}")
        return find_objects(call, f"select e from {name} e order by e.id", None)

    def getEnumeration(self, call: Call, klass: str, value: str) -> Any:
        for one in self.allEnumerations(call, klass):
            if one.value.val == value:
                return one
        raise usage(f"An enumeration of type {klass} with value {value} does not exist")

    def getAnnotationTypes(self, call: Call) -> list[str]:
        kinds = ENTITIES["Annotation"].kinds
        return sorted(f"ome.model.annotations.{kind}" for kind in kinds if kind not in ABSTRACT)

    def getEnumerationTypes(self, call: Call) -> list[str]:
        return sorted((*ENUMERATIONS, "ChecksumAlgorithm"))
