"""How commands speak: results on stdout, one clear line on stderr when something is wrong, no traceback."""

from __future__ import annotations

import functools
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from server_bridge.errors import FerryError
from server_bridge.human import plain

P = ParamSpec("P")

SiteOption = Annotated[
    Path, typer.Option("--site", envvar="FERRY_SITE", help="The site file.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


def say(text: str = "") -> None:
    """A result, on stdout."""
    typer.echo(text)


def say_json(value: Any) -> None:
    """A result as JSON, on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def complain(error: FerryError) -> None:
    """What is wrong and what to do, on stderr."""
    parts = [error.title + (":" if error.detail else "."), error.detail, error.remedy]
    typer.echo("ferry-bridge: " + " ".join(part for part in parts if part), err=True)


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the bridge's errors (and the system's) into one line and exit code 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FerryError as error:
            complain(error)
        except BrokenPipeError:
            # `… | head`: nobody reads on. Point stdout elsewhere, or Python complains when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            typer.echo(f"ferry-bridge: {error.filename or 'system'}: {error.strerror or error}", err=True)
        except KeyboardInterrupt:
            typer.echo("ferry-bridge: interrupted", err=True)
        else:
            return
        raise typer.Exit(1)

    return run


def operator() -> str:
    """Who sits at the terminal, for history and audit."""
    name = os.environ.get("SUDO_USER") or ""
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            name = str(os.getuid())
    return f"operator {name}"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned columns; every cell in one line, whatever a file is called."""
    cells = [list(headers), *([plain(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def moment(at: datetime | None) -> str:
    """A time as it is shown."""
    return at.strftime("%Y-%m-%d %H:%M:%S") if at else "-"
