"""Client paths as OMERO's client writes them into FilesetEntry.clientPath.

The absolute path without its leading slash, every component made safe for Windows and UNIX alike
(``omero.fs.repo.path_rules``): the table is that of FilePathRestrictionInstance.
"""

from __future__ import annotations

from pathlib import Path

REPLACED = str.maketrans(
    {
        '"': "'",
        "*": "x",
        ":": ";",
        "<": "[",
        ">": "]",
        "?": "%",
        "\\": "!",
        "|": "!",
        "/": "!",
        **{chr(code): "_" for code in range(32)},
        "\x7f": "_",
    }
)
UNSAFE_NAMES = frozenset(
    ["AUX", "CLOCK$", "CON", "NUL", "PRN", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in range(1, 10))]
)


def safe_component(name: str) -> str:
    """One component of a path as it is stored.

    That a reserved name gets its underscore in front (and, before an extension, behind the reserved part)
    is inferred from "get ``_`` treatment", not read in the source.
    """
    safe = name.translate(REPLACED)
    stem, dot, extension = safe.partition(".")
    if stem.upper() in UNSAFE_NAMES:
        safe = f"{stem}_{dot}{extension}" if dot else f"_{safe}"
    if safe.startswith("$"):
        safe = f"_{safe}"
    return safe


def client_path(path: Path) -> str:
    """The client path of an absolute path; symbolic links are not resolved."""
    return "/".join(safe_component(part) for part in path.absolute().parts if part != "/")
