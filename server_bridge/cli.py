"""`ferry-bridge`: the bridge's command line. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server_bridge.operations import (
    backup,
    backup_done,
    check_config,
    freed_report,
    notice_commands,
    omero_restored,
    order_add,
    order_changes,
    order_commands,
    prove,
    quarantine_commands,
    receipt_export,
    release_list,
    rule_commands,
    source_gone,
    staff_commands,
    staging_commands,
)
from server_bridge.operations.terminal import SiteOption, say, say_json, told

app = typer.Typer(
    name="ferry-bridge",
    help="The bridge of OMERO Ferry: from a microscope's buffer share into OMERO, in place and with proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check-config")(check_config.check_config)
app.command("orders")(order_commands.orders)
app.add_typer(order_commands.order_app, name="order")
app.command("workstations")(staff_commands.workstations)
app.add_typer(staff_commands.workstation_app, name="workstation")
app.add_typer(staff_commands.session_app, name="session")
app.command("rules")(rule_commands.rules)
app.command("releases")(release_list.releases)
order_commands.order_app.command("receipts")(receipt_export.receipts)
order_commands.order_app.command("freed")(freed_report.freed)
order_commands.order_app.command("add")(order_add.add)
order_commands.order_app.command("add-many")(order_add.add_many)
order_commands.order_app.command("take-over")(order_changes.take_over)
order_commands.order_app.command("accept-left-out")(order_changes.accept_left_out)
app.command("notices")(notice_commands.notices)
app.command("mail-test")(notice_commands.mail_test)
app.command("aging")(notice_commands.aging)
app.command("discard-unordered")(notice_commands.discard_unordered)
order_commands.order_app.command("accept-source-gone")(source_gone.accept_source_gone)
app.add_typer(quarantine_commands.quarantine_app, name="quarantine")
app.add_typer(staging_commands.staging_app, name="staging")
app.command("omero-restored")(omero_restored.omero_restored)
app.command("backup-done")(backup_done.backup_done)
app.command("prove")(prove.prove)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)


def _version(wanted: bool) -> None:
    if wanted:
        from server_bridge.human import version as installed

        say(f"ferry-bridge {installed()}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


@app.command("serve")
@told
def serve(
    site: SiteOption,
    log_format: Annotated[
        str, typer.Option(help="json, console, or auto: console on a terminal.", metavar="FORMAT")
    ] = "auto",
) -> None:
    """Run the bridge until it is told to end (TERM)."""
    from server_bridge.operations import serve as server

    server.serve(site, log_format)


@app.command("openapi")
@told
def openapi() -> None:
    """Write the API's OpenAPI document."""
    from server_bridge.app import openapi_document

    say_json(openapi_document())


@app.command("sandbox")
@told
def sandbox(
    data: Annotated[Path, typer.Option(help="Folder of the sandbox; made if it is not there.")],
    managed: Annotated[
        Path | None, typer.Option(help="ManagedRepository; default: below --data.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    ssl_port: Annotated[int, typer.Option(help="TLS port; 0 keeps that of last time.")] = 0,
    tcp_port: Annotated[int, typer.Option(help="Plain port; 0 keeps that of last time.")] = 0,
    empty: Annotated[bool, typer.Option("--empty", help="People and groups only, no projects.")] = False,
) -> None:
    """Serve a sandbox OMERO on loopback, for demonstration, training and tests."""
    from server_bridge.sandbox import command

    command.sandbox(data=data, managed=managed, host=host, ssl_port=ssl_port, tcp_port=tcp_port, empty=empty)


def main() -> None:
    """Entry point."""
    app(prog_name="ferry-bridge")


if __name__ == "__main__":
    main()
