"""`ferry-bridge prove`: does OMERO still hold what the receipts say? Looked at here and now.

Progress goes to stderr, the result to stdout. Exit code 1 when any proof does not hold, or an order could
not be looked at; what was found bad is withdrawn already when the command says so.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server_bridge.config import load_site
from server_bridge.context import Context, build_context
from server_bridge.errors import BadRequest, FerryError, Unavailable
from server_bridge.human import human_bytes, plain
from server_bridge.operations.order_commands import find
from server_bridge.operations.terminal import (
    JsonOption,
    SiteOption,
    complain,
    operator,
    say,
    say_json,
    told,
)

if TYPE_CHECKING:
    from server_bridge.retention.reprove import Findings

SHOWN = 20
"""Files named per order; ``--json`` names all."""
EVERY_SECONDS = 1.0


@dataclass
class Meter:
    """Progress on stderr: one line that is overwritten on a terminal, one line an order elsewhere."""

    orders_total: int
    orders_done: int = 0
    files: int = 0
    bytes_read: int = 0
    _told_at: float = 0.0

    def on_files(self, count: int) -> None:
        """So many files were looked at."""
        self.files += count
        self._tell()

    def on_bytes(self, count: int) -> None:
        """So many bytes were read."""
        self.bytes_read += count
        self._tell()

    def order_done(self) -> None:
        """One order more."""
        self.orders_done += 1
        self._tell(now=not sys.stderr.isatty() or self.orders_done == self.orders_total)

    def _tell(self, *, now: bool = False) -> None:
        at = time.monotonic()
        if not now and (not sys.stderr.isatty() or at - self._told_at < EVERY_SECONDS):
            return
        self._told_at = at
        text = f"{self.orders_done}/{self.orders_total} orders, {self.files} files"
        if self.bytes_read:
            text += f", {human_bytes(self.bytes_read)} read"
        over = sys.stderr.isatty()
        typer.echo(f"\r{text}\x1b[K" if over else text, err=True, nl=not over)

    def end(self) -> None:
        """Leave the line."""
        if sys.stderr.isatty():
            typer.echo("", err=True)


@told
def prove(
    site: SiteOption,
    order_id: Annotated[
        str, typer.Argument(metavar="[ORDER]", help="An order's id, or its first characters.")
    ] = "",
    all_: Annotated[bool, typer.Option("--all", help="Every order that was ever proven.")] = False,
    content: Annotated[
        bool, typer.Option("--content", help="Also read every file of OMERO's (this may take days).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check receipts again: OMERO's rows and hashes, both names on disk, on demand the content.

    A file under another inode (moved storage) is read and proven by its SHA-1. Where a proof does not
    hold, the release is withdrawn and the order proves again.
    """
    if bool(order_id) == all_:
        raise BadRequest("Give an order, or --all.", title="Which order?")
    context = build_context(load_site(site))
    wanted = _wanted(context, order_id)
    meter = Meter(len(wanted))
    try:
        found, failed = _prove_all(context, wanted, content, meter)
    finally:
        meter.end()
    ok = not failed and all(one.holds for one in found)
    if as_json:
        say_json({"ok": ok, "orders": [_as_json(one) for one in found], "not_checked": failed})
    else:
        for one in found:
            _say(one)
        _say_sum(found, failed)
    if not ok:
        raise typer.Exit(1)


def _wanted(context: Context, order_id: str) -> list[str]:
    from server_bridge.retention.reprove import provable_ids

    if not order_id:
        return provable_ids(context)
    with context.store.read() as session:
        return [find(session, order_id).id]


def _prove_all(
    context: Context, wanted: list[str], content: bool, meter: Meter
) -> tuple[list[Findings], dict[str, str]]:
    """Look at each; an order that cannot be looked at stops nobody else, an outage stops all."""
    from server_bridge.retention.reprove import Watch, prove_again

    found: list[Findings] = []
    failed: dict[str, str] = {}
    who = operator()
    watch = Watch(meter.on_files, meter.on_bytes)
    for number, order_id in enumerate(wanted):
        try:
            found.append(prove_again(context, order_id, who, content=content, watch=watch))
        except Unavailable as error:
            complain(error)
            failed |= dict.fromkeys(wanted[number:], error.code)
            break
        except FerryError as error:
            complain(error)
            failed[order_id] = error.code
        except OSError as error:
            typer.echo(plain(f"ferry-bridge: order {order_id}: {error}"), err=True)
            failed[order_id] = "disk_failed"
        meter.order_done()
    return found, failed


def _as_json(found: Findings) -> dict[str, Any]:
    return {
        "order": found.order_id,
        "share": found.share,
        "path": found.path,
        "stage": found.stage.value,
        "files": found.files,
        "held": found.held,
        "holds": found.holds,
        "bytes_read": found.bytes_read,
        "reproved": [{"path": path, "why": why} for path, why in sorted(found.reproved.items())],
        "problems": [{"path": path, **asdict(problem)} for path, problem in sorted(found.problems.items())],
        "withdrawn": found.withdrawn,
        "resumed": found.resumed,
    }


def _say(found: Findings) -> None:
    state = f"{found.held} of {found.files} files hold"
    if found.bytes_read:
        state += f", {human_bytes(found.bytes_read)} read"
    say(plain(f"{found.order_id}  {found.stage:<8}  {state}  {found.share}:{found.path}"))
    for path, problem in sorted(found.problems.items())[:SHOWN]:
        say(plain(f"  LOST      {path}: {problem.title} [{problem.code}] {problem.detail}"))
    for path, why in sorted(found.reproved.items())[:SHOWN]:
        say(plain(f"  re-proved {path}: {why}"))
    more = max(0, len(found.problems) - SHOWN) + max(0, len(found.reproved) - SHOWN)
    if more:
        say(f"  … and {more} more; --json names all")
    if found.withdrawn:
        say("  Proof and release are withdrawn: nothing of it may be deleted on the buffer.")
    if found.resumed:
        say("  Everything holds again; the bridge goes on with the order.")


def _say_sum(found: list[Findings], failed: dict[str, str]) -> None:
    files, lost = sum(one.files for one in found), sum(len(one.problems) for one in found)
    text = f"{len(found)} orders, {files} files: "
    text += f"{lost} proofs do not hold" if lost else "every proof holds"
    if again := sum(len(one.reproved) for one in found):
        text += f", {again} proven again by reading"
    if failed:
        text += f"; {len(failed)} orders could not be looked at"
    say(text)
