"""Two hundred agents wait for changes: how soon they hear of one, and what their waiting costs.

The bridge's application under uvicorn in a process of its own (this module again, with ``serve``), the agents
on as many kept connections from this one. Changes are made inside the server's process, as its pipeline
makes them, and timed by the one monotonic clock of the machine.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httpx
import uvicorn

from server_bridge.app import create_app
from server_bridge.context import Context
from server_bridge.contract import Condition, Group, PermissionLevel, Person, Stage
from server_bridge.observability import POLLS_WAITING, configure_logging
from server_bridge.operations.serve import Server
from server_bridge.orders import sessions
from server_bridge.orders.models import Order, utcnow
from server_bridge.orders.stages import Cause
from server_bridge.sandbox.ports import free_port
from tests.benchmarks.backlog import fill
from tests.benchmarks.measure import MIB, Report, cpu_seconds_of, percentile, rss_bytes, threads_of
from tests.bridge.api.fake_directory import FakeDirectory
from tests.bridge.bridge_site import make_site, make_store

NAME = "feed"
TITLE = "200 agents at the changes feed"
CHANGES_PER_SECOND = 4
GROUP = Group(id=3, name="Cytoskeleton", permissions=PermissionLevel.READ_ANNOTATE)


def run(top: Path, quick: bool) -> Report:
    agents, queued, seconds = (20, 500, 4.0) if quick else (200, 10_000, 20.0)
    report = Report(NAME, f"{agents} agents at the changes feed")
    site = make_site(top)
    store = make_store(site)
    tokens = []
    for number in range(agents):
        person = Person(username=f"person{number}", full_name="", groups=(GROUP,), default_group_id=GROUP.id)
        tokens.append(sessions.sign_in(store, person, None, site.limits, utcnow(), "bench").token)
    ids = fill(store, agents * 2, people=agents, share="conf", condition=Condition.ATTENTION)
    store.engine.dispose()
    server = _Server(top, free_port())
    server.start()
    try:
        asyncio.run(_measure(server, tokens, ids, queued, seconds, report))
    finally:
        server.stop()
    report.notes.append(
        f"{CHANGES_PER_SECOND} changes a second for {seconds:.0f} s, each of one agent's order; agents "
        "poll with wait=25 on connections that stay open. CPU is the server process's alone."
    )
    return report


async def _measure(
    server: _Server, tokens: list[str], ids: list[str], queued: int, seconds: float, report: Report
) -> None:
    agents = [_Agent(server.url, token) for token in tokens]
    tasks = [asyncio.create_task(agent.poll()) for agent in agents]
    try:
        await _until(lambda: all(agent.answers for agent in agents), "every agent was answered once")
        await _until(lambda: server.ask("waiting")["polls"] == len(agents), "every agent waits")
        quiet = server.ask("waiting")
        report.add("threads of the server while all wait", threads_of(server.pid), "")
        report.add("database connections in use while all wait", quiet["connections"], "", 0.0)
        report.add("memory of the server", rss_bytes(server.pid) / MIB, "MiB")
        cpu, started = cpu_seconds_of(server.pid), time.monotonic()
        await asyncio.sleep(seconds / 2)
        used = 100 * (cpu_seconds_of(server.pid) - cpu) / (time.monotonic() - started)
        report.add("CPU while nothing changes", used, "% of a core")

        delays, cpu = await _changes(server, agents, ids, seconds)
        report.add("commit to receipt, p50", percentile(delays, 0.5), "ms")
        report.add("commit to receipt, p99", percentile(delays, 0.99), "ms")
        report.add(f"CPU at {CHANGES_PER_SECOND} changes a second", cpu, "% of a core")

        server.ask(f"queue {queued} {len(agents)}")
        await asyncio.sleep(3)
        answers = sum(agent.answers for agent in agents)
        delays, cpu = await _changes(server, agents, ids, seconds, moving=True)
        told = (sum(agent.answers for agent in agents) - answers) / seconds
        name = f"{queued:,} queued, the queue moving twice a second"
        report.add(f"{name}: commit to receipt, p50", percentile(delays, 0.5), "ms")
        report.add(f"{name}: commit to receipt, p99", percentile(delays, 0.99), "ms")
        report.add(f"{name}: CPU", cpu, "% of a core")
        report.add(f"{name}: answers to all agents", told, "a second")

        for agent in agents:
            agent.answers = 0
        server.stop()
        server.start()
        started = time.monotonic()
        await _until(lambda: all(agent.answers for agent in agents), "everybody is back")
        report.add("all answered again after a restart", time.monotonic() - started, "s")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _changes(
    server: _Server, agents: list[_Agent], ids: list[str], seconds: float, moving: bool = False
) -> tuple[list[float], float]:
    """Touch one agent's order after the other; returns the delays in ms and the server's CPU in percent."""
    delays: list[float] = []
    started, cpu = time.monotonic(), cpu_seconds_of(server.pid)
    count = int(seconds * CHANGES_PER_SECOND)
    for number in range(count):
        place = number * 7 % len(agents)
        agent = agents[place]
        heard = agent.hear(ids[place])
        if moving and number % (CHANGES_PER_SECOND // 2) == 0:
            await asyncio.to_thread(server.ask, "claim")
        committed = (await asyncio.to_thread(server.ask, f"touch {ids[place]}"))["at"]
        with suppress(TimeoutError):
            delays.append(1000 * (await asyncio.wait_for(heard, 20) - committed))
        await asyncio.sleep(max(0.0, started + (number + 1) / CHANGES_PER_SECOND - time.monotonic()))
    used = 100 * (cpu_seconds_of(server.pid) - cpu) / (time.monotonic() - started)
    assert len(delays) == count, f"{count - len(delays)} changes never came"
    return delays, used


async def _until(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < until, f"not within 90 s: {what}"
        await asyncio.sleep(0.05)


class _Agent:
    """One agent's polls, one after the other on one connection."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._wanted: tuple[str, asyncio.Future[float]] | None = None
        self.answers = 0

    def hear(self, order_id: str) -> Awaitable[float]:
        """When (monotonic seconds) the order's next state is received."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._wanted = (order_id, future)
        return future

    async def poll(self) -> None:
        cursor = 0
        async with httpx.AsyncClient(headers=self._headers, timeout=60) as client:
            while True:
                try:
                    answer = await client.get(f"{self._url}/v1/orders?after={cursor}&wait=25")
                    page = answer.raise_for_status().json()
                except httpx.HTTPError:
                    await asyncio.sleep(0.2)
                    continue
                self.answers += 1
                if self._wanted and self._wanted[0] in {order["id"] for order in page["orders"]}:
                    if not self._wanted[1].done():
                        self._wanted[1].set_result(time.monotonic())
                    self._wanted = None
                cursor = page["cursor"]


class _Server:
    """The bridge's API in a child process, which takes orders on its standard input."""

    def __init__(self, top: Path, port: int) -> None:
        self._top, self._port = top, port
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.feed_agents", "serve", str(self._top), str(self._port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.ask("waiting")["polls"] == 0

    def ask(self, line: str) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return cast(dict[str, Any], json.loads(self._process.stdout.readline()))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None


