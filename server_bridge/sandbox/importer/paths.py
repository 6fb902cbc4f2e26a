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
        **{chr(code): "_" for code in (*range(0x20), *range(0x7F, 0xA0))},
    }
)
UNSAFE_NAMES = frozenset(
    ["AUX", "CLOCK$", "CON", "NUL", "PRN", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in range(1, 10))]
)


def safe_component(name: str) -> str:
    """One component of a path as it is stored: a reserved name gets ``_`` behind it; in front of it where it
    has an extension, as does a name that begins with ``$`` (MakePathComponentSafe).
    """
    upper = name.upper()
    if upper in UNSAFE_NAMES:
        name = f"{name}_"
    if upper.startswith("$") or ("." in upper and upper.partition(".")[0] in UNSAFE_NAMES):
        name = f"_{name}"
    return name.translate(REPLACED)


def client_path(path: Path) -> str:
    """The client path of an absolute path; symbolic links are not resolved."""
    return "/".join(safe_component(part) for part in path.absolute().parts if part != "/")
