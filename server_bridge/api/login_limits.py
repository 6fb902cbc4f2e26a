"""How often one may try to sign in: per account and per address, in a sliding window.

An attempt counts from the moment it starts, so that a hundred parallel guesses are a hundred attempts, and is
given back when the password was right or OMERO did not answer. Held in memory: a restart forgives, and
nothing here is worth a disk flush per guess. The number of remembered names is bounded.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from server_bridge.errors import TooManyRequests

ADDRESS_FACTOR = 4
"""A whole building may sit behind one address: it gets this many times an account's attempts."""
MOST_NAMES = 10_000


class LoginsLimited(TooManyRequests):
    """Too many attempts; ``retry_after_seconds`` travels as ``Retry-After``."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            f"Try again in {retry_after_seconds} s.",
            title="Too many attempts to sign in",
            remedy="Wait, then check the name and the password; OMERO's administrator can set a new one.",
        )
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, to be settled when its outcome is known."""

    names: tuple[str, ...]
    at: float


class LoginLimits:
    """Counts attempts. Safe to share between threads."""

    def __init__(self, attempts: int, window_seconds: float, clock: Callable[[], float]) -> None:
        self._attempts = attempts
        self._window_seconds = window_seconds
        self._clock = clock
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()
        self._guard = threading.Lock()

    def start(self, username: str, address: str) -> Attempt:
        """Count an attempt.

        Raises:
            LoginsLimited: where this account or this address has none left; it is not counted then.
        """
        allowed = {
            f"account {username.casefold()}": self._attempts,
            f"address {address}": self._attempts * ADDRESS_FACTOR,
        }
        with self._guard:
            now = self._clock()
            waits = [self._wait(name, most, now) for name, most in allowed.items()]
            if max(waits) > 0:
                raise LoginsLimited(max(1, math.ceil(max(waits))))
            for name in allowed:
                self._seen.setdefault(name, deque()).append(now)
                self._seen.move_to_end(name)
            while len(self._seen) > MOST_NAMES:
                self._seen.popitem(last=False)
        return Attempt(tuple(allowed), now)

    def _wait(self, name: str, most: int, now: float) -> float:
        seen = self._seen.get(name)
        if seen is None:
            return 0.0
        while seen and seen[0] <= now - self._window_seconds:
            seen.popleft()
        if not seen:
            del self._seen[name]
            return 0.0
        return seen[0] + self._window_seconds - now if len(seen) >= most else 0.0

    def give_back(self, attempt: Attempt) -> None:
        """The attempt was no guess: the password was right, or nobody checked it."""
        with self._guard:
            for name in attempt.names:
                seen = self._seen.get(name)
                if seen and attempt.at in seen:
                    seen.remove(attempt.at)
