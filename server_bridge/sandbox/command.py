"""The command line of the sandbox: ``ferry-bridge sandbox`` and ``python -m server_bridge.sandbox``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from server_bridge.sandbox.server import SandboxError, run_sandbox


def sandbox(
    data: Annotated[Path, typer.Option(help="Directory of the sandbox; made if it is not there.")],
    managed: Annotated[
        Path | None,
        typer.Option(help="ManagedRepository; on the mount of the staging directory. Default: below --data."),
    ] = None,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    ssl_port: Annotated[int, typer.Option(help="TLS port; 0 keeps that of last time.")] = 0,
    tcp_port: Annotated[int, typer.Option(help="Plain port; 0 keeps that of last time.")] = 0,
    empty: Annotated[bool, typer.Option("--empty", help="People and groups only, no projects.")] = False,
) -> None:
    """Serve an OMERO sandbox for demonstration, training and tests, until it is told to end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run_sandbox(data, host, ssl_port, tcp_port, managed, empty)
    except SandboxError as error:
        typer.echo(f"The sandbox cannot start: {error}", err=True)
        raise typer.Exit(1) from error


def main() -> None:
    """Entry of ``python -m server_bridge.sandbox``."""
    typer.run(sandbox)
