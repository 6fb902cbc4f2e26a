"""``python -m tests.faults.ordering_agent FILE NAME PASSWORD``: the agent's core, a person and her target.

She is signed in and has a target for everything from now on, as nobody can choose one without a window. It
ends with TERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from agent.core import commands
from agent.core.engine import Engine
from agent.core.settings import load
from agent.platform.posix import PosixPlatform
from agent.platform.vault import MemoryVault
from server_bridge.contract import Target

TARGET = Target(group_id=3, group_name="Cytoskeleton", container_name="embryos", project_name="Actin")


class OwnVault(PosixPlatform):
    """Secrets in memory: no desktop's store is asked for."""

    _memory = MemoryVault("")

    def vault(self) -> MemoryVault:
        return self._memory


def main() -> int:
    settings = load(policy={}, machine={}, machine_file=None, user_file=Path(sys.argv[1])).values
    assert settings.machine_dir is not None and settings.user_dir is not None
    platform = OwnVault(settings.machine_dir, settings.user_dir)
    # The directories are the platform's now: the engine would make another platform for named ones.
    engine = Engine(settings.model_copy(update={"machine_dir": None, "user_dir": None}), platform)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    engine.start()
    engine.submit(commands.SignIn(sys.argv[2], sys.argv[3])).result(60)
    engine.submit(commands.SetStandingTarget(TARGET)).result(60)
    print("ordering", flush=True)
    while not ending.wait(0.2):
        pass
    engine.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
