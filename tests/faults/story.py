"""What failure stories are told with: one person at one workstation of a running site, and an outsider's eye.

A story says what went wrong, reads from the API what the person would be told, removes the cause, and sees
the order come to its proof. The checker then looks at disks and OMERO: nothing lost, nothing doubled.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import omero.gateway  # loads omero.cmd as a whole: its parts alone depend on the order of imports
import requests

from server_bridge.sandbox.faults import clear_faults, set_fault
from tests.checker import omero as checker_omero
from tests.checker.omero import OmeroContent
from tests.checker.verdict import Places, Verdict, judge
from tests.demo.microscope import Notes, plate_like, time_lapse
from tests.e2e.plain_client import Json, PlainClient, group_id
from tests.loopback.site import MARKER, SHARE, LoopbackSite

ROOT_PASSWORD = "root-sandbox"
GROUP = "Cytoskeleton"


@dataclass
class Story:
    """A running site with one signed-in person, and notes of all that her microscope wrote."""

    site: LoopbackSite
    client: PlainClient
    person: Json
    notes: Notes = field(default_factory=Notes)
    orders: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, site: LoopbackSite, username: str = "alice") -> Story:
        """Register and approve a workstation, and sign ``username`` in at it."""
        name = f"Confocal {uuid.uuid4().hex[:6]}"
        client = PlainClient(site.bridge_url)
        client.register(name)
        site.ferry_bridge("workstation", "approve", name, "--root", f"{SHARE}=.")
        return cls(site, client, client.sign_in(username, f"{username}-sandbox"))

    # --- the microscope -------------------------------------------------------------------------------

    def stack(self, path: str, *, frames: int = 1, side: int = 64) -> str:
        """Write one OME-TIFF at ``path`` (below the share's top). Returns ``path``."""
        time_lapse(
            self.site.buffer,
            self.site.buffer / path,
            self.notes,
            frames=frames,
            side=side,
            seconds=0,
            stop=threading.Event(),
        )
        return path

    def folder(self, path: str, *stacks: str) -> str:
        """Write a folder of OME-TIFFs, each an import unit of its own. Returns ``path``."""
        for name in stacks:
            self.stack(f"{path}/{name}")
        return path

    def plate(self, path: str, fields: int = 2) -> str:
        """Write a folder bound by a companion file, and junk beside. Returns ``path``."""
        plate_like(
            self.site.buffer,
            self.site.buffer / path,
            self.notes,
            fields=fields,
            side=32,
            seconds=0,
            stop=threading.Event(),
        )
        return path

    def note(self, path: str, content: bytes) -> str:
        """Write any file and note it. Returns ``path``."""
        file = self.site.buffer / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.notes.take(self.site.buffer, file)
        return path

    # --- the person -----------------------------------------------------------------------------------

    def target(self, **values: Any) -> Json:
        """A new dataset in her group; ``values`` replace or add."""
        given = {"group_id": group_id(self.person, GROUP), "container_name": f"run {uuid.uuid4().hex[:8]}"}
        return {**given, **values}

    def order(self, path: str, target: Json | None = None, **more: Any) -> str:
        """Order and seal what lies at ``path``."""
        made = self.client.order(self.site.buffer, SHARE, path, target or self.target(), **more)
        self.orders.append(made)
        return made

    def command(self, order: str, kind: str, *, status: int | None = None, **more: Any) -> Json:
        """Give one command."""
        return self.client.call(
            "POST",
            f"/v1/orders/{order}/commands",
            status=status,
            json={"id": str(uuid.uuid4()), "kind": kind, **more},
        )

    def refused(self, method: str, path: str, status: int, code: str, **kwargs: Any) -> Json:
        """A request that is answered with a problem in words a person can act upon."""
        found = self.client.call(method, path, status=status, **kwargs)
        assert found["code"] == code, json.dumps(found)
        assert found["title"] and found["remedy"], json.dumps(found)
        return found

    # --- what she is told -----------------------------------------------------------------------------

    def told(self, order: str, code: str, *, stage: str, condition: str, seconds: float = 60.0) -> Json:
        """Wait until the order says ``code``; then everything a card needs must be there."""

        def says(state: Json) -> bool:
            reason = state["reason"] or {}
            assert condition == "attention" or state["condition"] != "attention", json.dumps(reason)
            return reason.get("code") == code and state["condition"] == condition

        state = self.client.wait_until(order, says, seconds, f"{stage}/{condition}/{code}")
        reason = state["reason"]
        assert state["stage"] == stage, f"{state['stage']}: {json.dumps(reason)}"
        assert reason["title"] and reason["remedy"] and reason["contact"], json.dumps(reason)
        if condition == "waiting" and state["sealed"]:
            assert reason["next_try_at"], json.dumps(reason)
            assert "retry" in state["allowed_commands"]
        if condition == "attention":
            assert state["allowed_commands"], "somebody must decide, and nothing can be ordered"
        return state

    def proven(self, *orders: str, seconds: float = 60.0) -> None:
        """Wait until these are proven without anybody's help."""
        for order in orders:
            self.client.wait_for_stage(order, "proven", "released", seconds=seconds)

    def staff_say(self, order: str, reason: Json) -> None:
        """The staff's command line tells the same words as the API (a retry may run while it looks)."""
        words = [" ".join(reason[name].split()) for name in ("title", "code", "remedy")]

        def shown() -> bool:
            text = " ".join(self.site.ferry_bridge("order", "show", order).split())
            return all(word in text for word in words)

        eventually(shown, 40, f"order show says {words}")
        assert f"[{reason['code']}]" in self.site.ferry_bridge("order", "log", order)

    # --- an outsider ----------------------------------------------------------------------------------

    def in_omero(self) -> OmeroContent:
        """All that OMERO holds."""
        port = int(self.site.omero["ssl_port"])
        return checker_omero.everything("127.0.0.1", port, "root", ROOT_PASSWORD)

    def verdict(self) -> Verdict:
        """What disks and OMERO hold, against what was written."""
        found = self.in_omero()
        places = Places(self.site.buffer, self.site.staging, self.site.managed)
        return judge(self.notes.files, places, found)

    def require_once(self, *paths: str) -> None:
        """Nothing lost, nothing doubled; and each of ``paths`` (files) is in OMERO exactly once."""
        found = self.verdict()
        assert found.problems == []
        assert (found.lost, found.doubled) == (0, 0)
        assert found.files == found.same_inode == found.sha1_match
        held = self.held()
        for path in paths:
            assert held.count(path) == 1, f"{path}: {held.count(path)} times in OMERO"

    def held(self) -> list[str]:
        """Share paths of all files in OMERO, as often as they are there."""
        found = self.in_omero()
        prefix = f"{self.site.staging.as_posix().lstrip('/')}/"
        return ["/".join(one.client_path.removeprefix(prefix).split("/")[2:]) for one in found.files]

    def images_of(self, path: str) -> int:
        """How many images OMERO has made of this file."""
        found = self.in_omero()
        return sum(
            found.images_by_fileset.get(one.fileset_id, 0)
            for one in found.files
            if one.client_path.endswith(f"/{path}")
        )

    def empty_filesets(self) -> set[int]:
        """Filesets without any image."""
        found = self.in_omero()
        return found.fileset_ids - set(found.images_by_fileset)

    def group_of(self, path: str) -> str:
        """Name of the OMERO group that holds this file."""
        found = self.in_omero()
        (group,) = {one.group for one in found.files if one.client_path.endswith(f"/{path}")}
        return group

    def administrator_deletes(self, *ids: int, kind: str = "Fileset") -> None:
        """OMERO's administrator deletes objects, as a remedy asks for."""
        with checker_omero.session(
            "127.0.0.1", int(self.site.omero["ssl_port"]), "root", ROOT_PASSWORD
        ) as factory:
            delete = omero.cmd.Delete2(targetObjects={kind: list(ids)})
            handle = factory.submit(delete, {"omero.group": "-1"})
            deadline = time.monotonic() + 30
            while (answer := handle.getResponse()) is None:
                assert time.monotonic() < deadline, "OMERO does not delete"
                time.sleep(0.1)
            assert not isinstance(answer, omero.cmd.ERR), answer
            handle.close()

    # --- what goes wrong ------------------------------------------------------------------------------

    def fault(self, point: str, mode: str, count: int = 1, match: str = "") -> None:
        """Arm a fault of the sandbox."""
        set_fault(self.site.omero_data, point, mode, count, match)

    def clear_faults(self) -> None:
        """Disarm every fault of the sandbox."""
        clear_faults(self.site.omero_data)

    def all_well(self) -> None:
        """No fault armed, the marker in its place, and every program running."""
        self.clear_faults()
        (self.site.buffer / MARKER).touch()
        starts = {
            "sandbox": self.site.start_sandbox,
            "rsyncd": self.site.start_rsyncd,
            "bridge": self.site.start_bridge,
        }
        for name, start in starts.items():
            if not self.site.program(name).running():
                start()

    def change_site(self, old: str, new: str) -> None:
        """Staff edit the site file; it counts from the bridge's next start."""
        text = self.site.site_file.read_text(encoding="utf-8")
        assert old in text
        self.site.site_file.write_text(text.replace(old, new), encoding="utf-8")

    def restart_bridge(self) -> None:
        """An orderly end and a new start."""
        self.site.program("bridge").stop()
        self.site.start_bridge()

    @contextmanager
    def slow_buffer(self, kib_per_second: int) -> Iterator[None]:
        """The buffer's storage sends no faster than this, until the block ends."""
        daemon = self.site.program("rsyncd")
        limit = f"--bwlimit={kib_per_second}"
        daemon.stop()
        daemon.argv.append(limit)
        self.site.start_rsyncd()
        try:
            yield
        finally:
            daemon.stop()
            daemon.argv.remove(limit)
            self.site.start_rsyncd()

    @contextmanager
    def unmounted_buffer(self) -> Iterator[Path]:
        """The buffer's disk is not mounted: its mount point is there and empty. Yields where the disk is."""
        away = self.site.buffer.with_name("buffer.unmounted")
        self.site.buffer.rename(away)
        self.site.buffer.mkdir()
        try:
            yield away
        finally:
            self.site.buffer.rmdir()
            away.rename(self.site.buffer)


def eventually(holds: Callable[[], object], seconds: float, what: str) -> None:
    """Poll until ``holds``; a bridge that is just starting counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except requests.ConnectionError:
            pass
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)


def staged_bytes(site: LoopbackSite, order: str) -> int:
    """Bytes that lie in an order's staging now, unfinished files included."""
    folder = Path(site.staging, SHARE, order)
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # renamed by rsync while we looked
    return total
