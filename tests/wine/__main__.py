"""`./dev test-wine [PYTEST ARGUMENTS]`: the agent's tests on Windows' CPython under wine.

Exit 77 with a plain word where wine cannot be had; otherwise pytest's own exit code. What only a real Windows
shows (NTFS, SMB, DPAPI's keys, Explorer's tray) is listed in docs/unproven.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.wine.windows import WineMissing, prepare

PROJECT = Path(__file__).resolve().parents[2]
TESTS = ("tests/agent",)
NO_WINE = 77
SECONDS = 1500.0
"""For everything; a program that hangs under wine must not hang whoever waits for it."""


def main(arguments: list[str]) -> int:
    """Prepare Windows, run the tests in it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "omero-ferry" / "wine"
    try:
        windows = prepare(cache)
    except WineMissing as missing:
        print(f"test-wine: {missing} Nothing was tested.", file=sys.stderr)
        return NO_WINE
    # Named tests replace the usual ones; options do not.
    named = any(not one.startswith("-") and (PROJECT / one.partition("::")[0]).exists() for one in arguments)
    with tempfile.TemporaryDirectory(prefix="ferry-wine-") as scratch:
        try:
            return windows.run(
                [
                    "-m", "pytest", "-p", "tests.wine.plugin", "-p", "no:cacheprovider",
                    # The root's conftest starts servers of Linux.
                    "--confcutdir=tests/agent", "--basetemp", _seen_from_inside(Path(scratch, "pytest")),
                    *arguments, *(() if named else TESTS),
                ],
                cwd=PROJECT,
                seconds=SECONDS,
                more={
                    "PYTHONPATH": ";".join(_seen_from_inside(one) for one in (windows.packages, PROJECT)),
                    "HYPOTHESIS_STORAGE_DIRECTORY": _seen_from_inside(Path(scratch, "hypothesis")),
                },
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(f"test-wine: ended after {SECONDS:.0f} s.", file=sys.stderr)
            return 1


def _seen_from_inside(path: Path) -> str:
    """wine shows the root of this machine as drive Z."""
    return "Z:" + str(path).replace("/", "\\")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
