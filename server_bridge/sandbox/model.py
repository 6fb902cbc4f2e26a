"""The part of OMERO's data model that the sandbox keeps, as data.

One :class:`Entity` describes a class of ``omero.model``: its table, its plain properties, what it refers to
and which collections point back at it. Everything else (the schema, the HQL translator, the conversion from
rows to ``omero.model`` objects and back, permissions, deletion) is derived from these descriptions, so that
a class is added in one place.

Column names are the property names of OMERO. Annotations and jobs live in one table per family, as their
ids are shared inside the family; ``kind`` names the class.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Property types, as the SQL affinity they are stored with.  Times are integers: milliseconds since the epoch,
# UTC, exactly what omero.RTime carries.
SQL_TYPES = {
    "str": "TEXT",
    "int": "INTEGER",
    "long": "INTEGER",
    "bool": "INTEGER",
    "double": "REAL",
    "time": "INTEGER",
    "length": "REAL",
}


@dataclass(frozen=True)
class Many:
    """A collection: the rows of ``target`` whose reference ``via`` points here."""

    name: str
    target: str
    via: str
    ordered: bool = False


@dataclass(frozen=True)
class Entity:
    """One class of omero.model.  ``details`` tells whether rows have an owner, a group and events."""

    name: str
    table: str
    fields: dict[str, str]
    refs: dict[str, str]
    manies: dict[str, Many] = field(default_factory=dict)
    details: bool = True
    ordered: bool = False
    kinds: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()

    @property
    def polymorphic(self) -> bool:
        return bool(self.kinds)


DETAILS_REFS = {
    "owner": ("details_owner", "Experimenter"),
    "group": ("details_group", "ExperimenterGroup"),
    "creationEvent": ("details_creation", "Event"),
    "updateEvent": ("details_update", "Event"),
    "externalInfo": ("details_external", "ExternalInfo"),
}

ENTITIES: dict[str, Entity] = {}


def _pairs(text: str) -> dict[str, str]:
    return dict(item.split(":", 1) for item in text.split())


def _manies(text: str) -> dict[str, Many]:
    found = {}
    for item in text.split():
        name, rest = item.split("=")
        target, via = rest.rstrip("#").split(".")
        found[name] = Many(name, target, via, rest.endswith("#"))
    return found


def _entity(
    name: str,
    fields: str = "",
    refs: str = "",
    manies: str = "",
    *,
    details: bool = True,
    ordered: bool = False,
    maps: tuple[str, ...] = (),
) -> None:
    ENTITIES[name] = Entity(
        name, name.lower(), _pairs(fields), _pairs(refs), _manies(manies), details, ordered, (), maps
    )


def _family(root: str, table: str, fields: str, refs: str, manies: str, tree: dict[str, str]) -> None:
    """A class hierarchy in one table; ``tree`` maps each class to its parent, abstract ones included."""

    def kinds(of: str) -> tuple[str, ...]:
        below = [name for name, parent in tree.items() if parent == of]
        return (of, *(kind for name in below for kind in kinds(name)))

    maps = ("mapValue",) if table == "annotation" else ()
    for name in (root, *tree):
        ENTITIES[name] = Entity(
            name, table, _pairs(fields), _pairs(refs), _manies(manies), True, False, kinds(name), maps
        )


ENUMERATIONS = ("JobStatus", "PixelsType", "DimensionOrder", "EventType", "Format", "AdminPrivilege")
for _name in (*ENUMERATIONS, "ChecksumAlgorithm"):
    _entity(_name, "value:str", details=False)

_entity("ExternalInfo", "entityId:long entityType:str lsid:str uuid:str")
_entity(
    "Experimenter",
    "omeName:str firstName:str middleName:str lastName:str institution:str email:str ldap:bool",
    manies="groupExperimenterMap=GroupExperimenterMap.child#"
    " annotationLinks=ExperimenterAnnotationLink.parent",
    details=False,
    maps=("config",),
)
_entity(
    "ExperimenterGroup",
    "name:str description:str ldap:bool permissions:str",
    manies="groupExperimenterMap=GroupExperimenterMap.parent"
    " annotationLinks=ExperimenterGroupAnnotationLink.parent",
    details=False,
    maps=("config",),
)
_entity(
    "GroupExperimenterMap",
    "owner:bool",
    "parent:ExperimenterGroup child:Experimenter",
    details=False,
    ordered=True,
)
_entity(
    "Session",
    "uuid:str timeToIdle:long timeToLive:long started:time closed:time message:str defaultEventType:str"
    " userAgent:str userIP:str",
    "owner:Experimenter sudoer:Experimenter",
    "annotationLinks=SessionAnnotationLink.parent",
    details=False,
)
_entity(
    "Event",
    "status:str time:time",
    "experimenter:Experimenter experimenterGroup:ExperimenterGroup type:EventType session:Session",
    details=False,
)
_entity(
    "OriginalFile",
    "path:str name:str repo:str size:long atime:time mtime:time ctime:time hash:str mimetype:str",
    "hasher:ChecksumAlgorithm",
    "filesetEntries=FilesetEntry.originalFile pixelsFileMaps=PixelsOriginalFileMap.parent"
    " annotationLinks=OriginalFileAnnotationLink.parent",
)
_entity(
    "Fileset",
    "templatePrefix:str",
    "",
    "usedFiles=FilesetEntry.fileset# images=Image.fileset jobLinks=FilesetJobLink.parent#"
    " annotationLinks=FilesetAnnotationLink.parent",
)
_entity("FilesetEntry", "clientPath:str", "fileset:Fileset originalFile:OriginalFile", ordered=True)
_family(
    "Job",
    "job",
    "username:str groupname:str type:str message:str submitted:time scheduledFor:time"
    " started:time finished:time",
    "status:JobStatus",
    "originalFileLinks=JobOriginalFileLink.parent",
    dict.fromkeys(
        (
            "UploadJob",
            "MetadataImportJob",
            "PixelDataJob",
            "ThumbnailGenerationJob",
            "IndexingJob",
            "ScriptJob",
        ),
        "Job",
    ),
)
_entity("FilesetJobLink", "", "parent:Fileset child:Job", ordered=True)
_entity("JobOriginalFileLink", "", "parent:Job child:OriginalFile")
_entity(
    "Project",
    "name:str description:str",
    "",
    "datasetLinks=ProjectDatasetLink.parent annotationLinks=ProjectAnnotationLink.parent",
)
_entity(
    "Dataset",
    "name:str description:str",
    "",
    "projectLinks=ProjectDatasetLink.child imageLinks=DatasetImageLink.parent"
    " annotationLinks=DatasetAnnotationLink.parent",
)
_entity("ProjectDatasetLink", "", "parent:Project child:Dataset")
_entity("DatasetImageLink", "", "parent:Dataset child:Image")
_entity(
    "Screen",
    "name:str description:str type:str protocolIdentifier:str protocolDescription:str"
    " reagentSetIdentifier:str reagentSetDescription:str",
    "",
    "plateLinks=ScreenPlateLink.parent annotationLinks=ScreenAnnotationLink.parent",
)
_entity("ScreenPlateLink", "", "parent:Screen child:Plate")
_entity(
    "Plate",
    "name:str description:str status:str externalIdentifier:str rows:int columns:int "
    " columnNamingConvention:str rowNamingConvention:str defaultSample:int",
    "",
    "screenLinks=ScreenPlateLink.child wells=Well.plate plateAcquisitions=PlateAcquisition.plate"
    " annotationLinks=PlateAnnotationLink.parent",
)
_entity(
    "PlateAcquisition",
    "name:str description:str startTime:time endTime:time maximumFieldCount:int",
    "plate:Plate",
    "wellSample=WellSample.plateAcquisition annotationLinks=PlateAcquisitionAnnotationLink.parent",
)
_entity(
    "Well",
    "row:int column:int type:str status:str externalDescription:str externalIdentifier:str red:int green:int"
    " blue:int alpha:int",
    "plate:Plate",
    "wellSamples=WellSample.well# annotationLinks=WellAnnotationLink.parent",
)
_entity(
    "WellSample",
    "timepoint:time posX:length posY:length",
    "well:Well image:Image plateAcquisition:PlateAcquisition",
    ordered=True,
)
_entity(
    "Image",
    "name:str description:str acquisitionDate:time archived:bool partial:bool series:int",
    "fileset:Fileset format:Format",
    "pixels=Pixels.image# datasetLinks=DatasetImageLink.child wellSamples=WellSample.image rois=Roi.image"
    " annotationLinks=ImageAnnotationLink.parent",
)
_entity(
    "Pixels",
    "sizeX:int sizeY:int sizeZ:int sizeC:int sizeT:int sha1:str methodology:str significantBits:int"
    " physicalSizeX:length physicalSizeY:length physicalSizeZ:length waveStart:int waveIncrement:int",
    "image:Image pixelsType:PixelsType dimensionOrder:DimensionOrder relatedTo:Pixels",
    "channels=Channel.pixels# pixelsFileMaps=PixelsOriginalFileMap.child",
    ordered=True,
)
_entity(
    "Channel",
    "red:int green:int blue:int alpha:int lookupTable:str",
    "pixels:Pixels logicalChannel:LogicalChannel statsInfo:StatsInfo",
    ordered=True,
)
_entity("PixelsOriginalFileMap", "", "parent:OriginalFile child:Pixels")
_entity("LogicalChannel", "name:str fluor:str samplesPerPixel:int", "", "channels=Channel.logicalChannel")
_entity("StatsInfo", "globalMin:double globalMax:double")
_entity("Roi", "name:str description:str", "image:Image", "annotationLinks=RoiAnnotationLink.parent")
_family(
    "Annotation",
    "annotation",
    "ns:str name:str description:str textValue:str longValue:long doubleValue:double boolValue:bool"
    " timeValue:time termValue:str",
    "file:OriginalFile",
    "annotationLinks=AnnotationAnnotationLink.parent",
    {
        "BasicAnnotation": "Annotation",
        "ListAnnotation": "Annotation",
        "MapAnnotation": "Annotation",
        "TextAnnotation": "Annotation",
        "TypeAnnotation": "Annotation",
        "BooleanAnnotation": "BasicAnnotation",
        "NumericAnnotation": "BasicAnnotation",
        "TermAnnotation": "BasicAnnotation",
        "TimestampAnnotation": "BasicAnnotation",
        "DoubleAnnotation": "NumericAnnotation",
        "LongAnnotation": "NumericAnnotation",
        "CommentAnnotation": "TextAnnotation",
        "TagAnnotation": "TextAnnotation",
        "XmlAnnotation": "TextAnnotation",
        "FileAnnotation": "TypeAnnotation",
    },
)
ANNOTATED = (
    "Annotation",
    "Dataset",
    "Experimenter",
    "ExperimenterGroup",
    "Fileset",
    "Image",
    "OriginalFile",
    "Plate",
    "PlateAcquisition",
    "Project",
    "Roi",
    "Screen",
    "Session",
    "Well",
)
for _name in ANNOTATED:
    _entity(f"{_name}AnnotationLink", "", f"parent:{_name} child:Annotation")

ABSTRACT = frozenset(
    {"Job", "Annotation", "BasicAnnotation", "NumericAnnotation", "TextAnnotation", "TypeAnnotation"}
)


def entity(name: str) -> Entity | None:
    """The entity of that class name.

    OMERO also takes the name of the implementation class, with a final ``I``.
    """
    name = name.rpartition(".")[2]
    found = ENTITIES.get(name)
    if found is None and name.endswith("I"):
        found = ENTITIES.get(name[:-1])
    return found


def is_link(of: Entity) -> bool:
    """Tells whether this is one of OMERO's link classes (parent, child and nothing of its own)."""
    return of.details and set(of.refs) == {"parent", "child"}


