"""Log lines: one JSON object each on stderr, with the order's id, without secrets, from libraries too."""

from __future__ import annotations

import json
import subprocess
import sys


def run(code: str, style: str = "json") -> list[str]:
    setup = f"from server_bridge.observability import *\nconfigure_logging({style!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", setup + code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_every_line_is_one_json_object_with_the_order() -> None:
    lines = run(
        "import logging\n"
        "log = get_logger('ferry.x')\n"
        "with working_on('o-1', step='pull'):\n"
        "    log.info('started', files=3)\n"
        "    logging.getLogger('some.library').warning('it %s', 'said')\n"
        "log.info('later')\n"
    )
    first, library, later = (json.loads(line) for line in lines)
    assert (first["event"], first["order"], first["step"], first["files"]) == ("started", "o-1", "pull", 3)
    assert (library["event"], library["order"], library["level"]) == ("it said", "o-1", "warning")
    assert "order" not in later
    assert later["timestamp"].endswith("Z")


def test_an_exception_is_one_line_too() -> None:
    lines = run("try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_logger('x').exception('failed')\n")
    assert len(lines) == 1
    assert "ZeroDivisionError" in json.loads(lines[0])["exception"]


def test_well_known_secrets_are_dropped() -> None:
    (line,) = run("get_logger('x').info('hello', password='hunter2', token='t0k', who='alice')")
    assert "hunter2" not in line
    assert "t0k" not in line
    assert "alice" in line


def test_the_console_form_is_readable() -> None:
    (line,) = run("get_logger('x').info('hello', who='alice')", "console")
    assert "hello" in line
    assert "who=alice" in line
