"""What breaks, when and how: faults from a seeded schedule against a running site.

Every fault repairs what it broke before it returns, except those that the site must survive by itself. A
fault that found nothing to break (no importer ran, say) is not counted.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import omero.model
import requests
from omero.rtypes import rstring

from server_bridge.sandbox.faults import set_fault
from tests.checker import omero as checker_omero
from tests.faults.faulty_site import FaultySite, within
from tests.faults.load import Load
from tests.faults.points import POINTS
from tests.faults.story import ROOT_PASSWORD

VICTIM_SECONDS = 10.0
BRINGS = {"debris": "broken-off", "attention": "plate", "command": "cancelled"}
"""Which act comes by at points that an undisturbed order never passes."""
CLIENT_FAULTS = (
    ("scan", "fail"),
    ("scan", "kill"),
    ("importFileset", "fail"),
    ("importFileset", "kill"),
    ("check36", "fail"),
    ("link", "fail"),
    ("link", "kill"),
    ("checkTarget", "fail"),
    ("checkTarget", "kill"),
    ("hash", "wrong_hash"),
    ("verifyUpload", "fail"),
    ("verifyUpload", "kill"),
    ("wait", "kill"),
    ("output", "fail"),
    ("output", "kill"),
)
SERVER_FAULTS = (
    *((f"step{number}", "fail") for number in range(1, 6)),
    ("step1", "kill"),
    ("step3", "kill"),
    ("anycall", "fail"),
    ("server.verifyUpload", "fail"),
    ("login", "fail"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind: its name in the table, how often it is drawn, and what it does (False: nothing to break)."""

    name: str
    weight: int
    strike: Callable[[], bool]


