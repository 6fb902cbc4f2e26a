"""`./dev faults`: a mixed load on one loopback site, broken at every named point and in every known way.

While the load goes on, every named point kills one bridge. Then faults strike from a seeded schedule for as
long as was asked for. Then nothing fails any more, the person answers what she is asked, and everything has
to come to its end. The independent checker walks buffer, staging, ManagedRepository and OMERO.

The seed gives the schedule; the instants themselves depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.checker.aftermath import Aftermath, Ground, judge_aftermath
from tests.faults.acts import ACTS
from tests.faults.faulty_site import FaultySite, within
from tests.faults.injector import Injector
from tests.faults.load import Load
from tests.faults.points import POINTS

LIVE_ACTS = 6
POINT_SECONDS = 420.0
"""For every named point to kill a bridge once; a minute where the machine has nothing else to do."""
SETTLE_SECONDS = 420.0
"""For everything to come to its end once no fault strikes; as long."""


@dataclass(slots=True)
class Report:
    """What a run did and found; exit status and table are made of it."""

    seed: int
    minutes: float
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    acts: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    repeats: int = 0
    releases: int = 0
    aftermath: Aftermath = field(default_factory=Aftermath)
    problems: list[str] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """Named points at which no bridge was killed: what a run says about them is nothing."""
        return [point.name for point in POINTS if not self.kills.get(point.name)]

    @property
    def ok(self) -> bool:
        """Whether the run shows what it is for."""
        return self.aftermath.ok and not self.problems and not self.missed

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = self.aftermath
        return {
            **asdict(self),
            "missed": self.missed,
            "lost": found.lost,
            "doubled": found.doubled,
            "wrongly_released": found.wrongly_released,
            "ok": self.ok,
        }

    def table(self) -> str:
        """For people."""
        found = self.aftermath
        lines = ["fault                                                          struck"]
        lines += [f"  {name:60} {count:6}" for name, count in sorted(self.faults.items())]
        lines += [
            "",
            f"{'kill point':83} passed  killed",
        ]
        lines += [
            f"  {point.name:24}{point.what:58}"
            + f" {self.passes.get(point.name, 0):7} {self.kills.get(point.name, 0):7}"
            for point in POINTS
        ]
        lines += [
            "",
            "acts      " + ", ".join(f"{name} {count}" for name, count in sorted(self.acts.items())),
        ]
        lines += [
            f"orders    {found.orders} ({found.proven} proven)",
            f"files     {found.files} ({found.freed} freed upon {self.releases} releases)",
            f"bridges   {self.starts} started; {self.repeats} requests repeated until they were answered",
            f"faults    {sum(self.faults.values())} and {sum(self.kills.values())} kills at named points in "
            f"{self.seconds:.0f} s",
            "",
            f"lost {found.lost}",
            f"doubled {found.doubled}",
            f"wrongly released {found.wrongly_released}",
        ]
        lines += [f"point never hit: {name}" for name in self.missed]
        lines += [f"problem: {text}" for text in (*self.problems, *found.problems)]
        lines += ["", f"seed {self.seed}; again: ./dev faults --minutes {self.minutes:g} --seed {self.seed}"]
        return "\n".join(lines)


class _Driver:
    """The load's thread: keeps enough acts going, and lets them go on."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._feeding = True
        self._ending = threading.Event()
        self.error = ""
        self._thread = threading.Thread(target=self._loop, name="load", daemon=True)
        self._thread.start()

    def stop_feeding(self) -> None:
        """Begin no act any more."""
        self._feeding = False

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(240)

    def _loop(self) -> None:
        load = self._load
        try:
            while not self._ending.wait(0.15):
                if load.wanted:
                    load.begin(load.wanted.popleft())
                elif self._feeding and load.live < LIVE_ACTS:
                    load.begin()
                load.step()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            raise


def run(top: Path, *, minutes: float, seed: int, say: Any = print) -> Report:
    """One run in the empty folder ``top``; its processes have ended when it returns."""
    report = Report(seed=seed, minutes=minutes)
    started = time.monotonic()
    with FaultySite(top) as site:
        load = Load(site, seed, ACTS)
        driver = _Driver(load)
        injector = Injector(site, load, seed)
        _break_things(site, injector, driver, minutes, say)
        injector.finish()
        say(f"{time.monotonic() - started:4.0f} s  no fault any more; {load.live} acts go on")
        driver.stop_feeding()
        within(SETTLE_SECONDS, lambda: (not load.live and not load.wanted) or not driver.alive(), every=0.2)
        driver.stop()
        load.give_up()
        report.problems += [*injector.problems, *load.problems]
        report.problems += [text for text in (driver.error, site.keeper_error) if text]
        report.aftermath = _judge(load)
        report.aftermath.wrongly_released += len(load.wrong)
        report.problems += load.wrong
        report.starts, report.releases = site.starts, load.releases
        report.repeats = type(load.client).repeats
    report.faults = {fault.name: injector.counts[fault.name] for fault in injector.faults}
    report.acts = dict(load.acts)
    report.passes, report.kills = dict(site.book.passes()), dict(site.book.kills())
    report.seconds = time.monotonic() - started
    return report


def _break_things(site: FaultySite, injector: Injector, driver: _Driver, minutes: float, say: Any) -> None:
    """First every named point kills once, so that what follows has bridges that live; then all the rest."""
    started = said = time.monotonic()
    faults_from: float | None = None
    while driver.alive() and not site.keeper_error:
        now = time.monotonic()
        left = injector.unkilled
        if faults_from is None and (not left or now - started > POINT_SECONDS):
            faults_from = now
        if faults_from is not None and now - faults_from > minutes * 60:
            return
        if now - said > 15:
            said = now
            say(
                f"{now - started:4.0f} s  {len(POINTS) - len(left)} of {len(POINTS)} points hit, "
                f"{sum(injector.counts.values())} faults, {site.starts} starts"
            )
        if faults_from is None:
            injector.points_turn()
        else:
            injector.turn()
        time.sleep(injector.dice.uniform(0.1, 1.2))


def _judge(load: Load) -> Aftermath:
    for order in load.orders.values():
        order.state = load.client.state(order.id)
    # Debris of ours must be gone by itself; what OMERO reported as failed is its administrator's.
    load.clean_up()
    ground = Ground(load.places(), load.story.in_omero())
    return judge_aftermath(ground, load.contents, [one.facts() for one in load.orders.values()], load.freed)


def main() -> int:
    """Run, print the table, and exit 1 unless everything holds."""
    parser = argparse.ArgumentParser(prog="./dev faults", description="Break a whole site, and check it.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults strike (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule; default: a new one")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--keep", action="store_true", help="keep the site's folder (logs, database, files)")
    chosen = parser.parse_args()
    # Whoever ends a run ends its site with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = chosen.seed or random.SystemRandom().randrange(1, 10**6)
    top = Path(tempfile.mkdtemp(prefix="ferry-faults-"))
    print(
        f"seed {seed}, {len(ACTS)} kinds of acts, {len(POINTS)} kill points; logs in {top / 'logs'}",
        flush=True,
    )
    report = run(top, minutes=chosen.minutes, seed=seed, say=lambda text: print(text, flush=True))
    print(report.table(), flush=True)
    if chosen.json:
        print(json.dumps(report.as_dict()), flush=True)
    if report.ok and not chosen.keep:
        shutil.rmtree(top)
    else:
        print(f"kept: {top}", flush=True)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
