"""``./dev bench [NAMES] [--quick] [--json]``: run benchmarks and print their tables."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import agent_idle, agent_scan, big_order, feed_agents, overhead, queued
from tests.benchmarks.measure import Report, machine

BENCHMARKS: dict[str, Callable[[Path, bool], Report]] = {
    module.NAME: module.run for module in (overhead, queued, feed_agents, big_order, agent_scan, agent_idle)
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size: does it run at all?")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    logging.basicConfig(level=logging.WARNING)
    # Unwinds, so that servers which a benchmark started end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    here = machine()
    print(here)
    found = []
    for name in asked.names or BENCHMARKS:
        # /var/tmp: a disk with syncs that cost something, where /tmp may be memory.
        with tempfile.TemporaryDirectory(prefix="ferry-bench-", dir="/var/tmp") as top:
            report = BENCHMARKS[name](Path(top), asked.quick)
        found.append(report)
        print(
            f"\n{report.as_text()}\n\n    ./dev bench {name}{' --quick' if asked.quick else ''}", flush=True
        )
    if asked.json:
        print(
            json.dumps(
                {"machine": here, "quick": asked.quick, "benchmarks": [one.as_json() for one in found]}
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
