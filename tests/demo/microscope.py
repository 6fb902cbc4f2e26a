"""A microscope that writes the way microscopes do: slowly, in pieces, with companions and junk beside.

It notes size and SHA-1 of everything it wrote; the verdict is later held against these notes.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
import tifffile

from tests.checker.disk import sha1_of

PIXEL_BITS = 12
OME_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


@dataclass(slots=True)
class Notes:
    """What was written: relative path → (bytes, SHA-1), and when the last byte of each acquisition was."""

    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    last_byte_at: dict[str, float] = field(default_factory=dict)
    """Acquisition → `time.time()` when its last file was closed."""

    def take(self, share: Path, path: Path) -> None:
        """Note one finished file."""
        self.files[path.relative_to(share).as_posix()] = (path.stat().st_size, sha1_of(path))


class Camera:
    """Frames that compress as badly as a real camera's: offset, structure, 5 bits of noise."""

    def __init__(self, height: int, width: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rows, columns = np.mgrid[0:height, 0:width]
        cells = sum(
            900 * np.exp(-(((rows - y) ** 2 + (columns - x) ** 2) / (2 * 18.0**2)))
            for y, x in rng.uniform(0, min(height, width), (24, 2))
        )
        noise = rng.integers(0, 32, (height + 64, width + 64), dtype=np.uint16)
        self._cells = np.asarray(cells, dtype=np.uint16)
        self._noise = noise
        self._shape = (height, width)

    def frame(self, index: int) -> np.ndarray:
        """The ``index``-th frame, shape (height, width), uint16."""
        height, width = self._shape
        y, x = (index * 7) % 64, (index * 13) % 64
        return 100 + np.roll(self._cells, index, axis=1) + self._noise[y : y + height, x : x + width]


def time_lapse(
    share: Path, path: Path, notes: Notes, *, frames: int, side: int, seconds: float, stop: threading.Event
) -> None:
    """A 3-channel time-lapse as one OME-TIFF, frame by frame over about ``seconds``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    camera = Camera(side, side, seed=1)
    planes = frames * 3

    def acquired() -> Iterator[np.ndarray]:
        for index in range(planes):
            if stop.is_set():
                return
            yield camera.frame(index)
            time.sleep(seconds / planes)

    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as writer:
        writer.write(
            acquired(),
            shape=(frames, 3, side, side),
            dtype=np.uint16,
            photometric="minisblack",
            metadata={
                "axes": "TCYX",
                "Channel": {"Name": ["DAPI", "LifeAct-GFP", "mCherry"]},
                "TimeIncrement": 0.5,
                "TimeIncrementUnit": "s",
            },
        )
    notes.take(share, path)
    notes.last_byte_at[path.relative_to(share).as_posix()] = time.time()


def _companion(names: list[list[str]], side: int) -> str:
    """OME-XML that binds single-plane TIFFs into one image per field: one row of ``names`` per image."""
    images = []
    for number, channels in enumerate(names):
        planes = "".join(
            f'<TiffData FirstC="{channel}" FirstT="0" FirstZ="0" IFD="0" PlaneCount="1">'
            f'<UUID FileName="{name}">urn:uuid:{uuid5(UUID(int=0), name)}</UUID></TiffData>'
            for channel, name in enumerate(channels)
        )
        pixels = "".join(
            f'<Channel ID="Channel:{number}:{channel}" SamplesPerPixel="1" Name="C{channel + 1}"/>'
            for channel in range(len(channels))
        )
        images.append(
            f'<Image ID="Image:{number}" Name="field {number + 1:03d}">'
            f'<Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="{side}" SizeY="{side}" '
            f'SizeZ="1" SizeC="{len(channels)}" SizeT="1">{pixels}{planes}</Pixels></Image>'
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<OME xmlns="{OME_NAMESPACE}">' + "".join(images) + "</OME>\n"
    )


def plate_like(
    share: Path, folder: Path, notes: Notes, *, fields: int, side: int, seconds: float, stop: threading.Event
) -> None:
    """A folder of ``fields`` x 4 small TIFFs, bound by a companion that is written last, and junk beside."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(2044))
    notes.take(share, folder / "Thumbs.db")
    (folder / "desktop.ini").write_text("[ViewState]\r\nMode=\r\n", encoding="utf-8")
    notes.take(share, folder / "desktop.ini")
    camera = Camera(side, side, seed=2)
    names: list[list[str]] = []
    for number in range(fields):
        well = f"{'ABCDEFGH'[number // 12 % 8]}{number % 12 + 1:02d}"
        names.append([f"{well}_f{number // 96 + 1}_C{channel + 1}.tif" for channel in range(4)])
        for channel, name in enumerate(names[-1]):
            if stop.is_set():
                return
            tifffile.imwrite(
                folder / name, camera.frame(number * 4 + channel), metadata=None, photometric="minisblack"
            )
            notes.take(share, folder / name)
            time.sleep(seconds / (fields * 4))
    companion = folder / "plate.companion.ome"
    companion.write_text(_companion(names, side), encoding="utf-8")
    notes.take(share, companion)
    notes.last_byte_at[folder.relative_to(share).as_posix()] = time.time()


def read_notes(path: Path) -> Notes:
    """Read what another process noted."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Notes(
        {name: (int(size), str(sha1)) for name, (size, sha1) in found["files"].items()},
        {name: float(at) for name, at in found["last_byte_at"].items()},
    )


def main() -> None:
    """Both acquisitions at once, as a process of its own: `python -m tests.demo.microscope --help`."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo.microscope", description=__doc__)
    parser.add_argument("--share", type=Path, required=True, help="top of the buffer share")
    parser.add_argument("--time-lapse", required=True, help="path of the OME-TIFF below the share")
    parser.add_argument("--plate", required=True, help="path of the folder below the share")
    parser.add_argument("--notes", type=Path, required=True, help="where to write what was written (JSON)")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--side", type=int, default=1024, help="pixels of a frame's side")
    parser.add_argument("--fields", type=int, default=96)
    parser.add_argument("--field-side", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=9.0, help="how long to take, about")
    chosen = parser.parse_args()
    notes = Notes()
    never = threading.Event()
    share: Path = chosen.share
    plate = threading.Thread(
        target=plate_like,
        args=(share, share / chosen.plate, notes),
        kwargs={
            "fields": chosen.fields,
            "side": chosen.field_side,
            "seconds": chosen.seconds,
            "stop": never,
        },
    )
    plate.start()
    time_lapse(
        share,
        share / chosen.time_lapse,
        notes,
        frames=chosen.frames,
        side=chosen.side,
        seconds=chosen.seconds,
        stop=never,
    )
    plate.join()
    text = json.dumps({"files": notes.files, "last_byte_at": notes.last_byte_at})
    half = chosen.notes.with_suffix(".half")
    half.write_text(text, encoding="utf-8")
    half.replace(chosen.notes)


if __name__ == "__main__":
    main()
