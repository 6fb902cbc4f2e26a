"""A microscope and a person who go on working whatever fails: the mixed load of the fault runs.

Each act is a story of its own, told as a generator that yields whenever somebody has to wait. The person
does what a person does: she repeats what was not answered (same id, same content), answers what she is
asked, tries again what stopped, cancels, orders anew, writes on after sealing, and deletes what is released.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import requests

from tests.checker.aftermath import Ground, OrderFacts, wrongly_released
from tests.checker.verdict import Places
from tests.e2e.plain_client import Json, PlainClient, kind_of, listing
from tests.faults.faulty_site import FaultySite
from tests.faults.story import Story
from tests.loopback.site import SHARE

PROVEN = ("proven", "released", "retired")
ENDED = (*PROVEN, "cancelled", "discarded")
NOT_IMAGES = ("Thumbs.db", "desktop.ini", "protocol.xyz")
REACT_SECONDS = 1.0
MOST_REACTIONS = 60
ANSWER_SECONDS = 180.0
# fmt: off
NEVER = frozenset(
    {
        "imported_twice", "imported_elsewhere", "deleted_in_omero", "staged_changed", "staged_damaged",
        "staging_linked", "staging_unexpected", "unit_unlisted", "units_overlap",
        "unit_leaves_acquisition", "nothing_importable", "names_collide", "fileset_missing",
        "fileset_moved", "hash_differs", "inode_differs", "managed_missing", "mtime_differs",
        "not_hashed", "not_in_fileset", "not_regular", "other_file", "size_differs", "staged_missing",
        "content_differs", "nothing_ordered", "times_differ", "path_refused", "internal",
    }
)
# fmt: on
"""What no fault of a run may make an order say: each would mean that a promise was broken on the way."""

Steps = Generator[None, None, None]
Act = Callable[["Load", str], Steps]
"""Played at a path of its own."""


class PatientClient(PlainClient):
    """Repeats a request, the very same, until it is answered: a bridge that just died is no answer."""

    repeats = 0

    def ask(self, method: str, path: str, **kwargs: Any) -> tuple[int, Json]:
        """Status and body of the first answer that is no outage."""
        headers = {**kwargs.pop("headers", {}), "Ferry-Workstation": f"{self.workstation}:{self.key}"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                answer = requests.request(method, self.url + path, headers=headers, timeout=60, **kwargs)
            except requests.RequestException:
                answer = None
            if answer is not None and answer.status_code < 500:
                return answer.status_code, answer.json() if answer.content else {}
            said = "no answer" if answer is None else f"{answer.status_code} {answer.text}"
            assert time.monotonic() < deadline, f"{method} {path}: {said}"
            assert answer is None or answer.status_code in (502, 503, 504), f"{method} {path}: {said}"
            type(self).repeats += 1
            time.sleep(0.2)

    def call(self, method: str, path: str, *, status: int | None = None, **kwargs: Any) -> Json:
        """As `PlainClient.call`, patiently."""
        code, found = self.ask(method, path, **kwargs)
        good = code == status if status is not None else code < 400
        assert good, f"{method} {path}: {code} {found}"
        return found


@dataclass
class Ordered:
    """One order as its person knows it."""

    id: str
    path: str
    revision: int = 1
    files: tuple[str, ...] = ()
    state: Json = field(default_factory=dict)
    accepts_early: bool = False
    """She answers a question when the card shows it, not only when everything else is done."""
    reacted_at: float = 0.0
    reactions: Counter[str] = field(default_factory=Counter)

    def facts(self) -> OrderFacts:
        """For the checker."""
        junk = frozenset(path for path in self.files if path.rpartition("/")[2] in NOT_IMAGES)
        return OrderFacts(self.id, SHARE, str(self.state.get("stage", "unknown")), self.files, junk)


class Load:
    """All acts of a run. One thread drives it by `step`."""

    def __init__(self, site: FaultySite, seed: int, kinds: Mapping[str, Act]) -> None:
        self.kinds = kinds
        self.site = site
        self.dice = random.Random(f"load {seed}")
        begun = Story.begin(site)
        client = PatientClient(
            site.bridge_url, begun.client.workstation, begun.client.key, begun.client.token
        )
        self.story = Story(site, client, begun.person)
        self.client = client
        self.contents: dict[str, list[tuple[int, str]]] = {}
        self.orders: dict[str, Ordered] = {}
        self.freed: dict[str, str] = {}
        self.wrong: list[str] = []
        self.problems: list[str] = []
        self.acts: Counter[str] = Counter()
        self.releases = 0
        self.wanted: deque[str] = deque()
        """Acts that somebody else wants begun; any thread may add."""
        self._live: list[tuple[str, Steps]] = []
        self._number = 0
        self._deck: list[str] = []

    # --- driving --------------------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Acts that have not ended."""
        return len(self._live)

    def want(self, kind: str) -> None:
        """Have an act of that kind begun, unless one goes on. Any thread may ask."""
        if kind not in self.wanted and not any(kind == one for one, _act in list(self._live)):
            self.wanted.append(kind)

    def begin(self, kind: str = "") -> None:
        """Begin an act: the named one, or the next of a shuffled deck of all kinds."""
        if not self._deck:
            self._deck = [*self.kinds]
            self.dice.shuffle(self._deck)
        kind = kind or self._deck.pop()
        self._number += 1
        self.acts[kind] += 1
        self._live.append((kind, self.kinds[kind](self, f"alice/{self._number:03d}-{kind}")))

    def step(self) -> None:
        """Let every act go on to its next wait."""
        for entry in list(self._live):
            kind, act = entry
            try:
                next(act)
            except StopIteration:
                self._live.remove(entry)
            except AssertionError as error:
                self._live.remove(entry)
                self.problems.append(f"{kind}: {error}")

    def give_up(self) -> None:
        """What has not ended by now is a problem."""
        for kind, _act in self._live:
            self.problems.append(f"{kind}: did not come to its end")
        self._live.clear()

    def places(self) -> Places:
        """For the checker."""
        return Places(self.site.buffer, self.site.staging, self.site.managed)

    def releasable(self) -> list[Ordered]:
        """Orders that are released and not freed."""
        return [one for one in self.orders.values() if one.state.get("stage") == "released"]

    # --- the microscope -------------------------------------------------------------------------------

    def write(self, writes: Callable[[], object]) -> None:
        """Write files, and note every content that they have now."""
        with self.site.buffer_guard:
            before = dict(self.story.notes.files)
            writes()
            for path, content in self.story.notes.files.items():
                if before.get(path) != content:
                    self.contents.setdefault(path, []).append(content)

    # --- the person -----------------------------------------------------------------------------------

    def order(self, path: str, *, seal: bool = True, order_id: str = "", **more: Any) -> Ordered:
        """Order what lies there, and seal it."""
        early = self.dice.random() < 0.4
        made = Ordered(order_id or str(uuid.uuid4()), path, accepts_early=early)
        self.orders[made.id] = made
        with self.site.buffer_guard:  # the mount point alone is no file
            kind = kind_of(self.site.buffer, path)
        target = self.story.target(**more)
        self.story.client.order(
            self.site.buffer, SHARE, path, target, order_id=made.id, seal=False, kind=kind
        )
        if seal:
            self.seal(made)
        return made

    def seal(self, order: Ordered) -> int:
        """Put what lies there now as the next revision; returns the status (409: the import began)."""
        with self.site.buffer_guard:
            there = listing(self.site.buffer, order.path)
        status, found = self.put_manifest(order, there)
        if status == 409 and found["code"] == "manifest_revision":
            order.revision = int(self.client.state(order.id)["manifest_revision"]) + 1
            status, found = self.put_manifest(order, there)
        assert status == 200 or found["code"] in ("import_started", "order_ended"), f"{status} {found}"
        if status == 200:
            order.files = tuple(path for path, _size, _mtime in there)
            order.revision += 1
        return status

    def put_manifest(self, order: Ordered, there: list[tuple[str, int, int]]) -> tuple[int, Json]:
        lines = [
            json.dumps({"path": path, "size_bytes": size, "mtime_ns": mtime}) for path, size, mtime in there
        ]
        return self.client.ask(
            "PUT",
            f"/v1/orders/{order.id}/manifest?revision={order.revision}&sealed=true",
            data=("\n".join(lines) + "\n").encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )

    def command(self, order: Ordered, kind: str, **more: Any) -> tuple[int, Json]:
        """Give a command; a refusal is an answer."""
        request = {"id": str(uuid.uuid4()), "kind": kind, **more}
        return self.client.ask("POST", f"/v1/orders/{order.id}/commands", json=request)

    def until(self, order: Ordered, *stages: str) -> Steps:
        """Follow the order, doing what its card asks for, until it is in one of ``stages``."""
        while True:
            order.state = self.client.state(order.id)
            if order.state["stage"] in stages:
                return
            assert order.state["stage"] not in ("cancelled", "discarded"), f"{order.id} was ended by nobody"
            self._react(order)
            yield

    def _react(self, order: Ordered) -> None:
        state = order.state
        reason = state["reason"] or {}
        code = str(reason.get("code", ""))
        assert code not in NEVER, f"order {order.id} ({order.path}): {reason}"
        if time.monotonic() - order.reacted_at < REACT_SECONDS:
            return
        if state["condition"] == "waiting" and not state["sealed"] and order.files:
            order.reacted_at = time.monotonic()
            order.revision = max(order.revision, int(state["manifest_revision"]) + 1)
            self.seal(order)
            return
        asked = "accept-left-out" in state["allowed_commands"]
        if state["condition"] == "attention" or (asked and order.accepts_early):
            order.reacted_at = time.monotonic()
            order.reactions[code] += 1
            assert order.reactions[code] <= MOST_REACTIONS, f"order {order.id} stays in attention: {reason}"
            self._administrator_cleans(order.id)
            self.command(order, "accept-left-out" if asked else "retry")

    def _administrator_cleans(self, order_id: str) -> None:
        """What a remedy asks for: an import that OMERO has given up is deleted by its administrator."""
        try:
            found = self.story.in_omero()
            dead = found.without_images & found.finished_uploads
            ours = {one.fileset_id for one in found.files if f"/{order_id}/" in one.client_path} & dead
            if ours:
                self.story.administrator_deletes(*sorted(ours))
        except Exception:  # noqa: BLE001 - OMERO is down more often than not here: the next round asks again
            return

    def clean_up(self) -> None:
        """At the end of all faults: imports that OMERO gave up on, and that were made anew meanwhile."""
        found = self.story.in_omero()
        if dead := found.without_images & found.finished_uploads:
            self.story.administrator_deletes(*sorted(dead))

    def let_go(self, order: Ordered) -> Steps:
        """Wait for the release, hold it against the world, delete, report, and see the order retire."""
        yield from self.until(order, "released", "retired")
        while (answer := self._release(order)) is None:
            yield
        deleted, skipped = self._delete(order, answer)
        status, found = self.client.ask(
            "POST", f"/v1/orders/{order.id}/freed", json={"paths": deleted, "skipped": skipped}
        )
        assert status == 200 or found["code"] == "not_released", f"{status} {found}"
        if status == 200 and not found["remaining_files"]:
            yield from self.until(order, "retired")

    def _release(self, order: Ordered) -> list[tuple[str, int, int]] | None:
        """What may be deleted, or None for now; each answer is proven again from outside."""
        status, found = self.client.ask("GET", f"/v1/orders/{order.id}/release")
        if status != 200 or not found["released"]:
            order.state = self.client.state(order.id)
            self._react(order)
            return None
        files = [(one["path"], one["size_bytes"], one["mtime_ns"]) for one in found["files"]]
        order.state = self.client.state(order.id)
        try:
            ground = Ground(self.places(), self.story.in_omero())
        except Exception:  # noqa: BLE001 - OMERO died since it was asked: without the second opinion nothing is deleted
            return None
        self.releases += 1
        with self.site.buffer_guard:
            facts = replace(order.facts(), stage="released")
            self.wrong += wrongly_released(ground, facts, files, self.contents)
        return files

    def _delete(self, order: Ordered, files: list[tuple[str, int, int]]) -> tuple[list[str], dict[str, str]]:
        deleted, skipped = [], {}
        with self.site.buffer_guard:
            for path, size, mtime_ns in files:
                file = self.site.buffer / path
                found = file.stat() if file.exists() else None
                if found is None:
                    deleted.append(path)
                elif (found.st_size, found.st_mtime_ns) == (size, mtime_ns):
                    file.unlink()
                    self.freed[path] = order.id
                    deleted.append(path)
                else:
                    skipped[path] = "changed"
        return deleted, skipped
