"""The table that a person reads. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from agent.core.settle import clock_text
from tests.replay.verdict import Outcome, Result, summarise

COLUMNS = (
    ("microscope", 27),
    ("format", 13),
    ("habit", 24),
    ("what goes wrong", 31),
    ("files", 5),
    ("sealed after", 12),
    ("un-sealed", 9),
    ("result", 0),
)


def _row(cells: Sequence[str]) -> str:
    return "  ".join(
        cell[:width].ljust(width) if width else cell
        for cell, (_name, width) in zip(cells, COLUMNS, strict=True)
    )


def table_head() -> str:
    """The columns' names."""
    return _row([name for name, _width in COLUMNS])


def _text(result: Result) -> str:
    if result.outcome is Outcome.OK:
        return "ok"
    what = ", ".join(result.too_early or result.missed or result.needless)
    expected = " (as it must: the rule does not fit)" if result.good else ""
    return f"{result.outcome.value}{expected}: {what}"


def line_of(result: Result) -> str:
    """One microscope."""
    one = result.microscope
    after = clock_text(min(result.delays)) if result.delays else "-"
    return _row(
        [
            one.name,
            one.format,
            one.habit,
            one.fault,
            str(result.files),
            after,
            str(result.unsealed),
            _text(result),
        ]
    )


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else clock_text(seconds)


def summary_lines(results: Sequence[Result], seed: int, wall_seconds: float) -> list[str]:
    """The closing lines."""
    all_ = summarise(results)
    simulated = str(timedelta(seconds=round(all_.simulated_seconds)))
    lines = [
        "",
        f"{all_.microscopes} microscopes, {simulated} simulated in {wall_seconds:.0f} s (seed {seed})",
        f"finished too early {all_.too_early}",
        f"missed {all_.missed}",
        f"needless questions to a person {all_.needless}",
        f"sealed before the end and taken back in time {all_.premature_seals - all_.too_early}",
        f"un-sealed {all_.unsealed} times, {all_.doubts} of them first seen by the bridge",
        f"after the last write: median {_time(all_.median_delay_seconds)},"
        f" slowest {_time(all_.slowest_delay_seconds)};"
        f" beyond the quiet time: median {_time(all_.median_beyond_quiet_seconds)}",
    ]
    if all_.controls:
        lines.append(f"controls noticed {all_.controls_noticed} of {all_.controls}")
    return lines
