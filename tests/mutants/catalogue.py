"""The mutants: where the edit goes, what it breaks, and which tests have to notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    promise: str
    file: str
    before: str
    """Stands exactly once in the file."""
    after: str
    tests: tuple[str, ...]


MUTANTS: tuple[Mutant, ...] = ()
