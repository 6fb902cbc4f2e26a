"""An agent as a process of its own, to be killed: ``python -m tests.agent.core.cleaning_process TOP URL``."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from agent.core.engine import Engine
from agent.core.settings import AgentSettings
from tests.agent.conftest import OwnPlatform

SECONDS_PER_FILE = 0.004


def main() -> None:
    """Run until somebody ends it."""
    top, url = Path(sys.argv[1]), sys.argv[2]
    unlink = Path.unlink

    def slowly(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok)
        if self.suffix == ".tif":
            time.sleep(SECONDS_PER_FILE)

    Path.unlink = slowly  # type: ignore[method-assign]
    settings = AgentSettings(
        bridge_url=url,
        workstation_name="Confocal SP8",
        shares={"scope1": top / "share"},
        hot_seconds=0.1,
        today_seconds=0.2,
        full_seconds=1.0,
        heartbeat_seconds=0.5,
        request_seconds=5,
        retry_cap_seconds=0.5,
        hints=False,
    )
    Engine(settings, OwnPlatform(top), version="test").start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
