"""Which shape the tray icon has and what it says: pure functions of a snapshot."""

from __future__ import annotations

from enum import StrEnum

from PySide6.QtCore import QCoreApplication

from agent.core.snapshot import CardGroup, CardState, LogOff, Snapshot
from agent.ui import cleaning_text as words
from agent.ui import format as fmt
from agent.ui.format import shorten
from agent.ui.pause_menu import pause_text

TOOLTIP_CHARACTERS = 127
"""Windows keeps 128 characters of a tray tooltip, the last of which ends it."""


class TrayState(StrEnum):
    """One shape each; ``resources/icons/tray-<value>.svg``."""

    IDLE = "idle"
    WRITING = "writing"
    ON_ITS_WAY = "on-its-way"
    NEEDS_YOU = "needs-you"
    PROBLEM = "problem"
    SAFE = "safe"


def tray_state(snapshot: Snapshot | None) -> TrayState:
    """Return the state that matters most.

    A person who must decide comes before a problem that only staff can mend; both come before what goes on
    by itself. "Safe" needs the engine's own verdict and at least one acquisition that is done.
    """
    if snapshot is None:
        return TrayState.IDLE
    groups = {card.group for card in snapshot.cards}
    if CardGroup.NEEDS_YOU in groups:
        return TrayState.NEEDS_YOU
    if _has_problem(snapshot):
        return TrayState.PROBLEM
    if any(card.state in {CardState.WRITING, CardState.SETTLING} for card in snapshot.cards):
        return TrayState.WRITING
    if CardGroup.ON_ITS_WAY in groups:
        return TrayState.ON_ITS_WAY
    if snapshot.log_off.may is LogOff.YES and CardGroup.DONE in groups:
        return TrayState.SAFE
    return TrayState.IDLE


def _has_problem(snapshot: Snapshot) -> bool:
    if any(share.problem is not None or not share.answered for share in snapshot.shares):
        return True
    bridge = snapshot.bridge
    if bridge.workstation_status == "revoked" or bridge.problem is not None:
        return True
    return not bridge.reachable and bridge.last_answer_at is not None


def state_sentence(state: TrayState) -> str:
    """Return the state in words, for people who cannot tell the shapes."""
    tr = QCoreApplication.translate
    return {
        TrayState.IDLE: tr("tray", "Nothing to do"),
        TrayState.WRITING: tr("tray", "The microscope is writing"),
        TrayState.ON_ITS_WAY: tr("tray", "On its way to OMERO"),
        TrayState.NEEDS_YOU: tr("tray", "Something needs you"),
        TrayState.PROBLEM: tr("tray", "The share or the bridge does not answer"),
        TrayState.SAFE: tr("tray", "Everything is in OMERO"),
    }[state]


def tooltip(snapshot: Snapshot | None) -> str:
    """Return the icon's tooltip: the state and the log-off sentence."""
    if snapshot is None:
        return QCoreApplication.translate("tray", "OMERO Ferry is starting")
    sentence = (
        pause_text(snapshot.pause, snapshot.at) if snapshot.pause else state_sentence(tray_state(snapshot))
    )
    text = f"{sentence}. {snapshot.log_off.headline}".strip()
    return shorten(text, TOOLTIP_CHARACTERS)


def free_action_text(snapshot: Snapshot | None) -> str:
    """Return what is being freed on the buffer, or how much may be; empty when neither."""
    tr = QCoreApplication.translate
    if snapshot is None:
        return ""
    going = words.going(snapshot.cleaning)
    if going is not None:
        done = fmt.size_of(going.bytes_done, going.bytes_total)
        return tr("tray", "Freeing the buffer: {done}").format(done=done)
    size = sum(card.size_bytes for card in words.freeable(snapshot, everybody=False))
    return tr("tray", "Free space on the buffer: {size}…").format(size=fmt.size(size)) if size else ""


def person_left(before: Snapshot | None, after: Snapshot) -> bool:
    """Whether somebody was signed in who is no more."""
    if before is None or before.person is None:
        return False
    return after.person is None or after.person.username != before.person.username
