"""Every state, group, station and action in words. A word and a shape per state; colour only repeats them."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QCoreApplication

from agent.core.snapshot import Card, CardGroup, CardState, Station
from agent.ui import format as fmt
from agent.ui.theme import Tone

_tr = QCoreApplication.translate

STARTED = frozenset(
    {
        CardState.IMPORTING,
        CardState.PROVING,
        CardState.PROVEN,
        CardState.SAFE_TO_DELETE,
        CardState.FREED,
    }
)
"""States after the point of no return: the target can no longer be changed."""

PROVEN_STATES = frozenset({CardState.PROVEN, CardState.SAFE_TO_DELETE, CardState.FREED})


def state_word(state: CardState | str) -> str:
    """Return the word on the card's badge; a state this agent does not know asks for a newer agent."""
    words = {
        CardState.WRITING: _tr("state", "Being written"),
        CardState.SETTLING: _tr("state", "Waiting for quiet"),
        CardState.UNCLAIMED: _tr("state", "Nobody's yet"),
        CardState.NEEDS_TARGET: _tr("state", "Needs a target"),
        CardState.SENDING: _tr("state", "Sending the order"),
        CardState.REFUSED: _tr("state", "Refused"),
        CardState.QUEUED: _tr("state", "In the queue"),
        CardState.COPYING: _tr("state", "Copying"),
        CardState.CHECKING: _tr("state", "Checking the copy"),
        CardState.IMPORTING: _tr("state", "Importing"),
        CardState.PROVING: _tr("state", "Proving"),
        CardState.WAITING: _tr("state", "Waiting"),
        CardState.ATTENTION: _tr("state", "Needs you"),
        CardState.PROVEN: _tr("state", "In OMERO, proven"),
        CardState.SAFE_TO_DELETE: _tr("state", "Proven, safe to delete"),
        CardState.FREED: _tr("state", "In OMERO, copy removed"),
        CardState.CANCELLED: _tr("state", "Cancelled"),
        CardState.NEEDS_NEWER_AGENT: _tr("state", "Needs a newer agent"),
    }
    return words.get(CardState(state) if state in set(CardState) else CardState.NEEDS_NEWER_AGENT, "")


def state_shape(state: CardState | str) -> str:
    """Return the icon name of the state's shape."""
    known = state if state in set(CardState) else CardState.NEEDS_NEWER_AGENT
    return f"state-{CardState(known).value}"


def tone(card: Card) -> Tone:
    """Return the colour rule of a card: green only proven, amber only "you must", red only the end."""
    if card.state in PROVEN_STATES:
        return Tone.PROVEN
    if card.group is CardGroup.NEEDS_YOU:
        return Tone.NEEDS_YOU
    if card.state is CardState.REFUSED:
        return Tone.FAILED
    if card.state in {
        CardState.SENDING,
        CardState.COPYING,
        CardState.CHECKING,
        CardState.IMPORTING,
        CardState.PROVING,
    }:
        return Tone.ACCENT
    return Tone.PLAIN


def group_heading(group: CardGroup) -> str:
    return {
        CardGroup.NEEDS_YOU: _tr("group", "Needs you"),
        CardGroup.NOW: _tr("group", "Now"),
        CardGroup.ON_ITS_WAY: _tr("group", "On its way"),
        CardGroup.DONE: _tr("group", "Done"),
    }[group]


def station_name(station: Station) -> str:
    return {
        Station.WRITTEN: _tr("station", "Written"),
        Station.FINISHED: _tr("station", "Finished"),
        Station.COPYING: _tr("station", "Copying"),
        Station.IN_OMERO: _tr("station", "In OMERO"),
        Station.PROVEN: _tr("station", "Proven"),
    }[station]


@dataclass(frozen=True, slots=True)
class ActionText:
    label: str
    hint: str
    confirm: str = ""
    """The question before it is done; empty when it can be undone."""
    confirm_label: str = ""


