"""`python -m tests.demo`: the whole product on loopback, told as one story. `./dev demo` sets it up."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler
from PySide6.QtGui import QGuiApplication

from agent.__main__ import make_engine, read_settings
from agent.platform import select
from agent.ui.application import FerryApplication, make_qt_application, preferences_at
from agent.ui.desktop import Desktop
from tests.demo.hands import DemoError
from tests.demo.report import Telling, final_report, last_line
from tests.demo.story import PERSON, Story
from tests.loopback.processes import SiteError
from tests.loopback.site import SHARE, LoopbackSite

WORKSTATION = "Confocal SP8"


def arguments() -> argparse.Namespace:
    """The demo's options."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="The whole product on loopback.")
    parser.add_argument("--json", action="store_true", help="make the last line of stdout one JSON object")
    parser.add_argument("--keep", action="store_true", help="leave the site running; Ctrl-C ends it")
    return parser.parse_args()


def approve(site: LoopbackSite, stop: threading.Event, telling: Telling) -> None:
    """Platform staff: approve the workstation as soon as it has introduced itself."""
    while not stop.wait(0.2):
        try:
            site.ferry_bridge("workstation", "approve", WORKSTATION, "--root", f"{SHARE}=.")
        except SiteError:
            continue  # it has not registered yet; the story's own deadline ends the wait
        telling.say(f"staff approved the workstation {WORKSTATION}")
        return


def by_hand(site: LoopbackSite) -> str:
    """How to use the running site."""
    environment = f"FERRY_SITE={site.site_file}"
    return "\n".join(
        [
            "",
            f"The site is running in {site.top}. Ctrl-C ends it and removes the folder.",
            f"  status page    {site.bridge_url}/",
            f"  orders         {environment} ferry-bridge orders",
            f"  one order      {environment} ferry-bridge order show ID",
            f"  the buffer     {site.buffer / PERSON}   (write here; it is {PERSON}'s folder)",
            f"  the agent      omero-ferry --show --settings {site.agent_settings}",
            f"  OMERO          omero login -s 127.0.0.1 -p {site.omero['ssl_port']} -u {PERSON}"
            f" -w {PERSON}-sandbox   (people: {', '.join(site.omero['users'])}; passwords NAME-sandbox)",
            "",
        ]
    )


def quieter(_kind: QtMsgType, _context: QMessageLogContext, text: str) -> None:
    """Qt's messages on stderr, but for what the offscreen platform cannot do and nobody can see there."""
    if not text.startswith("This plugin does not support"):
        print(text, file=sys.stderr)


def run(options: argparse.Namespace, telling: Telling, top: Path) -> dict[str, Any]:
    """Bring the site up, tell the story, and let the site go or keep it."""
    with LoopbackSite(top / "site") as site:
        telling.say(f"sandbox OMERO, rsync daemon and bridge run ({telling.seconds:.1f} s to start)")
        site.write_agent_settings(WORKSTATION)
        qInstallMessageHandler(quieter)
        logging.basicConfig(
            filename=site.top / "logs" / "agent.log",
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s %(message)s",
        )
        desktop = Desktop()
        app = make_qt_application(["omero-ferry"], desktop)
        settings = read_settings(site.agent_settings)
        engine = make_engine(settings, select(settings.machine_dir, settings.user_dir))
        ferry = FerryApplication(
            app, engine, None, preferences=preferences_at(top / "window.ini"), desktop=desktop, version="demo"
        )
        ferry.start(show=True)
        stop = threading.Event()
        staff = threading.Thread(target=approve, args=(site, stop, telling), name="staff")
        staff.start()
        pictures = Path.cwd() / "screenshots" / "demo"
        shutil.rmtree(pictures, ignore_errors=True)
        on_display = QGuiApplication.platformName() not in {"offscreen", "minimal"}
        try:
            result = Story(site, app, ferry.controller, pictures, telling).tell()
            print(final_report(result, result["problems"]), file=sys.stderr)
            telling.say(f"pictures of the window: {pictures}")
            if options.json:
                print(last_line(result), flush=True)
            if options.keep or (on_display and not options.json):
                print(by_hand(site), file=sys.stderr, flush=True)
                ferry.quit_on_signals()
                app.exec()
        finally:
            stop.set()
            staff.join()
            ferry.stop()
    return result


def main() -> int:
    """Exit 0 only if all of it holds."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        print("The demo runs as an unprivileged user; ./dev demo takes care of that.", file=sys.stderr)
        return 2
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    telling = Telling()
    top = Path(tempfile.mkdtemp(prefix="omero-ferry-demo-"))
    try:
        result = run(options, telling, top)
    except (DemoError, SiteError) as error:
        failed = top.with_name(f"{top.name}-failed-{time.strftime('%H%M%S')}")
        shutil.copytree(top / "site" / "logs", failed, dirs_exist_ok=True)
        print(f"\nThe demo stopped: {error}\nThe logs of its programs: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
