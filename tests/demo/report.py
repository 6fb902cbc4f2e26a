"""What the demo says while it runs, and the report at its end. People read stderr; stdout ends with JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field


def megabytes(size: float) -> str:
    """Bytes as MB (10^6), one decimal."""
    return f"{size / 1e6:,.1f} MB"


@dataclass(slots=True)
class Telling:
    """Lines with the time since the start; a card's line is said again only when it changed."""

    started: float = field(default_factory=time.monotonic)
    _last: dict[str, str] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """One line on stderr."""
        print(f"[{time.monotonic() - self.started:5.1f} s] {text}", file=sys.stderr, flush=True)

    def card(self, name: str, text: str) -> None:
        """One line about a card, unless it was the last one said about it."""
        if self._last.get(name) != text:
            self._last[name] = text
            self.say(f"{name:24} {text}")

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started


def final_report(result: Mapping[str, object], problems: list[str]) -> str:
    """The short report for people."""
    seconds = result["seconds"]
    assert isinstance(seconds, dict)
    lines = [
        "",
        "What an outsider found on the disks and in OMERO (tests/checker):",
        f"  orders                     {result['orders']}",
        f"  files imported             {result['files']}   ({megabytes(float(str(result['bytes'])))},"
        f" {result['images']} images)",
        f"  same inode                 {result['same_inode']} of {result['files']}   (no second copy)",
        f"  SHA-1 as written           {result['sha1_match']} of {result['files']}",
        f"  left out by a rule         {result['left_out']}",
        f"  disk used / bytes imported {result['disk_ratio']}",
        f"  freed on the buffer        {megabytes(float(str(result['freed_bytes'])))}",
        *(f"  last byte → in OMERO       {value} s   {name}" for name, value in seconds.items()),
        "",
    ]
    lines += [f"  PROBLEM: {problem}" for problem in problems]
    lines.append("All of it holds." if result["ok"] else "NOT all of it holds.")
    return "\n".join(lines)


def last_line(result: Mapping[str, object]) -> str:
    """The JSON object for stdout's last line."""
    return json.dumps(dict(result), sort_keys=True)
