"""``omero-ferry``: the agent with tray and window.

Starting it a second time in one desktop session only shows the window of the first. Without a tray the window
opens by itself, and the program stays until it is told to quit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PySide6.QtWidgets import QMessageBox

from agent.core.errors import AgentError
from agent.platform import Platform, select
from agent.ui.application import FerryApplication, make_qt_application, preferences_at
from agent.ui.desktop import Desktop
from agent.ui.ports import EnginePort
from agent.ui.single_instance import SingleInstance, session_name

SETTINGS_NAME = "agent.toml"


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
    parser.add_argument("--version", action="version", version=f"omero-ferry {agent_version()}")
    return parser.parse_args(argv)


def make_engine(platform: Platform, settings: Path | None) -> EnginePort:
    """Make the engine from its settings. Raises AgentError when a setting is missing or wrong."""
    # Imported late: --version and --help work without a share, a vault or a network.
    from agent.core.engine import Engine
    from agent.core.settings import load

    effective = load(
        policy=platform.policies(),
        machine=platform.machine_settings(),
        machine_file=None if settings else platform.machine_dir() / SETTINGS_NAME,
        user_file=settings or platform.user_dir() / SETTINGS_NAME,
    )
    return Engine(effective, platform)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; returns the exit status."""
    chosen = arguments(argv)
    desktop = Desktop()
    app = make_qt_application(sys.argv[:1], desktop)
    platform = select()
    name = session_name(platform.session_id(), str(chosen.settings or ""))
    instance = SingleInstance(name, platform.user_dir())
    if not instance.acquire():
        return 0 if instance.ask_other_to_show() else 1
    try:
        engine = make_engine(platform, chosen.settings)
    except AgentError as error:
        QMessageBox.critical(
            None, error.title, "\n\n".join(part for part in (error.detail, error.remedy) if part)
        )
        instance.release()
        return 2
    preferences = preferences_at(chosen.settings.with_suffix(".window.ini") if chosen.settings else None)
    ferry = FerryApplication(app, engine, instance, preferences=preferences, version=agent_version())
    ferry.quit_on_signals()
    ferry.start(show=chosen.show)
    status = app.exec()
    ferry.stop()
    return status


if __name__ == "__main__":
    sys.exit(main())
