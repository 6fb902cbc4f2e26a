"""A corner of the machine with disks and links of its own, made by an ordinary user.

A *namespace* here is a process that sleeps in a user namespace of its own, in which this user is root, with
mounts (and a network, where wanted) that nobody else sees. `root` runs a command as that root: mount,
unmount, cut a link. `prefix` makes an ordinary program live there as the ordinary user it is: one more user
namespace maps it back, because the product refuses root, and root's rights would hide faults of permission.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.bridge.rsyncd import wait_until

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def are_possible() -> bool:
    """Whether an ordinary user may make them on this machine."""
    return subprocess.run(["unshare", "-Urmn", "true"], capture_output=True, check=False).returncode == 0


class Namespace:
    """Use it in a ``with`` block: the sleeping process ends with it, and mounts and links with that."""

    def __init__(self, *, network: bool = False, within: Namespace | None = None) -> None:
        self._network = network
        self._within = within
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        outside = self._namespaces("/proc/self")
        # In a second network of the same user namespace the same root has power over both ends of a link.
        how = ["-n"] if self._within is not None else ["-Urm", *(["-n"] if self._network else [])]
        before = [] if self._within is None else self._within._enter()
        self._holder = subprocess.Popen(
            [*before, "unshare", *how, "sleep", "600"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": PATH},
        )
        last = "net" if self._network or self._within is not None else "mnt"
        own = "/proc/self" if self._within is None else f"/proc/{self._within.pid}"
        wait_until(
            lambda: (
                self._namespaces(f"/proc/{self.pid}")[last]
                not in (outside[last], self._namespaces(own)[last])
                and Path(f"/proc/{self.pid}/comm").read_text().strip() == "sleep"
            ),
            "the namespace is there",
            seconds=60,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            self._holder = None

    @property
    def pid(self) -> int:
        assert self._holder is not None, "not entered"
        return self._holder.pid

    @staticmethod
    def _namespaces(process: str) -> dict[str, str]:
        return {name: str(Path(process, "ns", name).readlink()) for name in ("user", "mnt", "net")}

    def _enter(self) -> list[str]:
        mine, ours = self._namespaces(f"/proc/{self.pid}"), self._namespaces("/proc/self")
        kinds = {"user": "-U", "mnt": "-m", "net": "-n"}
        wanted = [option for name, option in kinds.items() if mine[name] != ours[name]]
        return ["nsenter", "-t", str(self.pid), *wanted, "--preserve-credentials", "--"]

    def root(self, *command: str | Path) -> str:
        """Run a command in it, as its root; returns what it said."""
        done = subprocess.run(
            [*self._enter(), *map(str, command)],
            capture_output=True,
            text=True,
            env={"PATH": PATH},
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def prefix(self) -> list[str]:
        """What to write before a command so that it runs in here as the ordinary user."""
        ids = [f"--map-user={os.getuid()}", f"--map-group={os.getgid()}"]
        return [*self._enter(), "unshare", "-U", *ids, "--"]

    def inside(self, path: Path) -> Path:
        """Where a path of in here is seen from outside."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/")

    def program(self, path: Path, program: str) -> Path:
        """A file that runs ``program`` in here: for settings that name a program, not a command."""
        found = shutil.which(program, path=PATH)
        assert found is not None, program
        words = " ".join(f"'{word}'" for word in [*self.prefix(), found])
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)
        return path


class Link:
    """Two networks and the cable between them: ``near`` has 10.91.0.1, ``far`` 10.91.0.2."""

    NEAR, FAR = "10.91.0.1", "10.91.0.2"

    def __init__(self) -> None:
        self.near = Namespace(network=True)
        self.far = Namespace(within=self.near)

    def __enter__(self) -> Self:
        self.near.__enter__()
        self.far.__enter__()
        self.near.root("ip", "link", "add", "near0", "type", "veth", "peer", "name", "far0",
                       "netns", str(self.far.pid))  # fmt: skip
        for side, name, address in ((self.near, "near0", self.NEAR), (self.far, "far0", self.FAR)):
            side.root("ip", "address", "add", f"{address}/24", "dev", name)
            side.root("ip", "link", "set", "lo", "up")
            side.root("ip", "link", "set", name, "up")
        return self

    def __exit__(self, *_: object) -> None:
        self.far.__exit__()
        self.near.__exit__()

    def cut(self) -> None:
        """Pull the cable out at the far end: nothing arrives, and nobody is told."""
        self.far.root("ip", "link", "set", "far0", "down")

    def mend(self) -> None:
        """Put it in again."""
        self.far.root("ip", "link", "set", "far0", "up")

    def swallow(self) -> None:
        """The far side takes every packet and answers none: a firewall that forgot the connection."""
        self.far.root("ip", "route", "add", "blackhole", f"{self.NEAR}/32")

    def answer(self) -> None:
        """The far side answers again."""
        self.far.root("ip", "route", "del", "blackhole", f"{self.NEAR}/32")
