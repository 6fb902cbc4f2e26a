"""What the administrators' pages say exists, and what exists is in them."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path, PureWindowsPath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from agent.core.formats.known import KNOWN
from agent.core.settings import MACHINE_ONLY, AgentSettings
from server_bridge.cli import app
from server_bridge.config import SiteConfig
from server_bridge.mover import verdict
from server_bridge.omero import import_failures
from server_bridge.pipeline import backoff

ROOT = Path(__file__).parents[2]
BRIDGE = (ROOT / "docs" / "bridge.md").read_text(encoding="utf-8")
AGENT = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
BY_HAND = (ROOT / "docs" / "try-by-hand.md").read_text(encoding="utf-8")

NO_ORDERS_REASON = {
    "wrong_password",  # sign-in, docs/api.md
    "sign_in_refused",
    "done",  # rsync ended well
    "stopped",  # the bridge ends; the order goes back into its queue
    "not_released",  # an answer to a report of deleted files, docs/api.md
    "no_unit",  # told inside of proof_lost
    "not_in_quarantine",  # answers of `ferry-bridge quarantine`, `staging` and `releases`
    "already_imported",
    "order_lives",
    "deletion_is_agents",
}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The section models inside of a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        return [model for inner in get_args(annotation) for model in _models(inner)]
    return []


def settings_of(model: type[BaseModel], section: str = "") -> dict[str, dict[str, Any]]:
    """Section → setting → default, of a whole site."""
    found: dict[str, dict[str, Any]] = {section: {}}
    for name, field in model.model_fields.items():
        inner = _models(field.annotation)
        for one in inner:
            for key, value in settings_of(one, f"{section}.{name}" if section else name).items():
                found.setdefault(key, {}).update(value)
        if not inner:
            found[section][name] = field.default
    return found


def shown(value: Any) -> str:
    """A default as TOML writes it, as it stands in the table."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case float():
            return f"{value:g}"
        case tuple():
            return "[" + ", ".join(shown(item) for item in value) + "]"
        case None:
            return ""
    return str(value)


def cells_of(line: str) -> list[str]:
    """The cells of one line of a table; an empty one stays one."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows_of(text: str, heading: str) -> dict[str, list[str]]:
    """First cell → cells, of the table below a heading."""
    section = text.split(f"### {heading}\n", 1)[1]
    section = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = (cells_of(line) for line in section.splitlines() if line.startswith("| `"))
    return {row[0].strip("`"): row for row in rows}


SECTIONS = {
    "": "The site",
    "http": "[http]",
    "omero": "[omero]",
    "limits": "[limits]",
    "session_policy": "[session_policy]",
    "mail": "[mail]",
    "shares": "[[shares]]",
    "shares.rule": "[shares.rule]",
    "shares.patterns": "[shares.patterns]",
    "shares.source": "[shares.source]",
}


def test_every_section_of_the_site_file_is_explained() -> None:
    assert set(settings_of(SiteConfig)) == set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_explained_with_its_default(section: str) -> None:
    rows, known = rows_of(BRIDGE, SECTIONS[section]), settings_of(SiteConfig)[section]
    assert set(rows) == set(known)
    if section == "shares.source":
        return  # a default of one kind is none of another
    for name, default in known.items():
        wanted = "required" if default is PydanticUndefined else shown(getattr(default, "value", default))
        said = rows[name][1].strip("`")
        assert said == wanted, f"{section}.{name}"


def _codes_in(path: Path) -> set[str]:
    """Codes of the reasons and errors that a module makes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            values += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            values += node.args[:1] if name == "FileProblem" else node.args[1:2] if name == "Verdict" else []
        elif isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["code"]:
            values.append(node.value)
        found |= {value.value for value in values if isinstance(value, ast.Constant) and value.value}
    return found


