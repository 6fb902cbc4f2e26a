"""Joins engine, window and tray: what a click means, which command it becomes, where its failure is shown.

No widget knows the engine's commands but through here and the two dialogs; nothing here blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from PySide6.QtCore import QEvent, QObject, QPoint, QSettings, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication, QDialog, QMessageBox

from agent.core.cards import target_text
from agent.core.commands import (
    AcceptLeftOut,
    Cancel,
    ChooseTarget,
    Command,
    DoneNow,
    FreeSpace,
    LookNow,
    NotYet,
    Resume,
    Retry,
    SetStandingTarget,
    SignOut,
    StaySignedIn,
    Typing,
)
from agent.core.errors import AgentError
from agent.core.snapshot import Card, CardState, LogOff, Snapshot
from agent.ui.card_text import OPEN_IN_OMERO, SAME_TARGET, SIGN_IN
from agent.ui.free_space_dialog import FreeSpaceDialog
from agent.ui.person_menu import PersonMenu
from agent.ui.ports import DesktopPort, EnginePort
from agent.ui.relay import SnapshotRelay, deliver
from agent.ui.sign_in_dialog import SignInDialog
from agent.ui.target_dialog import TargetDialog
from agent.ui.texts import STARTED, action_text
from agent.ui.theme import Scheme, Theme, Tone
from agent.ui.tray import Tray
from agent.ui.tray_state import person_left
from agent.ui.window import MainWindow
from server_bridge.contract import Target

_PLAIN_COMMANDS: dict[str, Callable[[str], Command]] = {
    "DoneNow": DoneNow,
    "NotYet": NotYet,
    "Retry": Retry,
    "Cancel": Cancel,
    "AcceptLeftOut": AcceptLeftOut,
    "FreeSpace": lambda card_id: FreeSpace((card_id,)),
}


_HANDS_ON = frozenset({QEvent.Type.KeyPress, QEvent.Type.InputMethod, QEvent.Type.MouseButtonPress})
TYPING_MS = 5_000
UNDO_MS = 30_000
"""How long a choice can be undone from the bar; on the card it can be until the import starts."""
_NOT_ORDERED = frozenset({CardState.CANCELLED, CardState.REFUSED})


class Controller(QObject):
    """Owns window, tray and dialogs."""

    quit_requested = Signal()

    def __init__(
        self,
        engine: EnginePort,
        desktop: DesktopPort,
        theme: Theme,
        preferences: QSettings,
        parent: QObject | None = None,
        *,
        version: str = "",
    ) -> None:
        super().__init__(parent)
        self.setObjectName("controller")
        self._engine = engine
        self._theme = theme
        self._preferences = preferences
        self._version = version
        self._snapshot: Snapshot | None = None
        self.dialog: QDialog | None = None
        self.open_url: Callable[[QUrl], object] = QDesktopServices.openUrl

        self.window = MainWindow(engine.targets)
        self.tray = Tray(desktop, self)
        self.relay = SnapshotRelay(self)
        self.relay.snapshot.connect(self.show_snapshot)

        window = self.window
        window.action.connect(self.act)
        window.accept_left_out.connect(self._accept_left_out)
        window.stay_signed_in.connect(lambda: self.submit(StaySignedIn()))
        self._typed = QTimer(self)
        self._typed.setObjectName("typedLately")
        self._typed.setSingleShot(True)
        self._typed.setInterval(TYPING_MS)
        self._undoable = ""
        self._undo_time = QTimer(window)  # it ends with what it would change
        self._undo_time.setObjectName("undoOffered")
        self._undo_time.setSingleShot(True)
        self._undo_time.setInterval(UNDO_MS)
        self._undo_time.timeout.connect(self._end_undo)
        window.look_now.connect(lambda: self.submit(LookNow()))
        window.footer.free_space.connect(self.free_space)
        window.pause_bar.resume.connect(lambda: self.submit(Resume()))
        window.closed.connect(self._keep_geometry)
        window.header.chip.change.connect(self.choose_standing_target)
        window.header.chip.end.connect(lambda: self.submit(SetStandingTarget(None)))
        window.header.person_clicked.connect(self._person_clicked)
        tray = self.tray
        window.hide_only_if(tray.icon.isVisible)
        tray.open_window.connect(window.bring_to_front)
        tray.open_card.connect(self._open_card)
        tray.choose_target.connect(self._choose_from_tray)
        tray.sign_in.connect(self._sign_in_from_tray)
        tray.sign_out.connect(lambda: self.submit(SignOut()))
        tray.free_space.connect(self.free_space)
        tray.pause.connect(self.submit)
        tray.resume.connect(lambda: self.submit(Resume()))
        tray.quit.connect(self.ask_to_quit)
        geometry = preferences.value("window/geometry")
        if geometry:
            window.restoreGeometry(geometry)

    # --- snapshots ------------------------------------------------------------------------------------

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Render a snapshot in window and tray."""
        left = person_left(self._snapshot, snapshot)
        self._snapshot = snapshot
        if left:
            self._clear_away()
        self.window.show_snapshot(snapshot)
        self.tray.show_snapshot(snapshot)
        undoable = self._card(self._undoable) if self._undoable else None
        if self._undoable and (undoable is None or undoable.state in STARTED):
            self._end_undo()
        if isinstance(self.dialog, TargetDialog):
            self.dialog.show_person(snapshot.person)
        if isinstance(self.dialog, FreeSpaceDialog):
            self.dialog.show_snapshot(snapshot)

    def _clear_away(self) -> None:
        """The last person's question, answer or half-filled form is not for the next one's eyes."""
        self.window.bar.dismiss()
        if self.dialog is not None and not isinstance(self.dialog, SignInDialog):
            self.dialog.reject()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Tell the engine that somebody types into a dialog, every few seconds at most."""
        if self.dialog is not None and event.type() in _HANDS_ON and not self._typed.isActive():
            self._typed.start()
            self._engine.submit(Typing())
        return super().eventFilter(watched, event)

    def _card(self, card_id: str) -> Card | None:
        cards = self._snapshot.cards if self._snapshot else ()
        return next((card for card in cards if card.id == card_id), None)

    # --- actions --------------------------------------------------------------------------------------

    def act(self, card_id: str, name: str) -> None:
        """Do what a button of a card says."""
        card = self._card(card_id)
        if card is None:
            return
        if name == OPEN_IN_OMERO:
            self.open_url(QUrl(card.result_url))
            return
        if name == SIGN_IN:
            self.sign_in()
            return
        if name == "ChooseTarget":
            self.choose_target(card)
            return
        if name == SAME_TARGET:
            recents = self._engine.targets.recents()
            self.choose_target(card, recents[0] if recents else None)
            return
        make = _PLAIN_COMMANDS.get(name)
        text = action_text(name, card)
        if make is None or text is None:
            return
        if text.confirm:
            self.window.bring_to_front()
            self.window.bar.ask(text.confirm, text.confirm_label, lambda: self.submit(make(card_id)))
        else:
            self.submit(make(card_id))

    def _accept_left_out(self, card_id: str, note: str) -> None:
        card = self._card(card_id)
        text = action_text("AcceptLeftOut", card) if card else None
        if text is not None:
            command = AcceptLeftOut(card_id, note)
            self.window.bar.ask(text.confirm, text.confirm_label, lambda: self.submit(command))

    def submit(self, command: Command) -> None:
        """Hand a command to the engine; a failure is told in the window's bar."""
        self._end_undo()
        self.window.bar.dismiss()
        future: Future[Any] = self._engine.submit(command)
        deliver(future, self, _nothing, self._failed)

    def _failed(self, error: AgentError) -> None:
        self._undoable = ""
        self.window.bar.show_reason(error.reason())

    def _end_undo(self) -> None:
        """The offer goes, and only the offer: a question or an error that took its place stays."""
        self._undo_time.stop()
        if self._undoable and self.window.bar.is_offer():
            self.window.bar.dismiss()
        self._undoable = ""

    # --- dialogs --------------------------------------------------------------------------------------

    def choose_target(self, card: Card, prefill: Target | None = None) -> None:
        """Open the target dialog for a card; whoever is not signed in signs in first."""
        self._signed_in(lambda: self._open_target_dialog(card, prefill))

    def choose_standing_target(self) -> None:
        """Open the target dialog for "from now on"."""
        standing = self._snapshot.standing_target if self._snapshot else None
        self._signed_in(lambda: self._open_target_dialog(None, standing))

    def _open_target_dialog(self, card: Card | None, prefill: Target | None) -> None:
        person = self._snapshot.person if self._snapshot else None
        dialog = TargetDialog(self._engine, card, person, self.window, prefill=prefill)
        self._open(dialog)
        if card is not None:
            dialog.accepted.connect(lambda: self._offer_undo(card, dialog.chosen))

    def _offer_undo(self, card: Card, chosen: Target | None) -> None:
        """One click takes the choice back: the order with it, or to where it was going before."""
        if chosen is None:
            return
        before = card.target if card.state not in _NOT_ORDERED else None
        command = Cancel(card.id) if before is None else ChooseTarget(card.id, before)
        self.window.bar.offer(
            self.tr("{title} goes to {place}").format(title=card.title, place=target_text(chosen)),
            self.tr("You can take this back until the import starts."),
            self.tr("Undo"),
            lambda: self.submit(command),
            tone=Tone.ACCENT,
        )
        self._undoable = card.id
        self._undo_time.start()

    def free_space(self) -> None:
        """Open the list of what may be deleted on the buffer."""
        self._signed_in(self._open_free_space)

    def _open_free_space(self) -> None:
        if self._snapshot is not None:
            clock = self.window.clock
            self._open(FreeSpaceDialog(self._engine, self._snapshot, self.window, clock=clock))

    def sign_in(self, then: Callable[[], None] | None = None) -> None:
        """Open the sign-in dialog; ``then`` runs once it worked."""
        dialog = SignInDialog(self._engine, self.window)
        self._open(dialog)
        if then is not None:
            # After _open's own connection: the next dialog opens when this one is out of the way.
            dialog.finished.connect(lambda result: then() if result == QDialog.DialogCode.Accepted else None)

    def _signed_in(self, then: Callable[[], None]) -> None:
        if self._snapshot is not None and self._snapshot.person is not None:
            then()
        else:
            self.sign_in(then)

    def _open(self, dialog: QDialog) -> None:
        """Open a dialog over the window without a loop of its own; one at a time."""
        if self.dialog is not None:
            self.dialog.reject()
        self.window.bring_to_front()
        self.dialog = dialog
        app = QApplication.instance()
        if app is not None:
            app.installEventFilter(self)
        dialog.finished.connect(lambda: self._dialog_closed(dialog))
        dialog.open()

    def _dialog_closed(self, dialog: QDialog) -> None:
        if self.dialog is dialog:
            self.dialog = None
            app = QApplication.instance()
            if app is not None:
                app.removeEventFilter(self)
        dialog.deleteLater()

    # --- person and tray ------------------------------------------------------------------------------

    def _person_clicked(self) -> None:
        person = self._snapshot.person if self._snapshot else None
        if person is None and self.dialog is None:
            self.sign_in()
            return
        chip = self.window.header.person
        menu = self.person_menu()
        menu.popup(chip.mapToGlobal(QPoint(chip.width() - menu.sizeHint().width(), chip.height() + 4)))

    def person_menu(self) -> PersonMenu:
        """Return the menu behind the person chip."""
        person = self._snapshot.person if self._snapshot else None
        notice = self._snapshot.sign_in_notice if self._snapshot else ""
        menu = PersonMenu(
            person, self._theme.scheme, self._version, self.window, notice=notice, snapshot=self._snapshot
        )
        menu.aboutToHide.connect(menu.deleteLater)
        menu.sign_in.connect(self.sign_in)
        menu.sign_out.connect(lambda: self.submit(SignOut()))
        menu.scheme_chosen.connect(self._choose_scheme)
        menu.look_now.connect(lambda: self.submit(LookNow()))
        menu.free_space.connect(self.free_space)
        menu.pause.connect(self.submit)
        menu.resume.connect(lambda: self.submit(Resume()))
        menu.quit.connect(self.ask_to_quit)
        return menu

    def _choose_scheme(self, scheme: Scheme) -> None:
        self._theme.choose(scheme)
        self._preferences.setValue("appearance/scheme", scheme.value)

    def _open_card(self, card_id: str) -> None:
        self.window.bring_to_front()
        self.window.choose(card_id)

    def _choose_from_tray(self, card_id: str) -> None:
        self._open_card(card_id)
        self.act(card_id, "ChooseTarget")

    def _sign_in_from_tray(self) -> None:
        self.sign_in()

    def ask_to_quit(self) -> None:
        """Quit; while something is not with the bridge yet, say what and ask first."""
        snapshot = self._snapshot
        if snapshot is None or (snapshot.log_off.may is not LogOff.NO and not snapshot.outbox_pending):
            self.quit_requested.emit()
            return
        self.window.bring_to_front()
        box = QMessageBox(self.window)
        box.setObjectName("quitQuestion")
        box.setWindowTitle(self.tr("Quit OMERO Ferry"))
        box.setIcon(QMessageBox.Icon.Question)
        box.setText(self.tr("Quit although not everything is with the bridge yet?"))
        box.setInformativeText(
            "\n\n".join(
                part
                for part in (
                    f"{snapshot.log_off.headline} {snapshot.log_off.detail}".strip(),
                    self.tr("What is ordered is kept on this workstation and goes on at the next start."),
                )
                if part
            )
        )
        stay = box.addButton(self.tr("Keep running"), QMessageBox.ButtonRole.RejectRole)
        leave = box.addButton(self.tr("Quit"), QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(stay)
        box.setEscapeButton(stay)
        leave.clicked.connect(self.quit_requested)
        self._open(box)

    def _keep_geometry(self) -> None:
        self._preferences.setValue("window/geometry", self.window.geometry_to_keep())


def _nothing(_result: object) -> None:
    """A command that worked shows itself in the next snapshot."""
