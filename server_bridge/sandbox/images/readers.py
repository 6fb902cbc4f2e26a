"""Which unit a file belongs to, and what is in it.

``read`` looks at the first bytes, not at the name alone, and follows an OME-XML to the other files of its
set.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import tifffile
from PIL import Image, UnidentifiedImageError

from server_bridge.sandbox.images import omexml
from server_bridge.sandbox.images.unit import (
    CorruptFileError,
    ImageInfo,
    PlateInfo,
    Unit,
    UnknownFormatError,
    UnreadableFileError,
    WellInfo,
)

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COMPANION = ".companion.ome"
PIXEL_TYPES = {"float32": "float", "float64": "double", "bool": "bit", "complex64": "complex"}
PILLOW_TYPES = {"1": "bit", "I;16": "uint16", "I": "int32", "F": "float"}


def read(path: Path) -> Unit:
    """The unit that ``path`` belongs to.

    Raises UnknownFormatError (no reader takes it), UnreadableFileError (it cannot be opened) or
    CorruptFileError (its reader fails).
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(16)
    except OSError as error:
        raise UnreadableFileError(f"{path}: {error.strerror}") from error
    if path.name.endswith(COMPANION):
        return _companion(path)
    if path.suffix == ".fake":
        return _fake(path)
    if head[:4] in TIFF_MAGIC:
        return _tiff(path)
    if head.startswith(b"\x89PNG") or head.startswith(b"\xff\xd8\xff"):
        return _pillow(path, "PNG" if head.startswith(b"\x89PNG") else "JPEG")
    raise UnknownFormatError(str(path))


def is_companion(path: Path) -> bool:
    return path.name.endswith(COMPANION)


def _companion(path: Path) -> Unit:
    text = path.read_bytes()
    if not omexml.has_tiff_data(text):
        raise UnknownFormatError(str(path))
    return _set(path, omexml.parse(text))


def _set(main: Path, document: omexml.OmeXml) -> Unit:
    """A set of files around one OME-XML.

    Names are taken relative to the document, wherever they lead, and are not made simpler
    (inferred: Bio-Formats hands on what ``new File(directory, name)`` gives). Files that are not there are
    left out; none at all is an error.
    """
    named = [main.parent / name for name in document.files]
    present = [path for path in named if path.exists()]
    if document.files and not present:
        raise CorruptFileError(f"{main}: none of the {len(document.files)} files it names is there")
    files = tuple(dict.fromkeys((main, *present)))
    return Unit(
        main,
        files,
        "loci.formats.in.OMETiffReader",
        "OMETiff",
        _named(main, document.images),
        document.plates,
    )


def _named(main: Path, images: tuple[ImageInfo, ...]) -> tuple[ImageInfo, ...]:
    """Names as OMERO gives them: the file's, with the series' own in brackets where there are several."""
    if len(images) == 1:
        return (_renamed(images[0], main.name),)
    return tuple(
        _renamed(image, f"{main.name} [{image.name or f'Series_{place}'}]")
        for place, image in enumerate(images)
    )


def _renamed(image: ImageInfo, name: str) -> ImageInfo:
    return ImageInfo(**{**image.__dict__, "name": name})


def _tiff(path: Path) -> Unit:
    try:
        with tifffile.TiffFile(path) as tiff:
            if not tiff.pages:
                raise CorruptFileError(f"{path}: no image in it")
            text = tiff.ome_metadata
            if text is None:
                return _plain_tiff(path, tiff)
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, OSError) as error:
        raise CorruptFileError(f"{path}: {error}") from error
    document = omexml.parse(text)
    if document.metadata_file is not None:
        companion = path.parent / Path(document.metadata_file).name
        if not companion.exists():
            raise CorruptFileError(f"{path}: its metadata file {companion.name} is not there")
        return _companion(companion)
    others = sorted({name for name in document.files if (path.parent / name).exists()})
    # A renamed file still names itself as it was called; alone it is a unit of its own.
    if not others or path.name not in others:
        return Unit(
            path,
            (path,),
            "loci.formats.in.OMETiffReader",
            "OMETiff",
            _named(path, document.images),
            document.plates,
        )
    return _set(path.parent / others[0], document)


def _plain_tiff(path: Path, tiff: tifffile.TiffFile) -> Unit:
    images = []
    for series in tiff.series:
        sizes = dict.fromkeys("XYZCT", 1)
        samples = 1
        for axis, length in zip(series.axes, series.shape, strict=True):
            if axis == "S":
                samples = int(length)
            else:
                # As Bio-Formats: pages without a meaning of their own are time points.
                sizes[axis if axis in sizes else "T"] *= int(length)
        pixel_type = PIXEL_TYPES.get(series.dtype.name, series.dtype.name)
        images.append(
            ImageInfo(
                series.name or "",
                sizes["X"],
                sizes["Y"],
                sizes["Z"],
                sizes["C"] * samples,
                sizes["T"],
                pixel_type,
                samples=samples,
            )
        )
    return Unit(path, (path,), "loci.formats.in.TiffDelegateReader", "Tiff", _named(path, tuple(images)))


def _pillow(path: Path, kind: str) -> Unit:
    try:
        with Image.open(path) as image:
            width, height = image.size
            bands = len(image.getbands())
            pixel_type = PILLOW_TYPES.get(image.mode, "uint8")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise CorruptFileError(f"{path}: {error}") from error
    info = ImageInfo(path.name, width, height, 1, bands, 1, pixel_type, samples=bands)
    reader = "loci.formats.in.APNGReader" if kind == "PNG" else "loci.formats.in.JPEGReader"
    return Unit(path, (path,), reader, kind, (info,))


def _fake(path: Path) -> Unit:
    """``name&sizeX=64&series=2.fake`` or ``p&plates=1&plateRows=2&plateCols=3&fields=2.fake``.

    The bytes are not read.
    """
    stem, _, query = path.name.removesuffix(".fake").partition("&")
    try:
        options = {key: int(value) for key, value in parse_qsl(query) if value.isdigit()}
        text = dict(parse_qsl(query))
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}") from error
    rows, columns = options.get("plateRows", 1), options.get("plateCols", 1)
    fields = options.get("fields", 1)
    plates = options.get("plates", 0)
    count = plates * rows * columns * fields or options.get("series", 1)
    image = ImageInfo(
        stem,
        options.get("sizeX", 512),
        options.get("sizeY", 512),
        options.get("sizeZ", 1),
        options.get("sizeC", 1),
        options.get("sizeT", 1),
        text.get("pixelType", "uint8"),
    )
    images = tuple(_renamed(image, f"{stem}{f' {place + 1}' if count > 1 else ''}") for place in range(count))
    made = tuple(_fake_plate(plate, rows, columns, fields) for plate in range(plates))
    return Unit(path, (path,), "loci.formats.in.FakeReader", "Fake", _named(path, images), made)


def _fake_plate(plate: int, rows: int, columns: int, fields: int) -> PlateInfo:
    wells = []
    for row in range(rows):
        for column in range(columns):
            first = ((plate * rows + row) * columns + column) * fields
            wells.append(WellInfo(row, column, tuple(range(first, first + fields))))
    return PlateInfo(f"Plate {plate}", rows, columns, tuple(wells))
