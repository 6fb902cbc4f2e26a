"""Files that no import unit takes."""

from __future__ import annotations

import pytest

from server_bridge.config import PatternConfig
from server_bridge.contract import ReceiptStatus
from server_bridge.pipeline.leftovers import covering_rule, is_covered
from server_bridge.retention.guard import COVERED

PATTERNS = PatternConfig(keep=("raw/*", "*.keep"), attach=("*.pdf", "protocol*"))


@pytest.mark.parametrize(
    ("path", "status", "rule"),
    [
        ("run/THUMBS.DB", ReceiptStatus.IGNORED, "ignore: Thumbs.db"),
        ("run/~$notes.docx", ReceiptStatus.IGNORED, "ignore: ~$*"),
        ("raw/x.tmp", ReceiptStatus.KEPT, "keep: raw/*"),
        ("run/a.keep", ReceiptStatus.KEPT, "keep: *.keep"),
    ],
)
def test_patterns_match_path_and_name_whatever_the_case(path: str, status: ReceiptStatus, rule: str) -> None:
    assert covering_rule(path, PATTERNS) == (status, rule)


def test_what_should_be_attached_is_kept_and_never_released() -> None:
    found = covering_rule("run/Protocol 1.pdf", PATTERNS)
    assert found is not None
    assert found[0] is ReceiptStatus.KEPT
    assert "attach: *.pdf" in found[1]
    assert found[0] not in COVERED


def test_what_no_pattern_covers_is_asked() -> None:
    assert covering_rule("run/notes.txt", PATTERNS) is None
    assert not is_covered("run/notes.txt", PATTERNS.ignore)
