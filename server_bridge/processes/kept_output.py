"""What programs wrote, kept on disk for whoever asks why: bounded per run and per order.

Keeping it is a courtesy. A full or broken disk must not end a transfer or an import whose output has no
room: what cannot be kept is said once in the log, and the work goes on.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

KEPT_FILES = 12
"""Per order: an outage of a weekend is hundreds of tries, and the newest say all there is to say."""

_log = logging.getLogger(__name__)


def keep(path: Path, text: str) -> None:
    """Write a program's bounded output to ``path`` (mode 0600)."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        _log.warning("output is not kept: %s", error)


def trim(folder: Path, kept_files: int = KEPT_FILES) -> int:
    """Remove all but the newest ``*.log`` of an order's folder; return how many went."""
    try:
        found = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.log")]
        old = [path for _, path in sorted(found)[: max(len(found) - kept_files, 0)]]
        for path in old:
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("old output stays: %s", error)
        return 0
    return len(old)
