"""What the window may ask of the engine. A command is data; the engine's own thread carries it out.

Each submitted command returns a :class:`concurrent.futures.Future`, whose exception, if any, is an
:class:`agent.core.errors.AgentError` with title, detail and remedy for the person.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from server_bridge.contract import Target


@dataclass(frozen=True, slots=True)
class SignIn:
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignOut:
    pass


@dataclass(frozen=True, slots=True)
class StaySignedIn:
    """The end of the day does not end this sign-in yet."""


@dataclass(frozen=True, slots=True)
class Typing:
    """She is typing into a dialog: no sign-out under her hands."""


@dataclass(frozen=True, slots=True)
class ChooseTarget:
    """Order the acquisition to this target (or re-target its order before the import starts)."""

    card_id: str
    target: Target
    from_now_on: bool = False
    import_again: bool = False
    owner: str = ""
    """Staff only: the user name of whose data it is. Empty: hers who is known to have made it, or else of who
    asks. An order that there is keeps its person."""


@dataclass(frozen=True, slots=True)
class SetStandingTarget:
    """ "From now on": None ends it."""

    target: Target | None


@dataclass(frozen=True, slots=True)
class DoneNow:
    """The person says the acquisition is finished; seal without waiting for the quiet time."""

    card_id: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """The person says it is not finished: wait one more quiet time at least."""

    card_id: str


@dataclass(frozen=True, slots=True)
class Cancel:
    card_id: str


@dataclass(frozen=True, slots=True)
class Retry:
    card_id: str


@dataclass(frozen=True, slots=True)
class AcceptLeftOut:
    card_id: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Delete the released buffer copies of these cards (only where staff gave this agent delete rights).

    It ends when that is written down; how far it is stands in the snapshots.
    """

    card_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopFreeing:
    """Delete no more of what is being deleted: what the person may stop of it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Leave shares and bridge alone. None: until the acquisition programs that run have ended."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Resume:
    """End a pause before its time."""


@dataclass(frozen=True, slots=True)
class LookNow:
    """Scan and poll at once."""


Command = (
    SignIn
    | SignOut
    | StaySignedIn
    | Typing
    | ChooseTarget
    | SetStandingTarget
    | DoneNow
    | NotYet
    | Cancel
    | Retry
    | AcceptLeftOut
    | FreeSpace
    | StopFreeing
    | Pause
    | Resume
    | LookNow
)
