"""The window: header, notices, list and detail, footer. It renders snapshots and hands on what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from PySide6.QtCore import QByteArray, QCoreApplication, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QHideEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from agent.core.snapshot import SignOutWhy, Snapshot
from agent.ui import format as fmt
from agent.ui.card_list import CardList
from agent.ui.detail import DetailPane
from agent.ui.footer import Footer
from agent.ui.header import Header
from agent.ui.inline_bar import InlineBar
from agent.ui.pause_bar import PauseBar
from agent.ui.ports import TargetsPort
from agent.ui.theme import Tone
from server_bridge.contract import Reason, Target

LIST_WIDTH = 472

_tr = QCoreApplication.translate


class MainWindow(QWidget):
    """One window; closing it only hides it, the agent goes on in the tray."""

    action = Signal(str, str)
    """Card id, action name."""
    accept_left_out = Signal(str, str)
    """Card id, note."""
    look_now = Signal()
    stay_signed_in = Signal()
    closed = Signal()

    def __init__(self, targets: TargetsPort) -> None:
        super().__init__()
        self.setObjectName("mainWindow")
        self.setWindowTitle("OMERO Ferry")
        self.setMinimumSize(900, 600)
        self.resize(1120, 720)
        self._targets = targets
        self._clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._may_hide: Callable[[], bool] = lambda: True
        self._snapshot: Snapshot | None = None
        self._recents: tuple[Target, ...] = ()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.header = Header()
        column.addWidget(self.header)
        self.pause_bar = PauseBar()
        column.addWidget(self.pause_bar)
        self.notice = InlineBar(closable=False)
        self.notice.setObjectName("standingNotice")
        self.bar = InlineBar()
        self.sign_out = InlineBar(closable=False)
        self.sign_out.setObjectName("signOutWarning")
        column.addWidget(self.sign_out)
        column.addWidget(self.notice)
        column.addWidget(self.bar)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.setObjectName("splitter")
        self.splitter.setHandleWidth(1)
        self.splitter.setChildrenCollapsible(False)
        left = QWidget()
        left.setMinimumWidth(360)
        inside = QHBoxLayout(left)
        inside.setContentsMargins(0, 6, 0, 0)
        self.list = CardList()
        inside.addWidget(self.list)
        self.detail = DetailPane()
        self.detail.setMinimumWidth(420)
        self.splitter.addWidget(left)
        self.splitter.addWidget(self.detail)
        self.splitter.setStretchFactor(0, 0)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([LIST_WIDTH, 1120 - LIST_WIDTH])
        column.addWidget(self.splitter, 1)
        self.footer = Footer()
        column.addWidget(self.footer)

        self.list.chosen.connect(self._show_detail)
        self.list.action.connect(self.action)
        self.detail.action.connect(self.action)
        self.detail.accept_left_out.connect(self.accept_left_out)
        self._second = QTimer(self)
        self._second.setObjectName("eachSecond")
        self._second.setInterval(1_000)
        self._second.timeout.connect(self._tick)
        for keys in (QKeySequence.StandardKey.Refresh, QKeySequence("Ctrl+R")):
            QShortcut(keys, self, self.look_now.emit)
        QShortcut(QKeySequence.StandardKey.Close, self, self.close)
        self.list.setFocus()

    def use_clock(self, clock: Callable[[], datetime]) -> None:
        """Tell "3 s ago" by another clock than this machine's: tests and pictures stand still."""
        self._clock = clock

    def clock(self) -> datetime:
        """Return now, by the window's clock."""
        return self._clock()

    def hide_only_if(self, may_hide: Callable[[], bool]) -> None:
        """Let closing hide the window only while ``may_hide`` says so."""
        self._may_hide = may_hide

    @property
    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Render a snapshot; what did not change is not touched."""
        self._snapshot = snapshot
        now = self._clock()
        self.header.show_snapshot(snapshot, now)
        self.footer.show_snapshot(snapshot, now)
        self.pause_bar.show_snapshot(snapshot, now)
        self._show_sign_out(snapshot)
        self._show_notice(snapshot)
        # Once per snapshot: it is a read of the outbox.
        self._recents = tuple(self._targets.recents())
        self.list.show_cards(snapshot.cards, self._recents, now)
        current = self.list.current_card()
        self._show_detail(current.id if current else "")

    def choose(self, card_id: str) -> None:
        """Make a card the chosen one."""
        self.list.choose(card_id)

    def bring_to_front(self) -> None:
        """Show the window, also when it is hidden, minimised or behind others."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def geometry_to_keep(self) -> QByteArray:
        return self.saveGeometry()

    def _show_detail(self, card_id: str) -> None:
        card = self.list.cards.card(card_id) if card_id else None
        self.detail.show_card(card, self._recents[0] if self._recents else None, self._clock())

    def _show_sign_out(self, snapshot: Snapshot) -> None:
        due = snapshot.sign_out
        if due is None:
            self.sign_out.dismiss()
            return
        at = fmt.clock(due.at, now=self._clock())
        self.sign_out.offer(
            _tr("window", "You will be signed out at {time}").format(time=at),
            f"{why_signed_out(due.why)} {_tr('window', 'What you have ordered goes on by itself.')}",
            _tr("window", "Stay signed in") if due.may_stay else "",
            self.stay_signed_in.emit,
        )

    def _show_notice(self, snapshot: Snapshot) -> None:
        reason = standing_problem(snapshot) or snapshot.damage or snapshot.signed_out
        if reason is None:
            self.notice.dismiss()
            return
        revoked = snapshot.bridge.workstation_status == "revoked"
        self.notice.show_reason(reason, Tone.FAILED if revoked else Tone.PLAIN)

    def _tick(self) -> None:
        if self._snapshot is not None:
            now = self._clock()
            self.header.show_time(self._snapshot, now)
            self.pause_bar.show_snapshot(self._snapshot, now)
            self.footer.show_time(self._snapshot, now)

    # --- Qt's side ------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._tick()
        self._second.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """A hidden window costs nothing: its clock stands still."""
        super().hideEvent(event)
        self._second.stop()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Hide while there is a tray icon to come back from; otherwise only step aside into the taskbar."""
        self.closed.emit()
        if self._may_hide():
            super().closeEvent(event)
            return
        event.ignore()
        self.showMinimized()


def why_signed_out(why: SignOutWhy) -> str:
    """Return why a sign-in is about to end, as a sentence."""
    return {
        SignOutWhy.IDLE: _tr("window", "Nobody has used this workstation for a while."),
        SignOutWhy.END_OF_DAY: _tr("window", "It is the end of the day here; you can stay an hour longer."),
        SignOutWhy.EXPIRED: _tr("window", "A sign-in lasts for a limited time. Sign in again to go on."),
    }[why]


def standing_problem(snapshot: Snapshot) -> Reason | None:
    """Return the one problem that everything else waits for, if there is one."""
    bridge = snapshot.bridge
    if bridge.workstation_status == "revoked":
        return bridge.problem or Reason(
            code="workstation_revoked",
            title=_tr("window", "This workstation may no longer use the bridge"),
            remedy=_tr("window", "Ask the facility staff. The data on the share is untouched."),
        )
    away = next((share.problem for share in snapshot.shares if share.problem is not None), None)
    if away is not None:
        return away
    if bridge.workstation_status == "pending":
        return bridge.problem or Reason(
            code="workstation_pending",
            title=_tr("window", "This workstation waits for the staff's approval"),
            detail=_tr("window", "It is known to the bridge, but may not send anything yet."),
            remedy=_tr("window", "Tell the facility staff the name in the top left corner."),
        )
    return bridge.problem
