"""What the files hold, as far as the agent's knowledge of formats looks at it. No two writings are equal.

The layouts are those that ``agent/core/formats`` names its sources for; nothing here is an image.
"""

from __future__ import annotations

import json
import struct

Patches = list[tuple[int, bytes]]
"""Offset and bytes."""
_ND2_MAGIC = b"\xda\xce\xbe\x0a"


def _czi_header(directory: int, metadata: int) -> bytes:
    head = b"ZISRAWFILE".ljust(16, b"\0") + struct.pack("<qq", 512, 512)
    head = head.ljust(80, b"\0") + struct.pack("<iqqi", 0, directory, metadata, 0)
    return head.ljust(544, b"\0")


def start_of(content: str) -> bytes:
    """How a file begins whose data is appended; empty where it begins with data."""
    return _czi_header(0, 0) if content == "czi" else b""


def patches(content: str, size: int, number: int, stamp: bytes) -> Patches:
    """What a step writes into a file of ``size`` bytes.

    Args:
        content: The step's word for it.
        number: Of the repetition.
        stamp: Eight bytes that no other writing has.
    """
    data = stamp * 512
    match content:
        case "czi-end":
            places = (b"ZISRAWDIRECTORY".ljust(64, b"\0"), b"ZISRAWMETADATA".ljust(64, b"\0"))
            return [(0, _czi_header(size, size + 64)), (size, places[0]), (size + 64, places[1] + stamp)]
        case "nd2":
            return [(0, _ND2_MAGIC), (8192, data)]
        case "nd2-end":
            end = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", 4096)
            return [(0, _ND2_MAGIC), (4096, _ND2_MAGIC + stamp), (size - len(end), end)]
        case _:
            return [(0, data)]


def whole(content: str, size: int, number: int, stamp: bytes) -> bytes:
    """A file, or a piece that is appended to one, in full.

    Args:
        size: Bytes, where the content does not say it itself.
        number: Of the repetition; an index that is written again and again names that many files.
    """
    match content:
        case "companion":
            names = "".join(f'<UUID FileName="tile{n:03}.ome.tif">{stamp.hex()}</UUID>' for n in range(80))
            return f"<?xml version='1.0'?><OME>{names}</OME>".encode()
        case "harmony-index":
            names = "".join(f"<URL>r01c{n:04}.tiff</URL>" for n in range(1500))
            return f"<EvaluationInputData>{names}</EvaluationInputData>".encode()
        case "micro-manager":
            planes = {f"p{n}": {"FileName": f"img_{n:09}.tif"} for n in range(number + 1)}
            return json.dumps({"Summary": stamp.hex(), **planes}).encode()
        case "zattrs":
            return json.dumps({"multiscales": [{"name": stamp.hex()}]}).encode()
        case "ndtiff-index":
            file = b"NDTiffStack.tif" if number < 60 else b"NDTiffStack_1.tif"
            axes = json.dumps({"time": number}).encode()
            end = (number % 60 + 1) * 1000
            numbers = struct.pack("<IIIIIIII", 0, 16, 16, 0, 0, end - 10, 10, 0)
            return struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(file)) + file + numbers
        case _:
            return stamp * (size // 8 + 1)
