"""The pipeline of one site, in a process that a test may kill: ``python -m … SITE.json READY``."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from queue import SimpleQueue

from server_bridge.config import SiteConfig
from server_bridge.context import build_context
from server_bridge.observability import configure_logging
from server_bridge.pipeline import service


def main() -> None:
    configure_logging("console")
    ending: SimpleQueue[int] = (
        SimpleQueue()
    )  # an Event could be locked by the very thread that is interrupted
    signal.signal(signal.SIGTERM, lambda number, _frame: ending.put(number))
    running = service.start(build_context(SiteConfig(**json.loads(Path(sys.argv[1]).read_text()))))
    Path(sys.argv[2]).touch()
    ending.get()
    running.stop()


if __name__ == "__main__":
    main()
