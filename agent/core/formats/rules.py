"""The form of what is known of a format. The knowledge itself is the table in ``known``.

Names are compared without regard to case, as Windows does, but for the name that ties a file to its parts:
``Img.vsi`` and ``img.vsi`` are two images where the share can hold both.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from server_bridge.contract import AcquisitionRule


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckKind(StrEnum):
    """What a witness can look at. Each has a function in ``contents`` or ``witness``."""

    PRESENT = "present"
    """A file of that name is there."""
    NAMED_FILES = "named-files"
    """Every file that an index names is there."""
    CLOSING_TAG = "closing-tag"
    """A text ends as such texts end."""
    HTD_COUNT = "htd-count"
    """As many images as MetaXpress' settings ask for."""
    NDTIFF_INDEX = "ndtiff-index"
    """The binary index ends with a whole entry, and each file it names is as long as it says."""
    TIFF_CHAIN = "tiff-chain"
    """The chain of a TIFF's image directories lies in the file and ends."""
    CZI_HEADER = "czi-header"
    ND2_TRAILER = "nd2-trailer"
    LIF_BLOCKS = "lif-blocks"
    HDF5_END = "hdf5-end"
    ZARR_METADATA = "zarr-metadata"
    """The metadata at the top is there, and the wells that a plate's names."""


class Check(_Model):
    """One thing that says "complete" or "not complete"."""

    kind: CheckKind
    files: tuple[str, ...]
    """Shell patterns on file names: what is looked at."""
    names: str = ""
    """``named-files``: a regular expression whose group 1 is a file's name in the index."""
    images: tuple[str, ...] = ()
    """``named-files``, ``htd-count``: what counts as an image, as shell patterns."""
    tag: str = ""
    """``closing-tag``: one of these, separated by blanks, stands at the end."""
    begins: str = ""
    """``closing-tag``: a text that begins otherwise is something else, and its end says nothing."""
    required: bool = False
    """A file to look at has to be there: without one it is not complete."""


class FormatRule(_Model):
    """One format: what belongs together, what comes last, what says complete, and how we know."""

    id: str
    title: str
    suffixes: tuple[str, ...] = ()
    """Ends of the names of files that stand for an acquisition, the longest first."""
    parts: tuple[str, ...] = ()
    """Shell patterns on names beside such a file; ``{stem}`` is its name without the suffix."""
    orphans: tuple[str, ...] = ()
    """What looks like a part whose file is not there (yet); a pattern that ends in ``/`` speaks of
    folders."""
    orphan_holds: tuple[str, ...] = ()
    """A folder that looks like a part is none unless it holds such a file."""
    folder_names: tuple[str, ...] = ()
    """A folder of such a name is one acquisition, at whatever depth."""
    signatures: tuple[tuple[str, ...], ...] = ()
    """A folder that holds all names of one of these is one acquisition where folders are looked into."""
    series: Literal["", "axes", "counter"] = ""
    """Files that differ in numbers only belong together: numbers of an axis (``_t001``), or a counter."""
    plate: Literal["images", "plate", "either"] = "images"
    """What OMERO will make of it; ``either``: the witness finds out."""
    last: str = ""
    """What the microscope writes last, in words."""
    checks: tuple[Check, ...] = ()
    source: str = Field(min_length=20)
    """What the claims rest on. ``[infer]`` marks what nobody has shown us."""

    @property
    def is_group(self) -> bool:
        """Whether its file may have company, so that it is a group from the first sight on."""
        return bool(self.parts)


def used_by(rule: AcquisitionRule, known: tuple[FormatRule, ...]) -> tuple[FormatRule, ...]:
    """The formats that count under a workstation's rule."""
    return tuple(one for one in known if rule.uses(one.id))
