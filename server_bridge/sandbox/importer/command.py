"""One run of the importer.

Scan, then show the units (``-f``) or import them; the exit codes are the original's.

0 also where nothing was imported: everything excluded, or nothing left after errors in the scan. 1 for
wrong arguments and for "No imports found", 2 for a failed import, 125 for ``-f`` without candidates.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import Ice
import omero

from server_bridge.sandbox.faults import Faults
from server_bridge.sandbox.importer import output
from server_bridge.sandbox.importer.candidates import Scan, scan, summary
from server_bridge.sandbox.importer.connection import Connection
from server_bridge.sandbox.importer.library import Library, leave
from server_bridge.sandbox.importer.options import ImportOptions, UsageError, parse
from server_bridge.sandbox.importer.targets import TargetError

USAGE = "\n Usage:  importer-cli [OPTION]... [path [path ...]]... \n   or:   importer-cli [OPTION]... - \n"
NO_CANDIDATES = 125


def main(argv: list[str]) -> int:
    """Run with a whole java command line; returns the exit code."""
    try:
        options = parse(argv)
    except UsageError as error:
        output.complain(f"{error}{USAGE}")
        return 1
    faults = Faults(Path(os.environ["FERRY_SANDBOX_DATA"]))
    output.log("INFO", output.CONFIG, "OMERO.blitz Version: sandbox")
    output.log(
        "INFO", output.CONFIG, "Bioformats version: sandbox (not Bio-Formats; see the sandbox's manual)"
    )
    output.log("INFO", output.CLI, f"Setting transfer to {options.transfer}")
    output.log("INFO", output.CANDIDATES, f"Depth: {options.depth} Metadata Level: MINIMUM")
    found = scan(_paths(options), options.depth, faults, _log_candidates)
    output.log("INFO", output.CANDIDATES, summary(found))
    if options.files_only:
        output.units(found.units, options.output)
        return 0 if found.units else NO_CANDIDATES
    if not found.units:
        if found.errors:
            output.complain("No imports due to errors!")
            return 0
        output.complain(f"No imports found{USAGE}")
        return 1
    return _import(options, found, faults)


def _paths(options: ImportOptions) -> list[Path]:
    if options.paths == ("-",):
        return [Path(line.rstrip("\n")) for line in sys.stdin if line.strip()]
    return [Path(one) for one in options.paths]


def _log_candidates(level: str, message: str) -> None:
    output.log(level, output.CANDIDATES, message)


def _import(options: ImportOptions, found: Scan, faults: Faults) -> int:
    try:
        connection = Connection(options)
    except (Ice.Exception, omero.ServerError, omero.ClientError) as error:
        output.log("ERROR", output.CLI, f"Cannot connect: {type(error).__name__}")
        return 2
    try:
        library = Library(connection, options, faults)
        library.totals.errors = found.errors
        successful = library.import_units(found.units)
        output.summary(library.totals)
    except (Ice.Exception, omero.ServerError, TargetError) as error:
        output.log("ERROR", output.CLI, f"Error during import process: {type(error).__name__}")
        return 2
    try:
        connection.close()
    except Ice.Exception as error:
        output.log("WARN", output.CLI, f"Could not log out: {type(error).__name__}")
    return 0 if successful else 2


def run() -> None:
    """Entry of ``python -m server_bridge.sandbox.importer``."""
    # Names that are not UTF-8 are passed through as the bytes they are.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    leave(main(sys.argv[1:]))