def reason_codes() -> set[str]:
    """Every code that may stand on an order."""
    folders = ("pipeline", "mover", "omero", "retention")
    found = {
        code
        for folder in folders
        for path in (ROOT / "server_bridge" / folder).rglob("*.py")
        for code in _codes_in(path)
    }
    found |= {row[2] for row in verdict._TEXTS} | {row[1] for row in verdict._CODES.values()}
    found |= set(verdict._FILE_REASONS) | {known.code for known in import_failures._KNOWN}
    # Said by a dictionary's default, and by an error of the site file met in the middle of a step.
    found |= {"rsync_unknown", "configuration"} | backoff.OUTAGES | backoff.SITE_FAULTS
    return found - NO_ORDERS_REASON


def test_every_reason_on_an_order_says_what_to_do() -> None:
    table = BRIDGE.split("## 10. When an order waits or needs somebody", 1)[1].split("\n## ", 1)[0]
    documented: set[str] = set()
    for line in table.splitlines():
        if line.startswith("| `"):
            codes, meaning, remedy = cells_of(line)
            assert meaning and remedy, line
            documented |= set(re.findall(r"`([a-z_]+)`", codes))
    known = reason_codes()
    assert len(known) > 60
    assert known - documented == set()
    # server_bridge/orders: reasons without a failure, one that is told per person, and refusals that stand on
    # an order without an agent
    elsewhere = {
        "writing",
        "watching",
        "paused_at_microscope",
        "backup_missing",
        "person_deactivated",
        "already_imported",
        "manifest_too_large",
    }
    assert documented - known - elsewhere == set(), "documented, and the bridge never says it"


def test_outages_are_told_apart() -> None:
    waits = BRIDGE.split("### It waits and goes on by itself", 1)[1].split("\n### ", 1)[0]
    missing = {code for code in backoff.OUTAGES | backoff.SITE_FAULTS if f"`{code}`" not in waits}
    assert missing == set()


def test_every_command_that_is_named_exists() -> None:
    command = typer.main.get_command(app)
    for page in (BRIDGE, AGENT, BY_HAND):
        for words in re.findall(r"ferry-bridge((?: [a-z][a-z-]*)+)", page):
            found: Any = command
            for word in words.split():
                inner = getattr(found, "commands", None)
                if inner is None:
                    break
                assert word in inner, f"ferry-bridge{words}"
                found = inner[word]


def test_every_setting_of_the_agent_is_explained_with_its_default() -> None:
    rows = rows_of(AGENT, "All settings")
    assert set(rows) == set(AgentSettings.model_fields)
    for name, field in AgentSettings.model_fields.items():
        default = "" if field.default is PydanticUndefined else shown(field.default)
        assert rows[name][1].strip("`") == default, name
        assert (rows[name][2] == "yes") == (name in MACHINE_ONLY), name


def test_every_format_is_explained() -> None:
    section = AGENT.split("## 9. ", 1)[1]
    rows = [cells_of(line) for line in section.splitlines() if line.startswith("| `")]
    said = {row[0].strip("`"): row[3] for row in rows}
    words = {"images": "images", "plate": "plate", "either": "images or plate"}
    assert said == {rule.id: words[rule.plate] for rule in KNOWN}


def test_the_sample_of_a_workstation_names_every_setting_and_fits() -> None:
    text = (ROOT / "resources" / "agent.example.toml").read_text(encoding="utf-8")
    everything = tomllib.loads(re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE))
    assert set(everything) == set(AgentSettings.model_fields)
    # A Windows path is none here.
    assert all(PureWindowsPath(top).is_absolute() for top in everything["shares"].values())
    AgentSettings.model_validate({**everything, "shares": {"confocal": "/mnt/confocal"}})


def test_the_sample_site_names_every_section() -> None:
    text = (ROOT / "resources" / "site.example.toml").read_text(encoding="utf-8")
    for section in sorted(set(SECTIONS) - {"", "shares"}):
        assert f"\n[{section}]\n" in text
    for kind in ("daemon", "ssh", "path"):
        assert f'\nkind = "{kind}"\n' in text
