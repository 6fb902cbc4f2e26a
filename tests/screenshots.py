"""Pictures of the real window and tray: ``python -m tests.screenshots [--out DIR]``.

They show the sample afternoon. Under a display with a tray (``./dev screenshots`` starts one) the whole
screen is taken as a person would see it; without one the widgets draw themselves, and there is no tray.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from PySide6.QtCore import QEventLoop, QPoint, QRect, QSettings, Qt, QTimer
from PySide6.QtGui import QColor, QPainter, QPixmap
from PySide6.QtWidgets import QApplication, QDialog, QSystemTrayIcon, QWidget

from agent.core.snapshot import CardState, SignOutDue, SignOutWhy
from agent.ui import icons
from agent.ui.application import make_qt_application
from agent.ui.controller import Controller
from agent.ui.free_space_dialog import FreeSpaceDialog
from agent.ui.sign_in_dialog import SignInDialog
from agent.ui.theme import Scheme, Theme
from agent.ui.tray_state import TrayState
from tests.agent.ui import samples
from tests.agent.ui.fakes import QuietDesktop, RecordingEngine

BACKDROP = "#4d6273"
PLACE = QPoint(70, 22)


class Photographer:
    """Shows something, lets it settle, and takes the picture."""

    def __init__(self, app: QApplication, out: Path) -> None:
        self._app = app
        self._out = out
        self.on_screen = app.platformName() == "xcb"
        self.taken: list[Path] = []

    def settle(self, milliseconds: int = 250) -> None:
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20) -> bool:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self.settle(50)
        return condition()

    def take(self, name: str, widget: QWidget, *, over: QDialog | None = None) -> None:
        """Take the whole screen, or, without one, the widget with the dialog drawn over it."""
        self.settle()
        if self.on_screen:
            picture = self._app.primaryScreen().grabWindow(0)
        else:
            picture = widget.grab()
            if over is not None:
                painter = QPainter(picture)
                shot = over.grab()
                middle = picture.rect().center() - QRect(QPoint(0, 0), over.size()).center()
                painter.drawPixmap(middle, shot)
                painter.end()
        path = self._out / f"{name}.png"
        if not picture.save(str(path)):
            raise OSError(f"{path} could not be written")
        self.taken.append(path)


def tray_states(out: Path) -> Path:
    """Draw every tray icon at its usual sizes on a light and a dark taskbar."""
    sizes = (16, 24, 32, 48, 64)
    picture = QPixmap(sum(sizes) + 20 * (len(sizes) + 1), 2 * len(TrayState) * 76)
    painter = QPainter(picture)
    half = picture.height() // 2
    painter.fillRect(0, 0, picture.width(), half, QColor("#f0f3f6"))
    painter.fillRect(0, half, picture.width(), half, QColor("#1b1f24"))
    for number, state in enumerate([*TrayState, *TrayState]):
        x = 20
        for size in sizes:
            painter.drawImage(x, number * 76 + (76 - size) // 2, icons.image(f"tray-{state.value}", size))
            x += size + 20
    painter.end()
    path = out / "tray-states.png"
    picture.save(str(path))
    return path


def photograph(app: QApplication, out: Path) -> list[Path]:
    """Take every picture; returns their paths."""
    engine, desktop = RecordingEngine(), QuietDesktop()
    theme = Theme(app, Scheme.LIGHT)
    with tempfile.TemporaryDirectory() as folder:
        preferences = QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat)
        controller = Controller(engine, desktop, theme, preferences, version="0.1.0")
        window, camera = controller.window, Photographer(app, out)
        window.use_clock(lambda: samples.NOW)
        window.resize(1120, 700)
        window.move(PLACE)
        if camera.on_screen:
            camera.wait_for(QSystemTrayIcon.isSystemTrayAvailable, 10)
            controller.tray.try_show()
        window.bring_to_front()
        camera.wait_for(window.isVisible)
        for scheme in (Scheme.LIGHT, Scheme.DARK):
            theme.choose(scheme)
            _one_scheme(camera, controller, scheme.value)
        theme.choose(Scheme.LIGHT)
        controller.show_snapshot(samples.AFTERNOON)
        if camera.on_screen and controller.tray.icon.isVisible():
            corner = app.primaryScreen().geometry().bottomRight() - QPoint(250, 215)
            controller.tray.menu.popup(corner)
            camera.take("tray-menu", window)
            controller.tray.menu.hide()
        controller.tray.hide()
        window.hide()
        return [*camera.taken, tray_states(out)]


def _for_somebody_else(camera: Photographer, controller: Controller, name: str) -> None:
    """Staff bring what is Bob's."""
    bobs = replace(samples.PLATE_4, person="bob", whose="bob", target=None, suggested=None)
    afternoon = replace(samples.AFTERNOON, person=samples.STAFF, cards=(bobs, *samples.AFTERNOON.cards[1:]))
    controller.show_snapshot(afternoon)
    controller.choose_target(bobs)
    _dialog(camera, controller, f"for-somebody-else-{name}")
    controller.show_snapshot(samples.AFTERNOON)


