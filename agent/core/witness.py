"""A witness: one thing that speaks for or against "finished", in words that a person reads. Data alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class WitnessState(StrEnum):
    """What a witness says."""

    OK = "ok"
    WAITING = "waiting"
    """It speaks against it: not finished while it does."""
    UNKNOWN = "unknown"
    """It could not be asked; that neither helps nor holds."""


@dataclass(frozen=True, slots=True)
class Witness:
    """``name`` is stable (``quiet``, ``looks``, ``program``, ``open``, ``person``, a format's id)."""

    name: str
    state: WitnessState
    words: str
    """In the person's language of facts: "quiet 3:40 of 5:00", "ZEN.exe is running"."""


def waiting(witnesses: Iterable[Witness]) -> tuple[Witness, ...]:
    """Those that speak against it."""
    return tuple(witness for witness in witnesses if witness.state is WitnessState.WAITING)


def to_json(witnesses: Iterable[Witness]) -> str:
    """As the machine's file keeps them."""
    return json.dumps([(one.name, one.state.value, one.words) for one in witnesses])


def from_json(text: str) -> tuple[Witness, ...]:
    """What :func:`to_json` wrote; a state of a newer agent counts as unknown."""
    known = set(WitnessState)
    return tuple(
        Witness(name, WitnessState(state) if state in known else WitnessState.UNKNOWN, words)
        for name, state, words in json.loads(text)
    )
