"""Where a share is read from: an rsync daemon, ssh with a forced ``rrsync -ro``, or a mounted path.

A source knows only how to name itself to rsync. Its fields come from the site file, never from a person;
they are checked all the same, because a host that starts with a dash or a path with a colon would change
the command's meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server_bridge.errors import ConfigurationError

#: Host names, IPv4 and IPv6 addresses and ssh aliases; nothing that a shell, ssh or rsync reads as syntax.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*\Z")
_WORD = re.compile(r"[A-Za-z0-9_.@][A-Za-z0-9_.@ -]*\Z")
CONNECT_SECONDS = 10


class Source(Protocol):
    """What rsync needs to know of a share."""

    @property
    def label(self) -> str:
        """How messages name it (no secret in it)."""

    @property
    def is_remote(self) -> bool:
        """Whether a connection can fail; a mounted path has none."""

    def rsync_source_arg(self) -> str:
        """The share's top as rsync's source argument, ending in a slash."""

    def rsync_connection_args(self) -> list[str]:
        """Options that belong to this kind of connection."""


def _require(pattern: re.Pattern[str], value: str, what: str) -> None:
    if not pattern.match(value):
        raise ConfigurationError(f"{value!r} is not usable as {what}.", remedy="Correct the share's source.")


def _below(path: str) -> str:
    """A relative path as ``a/b/`` (empty for the top). Raises `ConfigurationError`."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if (
        path.startswith("/")
        or ".." in parts
        or any(ord(c) < 32 for c in path)
        or (parts[:1] and parts[0][0] == "-")
    ):
        raise ConfigurationError(
            f"{path!r} is not a folder below the share's module.", remedy="Correct the share's source."
        )
    return "".join(part + "/" for part in parts)


@dataclass(frozen=True)
class DaemonSource:
    """A module of an rsync daemon. Nothing on the wire is encrypted: for a trusted acquisition LAN only."""

    host: str
    module: str
    port: int = 873
    user: str = ""
    password_file: Path | None = None  #: mode 0600, owned by the bridge's user, else rsync ends with code 1
    subpath: str = "."

    def __post_init__(self) -> None:
        _require(_HOST, self.host, "a host")
        _require(_WORD, self.module, "an rsync module")
        if self.user:
            _require(_WORD, self.user, "an rsync user")
        _below(self.subpath)

    @property
    def label(self) -> str:
        return f"rsync://{self.host}:{self.port}/{self.module}/{_below(self.subpath)}"

    @property
    def is_remote(self) -> bool:
        return True

    def rsync_source_arg(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"rsync://{user}{host}:{self.port}/{self.module}/{_below(self.subpath)}"

    def rsync_connection_args(self) -> list[str]:
        # --contimeout exists for daemon connections only.
        # Without --no-motd the daemon's greeting would stand among our lines.
        args = [f"--contimeout={CONNECT_SECONDS}", "--no-motd"]
        if self.password_file is not None:
            args.append(f"--password-file={self.password_file}")
        return args


@dataclass(frozen=True)
class SshSource:
    """A host of an own ssh client configuration (BatchMode, known hosts, keep-alives: see the sample there).

    Beyond the connection itself rsync is always asked for ``./`` plus ``subpath``: behind ``rrsync -ro
    DIR`` that is DIR, and a missing folder stays a per-file error instead of rrsync's refusal.
    """

    host: str
    config_file: Path
    subpath: str = "."

    def __post_init__(self) -> None:
        _require(_HOST, self.host, "a host")
        if ":" in self.host:
            raise ConfigurationError(
                f"{self.host!r}: an address with colons needs an alias.",
                remedy="Give it a Host name in the ssh configuration and use that.",
            )
        # rsync cuts the remote shell's words at blanks and knows both quotes.
        if re.search(r"[\s'\"\\]", str(self.config_file)) or not self.config_file.is_absolute():
            raise ConfigurationError(
                f"{self.config_file} cannot be passed to ssh.",
                remedy="Use an absolute path without blanks and quotes.",
            )
        _below(self.subpath)

    @property
    def label(self) -> str:
        return f"ssh {self.host}:{_below(self.subpath) or './'}"

    @property
    def is_remote(self) -> bool:
        return True

    def rsync_source_arg(self) -> str:
        return f"{self.host}:./{_below(self.subpath)}"

    def rsync_connection_args(self) -> list[str]:
        return ["-e", f"ssh -F {self.config_file}"]


@dataclass(frozen=True)
class PathSource:
    """A directory of this host: the buffer's file system, or a mount of it."""

    path: Path

    def __post_init__(self) -> None:
        # An absolute path only: rsync takes "a:b" for a host.
        if not self.path.is_absolute() or ".." in self.path.parts:
            raise ConfigurationError(
                f"{self.path} is not an absolute path.", remedy="Correct the share's source."
            )

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def is_remote(self) -> bool:
        return False

    def rsync_source_arg(self) -> str:
        return str(self.path).rstrip("/") + "/"

    def rsync_connection_args(self) -> list[str]:
        return []
