"""Real far ends on loopback, run by the test's own unprivileged user: an rsync daemon, and sshd with a
forced rrsync.

Both are children of the test process in sessions of their own; `stop` ends only what was started here.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from server_bridge.mover.sources import DaemonSource, SshSource
from server_bridge.sandbox.ports import free_port
from tests.loopback.processes import freeze

REFUSED = (
    "delete* remove-source-files remove-sent-files write-devices copy-devices copy-links copy-unsafe-links "
    "copy-dirlinks keep-dirlinks devices specials hard-links acls xattrs"
)
ANSWER_SECONDS = 20.0


def wait_until(holds: Callable[[], bool], what: str, seconds: float = ANSWER_SECONDS) -> None:
    """Poll until ``holds()``; fail with ``what`` after a generous time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class _Server:
    """A child process that listens on a port."""

    port: int
    log: Path

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._listens, f"{type(self).__name__} listens: see {self.log}", seconds=60)

    def _listens(self) -> bool:
        return _answers(self.port)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def family(self) -> list[int]:
        """The server and all its living descendants."""
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    parents[int(entry.name)] = int(fields[1])
        found = [self.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def transfers(self) -> list[int]:
        """Descendants only: the processes that serve somebody."""
        return self.family()[1:]

    def _signal(self, pids: list[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def sigstop(self) -> None:
        """Freeze the server and everybody it serves: connections stay open and silent."""
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                freeze(pid)

    def sigcont(self) -> None:
        self._signal(self.family(), signal.SIGCONT)

    def kill_transfers(self) -> None:
        """Kill -9 the processes that send, not the listener."""
        self._signal(self.transfers(), signal.SIGKILL)

    def stop(self) -> None:
        """End the listener and the processes it serves; a second call does nothing."""
        if self._process is None:
            return
        family = self.family()
        self._signal(family, signal.SIGTERM)
        self._signal(family, signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._signal(family[1:], signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RsyncDaemon(_Server):
    """``rsync --daemon`` with one module ``acq`` over ``module_path``, hardened as the facts recommend."""

    def __init__(
        self,
        tmp: Path,
        module_path: Path,
        user: str = "bridge",
        password: str = "a long random word",
        *,
        max_connections: int = 0,
        refused: str = REFUSED,
        rsync: str = "rsync",
        greeting: str = "",
        address: str = "127.0.0.1",
        before: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        """``before`` is written before the daemon's command (it then lives in a namespace, or under strace),
        and ``address`` is where it listens there."""
        super().__init__()
        tmp.mkdir(parents=True, exist_ok=True)
        self.tmp = tmp
        self.rsync = rsync
        self.address = address
        self.before = list(before)
        self.arguments = list(arguments)
        self.port = free_port()
        self.log = tmp / "rsyncd.log"
        self.module_path = module_path
        self.user = user
        self.password_file = tmp / "rsync.pass"
        self._secret(self.password_file, password + "\n")
        self._secret(tmp / "rsyncd.secrets", f"{user}:{password}\n")
        self.config = tmp / "rsyncd.conf"
        if greeting:
            (tmp / "motd").write_text(greeting)
        self.config.write_text(
            f"log file = {self.log}\n"
            "use chroot = no\nnumeric ids = yes\nreverse lookup = no\n"
            f"lock file = {tmp / 'rsyncd.lock'}\n"
            + (f"motd file = {tmp / 'motd'}\n" if greeting else "")
            + f"[acq]\npath = {module_path}\nread only = yes\nlist = no\n"
            f"max connections = {max_connections}\n"
            f"auth users = {user}:ro\nsecrets file = {tmp / 'rsyncd.secrets'}\nstrict modes = yes\n"
            f"refuse options = {refused}\nmax verbosity = 1\ntransfer logging = no\n"
            "[bare]\n"
            f"path = {module_path / 'not mounted'}\nread only = yes\n"
        )

    def _listens(self) -> bool:
        if self.address == "127.0.0.1":
            return super()._listens()
        # Nobody out here reaches it: its own table of sockets says it (state 0A is LISTEN).
        table = Path(f"/proc/{self.pid}/net/tcp")
        return f":{self.port:04X} 00000000:0000 0A" in table.read_text() if table.exists() else False

    @staticmethod
    def _secret(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o600)

    def _command(self) -> list[str]:
        return [
            *self.before, self.rsync, "--daemon", "--no-detach", f"--address={self.address}",
            f"--port={self.port}", f"--config={self.config}", *self.arguments,
        ]  # fmt: skip

    def source(self, *, module: str = "acq", subpath: str = ".", password: str | None = None) -> DaemonSource:
        """The source that reads this module; ``password`` replaces the right one."""
        password_file = self.password_file
        if password is not None:
            password_file = self.tmp / "other.pass"
            self._secret(password_file, password + "\n")
        return DaemonSource(self.address, module, self.port, self.user, password_file, subpath)


class LoopbackSshd(_Server):
    """sshd for the test's own user, with one key that may only run ``rrsync -ro module_path``."""

    def __init__(self, tmp: Path, module_path: Path) -> None:
        super().__init__()
        tmp.mkdir(parents=True, exist_ok=True)
        tmp.chmod(0o700)
        self.tmp = tmp
        self.port = free_port()
        self.log = tmp / "sshd.log"
        for name in ("host_key", "client_key", "stranger_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp / name)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        rrsync = shutil.which("rrsync") or "/usr/bin/rrsync"
        public = (tmp / "client_key.pub").read_text()
        (tmp / "authorized_keys").write_text(f'restrict,command="{rrsync} -ro {module_path}" {public}')
        host_public = (tmp / "host_key.pub").read_text()
        (tmp / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_public}")
        stranger = (tmp / "stranger_key.pub").read_text()
        (tmp / "wrong_hosts").write_text(f"[127.0.0.1]:{self.port} {stranger}")
        (tmp / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {tmp / 'host_key'}\nPidFile none\n"
            f"AuthorizedKeysFile {tmp / 'authorized_keys'}\nUsePAM no\nStrictModes no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\n"
        )

    @staticmethod
    def is_possible() -> bool:
        return all(map(Path.exists, (Path("/usr/sbin/sshd"), Path("/usr/bin/ssh-keygen"))))

    def _command(self) -> list[str]:
        return ["/usr/sbin/sshd", "-D", "-f", str(self.tmp / "sshd_config"), "-E", str(self.log)]

    def source(
        self, *, key: str = "client_key", known_hosts: str = "known_hosts", subpath: str = "."
    ) -> SshSource:
        config = self.tmp / f"ssh_config.{key}.{known_hosts}"
        config.write_text(
            f"Host buffer\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.tmp / key}\n  IdentitiesOnly yes\n  BatchMode yes\n"
            f"  StrictHostKeyChecking yes\n  UserKnownHostsFile {self.tmp / known_hosts}\n"
            "  GlobalKnownHostsFile none\n  ConnectTimeout 10\n  ServerAliveInterval 15\n"
            "  ServerAliveCountMax 3\n  Compression no\n  LogLevel ERROR\n"
        )
        return SshSource("buffer", config, subpath)


@contextlib.contextmanager
def readable_again(path: Path) -> Iterator[None]:
    """Give a path its permissions back at the end, so that the temporary directory can be removed."""
    mode = path.stat().st_mode
    try:
        yield
    finally:
        path.chmod(mode)
