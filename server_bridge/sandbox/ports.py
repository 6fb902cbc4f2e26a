"""A TCP port for a server on loopback."""

from __future__ import annotations

import contextlib
import random
import socket

BELOW_EPHEMERAL = range(10_000, 32_768)
"""Linux gives outgoing connections ports from 32768 on (``ip_local_port_range``). A port from there may be
taken by any of them between our look at it and the server's ``bind``."""
_TRIES = 200


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on right now. Raises OSError if none is found."""
    for port in random.SystemRandom().sample(BELOW_EPHEMERAL, _TRIES):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise OSError(f"none of {_TRIES} ports tried on {host} is free")
