"""The pipeline of one site, in a process that a test may kill: ``python -m … SITE.json READY``."""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

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
    # A signal may be taken by another thread, which wakes nobody: so it is looked for now and then.
    while True:
        with suppress(Empty):
            ending.get(timeout=1.0)
            break
    # Should the end hang, the test's output says where.
    faulthandler.dump_traceback_later(40)
    running.stop()


if __name__ == "__main__":
    main()
