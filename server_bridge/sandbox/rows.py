"""The rows an import makes.

Images with their pixels and channels, plates with their wells, links and annotations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from omero import rtypes

from server_bridge.sandbox.images.unit import ImageInfo, PlateInfo, Unit
from server_bridge.sandbox.store import now_ms

if TYPE_CHECKING:
    from server_bridge.sandbox.importing import Import

BITS = {"bit": 1, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "float": 32}
# Colours of the first channels as OMERO's importer gives them where the file names none.
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
MAX_FIELDS_UNKNOWN = 0


@dataclass
class Made:
    """The ids of what an import made."""

    images: list[int] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    plates: list[int] = field(default_factory=list)


class _Rows:
    def __init__(self, work: Import) -> None:
        self.work = work
        self.store = work.services.store
        self.event = self.store.event(work.caller)
        self.made = Made()

    def insert(self, of: str, **values: Any) -> int:
        return self.store.insert(of, self.work.caller, details_creation=self.event, **values)

    def image(
        self, info: ImageInfo, series: int, unit: Unit, name: str | None, description: str | None
    ) -> None:
        image = self.insert(
            "Image",
            name=(name if len(unit.images) == 1 else f"{name} [{series}]") if name else info.name,
            description=description,
            acquisitionDate=_acquired(info),
            archived=False,
            partial=False,
            series=series,
            fileset=self.work.fileset_id,
            format=self.store.enumeration("Format", unit.format),
        )
        pixels = self.insert(
            "Pixels",
            image=image,
            sizeX=info.size_x,
            sizeY=info.size_y,
            sizeZ=info.size_z,
            sizeC=info.size_c,
            sizeT=info.size_t,
            sha1="Pending...",
            significantBits=BITS.get(info.pixel_type, 64),
            physicalSizeX=info.physical_x,
            physicalSizeY=info.physical_y,
            physicalSizeZ=info.physical_z,
            pixelsType=self.store.enumeration("PixelsType", info.pixel_type),
            dimensionOrder=self.store.enumeration("DimensionOrder", info.dimension_order),
        )
        for channel in range(info.size_c):
            self.channel(info, pixels, channel)
        self.made.images.append(image)
        self.made.pixels.append(pixels)

    def channel(self, info: ImageInfo, pixels: int, place: int) -> None:
        name = info.channel_names[place] if place < len(info.channel_names) else None
        red, green, blue = COLOURS[place % 3] if info.size_c > 1 else (128, 128, 128)
        self.insert(
            "Channel",
            pixels=pixels,
            position=place,
            red=red,
            green=green,
            blue=blue,
            alpha=255,
            logicalChannel=self.insert("LogicalChannel", name=name, samplesPerPixel=info.samples),
            statsInfo=None
            if self.work.settings.noStatsInfo is not None and self.work.settings.noStatsInfo.val
            else self.insert(
                "StatsInfo", globalMin=0.0, globalMax=float(2 ** min(BITS.get(info.pixel_type, 64), 53) - 1)
            ),
        )

    def plate(self, info: PlateInfo, name: str | None, description: str | None) -> None:
        plate = self.insert(
            "Plate",
            name=name or info.name,
            description=description,
            rows=info.rows,
            columns=info.columns,
            rowNamingConvention="letter",
            columnNamingConvention="number",
        )
        fields = max((len(well.images) for well in info.wells), default=MAX_FIELDS_UNKNOWN)
        acquisition = self.insert(
            "PlateAcquisition", name="Run 1", plate=plate, startTime=now_ms(), maximumFieldCount=fields
        )
        for well in info.wells:
            row = self.insert("Well", plate=plate, row=well.row, column=well.column)
            for position, image in enumerate(well.images):
                self.insert(
                    "WellSample",
                    well=row,
                    image=self.made.images[image],
                    plateAcquisition=acquisition,
                    position=position,
                )
        self.made.plates.append(plate)

    def link_to_target(self) -> None:
        target = self.work.settings.userSpecifiedTarget
        if target is None:
            return
        kind, row_id = type(target).__name__.removesuffix("I"), target.id.val
        if kind == "Dataset":
            for image in self.made.images:
                self.insert("DatasetImageLink", parent=row_id, child=image)
        elif kind == "Screen":
            for plate in self.made.plates:
                self.insert("ScreenPlateLink", parent=row_id, child=plate)

    def annotate(self) -> None:
        """Link what was given at the import to every plate, or to every image where there is no plate."""
        for annotation in self.work.settings.userSpecifiedAnnotationList or []:
            row_id = rtypes.unwrap(annotation.id)
            if row_id is None:
                row_id = self.insert(
                    type(annotation).__name__.removesuffix("I"),
                    ns=rtypes.unwrap(annotation.ns),
                    textValue=rtypes.unwrap(annotation.textValue),
                )
            kind, parents = ("Plate", self.made.plates) if self.made.plates else ("Image", self.made.images)
            for parent in parents:
                self.insert(f"{kind}AnnotationLink", parent=parent, child=row_id)


def _acquired(info: ImageInfo) -> int:
    if info.acquired:
        try:
            return int(datetime.fromisoformat(info.acquired.replace("Z", "+00:00")).timestamp() * 1000)
        except ValueError:
            return now_ms()
    return now_ms()


def make_images(work: Import, unit: Unit) -> Made:
    """Make the rows of one unit; call it inside a transaction."""
    rows = _Rows(work)
    name = rtypes.unwrap(work.settings.userSpecifiedName)
    description = rtypes.unwrap(work.settings.userSpecifiedDescription)
    image_name = None if unit.is_plate else name
    for series, info in enumerate(unit.images):
        rows.image(info, series, unit, image_name, None if unit.is_plate else description)
    for plate in unit.plates:
        rows.plate(plate, name, description)
    rows.link_to_target()
    rows.annotate()
    return rows.made
