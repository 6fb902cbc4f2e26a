"""One QApplication as the program itself makes it, and a window fed by a recording engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from agent.ui.application import make_qt_application
from agent.ui.controller import Controller
from agent.ui.theme import Scheme, Theme
from tests.agent.ui import samples
from tests.agent.ui.fakes import QuietDesktop, RecordingEngine


@pytest.fixture(scope="session")
def qapp() -> QApplication:
    return make_qt_application(["omero-ferry"], QuietDesktop())


@pytest.fixture(autouse=True)
def local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples' clock is UTC, so the window's local time is too."""
    monkeypatch.setenv("TZ", "UTC")


@pytest.fixture(scope="session")
def only_theme(qapp: QApplication) -> Theme:
    return Theme(qapp, Scheme.LIGHT)


@pytest.fixture
def theme(only_theme: Theme) -> Theme:
    """The application's theme, light again for each test."""
    only_theme.choose(Scheme.LIGHT)
    return only_theme


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
def desktop() -> QuietDesktop:
    return QuietDesktop()


@pytest.fixture
def controller(
    qtbot: QtBot, theme: Theme, engine: RecordingEngine, desktop: QuietDesktop, tmp_path: Path
) -> Iterator[Controller]:
    """A controller with a visible window that shows the sample afternoon."""
    preferences = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    made = Controller(engine, desktop, theme, preferences, version="0.1.0")
    qtbot.addWidget(made.window)
    made.window.use_clock(lambda: samples.NOW)
    made.window.show()
    made.show_snapshot(samples.AFTERNOON)
    yield made
    if made.dialog is not None:
        made.dialog.reject()
    made.tray.hide()