def action_text(name: str, card: Card) -> ActionText | None:
    """Return how an action of ``Card.actions`` reads, or None for one that this window does not offer."""
    if name == "ChooseTarget":
        if card.state is CardState.UNCLAIMED:
            return ActionText(
                _tr("action", "It is mine: choose target"),
                _tr("action", "Claim this acquisition and say where it should go"),
            )
        if card.target is None:
            return ActionText(_tr("action", "Choose target"), _tr("action", "Say where this should go"))
        if card.state is CardState.CANCELLED:
            return ActionText(
                _tr("action", "Send it after all"), _tr("action", "Order it again, here or somewhere else")
            )
        if card.state in {CardState.REFUSED, CardState.ATTENTION}:
            return ActionText(
                _tr("action", "Choose another target"), _tr("action", "Send it somewhere else instead")
            )
        return ActionText(
            _tr("action", "Change until the import starts"), _tr("action", "Choose another target for this")
        )
    texts = {
        "DoneNow": ActionText(
            _tr("action", "It is finished"), _tr("action", "Do not wait for the rest of the quiet time")
        ),
        "NotYet": ActionText(
            _tr("action", "Not yet, keep waiting"), _tr("action", "Wait for at least one more quiet time")
        ),
        "Retry": ActionText(_tr("action", "Try again"), _tr("action", "Ask the bridge to try again now")),
        "Cancel": ActionText(
            _tr("action", "Cancel"),
            _tr("action", "Do not bring this to OMERO; the data stays on the share"),
            confirm=_tr(
                "action", "Cancel {title}? Nothing in OMERO changes and the data stays on the share."
            ).format(title=card.title),
            confirm_label=_tr("action", "Cancel the order"),
        ),
        "AcceptLeftOut": ActionText(
            _tr("action", "These may stay out"),
            _tr("action", "Accept, in your name, that the listed files are not in OMERO"),
            confirm=_tr(
                "action",
                "The listed files will not be in OMERO. Your name is kept with this decision. Accept it?",
            ),
            confirm_label=_tr("action", "Accept"),
        ),
        "FreeSpace": ActionText(
            _tr("action", "Delete the copy on the share"),
            _tr("action", "Everything is proven in OMERO; the bridge is asked again before anything goes"),
            confirm=_tr(
                "action",
                "Delete the copy of {title} on the share ({amount})? It is in OMERO with proof and stays "
                "there; only what lies on the share goes.",
            ).format(title=card.title, amount=f"{fmt.files(card.file_count)}, {fmt.size(card.size_bytes)}"),
            confirm_label=_tr("action", "Delete the copy"),
        ),
    }
    return texts.get(name)


def what_next(card: Card) -> str:
    """Return the sentence of "What happens next"."""
    place = card.target.container_name if card.target and card.target.container_name else card.target_text
    sentences = {
        CardState.WRITING: _tr(
            "next",
            "Nobody reads these files while the microscope writes. You can choose the target already: "
            "the order goes out as soon as the acquisition is finished.",
        ),
        CardState.SETTLING: _tr(
            "next",
            "When nothing has changed for the quiet time and two looks agree, the acquisition counts as "
            "finished. If you know better, say so.",
        ),
        CardState.UNCLAIMED: _tr(
            "next",
            "When this was written, nobody was signed in here, or more than one person: it belongs to nobody "
            "yet. It stays on the share until somebody claims it.",
        ),
        CardState.NEEDS_TARGET: _tr(
            "next", "Choose a target. Until then the data stays on the share and nothing is copied."
        ),
        CardState.SENDING: _tr(
            "next",
            "The order is kept on this workstation and goes out as soon as the bridge answers. Nothing is "
            "lost if the workstation is switched off before that.",
        ),
        CardState.REFUSED: _tr(
            "next", "The bridge will not do it as it stands. The data on the share is untouched."
        ),
        CardState.QUEUED: _tr(
            "next",
            "The bridge has the order. It starts by itself when the places before it are done; this "
            "workstation may be switched off, as long as the share stays reachable.",
        ),
        CardState.COPYING: _tr(
            "next",
            "When the copy is complete and nothing has changed on the share, OMERO takes the files in place. "
            "You will find the images under {place}.",
        ),
        CardState.CHECKING: _tr(
            "next",
            "The bridge lists the share once more. If nothing has changed, OMERO takes the files in place.",
        ),
        CardState.IMPORTING: _tr(
            "next",
            "OMERO reads the files and makes the images under {place}. Then every file is proved.",
        ),
        CardState.PROVING: _tr(
            "next", "Each file in OMERO is compared with what was read from the share. Then it is proven."
        ),
        CardState.WAITING: _tr("next", "The bridge goes on by itself as soon as the reason is gone."),
        CardState.ATTENTION: _tr("next", "It goes on as soon as you decide. Nothing is lost meanwhile."),
        CardState.PROVEN: _tr(
            "next",
            "Every file is in OMERO or named as left out. The copy on the share is kept for the time your "
            "facility has set.",
        ),
        CardState.SAFE_TO_DELETE: _tr("next", "The copy on the share may go. OMERO keeps the data."),
        CardState.FREED: _tr("next", "The copy on the share has been removed. OMERO keeps the data."),
        CardState.CANCELLED: _tr("next", "Nothing more happens. The data is still on the share."),
    }
    sentence = sentences.get(
        card.state,
        _tr(
            "next",
            "The bridge speaks of something newer than this agent. The order goes on; ask for an update of "
            "the agent to see more.",
        ),
    )
    return sentence.format(place=place or _tr("next", "its target"))