# --- the child ----------------------------------------------------------------------------------------------


def serve(top: Path, port: int) -> None:
    configure_logging("json", "WARNING")  # on stderr: standard output is for answers
    site = make_site(top)
    store = make_store(site)
    app = create_app(Context(site, store, cast(Any, None)), directory=FakeDirectory())
    config = uvicorn.Config(app, port=port, log_config=None, access_log=False, timeout_keep_alive=65)
    server = Server(config, app.state.parts.waker)
    queued: list[str] = []

    def obey(command: str, *words: str) -> dict[str, Any]:
        match command:
            case "touch":
                with store.write() as session:
                    store.touch(session, session.get_one(Order, words[0]))
            case "queue":
                queued[:] = fill(store, int(words[0]), people=int(words[1]))
                app.state.parts.waker.nudge()
            case "claim":
                order_id = queued.pop(0)
                store.claim(order_id, utcnow())
                with store.write() as session:
                    order = store.get(session, order_id)
                    store.set_stage(session, order, Stage.CANCELLED, Cause.STAFF, who="b", text="")
        pool = cast(Any, store.engine.pool)
        return {
            "at": time.monotonic(),
            "polls": POLLS_WAITING._value.get(),
            "connections": pool.checkedout(),
        }

    def listen() -> None:
        while not server.started:
            time.sleep(0.02)
        for line in sys.stdin:
            print(json.dumps(obey(*line.split())), flush=True)

    threading.Thread(target=listen, daemon=True).start()
    server.run()


if __name__ == "__main__":
    serve(Path(sys.argv[2]), int(sys.argv[3]))
