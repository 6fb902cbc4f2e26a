"""A loopback site whose every part can be made to fail, with a bridge that is started again whenever it died.

A keeper thread does what systemd does for a real bridge: it starts it again, however it ended. Everything
that a fault changes here is changed back by the same method, whatever happens in between.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.armed import Book
from tests.loopback.processes import SiteError, freeze, healthy, python_module
from tests.loopback.site import MARKER, PROJECT, LoopbackSite

START_SECONDS = 120.0
LOCK_MARK = b"OMERO_FERRY_LOCK="


class Bridges:
    """Forks bridges out of one process that has imported everything (`tests.faults.bridge_with_points`)."""

    def __init__(self, site: LoopbackSite, points: Path) -> None:
        self._site = site
        self._log = site.top / "logs" / "bridge.log"
        with (site.top / "logs" / "bridges.log").open("ab") as log:
            self._process = subprocess.Popen(
                python_module("tests.faults.bridge_with_points", str(points)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
                start_new_session=True,
                bufsize=0,
            )
        self._rest = b""
        self.pid = 0
        if self._line() != "ready":
            raise SiteError(f"no bridge can be started: see {log.name}")

    def _line(self) -> str:
        assert self._process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        while b"\n" not in self._rest:
            if not select.select([self._process.stdout], [], [], 0.5)[0]:
                if time.monotonic() > deadline:
                    raise SiteError("the process that starts bridges does not answer")
                continue
            data = self._process.stdout.read(4096)
            if not data:
                raise SiteError("the process that starts bridges ended; see logs/bridges.log")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def start(self) -> None:
        """Fork one bridge; it is not ready yet."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"start\t{self._site.site_file}\t{self._log}\n".encode())
        self.pid = int(self._line())

    def alive(self) -> bool:
        """Whether the bridge that was started last still runs."""
        return self.pid > 0 and is_running(self.pid)

    def close(self) -> None:
        """End the bridge in order (KILL after a while), then the process that forked it."""
        if self.alive():
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + 45
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.05)
            if self.alive():
                os.kill(self.pid, signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def is_running(pid: int) -> bool:
    """Whether that process is there and no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


class FaultySite(LoopbackSite):
    """The site of a fault run. Enter it as a `LoopbackSite`."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.book = Book(top / "points")
        self.buffer_guard = threading.RLock()
        """Held by whoever touches the buffer, or takes it away."""
        self.starts = 0
        self._bridges: Bridges | None = None
        self._hold = threading.Lock()
        self._ending = threading.Event()
        self._keeper: threading.Thread | None = None
        self.keeper_error = ""

    # --- the bridge and its keeper --------------------------------------------------------------------

    def write_site_file(self) -> None:
        super().write_site_file()
        text = self.site_file.read_text(encoding="utf-8")
        impatient = text.replace(
            "call_timeout_seconds = 10", "call_timeout_seconds = 4\nimport_stall_seconds = 15"
        )
        assert impatient != text
        self.site_file.write_text(impatient, encoding="utf-8")

    def start_bridge(self) -> None:
        """The first start; from then on the keeper starts it."""
        self._bridges = Bridges(self, self.top / "points")
        self._start()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    @property
    def bridge_pid(self) -> int:
        """Process id of the bridge that was started last."""
        assert self._bridges is not None
        return self._bridges.pid

    def bridge_alive(self) -> bool:
        """Whether it runs at this moment."""
        return self._bridges is not None and self._bridges.alive()

    def _start(self) -> None:
        assert self._bridges is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._bridges.start()
            self.starts += 1
            while self._bridges.alive() and not healthy(self.bridge_url):
                if time.monotonic() > deadline:
                    raise SiteError("the bridge is not ready:\n" + self.bridge_log())
                time.sleep(0.02)
            if self._bridges.alive():
                return
            if time.monotonic() > deadline:
                raise SiteError("the bridge dies at every start:\n" + self.bridge_log())
            time.sleep(0.05)

    def _keep(self) -> None:
        while not self._ending.wait(0.05):
            try:
                with self._hold:
                    if not self._ending.is_set() and not self.bridge_alive():
                        self._start()
            except (SiteError, OSError, ValueError) as error:
                self.keeper_error = str(error)
                return

    def bridge_log(self, lines: int = 40) -> str:
        """The end of what the bridges said."""
        path = self.top / "logs" / "bridge.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else "(nothing)"
        return "\n".join(text.splitlines()[-lines:])

    @contextmanager
    def bridge_down(self) -> Iterator[None]:
        """No bridge is started within the block; who is inside kills the one that runs."""
        with self._hold:
            yield

    def wait_for_death(self, pid: int, seconds: float) -> bool:
        """Whether that bridge is gone within ``seconds``."""
        return within(seconds, lambda: not is_running(pid))

    def stop(self) -> None:
        self._ending.set()
        if self._keeper is not None:
            self._keeper.join(START_SECONDS)
        self.book.disarm()
        if self._bridges is not None:
            self._bridges.close()
            self._bridges = None
        super().stop()

    # --- its children ---------------------------------------------------------------------------------

    def children(self) -> list[tuple[int, list[str]]]:
        """(process id, command line) of everything that runs under an order's lock of this site."""
        mark = LOCK_MARK + str(self.state).encode()
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                folder = Path(entry.path)
                if mark not in folder.joinpath("environ").read_bytes():
                    continue
                words = folder.joinpath("cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            except OSError:
                continue
            if is_running(int(entry.name)):
                found.append((int(entry.name), words))
        return found

    # --- the buffer's daemon --------------------------------------------------------------------------

    def restart_rsyncd(self) -> None:
        """Kill the daemon with every transfer, and start it again after a moment."""
        daemon = self.program("rsyncd")
        daemon.stop(seconds=0.2)
        time.sleep(0.5)
        self.start_rsyncd()

    def senders(self) -> list[int]:
        """The daemon's processes."""
        wanted = f"--config={self.top / 'rsyncd.conf'}"
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    words = Path(entry.path, "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                except OSError:
                    continue
                if words and words[0] == "rsync" and wanted in words:
                    found.append(int(entry.name))
        return found

    @contextmanager
    def rsyncd_stopped(self) -> Iterator[None]:
        """SIGSTOP for the daemon and its transfers, until the block ends."""
        stopped = self.senders()
        for pid in stopped:
            with _gone_is_fine():
                freeze(pid)
        try:
            yield
        finally:
            for pid in {*stopped, *self.senders()}:
                with _gone_is_fine():
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def rsyncd_refuses(self) -> Iterator[None]:
        """The daemon knows another secret."""
        secrets = self.top / "rsyncd.secrets"
        right = secrets.read_text(encoding="utf-8")
        _replace(secrets, "bridge:another-secret\n")
        try:
            yield
        finally:
            _replace(secrets, right)

    @contextmanager
    def rsyncd_full(self) -> Iterator[None]:
        """The daemon has no connection left: others hold all there are (it counts them in a locked file)."""
        configuration = self.top / "rsyncd.conf"
        right = configuration.read_text(encoding="utf-8")
        _replace(configuration, right.replace("max connections = 16", "max connections = 1"))
        slots = (self.top / "rsyncd.lock").open("a+b")
        try:
            with suppress(BlockingIOError):  # a transfer of the bridge has the only one: as good
                fcntl.lockf(slots, fcntl.LOCK_EX | fcntl.LOCK_NB, 4, 0)
            yield
        finally:
            slots.close()
            _replace(configuration, right)

    # --- the share ------------------------------------------------------------------------------------

    @contextmanager
    def marker_gone(self) -> Iterator[None]:
        """The share's marker is not there."""
        (self.buffer / MARKER).unlink()
        try:
            yield
        finally:
            (self.buffer / MARKER).touch()

    @contextmanager
    def unmounted(self) -> Iterator[None]:
        """The mount point is there and empty."""
        with self.buffer_guard:
            away = self.buffer.with_name("buffer.unmounted")
            self.buffer.rename(away)
            self.buffer.mkdir()
            try:
                yield
            finally:
                self.buffer.rmdir()
                away.rename(self.buffer)

    # --- OMERO ----------------------------------------------------------------------------------------

    def restart_omero(self) -> None:
        """kill -9, and start it again."""
        self.program("sandbox").kill()
        time.sleep(0.3)
        self.start_sandbox()

    @contextmanager
    def omero_stopped(self) -> Iterator[None]:
        """SIGSTOP until the block ends."""
        sandbox = self.program("sandbox")
        freeze(sandbox.pid)
        try:
            yield
        finally:
            sandbox.signal(signal.SIGCONT)

    def all_well(self) -> None:
        """Every program runs, the marker is in its place."""
        (self.buffer / MARKER).touch()
        if not self.program("sandbox").running():
            self.start_sandbox()
        if not self.program("rsyncd").running():
            self.start_rsyncd()


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


def _replace(path: Path, text: str) -> None:
    """Never half-written: another process may read it at any moment."""
    half = path.with_name(f".{path.name}.half")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    half.replace(path)


def within(seconds: float, holds: Callable[[], object], every: float = 0.02) -> bool:
    """Whether ``holds`` becomes true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
