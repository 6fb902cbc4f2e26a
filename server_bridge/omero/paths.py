"""How OMERO will know a file: its *client path*, computed exactly as the Java importer computes it.

The importer takes the absolute path (symlinks are not resolved), cuts it at ``/`` and makes every component
safe by the rules "Windows required" and "UNIX required" together, whatever system it runs on: names of
Windows devices get a ``_`` behind them, device names with an extension and names that begin with ``$`` get
one in front, and characters that Windows forbids are replaced one by one. Components are joined with ``/``
again, without a leading one. (Rules read in OMERO's Java sources; the mapping is not injective, so two files
of one acquisition can share a client path: :func:`ambiguous` finds them.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from server_bridge.errors import BadRequest
from server_bridge.mover.paths import shown

_SAFE = "_"
_NAMES = frozenset(
    {"AUX", "CLOCK$", "CON", "NUL", "PRN", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}
)
_PREFIXES = ("$", *(f"{name}." for name in sorted(_NAMES)))
# Control characters of Latin-1: C0, DEL and C1.
_CHARACTERS = str.maketrans(
    {chr(code): _SAFE for code in (*range(0x20), *range(0x7F, 0xA0))}
    | {'"': "'", "*": "x", "/": "!", ":": ";", "<": "[", ">": "]", "?": "%", "\\": "!", "|": "!"}
)


def safe_component(name: str) -> str:
    """One component of a path as OMERO stores it."""
    upper = name.upper()
    if upper in _NAMES:
        name = name + _SAFE
    if upper.startswith(_PREFIXES):
        for prefix in _PREFIXES:
            if upper.startswith(prefix):
                name = _SAFE + name
    return name.translate(_CHARACTERS)


def client_path(absolute: str) -> str:
    """The client path of a file given by its absolute path.

    Raises:
        ValueError: for a relative path, or one with ``.`` or ``..`` in it (Java would keep them as they are,
            so that the same file had several client paths; our own paths have none).
    """
    if not absolute.startswith("/"):
        raise ValueError(f"not an absolute path: {absolute}")
    folder, _, name = absolute.rstrip("/").rpartition("/")
    above = _client_folder(folder)
    if name in (".", "..") or above is None:
        raise ValueError(f"not a normal path: {absolute}")
    return f"{above}/{safe_component(name)}" if above else safe_component(name)


@lru_cache(maxsize=1024)
def _client_folder(folder: str) -> str | None:
    """The same for the folder of a file, which thousands of files share; None for one that is not normal."""
    parts = [part for part in folder.split("/") if part]
    return None if "." in parts or ".." in parts else "/".join(safe_component(part) for part in parts)


def ambiguous(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Client paths that more than one of these absolute paths would get, with those paths."""
    by_client: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        by_client[client_path(path)].add(path)
    return {client: tuple(sorted(found)) for client, found in by_client.items() if len(found) > 1}


def collision(paths: Iterable[str]) -> tuple[str, str] | None:
    """Two of these (absolute or relative) paths that OMERO could not tell apart, or None.

    Made for a million of them: only names that OMERO changes are kept beside the list itself.
    """
    listed = paths if isinstance(paths, (list, tuple)) else list(paths)
    changed: dict[str, str] = {}
    for path in listed:
        client = client_path("/" + path.lstrip("/"))
        if client == path.lstrip("/"):
            continue
        if client in changed and changed[client] != path:
            return changed[client], path
        changed[client] = path
    if not changed:
        return None
    return next(
        (
            (path, changed[path.lstrip("/")])
            for path in listed
            if path.lstrip("/") in changed and changed[path.lstrip("/")] != path
        ),
        None,
    )


def require_distinct(paths: Iterable[str]) -> None:
    """No two files of an acquisition get one name in OMERO.

    Raises:
        BadRequest: ``names_collide``, naming two of them.
    """
    found = collision(paths)
    if found is not None:
        raise BadRequest(
            f"{shown(found[0])!r} and {shown(found[1])!r} get the same name in OMERO.",
            code="names_collide",
            title="OMERO cannot tell two files apart",
            remedy="Rename one of them on the share, then order the acquisition again.",
        )
