"""Small files that are whole as their formats are: what a witness looks at is real, the pixels are not.

A recipe is one line: ``tiff 3`` (image directories), ``bytes 2000``, ``text …``, ``czi``, ``nd2``, ``lif 2``
(blocks), ``hdf5``, ``ndtiff NAME=END …``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from itertools import pairwise

PIXELS = bytes(range(256))


def tiff(directories: int = 1, *, big: bool = False) -> bytes:
    """A TIFF whose image directories follow one another, each behind its pixels."""
    head = 16 if big else 8
    count, offset, field = ("<Q", "<Q", "<HHQQ") if big else ("<H", "<I", "<HHII")
    body, places = bytearray(), []
    for _ in range(directories):
        pixels_at = head + len(body)
        body += PIXELS
        places.append(head + len(body))
        entries = [(256, 3, 1, 16), (257, 3, 1, 16), (273, 4, 1, pixels_at), (279, 4, 1, len(PIXELS))]
        body += struct.pack(count, len(entries))
        for entry in entries:
            body += struct.pack(field, *entry)
        body += struct.pack(offset, 0)
    data = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, places[0]) if big else b"")
    data = data or bytearray(struct.pack("<2sHI", b"II", 42, places[0]))
    data += body
    size = struct.calcsize(count) + 4 * struct.calcsize(field)
    for place, following in pairwise(places):
        struct.pack_into(offset, data, place + size, following)
    return bytes(data)


def czi(*, pending: bool = False, directory: bool = True, part: int = 0) -> bytes:
    """A CZI: the file's segment, the metadata, the directory."""
    first, second = 544, 544 + 288
    segments = struct.pack("<16sqq", b"ZISRAWMETADATA", 256, 256) + bytes(256)
    segments += struct.pack("<16sqq", b"ZISRAWDIRECTORY", 128, 128) + bytes(128) if directory else b""
    head = struct.pack("<16sqq", b"ZISRAWFILE", 512, 512)
    guid = bytes(16)
    head += struct.pack(
        "<iiii16s16siqqiq",
        *(1, 0, 0, 0, guid, guid, part, second if directory else 0, first, int(pending), 0),
    )
    return head.ljust(544, b"\0") + segments


def nd2(*, closed: bool = True) -> bytes:
    """An ND2: a first chunk, pixels, and the chunk map that is written last."""
    data = b"\xda\xce\xbe\x0a" + struct.pack("<IQ", 32, 64) + b"ND2 FILE SIGNATURE CHUNK NAME01!" + bytes(64)
    data += PIXELS * 8
    if not closed:
        return data
    at = len(data)
    data += b"\xda\xce\xbe\x0a" + struct.pack("<IQ", 32, 0) + b"ND2 FILEMAP SIGNATURE NAME 0001!"
    return data + b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", at)


def lif(blocks: int = 2, *, fill: int = 0) -> bytes:
    """A LIF: the XML block, then memory blocks."""
    memory = "".join(f'<Memory Size="256" MemoryBlockID="MemBlock_{number}"/>' for number in range(blocks))
    xml = f"<LMSDataContainerHeader>{memory}</LMSDataContainerHeader>".encode("utf-16-le")
    data = struct.pack("<iiBi", 0x70, 5 + len(xml), 0x2A, len(xml) // 2) + xml
    for number in range(blocks):
        name = f"MemBlock_{number}".encode("utf-16-le")
        description = struct.pack("<BqBi", 0x2A, len(PIXELS), 0x2A, len(name) // 2) + name
        data += struct.pack("<ii", 0x70, len(description)) + description + PIXELS
    return data + bytes(fill)


def hdf5(*, version: int = 0, open_for_writing: bool = False) -> bytes:
    """An HDF5 superblock with data behind it, up to where it says the file ends."""
    end = 4096
    signature = b"\x89HDF\r\n\x1a\n"
    if version >= 2:
        head = signature + bytes((version, 8, 8, int(open_for_writing)))
        head += struct.pack("<QQQQ", 0, 2**64 - 1, end, 48)
    else:
        head = signature + bytes((version, 0, 0, 0, 0, 8, 8, 0)) + struct.pack("<HHI", 4, 16, 0)
        head += struct.pack("<QQQQ", 0, 2**64 - 1, end, 2**64 - 1)
    return head.ljust(end, b"\1")


def ndtiff_index(*images: str) -> bytes:
    """An index with an entry for each ``NAME=END``: the file, and where its metadata ends."""
    data = b""
    for number, image in enumerate(images):
        name, _, end = image.partition("=")
        axes = json.dumps({"time": number}).encode()
        data += struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(name)) + name.encode()
        data += struct.pack("<IIIIIIII", 0, 16, 16, 0, 0, int(end) - 10, 10, 0)
    return data


RECIPES: dict[str, Callable[..., bytes]] = {
    "tiff": lambda count="1": tiff(int(count)),
    "bigtiff": lambda count="1": tiff(int(count), big=True),
    "bytes": lambda count: (PIXELS * (int(count) // 256 + 1))[: int(count)],
    "zeros": lambda count: bytes(int(count)),
    "text": lambda *words: " ".join(words).encode(),
    "czi": czi,
    "czi-pending": lambda: czi(pending=True),
    "czi-open": lambda: czi(directory=False),
    "czi-part": lambda: czi(part=1),
    "nd2": nd2,
    "nd2-open": lambda: nd2(closed=False),
    "lif": lambda count="2": lif(int(count)),
    "lif-filled": lambda: lif(2, fill=3000),
    "hdf5": hdf5,
    "hdf5-2": lambda: hdf5(version=2),
    "hdf5-open": lambda: hdf5(version=3, open_for_writing=True),
    "ndtiff": ndtiff_index,
}


def make(recipe: str) -> bytes:
    """A file's content; a recipe of several lines is the text itself."""
    if "\n" in recipe:
        return recipe.encode()
    name, *rest = recipe.split(" ")
    return RECIPES[name](*rest)
