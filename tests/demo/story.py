"""The story of the demo: a microscope writes, a person tags, the bridge imports, an outsider judges."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication

from agent.core.snapshot import Card, CardState, Snapshot
from agent.ui.controller import Controller
from tests.checker import disk
from tests.checker import omero as checker_omero
from tests.checker.verdict import Places, Verdict, judge
from tests.demo.hands import Experimenter
from tests.demo.microscope import Notes, read_notes
from tests.demo.report import Telling, megabytes
from tests.demo.watcher import ImageWatcher
from tests.loopback.processes import Program, python_module
from tests.loopback.site import PROJECT, LoopbackSite

PERSON = "alice"
TIME_LAPSE = "embryo-stack_03.ome.tif"
PLATE = "2026-11-23_plate-4"
PROVEN = frozenset({CardState.PROVEN, CardState.SAFE_TO_DELETE, CardState.FREED})
NEEDS_SOMEBODY = frozenset({CardState.REFUSED, CardState.ATTENTION, CardState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Size:
    """How much the microscope writes."""

    frames: int
    side: int
    fields: int
    field_side: int
    seconds: float


REAL = Size(frames=40, side=1024, fields=96, field_side=256, seconds=9.0)


@dataclass(slots=True)
class Story:
    """Everything one telling of it needs."""

    site: LoopbackSite
    app: QApplication
    controller: Controller
    pictures: Path
    telling: Telling
    size: Size = REAL
    notes: Notes = field(default_factory=Notes)

    def tell(self) -> dict[str, Any]:
        """Run it to its end and return the result for JSON; ``ok`` says whether all of it holds.

        Raises:
            DemoError: where something the story needs did not happen.
        """
        hands = Experimenter(self.app, self.controller, self.pictures)
        hands.on_look = self._say_cards
        say = self.telling.say
        hands.wait_until(
            lambda: hands.snapshot is not None and hands.snapshot.bridge.workstation_status == "approved",
            30,
            "the approval of this workstation",
        )
        hands.sign_in(PERSON, f"{PERSON}-sandbox")
        say(f"{PERSON} signed in; the microscope starts to write")
        watcher = ImageWatcher(
            int(self.site.omero["ssl_port"]), [f"{PERSON}/{TIME_LAPSE}", f"{PERSON}/{PLATE}/"]
        )
        watcher.start()
        writer = self._microscope()
        try:
            for title in (TIME_LAPSE, PLATE):
                hands.wait_until(lambda title=title: hands.card(title), 40, f"the card of {title}")
            hands.picture("1-being-written")
            hands.send(
                TIME_LAPSE,
                group="Cytoskeleton",
                project="Actin project",
                dataset="embryos",
                tags=("LifeAct-GFP", "40x"),
                values={"Stage": "24 hpf"},
                picture="2-choosing-the-target",
            )
            say("tagged the time-lapse while it is still being written")
            hands.send(
                PLATE,
                group="Cytoskeleton",
                project="Actin project",
                dataset="plate-4",
                tags=("siRNA",),
                values={"Cell line": "U2OS", "Treatment": "siRNA library 3"},
                picture="3-a-new-dataset",
            )
            say("tagged the plate; its dataset is new")
            hands.wait_until(self._notes_file.exists, 60, f"the microscope's end: {writer.tail(5)}")
            self.notes = read_notes(self._notes_file)
            say(f"the last byte is written: {len(self.notes.files)} files, {megabytes(self._written())}")
            moving = (CardState.COPYING, CardState.CHECKING, CardState.IMPORTING)
            hands.wait_until(
                lambda: self._any(hands, *moving) or self._all(hands, PROVEN), 60, "the bridge's first step"
            )
            hands.picture("4-on-its-way")
            hands.wait_until(lambda: self._settled(hands), 120, "the proof")
            hands.picture("5-proven")
            before = self._judge()
            staged = disk.content(self.site.staging)
            hands.wait_until(
                lambda: self._all(hands, {CardState.SAFE_TO_DELETE, CardState.FREED}), 60, "the release"
            )
            say("released; freeing the buffer through the window")
            for title in (TIME_LAPSE, PLATE):
                hands.free(title)
                hands.wait_until(
                    lambda title=title: self._is(hands, title, CardState.FREED),
                    60,
                    f"{title} leaving the buffer",
                )
            hands.picture("6-freed")
        finally:
            writer.stop()
            watcher.stop()
        after = self._judge(staged)
        return self._result(before, after, watcher)

    # --- the microscope -------------------------------------------------------------------------------

    def _microscope(self) -> Program:
        size = self.size
        program = Program(
            "microscope",
            python_module(
                "tests.demo.microscope",
                f"--share={self.site.buffer}",
                f"--time-lapse={PERSON}/{TIME_LAPSE}",
                f"--plate={PERSON}/{PLATE}",
                f"--notes={self._notes_file}",
                f"--frames={size.frames}",
                f"--side={size.side}",
                f"--fields={size.fields}",
                f"--field-side={size.field_side}",
                f"--seconds={size.seconds}",
            ),
            self.site.top / "logs" / "microscope.log",
            {"PYTHONPATH": str(PROJECT)},
        )
        program.start(lambda: True)
        return program

    @property
    def _notes_file(self) -> Path:
        return self.site.top / "microscope.json"

    def _written(self) -> int:
        return sum(size for size, _sha1 in self.notes.files.values())

    # --- looking --------------------------------------------------------------------------------------

    def _say_cards(self, snapshot: Snapshot) -> None:
        for card in snapshot.cards:
            self.telling.card(card.title, describe(card))

    @staticmethod
    def _is(hands: Experimenter, title: str, *states: CardState) -> bool:
        card = hands.card(title)
        return card is not None and card.state in states

    def _any(self, hands: Experimenter, *states: CardState) -> bool:
        return any(self._is(hands, title, *states) for title in (TIME_LAPSE, PLATE))

    def _all(self, hands: Experimenter, states: frozenset[CardState] | set[CardState]) -> bool:
        return all(self._is(hands, title, *states) for title in (TIME_LAPSE, PLATE))

    def _settled(self, hands: Experimenter) -> bool:
        stuck = [title for title in (TIME_LAPSE, PLATE) if self._is(hands, title, *NEEDS_SOMEBODY)]
        if stuck:
            # The wait ends here with what the card says instead of after its full time.
            hands.wait_until(lambda: False, 0, f"going on with {', '.join(stuck)}")
        return self._all(hands, PROVEN)

    def _orders(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.site.ferry_bridge("orders", "--all", "--json"))
        return found

    # --- judging --------------------------------------------------------------------------------------

    def _judge(self, staged: dict[str, disk.FileFacts] | None = None) -> Verdict:
        found = checker_omero.everything(
            "127.0.0.1", int(self.site.omero["ssl_port"]), "root", "root-sandbox"
        )
        places = Places(self.site.buffer, self.site.staging, self.site.managed)
        return judge(self.notes.files, places, found, staged=staged)

    def _result(self, before: Verdict, after: Verdict, watcher: ImageWatcher) -> dict[str, Any]:
        seconds = {
            title: round(watcher.seen_at[path] - self.notes.last_byte_at[path.rstrip("/")], 1)
            for title, path in ((TIME_LAPSE, f"{PERSON}/{TIME_LAPSE}"), (PLATE, f"{PERSON}/{PLATE}/"))
            if path in watcher.seen_at
        }
        problems = [*before.problems, *after.problems]
        if watcher.error is not None:
            problems.append(f"looking into OMERO failed: {watcher.error}")
        holds: list[tuple[bool, str]] = [
            (before.files > 0, "nothing was imported"),
            (before.same_inode == before.files, "not every file is one inode"),
            (before.sha1_match == before.files, "not every SHA-1 is as written"),
            (0 < before.disk_ratio <= 1.05, f"the disk ratio is {before.disk_ratio}"),
            (before.freed_bytes == 0, "something left the buffer before it was released"),
            (after.freed_bytes == self._written(), "not everything released was freed"),
            (after.lost == 0 and after.doubled == 0, "something was lost or doubled"),
            (len(seconds) == 2, "not both acquisitions were seen in OMERO"),
        ]
        problems += [text for holding, text in holds if not holding]
        return {
            "orders": len(self._orders()),
            "files": before.files,
            "bytes": before.bytes,
            "images": before.images,
            "same_inode": before.same_inode,
            "sha1_match": before.sha1_match,
            "left_out": before.left_out,
            "disk_ratio": before.disk_ratio,
            "freed_bytes": after.freed_bytes,
            "seconds": seconds,
            "ok": not problems,
            "problems": problems,
        }


def describe(card: Card) -> str:
    """A card in one line, in the words of its state."""
    text = card.state.value
    if card.transfer is not None and card.transfer.bytes_total:
        done = card.transfer
        text += f" {megabytes(done.bytes_done)} of {megabytes(done.bytes_total)}, {done.files_done} files"
        if done.import_step:
            text += f", import step {done.import_step} of 5"
    elif card.state in (CardState.WRITING, CardState.SETTLING):
        text += f" {card.file_count} files" + "".join(f", {witness.words}" for witness in card.witnesses[:1])
    if card.reason is not None:
        text += f": {card.reason.title}. {card.reason.detail}"
    return text