class Injector:
    """Breaks things. Driven by one thread, while another drives the load."""

    def __init__(self, site: FaultySite, load: Load, seed: int) -> None:
        self.site = site
        self.load = load
        self.dice = random.Random(f"faults {seed}")
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._armed: list[tuple[str, str]] = []
        self._armed_for_start = 0
        self.faults: tuple[Fault, ...] = (
            Fault("bridge: kill -9 at a random instant", 3, self.kill_bridge),
            Fault("bridge: killed with its children, engine's tables deleted", 2, self.kill_all),
            Fault("bridge: told to end, started again", 2, self.end_bridge),
            Fault("importer: kill -9 of its java", 2, lambda: self.kill_child(_is_java)),
            Fault("importer: kill -9 of `omero import`", 2, lambda: self.kill_child(_is_omero)),
            Fault("rsync: kill -9 of the client", 2, lambda: self.kill_transfer(_is_rsync_client)),
            Fault("rsync: kill -9 of the receiver", 2, lambda: self.kill_transfer(_is_rsync_receiver)),
            Fault("rsync daemon: killed with its transfers, restarted", 2, self.restart_rsyncd),
            Fault("rsync daemon: stopped (SIGSTOP)", 1, self.stop_rsyncd),
            Fault("rsync daemon: refuses the secret", 1, self.refuse),
            Fault("rsync daemon: out of connections", 1, self.fill_rsyncd),
            Fault("share: its marker is gone", 1, self.hide_marker),
            Fault("share: not mounted", 1, self.unmount),
            Fault("OMERO: kill -9, restarted", 2, self.restart_omero),
            Fault("OMERO: stopped (SIGSTOP)", 1, self.stop_omero),
            Fault("OMERO: the import's session is ended", 2, self.end_session),
            Fault("OMERO: a client's step fails or its client dies", 4, lambda: self.arm(CLIENT_FAULTS)),
            Fault("OMERO: a step of the server fails or kills it", 3, lambda: self.arm(SERVER_FAULTS)),
            Fault("OMERO: goes on after its client was killed", 2, self.outlive_client),
            Fault("release asked again while OMERO is down", 2, self.recheck_without_omero),
        )

    # --- the schedule ---------------------------------------------------------------------------------

    @property
    def unkilled(self) -> list[str]:
        """Points at which no bridge has died yet."""
        kills = self.site.book.kills()
        return [point.name for point in POINTS if not kills[point.name]]

    def turn(self) -> None:
        """Arm a point where a bridge is new, and strike once."""
        self._arm_points(self.unkilled)
        fault = self._draw()
        if fault.strike():
            self.counts[fault.name] += 1
        self._clean_up()

    def points_turn(self) -> None:
        """Nothing but the points at which nobody died yet: arm them all, and have somebody come by."""
        left = self.unkilled
        for name in left:
            self.site.book.arm(name)
            self.load.want(BRINGS.get(name.partition(".")[0], "single"))
        if any(name.startswith("stop.") for name in left):
            self.end_bridge()
        if any(name.startswith("attention.") for name in left):
            # An import that OMERO itself refuses asks a person, whoever answers early.
            self.load.want("single")
            set_fault(self.site.omero_data, "step1", "fail", 1)
        self._clean_up(everything=True)

    def _draw(self) -> Fault:
        never = [fault for fault in self.faults if not self.counts[fault.name]]
        # Every kind comes before any comes often: a short run shows them all.
        among = never if never and self.dice.random() < 0.7 else list(self.faults)
        return self.dice.choices(among, [fault.weight for fault in among])[0]

    def _arm_points(self, left: list[str]) -> None:
        if self._armed_for_start == self.site.starts:
            return
        self._armed_for_start = self.site.starts
        self.site.book.disarm()
        # After some starts one point at random, at one of its next passes; or one that nobody passed yet.
        if self.dice.random() < 0.5:
            name = self.dice.choice(left or [point.name for point in POINTS])
            self.site.book.arm(name, self.dice.randint(1, 4) if not left else 1)

    def finish(self) -> None:
        """No fault from here on."""
        self.site.book.disarm()
        self._clean_up(everything=True)
        self.load.story.clear_faults()
        self.site.all_well()

    # --- the bridge -----------------------------------------------------------------------------------

    def kill_bridge(self) -> bool:
        time.sleep(self.dice.uniform(0, 1.5))
        return _kill(self.site.bridge_pid, signal.SIGKILL)

    def kill_all(self) -> bool:
        with self.site.bridge_down():
            killed = _kill(self.site.bridge_pid, signal.SIGKILL)
            for pid, _words in self.site.children():
                _kill(pid, signal.SIGKILL)
            self.site.wait_for_death(self.site.bridge_pid, 10)
            for path in self.site.state.glob("engine.sqlite3*"):
                path.unlink(missing_ok=True)
        return killed

    def end_bridge(self) -> bool:
        pid = self.site.bridge_pid
        if not _kill(pid, signal.SIGTERM):
            return False
        if not self.site.wait_for_death(pid, 60):
            self.problems.append("a bridge that was told to end did not end within 60 s")
            _kill(pid, signal.SIGKILL)
        return True

    # --- its children ---------------------------------------------------------------------------------

    def kill_child(self, is_victim: Callable[[int, list[str]], bool]) -> bool:
        """kill -9 of the first that comes by."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid, words in self.site.children() if is_victim(pid, words)]
            return bool(found)

        if not within(VICTIM_SECONDS, look):
            return False
        time.sleep(self.dice.choice((0.0, 0.0, 0.05, 0.3)))
        return _kill(found[0], signal.SIGKILL)

    def kill_transfer(self, is_victim: Callable[[int, list[str]], bool]) -> bool:
        """The same for rsync, with something to transfer that takes a while."""
        self.load.want("large")
        return self.kill_child(is_victim)

    # --- the buffer -----------------------------------------------------------------------------------

    def restart_rsyncd(self) -> bool:
        self.site.restart_rsyncd()
        return True

    def stop_rsyncd(self) -> bool:
        with self.site.rsyncd_stopped():
            time.sleep(self.dice.uniform(1, 4))
        return True

    def refuse(self) -> bool:
        with self.site.rsyncd_refuses():
            time.sleep(self.dice.uniform(1, 3))
        return True

    def fill_rsyncd(self) -> bool:
        with self.site.rsyncd_full():
            time.sleep(self.dice.uniform(1, 3))
        return True

    def hide_marker(self) -> bool:
        with self.site.marker_gone():
            time.sleep(self.dice.uniform(1, 3))
        return True

    def unmount(self) -> bool:
        with self.site.unmounted():
            time.sleep(self.dice.uniform(1, 3))
        return True

    # --- OMERO ----------------------------------------------------------------------------------------

    def restart_omero(self) -> bool:
        self.site.restart_omero()
        return True

    def stop_omero(self) -> bool:
        with self.site.omero_stopped():
            time.sleep(self.dice.uniform(1, 6))
        return True

    def arm(self, faults: tuple[tuple[str, str], ...]) -> bool:
        """Arm one of OMERO's own faults; it is counted when it struck."""
        point, mode = self.dice.choice(faults)
        set_fault(self.site.omero_data, point, mode, 1)
        self._armed.append((point, mode))
        struck = within(VICTIM_SECONDS, lambda: not (self.site.omero_data / "faults" / point).exists())
        if struck:
            self._armed.remove((point, mode))
            if point in ("step1", "step3") and mode == "kill":
                within(5, lambda: not self.site.program("sandbox").running())
        return struck

    def outlive_client(self) -> bool:
        """The server works slowly, and the client dies while it waits."""
        set_fault(self.site.omero_data, "step2", f"delay:{self.dice.uniform(1, 3):.1f}", 1)
        set_fault(self.site.omero_data, "wait", "kill", 1)
        self._armed += [("step2", "delay"), ("wait", "kill")]
        return within(VICTIM_SECONDS, lambda: not (self.site.omero_data / "faults" / "wait").exists())

    def end_session(self) -> bool:
        """Somebody ends the session under which an import runs; its key stands in the importer's command."""
        key = ""

        def look() -> bool:
            nonlocal key
            for _pid, words in self.site.children():
                if _is_java(_pid, words) and "-k" in words[:-1]:
                    key = words[words.index("-k") + 1]
            return bool(key)

        if not within(VICTIM_SECONDS, look):
            return False
        ended = omero.model.SessionI()
        ended.uuid = rstring(key)
        try:
            port = int(self.site.omero["ssl_port"])
            with checker_omero.session("127.0.0.1", port, "root", ROOT_PASSWORD) as factory:
                sessions = factory.getSessionService()
                for _ in range(10):
                    if sessions.closeSession(ended) < 0:
                        return True
        except Exception:  # noqa: BLE001 - OMERO is being broken all the time; then this one did not happen
            return False
        return True

    def recheck_without_omero(self) -> bool:
        """Nothing may be let go on the word of an OMERO that does not answer."""
        released = self.load.releasable()
        if not released:
            return False
        order = self.dice.choice(released)
        self.site.program("sandbox").kill()
        asked = False
        try:
            client = self.load.client
            headers = {"Ferry-Workstation": f"{client.workstation}:{client.key}"}
            url = f"{client.url}/v1/orders/{order.id}/release"
            answer = requests.get(url, headers=headers, timeout=60)
            asked = True
            if answer.ok and answer.json()["released"] and answer.json()["files"]:
                self.load.wrong.append(f"{order.id} was released while OMERO was down: {answer.text[:300]}")
        except requests.RequestException:
            pass  # the bridge died meanwhile: nobody was told anything
        finally:
            self.site.start_sandbox()
        return asked

    # --- tidying --------------------------------------------------------------------------------------

    def _clean_up(self, everything: bool = False) -> None:
        """What was armed and met nobody is disarmed; what a step of OMERO killed is started."""
        if self._armed and (everything or self.dice.random() < 0.5):
            for point, _mode in self._armed:
                (self.site.omero_data / "faults" / point).unlink(missing_ok=True)
            self._armed.clear()
        if not self.site.program("sandbox").running():
            time.sleep(self.dice.uniform(0, 1.5))
            self.site.start_sandbox()


def _kill(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _is_java(_pid: int, words: list[str]) -> bool:
    return "ome.formats.importer.cli.CommandLineImporter" in words


def _is_omero(_pid: int, words: list[str]) -> bool:
    return (
        not _is_java(0, words) and "import" in words and any(Path(word).name == "omero" for word in words[:4])
    )


def _is_rsync_client(pid: int, words: list[str]) -> bool:
    return Path(words[0]).name == "rsync" and not _is_rsync(_parent_of(pid))


def _is_rsync_receiver(pid: int, words: list[str]) -> bool:
    return Path(words[0]).name == "rsync" and _is_rsync(_parent_of(pid))


def _is_rsync(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "rsync"
    except OSError:
        return False


def _parent_of(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])
