"""The agent without a window: ``python -m agent.headless --settings FILE``.

For machines without a desktop, for development and tests. It scans, sends what is in the outbox and prints
one JSON line whenever something a person would see has changed. Signing in and choosing targets needs the
window.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from agent.core.engine import Engine
from agent.core.errors import AgentError
from agent.core.settings import load
from agent.core.snapshot import Snapshot
from agent.core.workers import leave
from agent.platform import select


def line_of(snapshot: Snapshot) -> str:
    """What is worth a line: everything but the clock."""
    return json.dumps(
        {
            "workstation": snapshot.bridge.workstation_status,
            "bridge": snapshot.bridge.reachable,
            "shares": {share.share: share.answered for share in snapshot.shares},
            "cards": {f"{card.share}:{card.path}": card.state.value for card in snapshot.cards},
            "log_off": snapshot.log_off.may.value,
            "pending": snapshot.outbox_pending,
        }
    )


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m agent.headless", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE")
    chosen = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(threadName)s %(name)s: %(message)s")
    platform = select()
    try:
        settings = load(
            policy=platform.policies(),
            machine=platform.machine_settings(),
            machine_file=None,
            user_file=chosen.settings,
        )
        engine = Engine(settings, platform)
    except AgentError as error:
        sys.stderr.write(f"{error.title}: {error.detail} {error.remedy}\n")
        return 1
    # An Event could be locked by the very thread that the signal interrupts.
    ending: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: ending.put(number))
    last = ""

    def show(snapshot: Snapshot) -> None:
        nonlocal last
        line = line_of(snapshot)
        if line != last:
            last = line
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    engine.subscribe(show)
    engine.start()
    # A signal may be taken by another thread, which wakes nobody: so it is looked for now and then.
    while True:
        with suppress(Empty):
            ending.get(timeout=1.0)
            break
    engine.stop()
    leave(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
