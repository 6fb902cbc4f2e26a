"""Sizes, ages, names and the version, in the words people read."""

from __future__ import annotations

from datetime import timedelta
from importlib import metadata


def version() -> str:
    """The installed version."""
    try:
        return metadata.version("omero-ferry")
    except metadata.PackageNotFoundError:
        return "0+source"


def human_bytes(size_bytes: int) -> str:
    """A size for people, in powers of 1000 as disks are sold."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the loop ends at TB")


def human_age(age: timedelta) -> str:
    """An age for people."""
    seconds = max(0, int(age.total_seconds()))
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 172_800 else f"{seconds // 86_400} days"


def plain(text: str) -> str:
    """Text without control characters: a file name must drive no terminal and end no mail header."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