def schema() -> list[str]:
    """The statements that make an empty database, in plain SQLite."""
    statements, seen = [], set()
    for item in ENTITIES.values():
        if item.table in seen:
            continue
        seen.add(item.table)
        columns = ["id INTEGER PRIMARY KEY AUTOINCREMENT"]
        if item.polymorphic:
            columns.append("kind TEXT NOT NULL")
        columns += [f'"{name}" {SQL_TYPES[kind]}' for name, kind in item.fields.items()]
        columns += [f'"{name}" INTEGER' for name in item.refs]
        if item.ordered:
            columns.append("position INTEGER NOT NULL DEFAULT 0")
        if item.details:
            columns += [f"{column} INTEGER" for column, _ in DETAILS_REFS.values()]
        statements.append(f'CREATE TABLE IF NOT EXISTS "{item.table}" ({", ".join(columns)})')
        statements += [
            f'CREATE INDEX IF NOT EXISTS "{item.table}_{name}" ON "{item.table}" ("{name}")'
            for name in item.refs
        ]
    statements += [
        "CREATE TABLE IF NOT EXISTS named_value ("
        "entity TEXT NOT NULL, parent INTEGER NOT NULL, property TEXT NOT NULL, position INTEGER NOT NULL,"
        " name TEXT, value TEXT, PRIMARY KEY (entity, parent, property, position)) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS credential (experimenter INTEGER PRIMARY KEY, salt BLOB NOT NULL,"
        " rounds INTEGER NOT NULL, digest BLOB NOT NULL)",
        "CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE INDEX IF NOT EXISTS filesetentry_clientpath ON filesetentry (clientPath)",
        "CREATE INDEX IF NOT EXISTS originalfile_path ON originalfile (path, name)",
    ]
    return statements
