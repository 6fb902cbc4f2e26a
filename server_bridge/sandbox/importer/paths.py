"""Client paths as OMERO's client writes them into FilesetEntry.clientPath.

The absolute path without its leading slash, every component made safe for Windows and UNIX alike
(``omero.fs.repo.path_rules``): the table is that of FilePathRestrictionInstance.
"""

from __future__ import annotations

from pathlib import Path

SAFE = "_"
REPLACED = str.maketrans(
    {chr(code): SAFE for code in (*range(0x20), *range(0x7F, 0xA0))}
    | {'"': "'", "*": "x", ":": ";", "<": "[", ">": "]", "?": "%", "\\": "!", "|": "!"}
)
DEVICES = frozenset(
    ["AUX", "CLOCK$", "CON", "NUL", "PRN", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in range(1, 10))]
)


def safe_component(name: str) -> str:
    """One component of a path as it is stored: no device name, no ``$`` in front, nothing forbidden."""
    upper = name.upper()
    if upper in DEVICES:
        name += SAFE
    elif upper.startswith("$") or upper.partition(".")[0] in DEVICES:
        name = SAFE + name
    return name.translate(REPLACED)


def client_path(path: Path) -> str:
    """The client path of an absolute path; symbolic links are not resolved."""
    return "/".join(safe_component(part) for part in path.absolute().parts if part != "/")
