"""A bridge that can be killed at every named point, for the fault runs. Nothing in the product is changed.

``python -m tests.faults.bridge_with_points FOLDER`` imports the bridge once, wraps the functions of the
catalogue, and then serves commands on its standard input, one a line: ``start SITE LOG`` forks a bridge
(and answers with its process id), ``quit`` ends. With a site file as second argument it becomes that one
bridge itself. A bridge started so differs from `ferry-bridge serve` in
three ways: it is there in a fraction of a second, because a fault run starts it a hundred times; its points
are wrapped; and it drops staged links after two listings one second apart instead of thirty.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import random
import select
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.faults.armed import Book
from tests.faults.points import POINTS, Point, When

APART = timedelta(seconds=1)


def wrap_all(book: Book, points: Sequence[Point] = POINTS) -> None:
    """Replace every function of the catalogue by one that passes its points.

    Raises:
        LookupError: for a target that the product does not have (any more).
    """
    by_target: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        for target in point.targets:
            by_target[target].append(point)
    for target, here in by_target.items():
        holder, name = find(target)
        setattr(holder, name, _wrapped(getattr(holder, name), here, book))


def find(target: str) -> tuple[Any, str]:
    """Module or class that holds the function, and the function's name there.

    Raises:
        LookupError: where there is none.
    """
    module, _, dotted = target.partition(":")
    *holders, name = dotted.split(".")
    try:
        holder = functools.reduce(getattr, holders, importlib.import_module(module))
        found = getattr(holder, name)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"kill point target {target}: {error}") from error
    if not callable(found):
        raise LookupError(f"kill point target {target} is no function")
    return holder, name


def _wrapped(original: Callable[..., Any], points: Sequence[Point], book: Book) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def passing(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        given = signature.bind(*args, **kwargs).arguments
        here = [
            point
            for point in points
            if (not point.called_from or point.called_from == caller) and point.given(given)
        ]
        for point in here:
            if point.when is When.BEFORE:
                book.passed(point.name)
        result = original(*args, **kwargs)
        for point in here:
            if point.when is When.AFTER and point.gives(result):
                book.passed(point.name)
        return result

    return passing


def _import_all() -> None:
    """Everything that a serving bridge imports, while this process has one thread: then it can be forked."""
    for module in (
        "server_bridge.cli",
        "server_bridge.operations.serve",
        "server_bridge.pipeline.service",
        "server_bridge.api.omero_directory",
        "server_bridge.retention.freed",
        "server_bridge.retention.release",
    ):
        importlib.import_module(module)


def _drop_links_soon() -> None:
    service = importlib.import_module("server_bridge.pipeline.service")
    service.Releaser = functools.partial(service.Releaser, apart=APART)


def _fork_bridge(site: str, log: str) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.closerange(3, 64)
    random.seed()  # a fork would repeat its parent's
    status = 1
    try:
        _serve(site)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _serve(site: str) -> None:
    from server_bridge import cli

    sys.argv = ["ferry-bridge", "serve", "--site", site]
    cli.main()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


def main() -> None:
    """Wait for commands; bridges that were started live on when this process ends."""
    _import_all()
    wrap_all(Book(Path(sys.argv[1])))
    _drop_links_soon()
    if len(sys.argv) > 2:
        _serve(sys.argv[2])
        return
    print("ready", flush=True)
    waiting = b""
    while True:
        _reap()
        if not select.select([0], [], [], 0.05)[0]:
            continue
        data = os.read(0, 4096)
        if not data:
            return
        waiting += data
        *lines, waiting = waiting.split(b"\n")
        for line in lines:
            if line == b"quit":
                return
            _start, site, log = line.decode().split("\t")
            print(_fork_bridge(site, log), flush=True)


if __name__ == "__main__":
    main()
