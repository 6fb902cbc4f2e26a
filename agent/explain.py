"""``omero-ferry-explain FOLDER``: how a folder would be grouped under a rule, and why. Nothing is changed or
sent.

Also ``omero-ferry --explain FOLDER …`` and ``python -m agent.explain FOLDER …``. FOLDER stands for the
workstation's root.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.core.errors import AgentError
from agent.core.explanation import Explained, explain, lines
from server_bridge.contract import AcquisitionRule


class RuleMistake(Exception):
    """The rule that was given is none."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="omero-ferry-explain",
        description="Shows what the agent would take for one acquisition in a folder, and why.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what would be the workstation's root")
    parser.add_argument(
        "--rule",
        type=Path,
        metavar="FILE",
        help="TOML with the settings of [shares.rule], or one rule of `ferry-bridge rules --json`",
    )
    parser.add_argument("--items", choices=("folders", "files"))
    parser.add_argument("--depth", type=int)
    parser.add_argument("--template", metavar="TEMPLATE", help="such as {user}/{project}/{acquisition}")
    parser.add_argument("--formats", metavar="LIST", help="such as -tiff-series,+tiff-counter")
    parser.add_argument("--quiet-seconds", type=float, metavar="SECONDS")
    parser.add_argument(
        "--look",
        action="store_true",
        help="also ask whether it is complete: reads a little of the newest files",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each acquisition")
    return parser.parse_args(argv)


def rule_of(chosen: argparse.Namespace) -> AcquisitionRule:
    """The rule of the file, with what the command line says instead.

    Raises:
        RuleMistake: where it is none, saying why.
    """
    values = _read(chosen.rule) if chosen.rule is not None else {}
    for name in ("items", "depth", "template", "quiet_seconds"):
        given = getattr(chosen, name)
        if given is not None:
            values[name] = given
    if chosen.formats is not None:
        values["formats"] = [name.strip() for name in chosen.formats.split(",") if name.strip()]
    unknown = sorted(set(values) - set(AcquisitionRule.model_fields))
    if unknown:
        raise RuleMistake(f"A rule has no setting {unknown[0]!r}.")
    try:
        return AcquisitionRule.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise RuleMistake(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except OSError as error:
        raise RuleMistake(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise RuleMistake(f"{file}: {error}") from error
    inner = found.get("rule", found)
    values = dict(inner) if isinstance(inner, dict) else {}
    values.pop("workstations", None)
    return values


def as_json(one: Explained) -> str:
    """One acquisition as a line of JSON."""
    return json.dumps(dataclasses.asdict(one), ensure_ascii=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit status."""
    chosen = arguments(argv)
    try:
        explanation = explain(chosen.folder, rule_of(chosen), look=chosen.look)
    except RuleMistake as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except AgentError as error:
        sys.stderr.write(f"{error.title}: {error.detail} {error.remedy}\n")
        return 1
    shown = map(as_json, explanation.acquisitions) if chosen.json else lines(explanation)
    for line in shown:
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