def _one_scheme(camera: Photographer, controller: Controller, name: str) -> None:
    window = controller.window
    controller.show_snapshot(samples.AFTERNOON)
    window.choose("embryo-3")
    camera.take(f"window-{name}", window)
    controller.show_snapshot(samples.TROUBLE)
    window.choose("left-out")
    camera.take(f"needs-you-{name}", window)
    due = SignOutDue(samples.NOW + timedelta(seconds=50), SignOutWhy.END_OF_DAY)
    controller.show_snapshot(replace(samples.AFTERNOON, sign_out=due))
    camera.take(f"sign-out-{name}", window)
    controller.show_snapshot(samples.ALL_SAFE)
    window.choose("embryo-1")
    camera.take(f"log-off-{name}", window)
    controller.show_snapshot(samples.AFTERNOON)
    controller.choose_target(samples.PLATE_4, samples.PLATES)
    _dialog(camera, controller, f"target-{name}")
    _for_somebody_else(camera, controller, name)
    _free_space(camera, controller, name)
    controller.show_snapshot(samples.NOBODY)
    controller.sign_in()
    _dialog(camera, controller, f"sign-in-{name}")
    long = tuple(
        replace(c, title=f"{n}_{samples.LONG_NAME}", state=c.state)
        for n, c in enumerate(samples.many(60).cards)
    )
    controller.show_snapshot(replace(samples.AFTERNOON, cards=long))
    window.resize(900, 600)
    window.choose(next(c.id for c in long if c.state is CardState.COPYING))
    camera.take(f"small-{name}", window)
    window.resize(1120, 700)


def _free_space(camera: Photographer, controller: Controller, name: str) -> None:
    controller.show_snapshot(samples.RELEASED)
    camera.take(f"released-{name}", controller.window)
    controller.free_space()
    dialog = controller.dialog
    if not isinstance(dialog, FreeSpaceDialog):
        raise RuntimeError("no list of what may be freed")
    dialog.all.click()
    dialog.free.click()
    camera.wait_for(dialog.isVisible)
    camera.take(f"free-space-{name}", controller.window, over=dialog)
    controller.show_snapshot(samples.FREEING)
    _dialog(camera, controller, f"freeing-{name}")


def _dialog(camera: Photographer, controller: Controller, name: str) -> None:
    dialog = controller.dialog
    if dialog is None:
        raise RuntimeError(f"no dialog for {name}")
    camera.wait_for(dialog.isVisible)
    if isinstance(dialog, SignInDialog):
        dialog.username.setText("alice")
    camera.take(name, controller.window, over=dialog)
    dialog.reject()
    camera.settle(50)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("screenshots"), metavar="DIR")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    # The samples' clock is UTC, so the window's local time is too.
    os.environ["TZ"] = "UTC"
    time.tzset()
    if not os.environ.get("DISPLAY"):
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    app = make_qt_application(sys.argv[:1], QuietDesktop())
    app.setAttribute(Qt.ApplicationAttribute.AA_DontShowIconsInMenus)
    if app.platformName() == "xcb" and shutil.which("xsetroot"):
        subprocess.run(["xsetroot", "-solid", BACKDROP], check=False)
    for path in photograph(app, out):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
