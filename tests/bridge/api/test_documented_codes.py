"""Every code that the API's own modules can answer is in docs/api.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
ELSEWHERE = {
    "writing",  # reasons on an order, no refusals
    "watching",
    "paused_at_microscope",
    "root_not_valid",  # told on the command line
    "no_such_workstation",
    "orders_in_use",  # told on the command line
    "http_error",
    "method_not_allowed",
    "configuration",
    "conflict",
    "stale_attempt",
    "stage_forbids",
    "workstation_damaged",  # of a notice to staff
}


def test_every_code_is_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    found: set[str] = set()
    for folder in ("server_bridge/api", "server_bridge/orders"):
        for path in (ROOT / folder).glob("*.py"):
            found |= set(re.findall(r"code=\"([a-z_]+)\"", path.read_text(encoding="utf-8")))
    for path in (ROOT / "server_bridge/errors.py", ROOT / "server_bridge/mover/paths.py"):
        source = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"^    code = \"([a-z_]+)\"", source, re.MULTILINE))
        found |= set(re.findall(r"(?:problem\(\s*|path, )\"([a-z_]+)\"", source))
    assert len(found) > 50
    missing = {code for code in found - ELSEWHERE if f"`{code}`" not in text}
    assert not missing
