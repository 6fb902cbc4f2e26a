"""What a person asked to be written on her images, and where they came from: looked at first, then added.

Everything is done in the person's own session (in a private group nobody else may annotate) and can be done
again at any time: what is there stays, what is missing is added. On plates where the order made plates, on
images otherwise, since a plate is what one looks at then.

* Tags: her own tag of that text, or else one of the group that OMERO lets her use; or else a new one.
* Key-values: in the namespace that the clients let people edit, one annotation on each object as the clients
  make them, so that editing one image's values leaves the others alone.
* Description: added below what the file itself brought along.
* Provenance: one map annotation in our own namespace for the whole order (the clients show it read-only).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import omero.all  # first: after omero.constants alone, omero.model cannot be imported
import omero.constants.metadata
import omero.model
from omero.rtypes import rstring, unwrap

from server_bridge.contract import KeyValue, Target
from server_bridge.omero.failures import OmeroForbids
from server_bridge.omero.names import NS_PROVENANCE
from server_bridge.omero.session import Session, chunks

ObjectKind = Literal["Image", "Plate"]
NS_CLIENT = str(omero.constants.metadata.NSCLIENTMAPANNOTATION)
_LINKS = {"Image": omero.model.ImageAnnotationLinkI, "Plate": omero.model.PlateAnnotationLinkI}
_OBJECTS = {"Image": omero.model.ImageI, "Plate": omero.model.PlateI}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an order's images came from. Times are aware."""

    order_id: str
    workstation: str
    share: str
    path: str
    acquired_at: datetime | None
    imported_at: datetime
    bridge_version: str

    def pairs(self) -> list[tuple[str, str]]:
        """What stands in OMERO, in this order; the first pair names the order."""
        found = [
            ("Order", self.order_id),
            ("Workstation", self.workstation),
            ("Share", self.share),
            ("Path", self.path),
            ("Acquired", _when(self.acquired_at)),
            ("Imported", _when(self.imported_at)),
            ("OMERO Ferry", self.bridge_version),
        ]
        return [(key, value) for key, value in found if value]


@dataclass(slots=True)
class AnnotationReport:
    """What one call added; all zero where everything was there already."""

    objects: int = 0
    tags_added: int = 0
    """Links of tags to objects."""
    tags_created: list[str] = field(default_factory=list)
    key_values_added: int = 0
    """Objects whose key-values were added or completed."""
    descriptions_added: int = 0
    provenance_added: int = 0

    @property
    def changed(self) -> bool:
        return bool(
            self.tags_added or self.key_values_added or self.descriptions_added or self.provenance_added
        )


def annotate(
    session: Session,
    image_ids: Sequence[int],
    plate_ids: Sequence[int],
    target: Target,
    provenance: Provenance | None = None,
) -> AnnotationReport:
    """Write tags, key-values and description of ``target`` and the provenance; a repeat adds nothing.

    Args:
        session: the person's, in the group the images are in.

    Raises:
        NeedsAttention: ``omero_forbids``.
        Unavailable, TransientFailure: where OMERO does not answer or fails; what was written stays.
    """
    kind: ObjectKind = "Plate" if plate_ids else "Image"
    ids = sorted(set(plate_ids if plate_ids else image_ids))
    report = AnnotationReport(objects=len(ids))
    if not ids:
        return report
    for text in dict.fromkeys(tag.strip() for tag in target.tags):
        if text:
            _tag(session, kind, ids, text, report)
    if target.key_values:
        report.key_values_added = _key_values(session, kind, ids, target.key_values)
    if target.description.strip():
        report.descriptions_added = _describe(session, kind, ids, target.description.strip())
    if provenance is not None:
        report.provenance_added = _provenance(session, kind, ids, provenance)
    return report


# -- tags -----------------------------------------------------------------------------------------------


def _tag(session: Session, kind: ObjectKind, ids: list[int], text: str, report: AnnotationReport) -> None:
    tags = session.rows(
        "select t.id, o.id from TagAnnotation t join t.details.owner o "
        "where t.textValue = :text and t.ns is null order by t.id",
        {"text": text},
        group=session.group_id,
        doing=f"looking for the tag {text!r}",
    )
    known = [int(tag) for tag, _ in tags]
    # Whoever's tag of that text is on an image already, it is tagged.
    tagged = _linked(session, kind, ids, known)
    missing = [one for one in ids if one not in tagged]
    if not missing:
        return
    own = [int(tag) for tag, owner in tags if int(owner) == session.user_id]
    doing = f"adding the tag {text!r}"
    for candidate in (own or known)[:1]:
        try:
            _link(session, kind, missing, omero.model.TagAnnotationI(candidate, False), doing)
        except OmeroForbids:
            if own:
                raise
            # Another member's tag that OMERO does not let her use (read-only groups): she gets her own.
            break
        report.tags_added += len(missing)
        return
    made = omero.model.TagAnnotationI()
    made.textValue = rstring(text)
    tag = int(unwrap(session.save(made, doing=f"creating the tag {text!r}").id))
    report.tags_created.append(text)
    _link(session, kind, missing, omero.model.TagAnnotationI(tag, False), doing)
    report.tags_added += len(missing)


# -- key-values -----------------------------------------------------------------------------------------


