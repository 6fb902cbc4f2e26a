"""The description of what is imported together: plain data, shared by the import command and the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class UnknownFormatError(Exception):
    """No reader takes the file; not an error for an import, just counted."""


class UnreadableFileError(Exception):
    """The file cannot be opened; logged and passed over."""


class CorruptFileError(Exception):
    """A reader takes the file and fails; counted as an error of the scan."""


@dataclass(frozen=True)
class ImageInfo:
    """One image; sizes in pixels or planes, physical sizes in micrometres."""

    name: str
    size_x: int
    size_y: int
    size_z: int = 1
    size_c: int = 1
    size_t: int = 1
    pixel_type: str = "uint8"
    dimension_order: str = "XYCZT"
    channel_names: tuple[str | None, ...] = ()
    samples: int = 1
    physical_x: float | None = None
    physical_y: float | None = None
    physical_z: float | None = None
    acquired: str | None = None


@dataclass(frozen=True)
class WellInfo:
    """A well and the images (by their place in the unit) taken in it."""

    row: int
    column: int
    images: tuple[int, ...]


@dataclass(frozen=True)
class PlateInfo:
    name: str
    rows: int
    columns: int
    wells: tuple[WellInfo, ...]


@dataclass(frozen=True)
class Unit:
    """Files that make one fileset, the one it is named after first."""

    main: Path
    files: tuple[Path, ...]
    reader: str
    format: str
    images: tuple[ImageInfo, ...]
    plates: tuple[PlateInfo, ...] = ()

    @property
    def is_plate(self) -> bool:
        return bool(self.plates)
