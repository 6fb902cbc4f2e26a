"""`ferry-bridge rules`: what each workstation takes for one acquisition, and when it calls it finished.

How a folder would be grouped under a rule is the agent's to say (`omero-ferry-explain FOLDER`), on the
machine that sees the share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer
from sqlalchemy import select

from server_bridge.config import SiteConfig, load_site
from server_bridge.context import open_store
from server_bridge.contract import FORMATS, FORMATS_ON_WISH, AcquisitionRule, WorkstationStatus
from server_bridge.operations.terminal import JsonOption, SiteOption, say, say_json, table, told
from server_bridge.orders.models import Workstation


@dataclass(frozen=True, slots=True)
class EffectiveRule:
    """The rule that a workstation gets for a share."""

    workstation: str
    share: str
    root: str
    own: bool
    """Whether the site file has a rule for this workstation."""
    rule: AcquisitionRule


def effective(site: SiteConfig, rows: list[Workstation], only: str = "") -> Iterator[EffectiveRule]:
    """The rules of approved workstations."""
    for row in rows:
        if row.status != WorkstationStatus.APPROVED or (only and row.name != only):
            continue
        for share in site.shares:
            root = row.roots.get(share.id)
            if root is not None:
                own = row.name in share.rule.workstations
                yield EffectiveRule(row.name, share.id, str(root), own, share.rule.of(row.name))


def strangers(site: SiteConfig, rows: list[Workstation]) -> list[str]:
    """Names in the site file that no workstation has: a misspelling, or one that is still to come."""
    known = {row.name for row in rows if row.status != WorkstationStatus.REVOKED}
    return sorted({name for share in site.shares for name in share.rule.workstations} - known)


def place_text(rule: AcquisitionRule) -> str:
    """Where acquisitions lie: ``folders at depth 2`` or the template."""
    where = rule.template.strip("/") or f"depth {rule.levels}"
    return f"{rule.items}, {where}"


def quiet_text(rule: AcquisitionRule) -> str:
    """The quiet times in seconds: ``300, czi 600``."""
    return ", ".join(
        (f"{rule.quiet_seconds:g}", *(f"{k} {v:g}" for k, v in rule.format_quiet_seconds.items()))
    )


def formats_text(rule: AcquisitionRule) -> str:
    """The formats that count, as what differs from the usual ones."""
    used = [name for name in FORMATS if rule.uses(name)]
    usual = [name for name in FORMATS if name not in FORMATS_ON_WISH]
    if used == usual:
        return "all"
    if not used:
        return "none"
    missing = [f"-{name}" for name in usual if name not in used]
    more = [f"+{name}" for name in used if name not in usual]
    return " ".join(missing + more) if len(missing) <= len(used) else " ".join(used)


@told
def rules(
    site: SiteOption,
    workstation: Annotated[
        str, typer.Option("--workstation", help="Only this one.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the rules that workstations get: what is one acquisition, and when it counts as finished."""
    loaded = load_site(site)
    with open_store(loaded).read() as session:
        rows = list(session.scalars(select(Workstation).order_by(Workstation.name)))
    found = list(effective(loaded, rows, workstation))
    lost = strangers(loaded, rows)
    if as_json:
        say_json(
            {
                "rules": [
                    {
                        "workstation": one.workstation,
                        "share": one.share,
                        "root": one.root,
                        "own": one.own,
                        "levels": one.rule.levels,
                        "formats_used": [name for name in FORMATS if one.rule.uses(name)],
                        "rule": one.rule.model_dump(mode="json"),
                    }
                    for one in found
                ],
                "no_such_workstation": lost,
            }
        )
        return
    if found:
        say(
            table(
                ["WORKSTATION", "SHARE", "ROOT", "RULE OF", "ACQUISITIONS", "QUIET S", "FORMATS"],
                (
                    (
                        one.workstation,
                        one.share,
                        one.root,
                        "workstation" if one.own else "share",
                        place_text(one.rule),
                        quiet_text(one.rule),
                        formats_text(one.rule),
                    )
                    for one in found
                ),
            )
        )
    else:
        say("No approved workstation" + (f" is called {workstation}." if workstation else " yet."))
    for name in lost:
        say(f"The site file has a rule for {name!r}, and no workstation of that name has registered.")
