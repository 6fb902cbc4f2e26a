"""OME-XML as far as an import needs it: images, the files they are in, plates."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from server_bridge.sandbox.images.unit import CorruptFileError, ImageInfo, PlateInfo, WellInfo

MICROMETRES = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


@dataclass(frozen=True)
class OmeXml:
    """The parsed document; ``files`` are the names it gives to the parts, ``metadata_file`` where the rest
    is.
    """

    images: tuple[ImageInfo, ...]
    files: tuple[str, ...]
    plates: tuple[PlateInfo, ...]
    metadata_file: str | None


def local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def children(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element if local(child) == name]


def child(element: ET.Element, name: str) -> ET.Element | None:
    found = children(element, name)
    return found[0] if found else None


def parse(text: str | bytes) -> OmeXml:
    """Read a document; raises CorruptFileError if it is not OME-XML or lacks what every image must have."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise CorruptFileError(f"broken OME-XML: {error}") from error
    if local(root) != "OME":
        raise CorruptFileError(f"not OME-XML: the document is a {local(root)}")
    binary_only = child(root, "BinaryOnly")
    metadata_file = binary_only.get("MetadataFile") if binary_only is not None else None
    elements = children(root, "Image")
    images = tuple(_image(element) for element in elements)
    places = {element.get("ID", ""): place for place, element in enumerate(elements)}
    plates = tuple(_plate(element, places) for element in children(root, "Plate"))
    files: dict[str, None] = {}
    for element in elements:
        for pixels in children(element, "Pixels"):
            for tiff_data in children(pixels, "TiffData"):
                for uuid in children(tiff_data, "UUID"):
                    if name := uuid.get("FileName"):
                        files[name] = None
    return OmeXml(images, tuple(files), plates, metadata_file)


def has_tiff_data(text: bytes) -> bool:
    """Whether the document describes pixels in TIFF files (a quick look, before parsing)."""
    return b"TiffData" in text


def _image(element: ET.Element) -> ImageInfo:
    pixels = child(element, "Pixels")
    if pixels is None:
        raise CorruptFileError(f"image {element.get('ID')} has no pixels")
    try:
        sizes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in "XYZCT"}
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"image {element.get('ID')} has no valid size: {error}") from error
    channels = children(pixels, "Channel")
    acquired = child(element, "AcquisitionDate")
    return ImageInfo(
        name=element.get("Name") or "",
        size_x=sizes["X"],
        size_y=sizes["Y"],
        size_z=sizes["Z"],
        size_c=sizes["C"],
        size_t=sizes["T"],
        pixel_type=pixels.get("Type", "uint8"),
        dimension_order=pixels.get("DimensionOrder", "XYCZT"),
        channel_names=tuple(channel.get("Name") for channel in channels),
        samples=max([int(channel.get("SamplesPerPixel", "1")) for channel in channels], default=1),
        physical_x=_length(pixels, "X"),
        physical_y=_length(pixels, "Y"),
        physical_z=_length(pixels, "Z"),
        acquired=acquired.text if acquired is not None else None,
    )


def _length(pixels: ET.Element, axis: str) -> float | None:
    value = pixels.get(f"PhysicalSize{axis}")
    factor = MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    return None if value is None or factor is None else float(value) * factor


def _plate(element: ET.Element, places: dict[str, int]) -> PlateInfo:
    wells = []
    for well in children(element, "Well"):
        images = []
        for sample in children(well, "WellSample"):
            reference = child(sample, "ImageRef")
            if reference is not None and reference.get("ID", "") in places:
                images.append(places[reference.get("ID", "")])
        wells.append(WellInfo(int(well.get("Row", "0")), int(well.get("Column", "0")), tuple(images)))
    rows = int(element.get("Rows") or max((well.row + 1 for well in wells), default=0))
    columns = int(element.get("Columns") or max((well.column + 1 for well in wells), default=0))
    return PlateInfo(element.get("Name") or "Plate", rows, columns, tuple(wells))
