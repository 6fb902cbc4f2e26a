"""``omero-ferry``: the agent with tray and window.

Starting it a second time in one desktop session only shows the window of the first. Without a tray the window
opens by itself, and the program stays until it is told to quit.

Qt comes with the last imports, those of `agent.ui`. From then on PySide6 has Python read the source of each
module that is imported into memory, in search of its own ``__feature__`` (measured with 6.8: 14 MB).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from logging.handlers import RotatingFileHandler
from pathlib import Path

from agent import explain
from agent.core.engine import Engine
from agent.core.errors import AgentError
from agent.core.settings import AgentSettings, load
from agent.core.workers import leave
from agent.platform import Platform, select
from agent.ui.application import FerryApplication, make_qt_application, preferences_at, refuse_to_start
from agent.ui.desktop import Desktop
from agent.ui.ports import EnginePort
from agent.ui.single_instance import SingleInstance, session_name

SETTINGS_NAME = "agent.toml"

LOG_BYTES = 1_000_000


def agent_version() -> str:
    """Return the installed version; a checkout that was never installed has none."""
    try:
        return version("omero-ferry")
    except PackageNotFoundError:
        return "unknown"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="omero-ferry", description="Brings acquisitions from the microscope's share into OMERO."
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="settings file instead of this machine's and person's"
    )
    parser.add_argument(
        "--show", action="store_true", help="open the window at once instead of waiting in the tray"
    )
    parser.add_argument(
        "--explain",
        metavar="FOLDER …",
        help="instead of running: how a folder would be grouped, and why (omero-ferry-explain --help)",
    )
    parser.add_argument("--version", action="version", version=f"omero-ferry {agent_version()}")
    return parser.parse_args(argv)


def read_settings(file: Path | None) -> AgentSettings:
    """Read the settings; ``file`` stands in for this machine's file, and the person's is then left out.

    Raises AgentError when one is missing or wrong; the administrator's policy holds in any case.
    """
    platform = select()
    return load(
        policy=platform.policies(),
        machine=platform.machine_settings(),
        machine_file=file or platform.machine_dir() / SETTINGS_NAME,
        user_file=None if file else platform.user_dir() / SETTINGS_NAME,
    ).values


def make_engine(settings: AgentSettings, platform: Platform) -> EnginePort:
    """Open the engine's files; nothing runs yet. Raises AgentError when it cannot."""
    return Engine(settings, platform, version=agent_version())


def keep_log(path: Path) -> None:
    """Write what the agent does into a file of this person, 2 MB at most; no secret is ever logged."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
    except OSError as error:
        # Without a log the agent still does its work; a window without a console has nowhere else to say it.
        logging.getLogger(__name__).warning("no log in %s: %s", path, error)
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; returns the exit status: 0, 1 when another agent hangs, 2 when it cannot start."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["--explain"]:
        return explain.main(given[1:])
    chosen = arguments(argv)
    app = make_qt_application(sys.argv[:1], Desktop())
    try:
        settings = read_settings(chosen.settings)
        platform = select(settings.machine_dir, settings.user_dir)
        name = session_name(platform.session_id(), str(chosen.settings or ""))
        instance = SingleInstance(name, platform.user_dir())
        if not instance.acquire():
            return 0 if instance.ask_other_to_show() else 1
        keep_log(platform.user_dir() / "logs" / "agent.log")
        engine = make_engine(settings, platform)
    except AgentError as error:
        refuse_to_start(error)
        return 2
    preferences = preferences_at(platform.user_dir() / "window.ini")
    ferry = FerryApplication(app, engine, instance, preferences=preferences, version=agent_version())
    ferry.quit_on_signals()
    ferry.start(show=chosen.show)
    status = app.exec()
    ferry.stop()
    leave(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
