"""``./dev replay``: plays the microscopes and prints what came of them; the exit code tells."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.agent.bridge_stub import BridgeStub
from tests.replay.player import Player
from tests.replay.report import line_of, summary_lines, table_head
from tests.replay.scenario import Microscope, load
from tests.replay.verdict import Result, summarise


def play_one(microscope: Microscope, folder: Path, seed: int) -> Result:
    """Play one microscope in a folder of its own."""
    with BridgeStub() as stub:
        return Player(microscope, folder / microscope.name, stub, seed).play()


def _json(results: list[Result], seed: int, wall_seconds: float) -> str:
    summary = summarise(results)
    told = dataclasses.asdict(summary) | {
        "seed": seed,
        "good": summary.good,
        "wall_seconds": round(wall_seconds, 1),
        "results": [
            {
                "name": one.microscope.name,
                "format": one.microscope.format,
                "habit": one.microscope.habit,
                "fault": one.microscope.fault,
                "control": one.microscope.control,
                "outcome": one.outcome.value,
                **{
                    name: value
                    for name, value in dataclasses.asdict(one).items()
                    if name not in ("microscope", "outcome")
                },
            }
            for one in results
        ],
    }
    return json.dumps(told)


def main() -> int:
    """Exit 0 only if nothing was finished too early and nothing missed."""
    parser = argparse.ArgumentParser(prog="./dev replay", description=__doc__)
    parser.add_argument("names", nargs="*", help="microscopes to play; without any: all")
    parser.add_argument("--seed", type=int, default=1, help="of the small deviations in time")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--list", action="store_true", help="what each microscope stands for, and its source")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    every = load()
    unknown = set(options.names) - {one.name for one in every}
    if unknown:
        parser.error(f"there is no microscope {', '.join(sorted(unknown))}; --list names them")
    chosen = [one for one in every if not options.names or one.name in options.names]
    if options.list:
        for one in chosen:
            print(f"{one.name}: {one.models}\n    {one.source}")
        return 0
    random.seed(options.seed)
    print(table_head(), flush=True)
    results: list[Result] = []
    began = time.monotonic()
    # In memory where there is such a place: most of the time would go into syncing the databases to a disk.
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ferry-replay-", dir=place) as folder:
        for one in chosen:
            results.append(play_one(one, Path(folder), options.seed))
            print(line_of(results[-1]), flush=True)
    seconds = time.monotonic() - began
    print("\n".join(summary_lines(results, options.seed, seconds)))
    if options.json:
        print(_json(results, options.seed, seconds))
    return 0 if summarise(results).good else 1


if __name__ == "__main__":
    sys.exit(main())
