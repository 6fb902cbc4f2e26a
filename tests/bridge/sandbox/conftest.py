"""Fixtures of the sandbox's own tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import omero
import omero.sys
import pytest
import tifffile
from omero.gateway import BlitzGateway
from omero.rtypes import unwrap

from tests.bridge.conftest_sandbox import PASSWORDS, RunningSandbox, sandbox, start_sandbox

__all__ = ["sandbox", "start_sandbox"]

# The gateway logs every refusal with the whole object graph.
logging.getLogger("omero.gateway").setLevel(logging.CRITICAL)

ALL_GROUPS = {"omero.group": "-1"}

Connect = Callable[..., Any]


@contextmanager
def gateway(
    running: RunningSandbox, user: str, group: str | None = None, secure: bool = True
) -> Iterator[Any]:
    """A connected BlitzGateway."""
    connection = BlitzGateway(
        user, PASSWORDS[user], host=running.host, port=running.ssl_port, group=group, secure=secure
    )
    assert connection.connect(), connection.getLastError()
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def connect(sandbox: RunningSandbox) -> Connect:
    """``with connect("alice") as connection``."""
    return lambda user, group=None, secure=True: gateway(sandbox, user, group, secure)


def rows(connection: Any, hql: str, **values: Any) -> list[list[Any]]:
    """A projection over all groups, as plain values."""
    parameters = omero.sys.ParametersI()
    for name, value in values.items():
        parameters.add(
            name, omero.rtypes.wrap(value) if not isinstance(value, int) else omero.rtypes.rlong(value)
        )
    found: list[list[Any]] = unwrap(connection.getQueryService().projection(hql, parameters, ALL_GROUPS))
    return found


def dataset_id(connection: Any, name: str) -> int:
    found: int = rows(connection, "select d.id from Dataset d where d.name = :name", name=name)[0][0]
    return found


def write_tiff(path: Path, shape: tuple[int, int] = (24, 32)) -> Path:
    """A plain TIFF whose content is its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = numpy.random.default_rng(abs(hash(str(path)))).integers(0, 255, shape, dtype=numpy.uint8)
    tifffile.imwrite(path, pixels)
    return path


def write_multi(path: Path, count: int = 3) -> Path:
    """An OME-TIFF with several images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for place in range(count):
            tiff.write(
                numpy.full((16, 16), place, numpy.uint8), metadata={"axes": "YX", "Name": f"pos{place}"}
            )
    return path


OME = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def _image(place: int, names: list[str]) -> str:
    parts = "".join(
        f'<TiffData IFD="0" FirstZ="{z}"><UUID FileName="{name}">urn:uuid:{place}-{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    return (
        f'<Image ID="Image:{place}" Name="field {place}"><Pixels ID="Pixels:{place}" DimensionOrder="XYZCT"'
        f' Type="uint8" SizeX="16" SizeY="16" SizeZ="{len(names)}" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:{place}:0" Name="DAPI" SamplesPerPixel="1"/>{parts}</Pixels></Image>'
    )


def write_companion(directory: Path, planes: int = 3, *, name: str = "stack", parts: str = "") -> Path:
    """A companion file and the plain TIFFs it names (below the folder ``parts``), which make one image."""
    directory.mkdir(parents=True, exist_ok=True)
    names = [f"{parts}/plane_{z}.tif".removeprefix("/") for z in range(planes)]
    for plane in names:
        write_tiff(directory / plane, (16, 16))
    companion = directory / f"{name}.companion.ome"
    companion.write_text(f"<OME {OME}>{_image(0, names)}</OME>")
    return companion


def write_plate(directory: Path, row_count: int = 2, columns: int = 2) -> Path:
    """A plate: a companion with wells, one TIFF for each well."""
    directory.mkdir(parents=True, exist_ok=True)
    images, wells = [], []
    for place in range(row_count * columns):
        name = f"well_{place}.tif"
        write_tiff(directory / name, (16, 16))
        images.append(_image(place, [name]))
        row, column = divmod(place, columns)
        wells.append(
            f'<Well ID="Well:0:{place}" Row="{row}" Column="{column}"><WellSample ID="WellSample:0:{place}:0"'
            f' Index="{place}"><ImageRef ID="Image:{place}"/></WellSample></Well>'
        )
    companion = directory / "plate.companion.ome"
    plate = f'<Plate ID="Plate:0" Name="P1" Rows="{row_count}" Columns="{columns}">{"".join(wells)}</Plate>'
    companion.write_text(f"<OME {OME}>{plate}{''.join(images)}</OME>")
    return companion


@pytest.fixture
def source(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> Path:
    """A directory of this test's own on the mount of the repository, as a staging directory is."""
    path = sandbox.data / "staging" / request.node.name
    path.mkdir(parents=True)
    return path
