"""A replayed microscope as data: its steps, what goes wrong, and what must come of it."""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FOLDER = Path(__file__).parent / "microscopes"


def seconds_of(text: object) -> float:
    """``1:05:00``, ``3:40`` or a number of seconds."""
    if isinstance(text, int | float):
        return float(text)
    seconds = 0.0
    for part in str(text).split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


Duration = Annotated[float, BeforeValidator(seconds_of)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Data):
    """Something the microscope, or a person at it, does; ``times`` times, ``every`` so often."""

    at: Duration
    do: Literal[
        "write",  # a new file, or all of an old one anew
        "append",
        "preallocate",  # the whole size at once, no data yet
        "fill",  # data into a pre-allocated file
        "rename",
        "delete",
        "touch",
        "copy-in",  # a copy that keeps the time of the original
        "open",  # a program opens it for writing and keeps it open
        "close",
        "program-starts",
        "program-ends",
        "sign-in",
        "sign-out",
        "order",  # the person chooses a target
        "done-now",
        "not-yet",
    ]
    path: str = ""
    """Below the root; ``{n}`` counts the repetitions. For programs and persons: their name."""
    to: str = ""
    """The new name of a rename."""
    kib: float = 16.0
    content: Literal[
        "",
        "czi",
        "czi-end",
        "nd2",
        "nd2-end",
        "companion",
        "harmony-index",
        "micro-manager",
        "zattrs",
        "ndtiff-index",
    ] = ""
    """What the file holds, where a format's own account of itself is asked."""
    every: Duration = 0.0
    times: int = 1
    mtime: Literal["now", "kept"] = "now"
    """``kept``: the writing does not show in the file's time (a mapped file, a cached handle)."""
    age: Duration = 0.0
    """Of the original of a copy; negative: a time in the future."""


class Fault(_Data):
    """Something that goes wrong, or merely happens."""

    at: Duration
    what: Literal[
        "share-away",
        "disk-full",
        "asleep",
        "agent-restarts",
        "agent-off",
        "clock-set",
        "bridge-away",
        "false-hints",
        "times-rounded-later",  # the storage rounds what it had told precisely
    ]
    lasts: Duration = 0.0
    by: Duration = 0.0
    """How far the workstation's clock is set."""
    writes: Literal["wait", "go-on"] = "go-on"
    """Whether the microscope can write meanwhile. ``wait``: all its later steps are late by ``lasts``."""
    count: int = 0


class Storage(_Data):
    """How the storage tells time."""

    skew: Duration = 0.0
    round_ns: int = 1


class Microscope(_Data):
    """One scenario."""

    name: str
    models: str
    """What of the world it stands for."""
    source: str
    """What the habit is known from; "[inferred]" where it is not written anywhere."""
    format: str
    habit: str
    fault: str = "none"
    """In words, for the table."""
    quiet: Duration = 300.0
    rule: dict[str, Any] = Field(default_factory=dict)
    storage: Storage = Storage()
    person: str = "alice"
    """Who is signed in at the beginning, with a target for everything from now on; empty: nobody."""
    hints: Literal["none", "half"] = "none"
    """How many of the system's notices about changes arrive."""
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    parts: tuple[Duration, ...] = ()
    """When one piece of work at a place ended and the next may begin; empty: one piece, all of it."""
    expect: tuple[str, ...]
    """Acquisitions that have to arrive at the bridge, complete."""
    shown_anew: tuple[str, ...] = ()
    """Acquisitions that have to be shown as new: they changed after OMERO took them."""
    control: bool = False
    """It must come too early: a rule that does not fit. Shows that the replay notices."""
    short: bool = False
    """Also played by the test suite."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One step at its time. Seconds count from the beginning."""

    at: float
    step: Step
    number: int

    @property
    def path(self) -> str:
        """The step's path, with the number of the repetition in it."""
        return self.step.path.format(n=self.number)

    @property
    def to(self) -> str:
        """The new name."""
        return self.step.to.format(n=self.number)


def schedule(microscope: Microscope, seed: int) -> tuple[list[Moment], list[Fault]]:
    """All steps and faults, each a little off its time, as the seed says; what waits for a fault is late."""
    chance = random.Random(f"{seed}:{microscope.name}")
    offset, stretch = chance.uniform(0.0, 7.0), chance.uniform(0.98, 1.02)
    moments = []
    for step in microscope.steps:
        for number in range(step.times):
            early = step.every * chance.uniform(0.0, 0.1) if 0 < number < step.times - 1 else 0.0
            at = step.at + step.every * number - early
            moments.append(Moment(offset + at * stretch, step, number))
    moments.sort(key=lambda moment: moment.at)
    faults = [
        fault.model_copy(update={"at": offset + fault.at * stretch})
        for fault in sorted(microscope.faults, key=lambda fault: fault.at)
    ]
    for fault in faults:
        if fault.writes == "wait" and fault.lasts:
            moments = [
                replace(one, at=one.at + fault.lasts) if one.at >= fault.at else one for one in moments
            ]
    return moments, faults


def load(folder: Path = FOLDER) -> list[Microscope]:
    """Every microscope of the folder's TOML files.

    Raises:
        ValueError: where one is wrong, or two have the same name.
    """
    found = []
    for file in sorted(folder.glob("*.toml")):
        tables = tomllib.loads(file.read_text(encoding="utf-8"))["microscope"]
        found += [Microscope.model_validate(table) for table in tables]
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        raise ValueError(f"names that stand twice: {sorted({one for one in names if names.count(one) > 1})}")
    return found
