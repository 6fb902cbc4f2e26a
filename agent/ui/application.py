"""The process around window and tray: start, one instance, session end, signals, stop.

The window is on the screen before the engine is made, so that a slow share or vault never delays it.
"""

from __future__ import annotations

import linecache
import signal
import socket
import sys
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QLocale, QObject, QSettings, QSocketNotifier, Qt, QTimer
from PySide6.QtGui import QGuiApplication, QIcon, QSessionManager
from PySide6.QtWidgets import QApplication, QMessageBox

from agent.core.errors import AgentError
from agent.ui import icons
from agent.ui.controller import Controller
from agent.ui.desktop import APP_ID, Desktop
from agent.ui.ports import DesktopPort, EnginePort
from agent.ui.single_instance import SingleInstance
from agent.ui.theme import Scheme, Theme


def make_qt_application(arguments: list[str], desktop: DesktopPort) -> QApplication:
    """Return the QApplication, set up the way every window of ours expects."""
    desktop.claim_app_id(APP_ID)
    QCoreApplication.setOrganizationName("OMERO Ferry")
    QCoreApplication.setApplicationName("omero-ferry")
    QGuiApplication.setApplicationDisplayName("OMERO Ferry")
    QGuiApplication.setDesktopFileName("omero-ferry")
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(arguments)
    # English texts go with 24-hour times and decimal points; a translation brings its own locale.
    QLocale.setDefault(QLocale(QLocale.Language.English, QLocale.Country.UnitedKingdom))
    app.setQuitOnLastWindowClosed(False)
    app.setWindowIcon(window_icon())
    return app


def refuse_to_start(error: AgentError) -> None:
    """Say why there will be no window, and wait until that was read."""
    texts = (error.detail, error.remedy, error.contact)
    QMessageBox.critical(None, error.title, "\n\n".join(text for text in texts if text))


def window_icon() -> QIcon:
    """Return the program's icon."""
    return icons.tray_icon("idle")


def preferences_at(path: Path) -> QSettings:
    """Return the window's own preferences (geometry, appearance); nothing in them matters to an order."""
    return QSettings(str(path), QSettings.Format.IniFormat)


def chosen_scheme(preferences: QSettings) -> Scheme:
    """Return the appearance the person chose earlier; anything unreadable means "like the system"."""
    value = str(preferences.value("appearance/scheme", Scheme.SYSTEM.value))
    return Scheme(value) if value in set(Scheme) else Scheme.SYSTEM


class FerryApplication(QObject):
    """Runs the agent with a user interface until it is told to stop."""

    def __init__(
        self,
        app: QApplication,
        engine: EnginePort,
        instance: SingleInstance | None,
        *,
        preferences: QSettings,
        desktop: DesktopPort | None = None,
        version: str = "",
    ) -> None:
        super().__init__(app)
        self.setObjectName("ferry")
        self._app = app
        self._engine = engine
        self._instance = instance
        self._stopped = False
        self._signal_ends: tuple[socket.socket, socket.socket] | None = None
        theme = Theme(app, chosen_scheme(preferences))
        self.controller = Controller(engine, desktop or Desktop(), theme, preferences, self, version=version)
        self.controller.quit_requested.connect(self.quit)
        if instance is not None:
            instance.show_requested.connect(self.controller.window.bring_to_front)
        # Windows ends the session without asking twice: stop within this call, directly.
        app.commitDataRequest.connect(self._session_ends, Qt.ConnectionType.DirectConnection)
        app.aboutToQuit.connect(self.stop)

    def start(self, *, show: bool) -> None:
        """Show tray and, if asked or if there is no tray, the window; then start the engine."""
        in_tray = self.controller.tray.try_show()
        if show or not in_tray:
            self.controller.window.bring_to_front()
        QTimer.singleShot(0, self, self._start_engine)

    def _start_engine(self) -> None:
        self._engine.subscribe(self.controller.relay.publish)
        self._engine.start()
        # PySide6 had Python keep the source of what was imported after it; nobody needs that any more.
        linecache.clearcache()

    def quit(self) -> None:
        """End the program. Not ``QApplication.quit``: that asks each window first, and ours may decline."""
        self._app.exit(0)

    def stop(self) -> None:
        """Stop the engine and take the icon away; safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        self.controller.window.hide_only_if(lambda: True)
        self.controller.tray.hide()
        self._engine.stop()
        if self._instance is not None:
            self._instance.release()

    def _session_ends(self, manager: QSessionManager) -> None:
        manager.setRestartHint(QSessionManager.RestartHint.RestartNever)
        self.stop()

    def quit_on_signals(self) -> None:
        """Quit cleanly on SIGTERM and SIGINT: Python's handlers only run when Qt gives way to Python."""
        if sys.platform == "win32":
            return
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        self._signal_ends = (reader, writer)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _do_nothing)
        notifier = QSocketNotifier(reader.fileno(), QSocketNotifier.Type.Read, self)
        notifier.activated.connect(self.quit)


def _do_nothing(_number: int, _frame: object) -> None:
    """The wake-up socket carries the signal to Qt's loop."""
