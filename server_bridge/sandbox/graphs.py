"""Deleting with all that hangs on it, as OMERO's Delete2 does.

From the targets the graph is followed to what cannot live without them (links, pixels, wells, used files)
and, as OMERO does, refused where something would be left split: images of one fileset go together or not at
all. Comments, key-value pairs and the like go with the last object they describe; tags, terms and attached
files stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import omero

from server_bridge.sandbox.model import ENTITIES, Entity, is_link
from server_bridge.sandbox.security import Action
from server_bridge.sandbox.sessions import usage

if TYPE_CHECKING:
    from server_bridge.sandbox.servants.core import Call

# For each class: the collections that go with it, and the references to rows that belong to it alone.
OWNED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Project": (("datasetLinks", "annotationLinks"), ()),
    "Dataset": (("projectLinks", "imageLinks", "annotationLinks"), ()),
    "Screen": (("plateLinks", "annotationLinks"), ()),
    "Plate": (("screenLinks", "wells", "plateAcquisitions", "annotationLinks"), ()),
    "PlateAcquisition": (("annotationLinks",), ()),
    "Well": (("wellSamples", "annotationLinks"), ()),
    "WellSample": ((), ("image",)),
    "Image": (("pixels", "datasetLinks", "wellSamples", "rois", "annotationLinks"), ()),
    "Pixels": (("channels",), ()),
    "Channel": ((), ("logicalChannel", "statsInfo")),
    "Fileset": (("usedFiles", "images", "jobLinks", "annotationLinks"), ()),
    "FilesetEntry": ((), ("originalFile",)),
    "FilesetJobLink": ((), ("child",)),
    "Job": (("originalFileLinks",), ()),
    "JobOriginalFileLink": ((), ("child",)),
    "OriginalFile": (("filesetEntries", "annotationLinks"), ()),
    "Roi": (("annotationLinks",), ()),
}
# A dataset's images and a project's datasets go with it when no other container holds them.
CONTENTS = {
    "Project": ("datasetLinks", "Dataset"),
    "Dataset": ("imageLinks", "Image"),
    "Screen": ("plateLinks", "Plate"),
}

SHARED_ANNOTATIONS = frozenset({"TagAnnotation", "TermAnnotation", "FileAnnotation"})


class GraphError(Exception):
    """The deletion is refused; the message is for the client."""


@dataclass
class Graph:
    """What a deletion covers: for each table the ids, in the order in which they were found."""

    call: Call
    found: dict[str, dict[int, str]] = field(default_factory=dict)
    queue: list[tuple[Entity, int]] = field(default_factory=list)

    def add(self, of: Entity, row_id: int | None) -> None:
        if row_id is None or row_id in self.found.setdefault(of.table, {}):
            return
        rows = self.call.store.by_ids(of, [row_id])
        if rows:
            name = rows[0]["kind"] if of.polymorphic else of.name
            self.found[of.table][row_id] = name
            self.queue.append((ENTITIES[name], row_id))

    def start(self, targets: dict[str, list[int]]) -> None:
        """Take the targets, which the caller must be able to see, and everything that hangs on them."""
        for name, ids in targets.items():
            of = ENTITIES.get(name.rpartition(".")[2])
            if of is None:
                raise usage(f"The sandbox does not know {name}")
            for row_id in ids:
                visible = self.call.caller.visible_sql("t") if of.details else "1"
                known = self.call.store.value(
                    f'SELECT 1 FROM "{of.table}" AS t WHERE id = ? AND {visible}', [row_id]
                )
                if known is None:
                    raise GraphError(f"cannot read {name}: {row_id}")
                self.add(of, row_id)
        self.grow()

    def grow(self) -> None:
        while self.queue:
            of, row_id = self.queue.pop(0)
            self.follow(of, row_id)
            if not self.queue:
                self.take_whole_filesets()

    def take_whole_filesets(self) -> None:
        """Filesets whose images all go, go too; one of which only some would go stops everything."""
        images = self.found.get("image", {})
        if not images:
            return
        listed = ", ".join(map(str, images))
        rows = self.call.store.rows(
            "SELECT id, fileset FROM image WHERE fileset IN"
            f" (SELECT fileset FROM image WHERE id IN ({listed})) ORDER BY id"
        )
        for row in rows:
            if row["id"] not in images:
                gone = next(
                    one["id"] for one in rows if one["fileset"] == row["fileset"] and one["id"] in images
                )
                raise GraphError(
                    f"within Fileset[{row['fileset']}] may not delete Image[{gone}]"
                    f" while Image[{row['id']}] is not deleted"
                )
            self.add(ENTITIES["Fileset"], row["fileset"])

    def follow(self, of: Entity, row_id: int) -> None:
        family = "Job" if of.table == "job" else of.name
        manies, refs = OWNED.get(family, ((), ()))
        row = self.call.store.by_ids(of, [row_id])[0]
        for name in refs:
            self.add(ENTITIES[of.refs[name]], row[name])
        if of.name in CONTENTS:
            self.contents(of, row_id)
        for name in manies:
            many = of.manies[name]
            target = ENTITIES[many.target]
            for member in self.call.store.rows(
                f'SELECT id FROM "{target.table}" WHERE "{many.via}" = ?', [row_id]
            ):
                self.add(target, member["id"])
        if of.table == "annotation":
            self.links_to_annotation(row_id)
        elif of.name.endswith("AnnotationLink"):
            self.annotation_of(row["child"])

    def contents(self, of: Entity, row_id: int) -> None:
        links, content = CONTENTS[of.name]
        table = ENTITIES[of.manies[links].target].table
        for member in self.call.store.rows(
            f'SELECT child FROM "{table}" WHERE parent = ? AND child NOT IN'
            f' (SELECT child FROM "{table}" WHERE parent <> ?)',
            [row_id, row_id],
        ):
            self.add(ENTITIES[content], member["child"])

    def annotation_of(self, row_id: int) -> None:
        """Take the annotation along unless it is shared by kind or still describes something else."""
        kind = self.call.store.value("SELECT kind FROM annotation WHERE id = ?", [row_id])
        if kind is None or kind in SHARED_ANNOTATIONS:
            return
        for link in ENTITIES.values():
            if link.name.endswith("AnnotationLink"):
                going = self.found.get(link.table, {})
                for row in self.call.store.rows(f'SELECT id FROM "{link.table}" WHERE child = ?', [row_id]):
                    if row["id"] not in going:
                        return
        self.add(ENTITIES["Annotation"], row_id)

    def links_to_annotation(self, row_id: int) -> None:
        for link in ENTITIES.values():
            if link.name.endswith("AnnotationLink"):
                for row in self.call.store.rows(f'SELECT id FROM "{link.table}" WHERE child = ?', [row_id]):
                    self.add(link, row["id"])

    # -- the rules

    def check(self, action: Action = Action.DELETE) -> None:
        caller = self.call.caller
        for table, rows in self.found.items():
            of = next(item for item in ENTITIES.values() if item.table == table)
            if not of.details:
                raise GraphError(f"cannot {action.name.lower()} {of.name}")
            for row in self.call.store.by_ids(of, rows):
                name = f"{rows[row['id']]}[{row['id']}]"
                if is_link(of):
                    continue
                if not caller.may(action, row["details_owner"], row["details_group"]):
                    raise GraphError(f"not permitted to {action.name.lower()} {name}")

    def result(self) -> dict[str, list[int]]:
        """Class names as OMERO reports them (``ome.model.core.Image`` and so on) with their ids."""
        classes: dict[str, list[int]] = {}
        for rows in self.found.values():
            for row_id, name in rows.items():
                classes.setdefault(f"ome.model.{PACKAGES.get(name, 'core')}.{name}", []).append(row_id)
        return {name: sorted(ids) for name, ids in classes.items()}

    def erase(self) -> list[Path]:
        """Delete the rows; returns the files that go."""
        store = self.call.store
        paths = [
            self.call.services.repository.path_of(row)
            for row in store.by_ids(ENTITIES["OriginalFile"], self.found.get("originalfile", {}))
        ]
        for table, rows in self.found.items():
            listed = ", ".join(map(str, rows))
            if rows:
                store.execute(f'DELETE FROM "{table}" WHERE id IN ({listed})')
                store.execute(f"DELETE FROM named_value WHERE entity = ? AND parent IN ({listed})", [table])
        return paths


PACKAGES = {
    "Project": "containers",
    "Dataset": "containers",
    "ProjectDatasetLink": "containers",
    "DatasetImageLink": "containers",
    "Screen": "screen",
    "ScreenPlateLink": "screen",
    "Plate": "screen",
    "PlateAcquisition": "screen",
    "Well": "screen",
    "WellSample": "screen",
    "Fileset": "fs",
    "FilesetEntry": "fs",
    "FilesetJobLink": "fs",
    "UploadJob": "jobs",
    "MetadataImportJob": "jobs",
    "PixelDataJob": "jobs",
    "ThumbnailGenerationJob": "jobs",
    "IndexingJob": "jobs",
    "JobOriginalFileLink": "jobs",
    "StatsInfo": "stats",
    "Roi": "roi",
} | dict.fromkeys(
    [name for name in ENTITIES if name.endswith("Annotation") or name.endswith("AnnotationLink")],
    "annotations",
)


def delete_graph(call: Call, targets: dict[str, list[int]], dry_run: bool) -> dict[str, list[int]]:
    """Delete (or only say what would go); raises GraphError where it is not allowed.

    Files go after the rows: a process killed in between leaves a file that nobody knows, never a row
    without file.
    """
    with call.store.transaction():
        graph = Graph(call)
        graph.start(targets)
        graph.check()
        result = graph.result()
        paths = [] if dry_run else graph.erase()
    for path in paths:
        call.services.repository.remove(path)
    return result


def move_graph(
    call: Call, targets: dict[str, list[int]], group: int, dry_run: bool
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Move to another group with all that hangs on it; returns (what moves, which links are cut).

    Links to what stays behind are cut, as no link may cross groups. Raises GraphError where it is refused.
    """
    caller, store = call.caller, call.store
    if group not in caller.member_of and "Chgrp" not in caller.privileges:
        raise GraphError(f"not a member of group {group}")
    with store.transaction():
        graph = Graph(call)
        graph.start(targets)
        graph.check(Action.CHGRP)
        cut = Graph(call)
        for table, rows in graph.found.items():
            of = ENTITIES[next(iter(rows.values()))] if rows else None
            if of is None or not is_link(of):
                continue
            for row in store.by_ids(of, rows):
                ends = [(ENTITIES[target].table, row[side]) for side, target in of.refs.items()]
                if any(end not in graph.found.get(end_table, {}) for end_table, end in ends):
                    cut.found.setdefault(table, {})[row["id"]] = of.name
        for table, rows in cut.found.items():
            for row_id in rows:
                del graph.found[table][row_id]
        result = graph.result(), cut.result()
        if not dry_run:
            cut.erase()
            for table, rows in graph.found.items():
                listed = ", ".join(map(str, rows))
                store.execute(f'UPDATE "{table}" SET details_group = ? WHERE id IN ({listed})', [group])
    return result


def disk_usage(call: Call, targets: dict[str, list[int]]) -> dict[Any, tuple[int, int]]:
    """(files, bytes) below the targets for each pair of owner and group."""
    graph = Graph(call)
    graph.start(targets)
    used: dict[Any, tuple[int, int]] = {}
    for row in call.store.by_ids(ENTITIES["OriginalFile"], graph.found.get("originalfile", {})):
        key = omero.api.LongPair(row["details_owner"], row["details_group"])
        files, size = used.get(key, (0, 0))
        used[key] = (files + 1, size + (row["size"] or 0))
    return used


def as_error(error: Exception) -> Any:
    """The response OMERO gives for a refused graph operation."""
    return omero.cmd.GraphException(
        category="::omero::cmd::GraphException",
        name="graph-fail",
        parameters={"message": str(error)},
        message=str(error),
    )
