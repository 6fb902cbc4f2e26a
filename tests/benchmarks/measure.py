"""What every benchmark measures with: figures beside their targets, percentiles, memory, CPU, the machine."""

from __future__ import annotations

import math
import os
import platform
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. ``target`` is what the design asks for, in the same unit; None: nothing is asked.
    Figures of one ``what`` that differ in ``of`` are shown side by side."""

    what: str
    value: float
    unit: str
    target: float | None = None
    of: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value is at most its target; None without one."""
        return None if self.target is None else self.value <= self.target


@dataclass
class Report:
    """What one benchmark found."""

    name: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str, target: float | None = None, of: str = "") -> None:
        self.figures.append(Figure(what, value, unit, target, of))

    def as_json(self) -> dict[str, Any]:
        figures = [{**asdict(figure), "met": figure.met} for figure in self.figures]
        return {"name": self.name, "title": self.title, "figures": figures, "notes": self.notes}

    def as_text(self) -> str:
        """A table that can stand in the docs as it is."""
        rows = self._side_by_side() if any(figure.of for figure in self.figures) else self._one_by_one()
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in rows
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([f"## {self.name}: {self.title}", "", *lines, "", *self.notes])

    def _one_by_one(self) -> list[tuple[str, ...]]:
        rows = [("what", "measured", "target")]
        for figure in self.figures:
            target = "" if figure.target is None else f"≤ {shown(figure.target)} {figure.unit}"
            if figure.met is False:
                target += " (missed)"
            rows.append((figure.what, f"{shown(figure.value)} {figure.unit}", target))
        return [*rows]

    def _side_by_side(self) -> list[tuple[str, ...]]:
        columns = list(dict.fromkeys(figure.of for figure in self.figures))
        cells = {(figure.what, figure.of): figure for figure in self.figures}
        rows: list[tuple[str, ...]] = [("what", *columns)]
        for what in dict.fromkeys(figure.what for figure in self.figures):
            row = [what]
            for column in columns:
                figure = cells.get((what, column))
                text = f"{shown(figure.value)} {figure.unit}" if figure else ""
                if figure and figure.target is not None:
                    text += (
                        f" (≤ {shown(figure.target)})"
                        if figure.met
                        else f" (missed: ≤ {shown(figure.target)})"
                    )
                row.append(text)
            rows.append(tuple(row))
        return rows


def shown(value: float) -> str:
    """Three digits that matter, thousands separated."""
    if value == 0:
        return "0"
    digits = min(3, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{digits}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; ``share`` between 0 and 1."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def rss_bytes(pid: int | str = "self") -> int:
    """Resident memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(pid: int | str = "self") -> int:
    """Highest resident memory since :func:`forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel does not tell the peak of memory")


def forget_peak(pid: int | str = "self") -> None:
    """Let the peak start from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds() -> float:
    """CPU of this process, its children not counted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_seconds_of(pid: int) -> float:
    """CPU of another process so far, its children not counted."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads_of(pid: int | str = "self") -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208


@dataclass(slots=True)
class Span:
    """What one piece of work took."""

    seconds: float = 0.0
    cpu: float = 0.0
    peak_over_bytes: int = 0
    """Peak of memory over the memory that was given."""


@contextmanager
def span(over_bytes: int | None = None) -> Iterator[Span]:
    """Measure the block in this process."""
    base = rss_bytes() if over_bytes is None else over_bytes
    forget_peak()
    found = Span()
    wall, cpu = time.monotonic(), cpu_seconds()
    try:
        yield found
    finally:
        found.seconds, found.cpu = time.monotonic() - wall, cpu_seconds() - cpu
        found.peak_over_bytes = peak_bytes() - base


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def machine() -> str:
    """What it ran on, in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )
