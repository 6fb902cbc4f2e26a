"""The tray icon: its shape is the state, its menu starts with the sentence about logging off.

Explorer may start after us, or crash: while there is no tray the icon is tried again, and the window is the
way in. Qt itself re-adds an icon after Explorer's restart.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from agent.core.snapshot import CardGroup, Snapshot
from agent.ui import icons
from agent.ui.format import shorten
from agent.ui.notices import BATCH_SECONDS, Batch, Toast, collect, toast
from agent.ui.pause_menu import PauseMenu
from agent.ui.ports import DesktopPort
from agent.ui.tray_state import TrayState, free_action_text, person_left, tooltip, tray_state

TRY_AGAIN_MS = 5_000
HELD_BACK_MS = 30_000


class Tray(QObject):
    """Shows snapshots in the notification area; everything the person wants comes out as a signal."""

    open_window = Signal()
    open_card = Signal(str)
    choose_target = Signal(str)
    sign_in = Signal()
    sign_out = Signal()
    free_space = Signal()
    pause = Signal(object)
    """An `agent.core.commands.Pause`."""
    resume = Signal()
    quit = Signal()

    def __init__(self, desktop: DesktopPort, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("tray")
        self._desktop = desktop
        self._icons = {state: icons.tray_icon(state.value) for state in TrayState}
        self._snapshot: Snapshot | None = None
        self._state = TrayState.IDLE
        self._batch = Batch()
        self._toast_card = ""
        self.last_toast: Toast | None = None

        self.menu = QMenu()
        self.headline = QAction(self.menu)
        self.headline.setEnabled(False)
        self.menu.addAction(self.headline)
        self.menu.addSeparator()
        self.open_action = self.menu.addAction(self.tr("Open OMERO Ferry"), self.open_window.emit)
        self.target_action = self.menu.addAction("", self._choose_newest)
        self.free_action = self.menu.addAction("", self.free_space.emit)
        self.pause_menu = PauseMenu(self.menu)
        self.pause_menu.pause.connect(self.pause)
        self.pause_menu.resume.connect(self.resume)
        self.menu.addMenu(self.pause_menu)
        self.menu.addSeparator()
        self.sign_action = self.menu.addAction("", self._sign)
        self.quit_action = self.menu.addAction(self.tr("Quit"), self.quit.emit)

        self.icon = QSystemTrayIcon(self._icons[TrayState.IDLE], self)
        self.icon.setContextMenu(self.menu)
        self.icon.activated.connect(self._activated)
        self.icon.messageClicked.connect(self._toast_clicked)
        self._retry = QTimer(self)
        self._retry.setObjectName("trayRetry")
        self._retry.setInterval(TRY_AGAIN_MS)
        self._retry.timeout.connect(self.try_show)
        self._batch_timer = QTimer(self)
        self._batch_timer.setObjectName("toastBatch")
        self._batch_timer.setSingleShot(True)
        self._batch_timer.timeout.connect(self.tell)
        self._update()

    @property
    def state(self) -> TrayState:
        return self._state

    def try_show(self) -> bool:
        """Show the icon if there is a tray; otherwise try again later. Returns whether it is shown."""
        if QSystemTrayIcon.isSystemTrayAvailable():
            self._retry.stop()
            self.icon.show()
            return True
        if not self._retry.isActive():
            self._retry.start()
        return False

    def hide(self) -> None:
        """Take the icon away before the program ends, so that none is left behind."""
        self._retry.stop()
        self._batch_timer.stop()
        self.icon.hide()

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Bring shape, tooltip and menu up to date and collect what is worth a toast."""
        if person_left(self._snapshot, snapshot):
            # What was news to the last person is nobody's business now.
            self._batch, self._toast_card = Batch(), ""
            self._batch_timer.stop()
            self._snapshot = None
        self._batch = collect(self._batch, self._snapshot, snapshot)
        self._snapshot = snapshot
        self._update()
        if not self._batch.is_empty and not self._batch_timer.isActive():
            self._batch_timer.start(int(BATCH_SECONDS * 1000))

    def tell(self) -> Toast | None:
        """Show one toast for the batch, unless something runs in full screen; while the microscope acquires
        only what needs somebody."""
        if self._snapshot is not None and self._snapshot.acquiring:
            self._batch = self._batch.without_good_news()
        if not self._desktop.may_interrupt():
            self._batch = self._batch.without_good_news()
            if not self._batch.is_empty:
                self._batch_timer.start(HELD_BACK_MS)
            return None
        made = toast(self._batch)
        self._batch = Batch()
        if made is not None:
            self.last_toast = made
            self._toast_card = made.card_id
            if self.icon.isVisible():
                self.icon.showMessage(made.title, made.body, self._icons[self._state])
        return made

    def _update(self) -> None:
        snapshot = self._snapshot
        state = tray_state(snapshot)
        if state is not self._state:
            self._state = state
            self.icon.setIcon(self._icons[state])
        self.icon.setToolTip(tooltip(snapshot))
        verdict = snapshot.log_off if snapshot else None
        headline = (
            f"{verdict.headline} {verdict.detail}".strip() if verdict else self.tr("OMERO Ferry is starting")
        )
        self.headline.setToolTip(headline)
        self.headline.setText(shorten(headline, 90).replace("&", "&&"))
        self.pause_menu.show_snapshot(snapshot)
        newest = self.newest_without_target()
        self.target_action.setVisible(bool(newest))
        if newest:
            name = shorten(newest[1], 40).replace("&", "&&")
            self.target_action.setText(self.tr("Choose target for {title}…").format(title=name))
        free = free_action_text(snapshot)
        self.free_action.setVisible(bool(free))
        self.free_action.setText(free)
        person = snapshot.person if snapshot else None
        self.sign_action.setText(
            self.tr("Sign out {name}").format(name=person.full_name or person.username)
            if person
            else self.tr("Sign in…")
        )

    def newest_without_target(self) -> tuple[str, str] | None:
        """Return id and title of the newest acquisition that waits for a target."""
        cards = self._snapshot.cards if self._snapshot else ()
        open_cards = [c for c in cards if c.target is None and "ChooseTarget" in c.actions]
        open_cards = [c for c in open_cards if c.group in {CardGroup.NEEDS_YOU, CardGroup.NOW}]
        dated = [(c.last_change_at or c.first_seen_at, c) for c in open_cards]
        known = [(at, c) for at, c in dated if at is not None]
        newest = max(known, key=lambda pair: pair[0])[1] if known else next(iter(open_cards), None)
        return (newest.id, newest.title) if newest else None

    def _choose_newest(self) -> None:
        newest = self.newest_without_target()
        if newest:
            self.choose_target.emit(newest[0])

    def _sign(self) -> None:
        (self.sign_out if self._snapshot and self._snapshot.person else self.sign_in).emit()

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in {QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick}:
            self.open_window.emit()

    def _toast_clicked(self) -> None:
        # Qt does not say which message was clicked: it is always the last one.
        if self._toast_card:
            self.open_card.emit(self._toast_card)
        else:
            self.open_window.emit()
