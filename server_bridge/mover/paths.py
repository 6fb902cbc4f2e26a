"""Which paths may travel from a share into staging and on into OMERO.

Confinement (absolute, ``..``, NUL) protects the machines on both sides; the rest protects the person: a
name that OMERO cannot store, or two names that become one on another file system, are told before anything
is copied. Pure functions; a problem is data, so that a manifest of 10,000 files reports every bad one at
once.

A path is a relative POSIX path below the share's top, as text. Bytes that are not UTF-8 arrive here as lone
surrogates (``surrogateescape``) and are refused: OMERO stores names as UTF-8.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from server_bridge.errors import NeedsAttention

#: Names that rsync uses for itself inside a destination (facts measured with rsync 3.5.0).
RESERVED_NAMES = frozenset({".rsync-partial", ".~tmp~"})
LONGEST_NAME_BYTES = 255
#: PATH_MAX counts the closing NUL, and staging puts its own root in front: the caller passes what is left.
LONGEST_PATH_BYTES = 4096

#: All of Unicode's category Cc.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_RENAME = "Rename the file or folder on the share and order it again."


@dataclass(frozen=True)
class PathProblem:
    """Why one path may not travel; the four texts go to the card unchanged."""

    path: str
    code: str
    title: str
    detail: str
    remedy: str


class PathRefused(NeedsAttention):
    """A path that may not be used. Ask the person: it will not become right by itself."""

    def __init__(self, problem: PathProblem) -> None:
        super().__init__(problem.detail, code=problem.code, title=problem.title, remedy=problem.remedy)
        self.status = 422
        self.problem_found = problem


def shown(path: str) -> str:
    """The path for a message: control characters and bytes that are not UTF-8 made visible."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in path
    )


def staged_limit(staging_dir: Path) -> int:
    """How many bytes a share path may have below this directory, with rsync's own names beside it."""
    # ".rsync-partial/" above the name, or a dot and a suffix of seven around it; a slash and the closing NUL.
    return LONGEST_PATH_BYTES - len(str(staging_dir).encode()) - len(".rsync-partial") - 12


def check_path(path: str, longest_bytes: int = LONGEST_PATH_BYTES) -> PathProblem | None:
    """Return what is wrong with one path, or None. ``longest_bytes`` bounds the whole path in UTF-8."""

    def problem(code: str, title: str, detail: str, remedy: str = _RENAME) -> PathProblem:
        return PathProblem(path, code, title, f"{shown(path)!r}: {detail}", remedy)

    if not path:
        return problem("path_empty", "An empty path", "the path is empty.", "Name a file or a folder.")
    if "\0" in path:
        return problem("path_control", "A path with control characters", "it holds a NUL byte.")
    if path.startswith("/"):
        return problem(
            "path_absolute",
            "A path that leaves the share",
            "it is absolute; paths are relative to the share's top.",
            "Give the path below the share's top.",
        )
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return problem(
            "path_not_utf8", "A name that OMERO cannot store", "it is not valid UTF-8 and OMERO needs UTF-8."
        )
    if _CONTROL.search(path):
        return problem(
            "path_control", "A path with control characters", "OMERO and Windows cannot hold such a name."
        )
    for name in path.split("/"):
        if name in {"", "."}:
            return problem(
                "path_form", "A path in an unusual form", "it holds an empty component or a '.'.",
                "Give the path in its plain form, such as 'run 1/image.czi'.",
            )  # fmt: skip
        if name == "..":
            return problem(
                "path_parent", "A path that leaves the share", "it holds '..'.", "Give a path without '..'."
            )
        if name in RESERVED_NAMES:
            return problem("path_reserved", "A name the mover uses itself", f"{name!r} is reserved.")
        if len(name.encode("utf-8")) > LONGEST_NAME_BYTES:
            return problem(
                "name_too_long",
                "A name that is too long",
                f"a component has more than {LONGEST_NAME_BYTES} bytes.",
            )
    if len(encoded) > longest_bytes:
        return problem(
            "path_too_long", "A path that is too long", f"{len(encoded)} bytes, at most {longest_bytes}."
        )
    return None


def require_path(path: str, longest_bytes: int = LONGEST_PATH_BYTES) -> str:
    """Return ``path`` if it may travel. Raises `PathRefused`."""
    problem = check_path(path, longest_bytes)
    if problem is not None:
        raise PathRefused(problem)
    return path


def is_below(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` itself or lies in it; both in plain form, ``.`` is the share's top."""
    return folder == "." or path == folder or path.startswith(folder + "/")


def check_manifest(paths: Iterable[str], longest_bytes: int = LONGEST_PATH_BYTES) -> list[PathProblem]:
    """Return one problem per bad path, in the order of the paths.

    Besides each path on its own: a path given twice, a path that is a file here and a folder there, and
    paths (or folders in them) that differ only in letter case or in Unicode form. Those are one name on
    Windows, macOS and some storage, where the last would silently replace the others; so all of them are
    reported.
    """
    listed = list(paths)
    problems: dict[int, PathProblem] = {}
    folders: set[str] = set()
    first: dict[str, int] = {}
    #: folded spelling of each file and each folder -> the first spelling, and all of them where they differ
    spelt: dict[str, str] = {}
    differing: dict[str, set[str]] = {}

    def note(name: str) -> None:
        folded = _folded(name)
        other = spelt.setdefault(name if folded == name else folded, name)
        if other != name:
            differing.setdefault(folded, {other}).add(name)

    for index, path in enumerate(listed):
        problem = check_path(path, longest_bytes)
        if problem is None and path in first:
            problem = PathProblem(
                path, "path_twice", "A file listed twice", f"{shown(path)!r} is in the manifest twice.",
                "Order the acquisition again; if it stays, report it to the bridge's staff.",
            )  # fmt: skip
        if problem is not None:
            problems[index] = problem
            continue
        first[path] = index
        # Deepest first: once a folder is known, so are the ones above it.
        note(path)
        end = path.rfind("/")
        while end > 0 and path[:end] not in folders:
            folders.add(path[:end])
            note(path[:end])
            end = path.rfind("/", 0, end)
    colliding = {name: sorted(names) for names in differing.values() for name in names}
    for path, index in first.items():
        if path in folders:
            problems[index] = PathProblem(
                path, "path_file_and_folder", "A name that is a file and a folder",
                f"{shown(path)!r} is listed as a file and as a folder of other files.",
                "The acquisition changed while it was listed: order it again.",
            )  # fmt: skip
            continue
        clash = next((part for part in _with_parents(path) if part in colliding), None) if colliding else None
        if clash is not None:
            others = ", ".join(repr(shown(name)) for name in colliding[clash] if name != clash)
            problems[index] = PathProblem(
                path, "path_collision", "Names that differ only in case or accents' form",
                f"{shown(clash)!r} and {others} are one name on some file systems.", _RENAME,
            )  # fmt: skip
    return [problems[index] for index in sorted(problems)]


def _folded(path: str) -> str:
    # NFC, then casefold, then NFC again: casefold can leave the composed form (U+0345 and the like).
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