def _key_values(session: Session, kind: ObjectKind, ids: list[int], wanted: Sequence[KeyValue]) -> int:
    pairs = [(pair.key, pair.value) for pair in wanted]
    changed = 0
    for piece in chunks(ids):
        own = _own_maps(session, kind, piece)
        links: list[Any] = []
        for one in piece:
            annotation = own.get(one)
            if annotation is None:
                links.append(_new_link(kind, one, _map(NS_CLIENT, pairs)))
                continue
            there = {(value.name, value.value) for value in annotation.mapValue or ()}
            lacking = [pair for pair in pairs if pair not in there]
            if lacking:
                annotation.mapValue = [*(annotation.mapValue or ()), *_named_values(lacking)]
                session.save(annotation, doing="completing key-value pairs")
                changed += 1
        session.save_all(links, doing="adding key-value pairs")
        changed += len(links)
    return changed


def _own_maps(session: Session, kind: ObjectKind, ids: list[int]) -> dict[int, Any]:
    """Her first editable map annotation on each of these objects."""
    links = session.rows(
        f"select l.parent.id, l.child.id from {kind}AnnotationLink l where l.parent.id in (:ids) "
        "order by l.child.id",
        {"ids": ids},
        group=session.group_id,
        doing="reading annotations",
    )
    parents: dict[int, list[int]] = {}
    for parent, child in links:
        parents.setdefault(int(child), []).append(int(parent))
    found: dict[int, Any] = {}
    for piece in chunks(sorted(parents)):
        for annotation in session.objects(
            "select distinct m from MapAnnotation m join fetch m.details.owner o "
            "left outer join fetch m.mapValue where m.id in (:ids) and m.ns = :ns and o.id = :me",
            {"ids": piece, "ns": NS_CLIENT, "me": session.user_id},
            group=session.group_id,
            doing="reading key-value pairs",
        ):
            for parent in parents[int(unwrap(annotation.id))]:
                found.setdefault(parent, annotation)
    return found


# -- description ----------------------------------------------------------------------------------------


def _describe(session: Session, kind: ObjectKind, ids: list[int], text: str) -> int:
    changed = 0
    for piece in chunks(ids):
        lacking: list[Any] = []
        for thing in session.objects(
            f"select x from {kind} x where x.id in (:ids) order by x.id",
            {"ids": piece},
            group=session.group_id,
            doing="reading descriptions",
        ):
            there = str(unwrap(thing.description) or "")
            if text in there:
                continue
            thing.description = rstring(f"{there.rstrip()}\n\n{text}" if there.strip() else text)
            lacking.append(thing)
        session.save_all(lacking, doing="adding the description")
        changed += len(lacking)
    return changed


# -- provenance -----------------------------------------------------------------------------------------


def _provenance(session: Session, kind: ObjectKind, ids: list[int], provenance: Provenance) -> int:
    # The order's id is the annotation's name as well: it is found again by a plain property.
    known = session.rows(
        "select m.id from MapAnnotation m where m.ns = :ns and m.name = :order order by m.id",
        {"ns": NS_PROVENANCE, "order": provenance.order_id},
        group=session.group_id,
        doing="looking for the provenance",
    )
    existing = [int(row[0]) for row in known]
    there = _linked(session, kind, ids, existing)
    missing = [one for one in ids if one not in there]
    if not missing:
        return 0
    if existing:
        annotation = existing[0]
    else:
        made = _map(NS_PROVENANCE, provenance.pairs())
        made.name = rstring(provenance.order_id)
        annotation = int(unwrap(session.save(made, doing="writing the provenance").id))
    _link(session, kind, missing, omero.model.MapAnnotationI(annotation, False), "adding the provenance")
    return len(missing)


# -- common ---------------------------------------------------------------------------------------------


def _linked(session: Session, kind: ObjectKind, ids: list[int], annotations: list[int]) -> set[int]:
    """Which of these objects carry at least one of these annotations."""
    found: set[int] = set()
    if not annotations:
        return found
    for piece in chunks(ids):
        for some in chunks(annotations):
            found |= {
                int(row[0])
                for row in session.rows(
                    f"select l.parent.id from {kind}AnnotationLink l "
                    "where l.parent.id in (:ids) and l.child.id in (:annotations)",
                    {"ids": piece, "annotations": some},
                    group=session.group_id,
                    doing="reading annotations",
                )
            }
    return found


def _link(session: Session, kind: ObjectKind, ids: list[int], annotation: Any, doing: str) -> None:
    """Link a saved annotation, given as an unloaded object of its class."""
    session.save_all([_new_link(kind, one, annotation) for one in ids], doing=doing)


def _new_link(kind: ObjectKind, object_id: int, annotation: Any) -> Any:
    link = _LINKS[kind]()
    link.setParent(_OBJECTS[kind](object_id, False))
    link.setChild(annotation)
    return link


def _map(namespace: str, pairs: Sequence[tuple[str, str]]) -> Any:
    made = omero.model.MapAnnotationI()
    made.ns = rstring(namespace)
    made.mapValue = _named_values(pairs)
    return made


def _named_values(pairs: Sequence[tuple[str, str]]) -> list[Any]:
    return [omero.model.NamedValue(key, value) for key, value in pairs]


def _when(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
