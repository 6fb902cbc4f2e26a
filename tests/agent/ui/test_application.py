"""The process around the window: one instance, snapshots from other threads, a clean end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QObject
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from agent.__main__ import arguments, make_engine, read_settings
from agent.core.errors import AgentError, BridgeAway
from agent.core.snapshot import Snapshot
from agent.platform import select
from agent.ui.application import FerryApplication, chosen_scheme, preferences_at
from agent.ui.desktop import Desktop
from agent.ui.relay import SnapshotRelay, as_agent_error
from agent.ui.sign_in_dialog import SignInDialog
from agent.ui.single_instance import SingleInstance, session_name
from agent.ui.theme import Scheme
from tests.agent.ui import samples
from tests.agent.ui.fakes import QuietDesktop, RecordingEngine


def test_snapshots_from_another_thread_arrive_here_and_only_the_newest(qtbot: QtBot) -> None:
    relay = SnapshotRelay()
    seen: list[tuple[Snapshot, threading.Thread]] = []
    relay.snapshot.connect(lambda s: seen.append((s, threading.current_thread())))

    def publish() -> None:
        for number in range(200):
            relay.publish(replace(samples.AFTERNOON, outbox_pending=number))

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: bool(seen) and seen[-1][0].outbox_pending == 199)
    assert len(seen) == 1
    assert seen[0][1] is threading.main_thread()


def test_without_a_tray_the_window_opens_and_the_program_stays(
    qtbot: QtBot, qapp: QApplication, engine: RecordingEngine, tmp_path: Path
) -> None:
    ferry = FerryApplication(
        qapp, engine, None, preferences=preferences_at(tmp_path / "p.ini"), desktop=QuietDesktop()
    )
    qtbot.addWidget(ferry.controller.window)
    ferry.start(show=False)
    assert ferry.controller.window.isVisible()
    qtbot.waitUntil(lambda: engine.started == 1)
    assert not QApplication.quitOnLastWindowClosed()
    engine.subscribers[0](samples.AFTERNOON)
    qtbot.waitUntil(lambda: ferry.controller.window.snapshot == samples.AFTERNOON)
    ferry.stop()
    ferry.stop()
    assert engine.stopped == 1


def test_the_end_of_the_session_stops_the_engine_at_once(
    qtbot: QtBot, qapp: QApplication, engine: RecordingEngine, tmp_path: Path
) -> None:
    class Session(QObject):
        hint = None

        def setRestartHint(self, hint: object) -> None:
            self.hint = hint

    ferry = FerryApplication(
        qapp, engine, None, preferences=preferences_at(tmp_path / "p.ini"), desktop=QuietDesktop()
    )
    qtbot.addWidget(ferry.controller.window)
    ferry._session_ends(Session())  # type: ignore[arg-type]
    assert engine.stopped == 1


def test_the_appearance_is_remembered(tmp_path: Path) -> None:
    preferences = preferences_at(tmp_path / "p.ini")
    assert chosen_scheme(preferences) is Scheme.SYSTEM
    preferences.setValue("appearance/scheme", "dark")
    assert chosen_scheme(preferences) is Scheme.DARK
    preferences.setValue("appearance/scheme", "purple")
    assert chosen_scheme(preferences) is Scheme.SYSTEM


def test_a_second_agent_shows_the_first_ones_window(qtbot: QtBot, tmp_path: Path) -> None:
    name = f"omero-ferry-test-{os.getpid()}"
    first = SingleInstance(name, tmp_path)
    assert first.acquire()
    # QLockFile counts one process as one holder: the second agent has to be a real second process.
    code = (
        "import sys; from pathlib import Path; from PySide6.QtCore import QCoreApplication\n"
        "app = QCoreApplication([])\n"
        "from agent.ui.single_instance import SingleInstance\n"
        "other = SingleInstance(sys.argv[1], Path(sys.argv[2]))\n"
        "assert not other.acquire()\n"
        "sys.exit(0 if other.ask_other_to_show() else 7)\n"
    )
    with qtbot.waitSignal(first.show_requested, timeout=30_000):
        child = subprocess.Popen([sys.executable, "-c", code, name, str(tmp_path)])
    assert child.wait(30) == 0
    first.release()
    again = SingleInstance(name, tmp_path)
    assert again.acquire()
    again.release()


def test_a_killed_agent_locks_nobody_out(qtbot: QtBot, tmp_path: Path) -> None:
    name = f"omero-ferry-test-killed-{os.getpid()}"
    code = (
        "import os, sys; from pathlib import Path; from PySide6.QtCore import QCoreApplication\n"
        "app = QCoreApplication([])\n"
        "from agent.ui.single_instance import SingleInstance\n"
        "assert SingleInstance(sys.argv[1], Path(sys.argv[2])).acquire()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, name, str(tmp_path)], timeout=60, check=False)
    assert child.returncode in (-9, 9)
    heir = SingleInstance(name, tmp_path)
    assert heir.acquire()
    heir.release()


def test_sessions_and_data_directories_do_not_share_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":1")
    first = session_name("alice-1")
    assert session_name("alice-1") == first
    assert session_name("alice-2") != first
    assert session_name("alice-1", "/other/settings.toml") != first
    monkeypatch.setenv("DISPLAY", ":2")
    assert session_name("alice-1") != first


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no TERM that asks")
def test_a_signal_ends_the_program_cleanly(tmp_path: Path) -> None:
    code = (
        "import sys, agent.__main__ as program\n"
        "from tests.agent.ui.fakes import RecordingEngine\n"
        "class Engine(RecordingEngine):\n"
        "    def start(self): print('started', flush=True)\n"
        "    def stop(self): print('stopped', flush=True)\n"
        "program.make_engine = lambda settings, platform: Engine()\n"
        "sys.exit(program.main(['--settings', sys.argv[1], '--show']))\n"
    )
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "agent.toml")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **home},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    child.send_signal(signal.SIGTERM)
    rest, _ = child.communicate(timeout=60)
    assert (rest, child.returncode) == ("stopped\n", 0)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = arguments(["--settings", "agent.toml", "--show"])
    assert chosen.settings == Path("agent.toml") and chosen.show
    assert arguments([]).settings is None
    with pytest.raises(SystemExit) as ended:
        arguments(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("omero-ferry ")


def test_elsewhere_than_on_windows_the_desktop_may_always_be_interrupted() -> None:
    Desktop().claim_app_id("x")
    assert Desktop().may_interrupt()


def test_an_agent_error_passes_unchanged_and_a_defect_is_named() -> None:
    error = AgentError("d", title="t")
    assert as_agent_error(error) is error
    assert "KeyError" in as_agent_error(KeyError("x")).detail


def test_the_window_imports_no_network(qapp: QCoreApplication) -> None:
    code = (
        "import sys\n"
        "for name in ('requests', 'urllib3', 'http.client', 'PySide6.QtNetworkAuth'):\n"
        "    sys.modules[name] = None\n"
        "import agent.ui.controller, agent.ui.tray, agent.ui.target_dialog\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_real_engine_fills_the_window_also_without_a_bridge(
    qtbot: QtBot, qapp: QApplication, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    settings = tmp_path / "agent.toml"
    settings.write_text(
        f'bridge_url = "http://127.0.0.1:{port}"\nworkstation_name = "Confocal SP8"\n'
        f"machine_dir = '{tmp_path / 'machine'}'\nuser_dir = '{tmp_path / 'user'}'\n"
    )
    values = read_settings(settings)
    platform = select(values.machine_dir, values.user_dir)
    engine = make_engine(values, platform)
    ferry = FerryApplication(
        qapp, engine, None, preferences=preferences_at(tmp_path / "p.ini"), desktop=QuietDesktop()
    )
    window = ferry.controller.window
    qtbot.addWidget(window)
    ferry.start(show=True)
    try:
        qtbot.waitUntil(lambda: window.notice.isVisible(), timeout=30_000)
        assert window.header.workstation.full == "Confocal SP8"
        assert window.footer.plain.startswith("Nobody is signed in.")
        assert "does not answer" in window.notice.title.text()
        ferry.controller.sign_in()
        dialog = ferry.controller.dialog
        assert isinstance(dialog, SignInDialog)
        dialog.username.setText("alice")
        dialog.password.setText("secret")
        dialog.sign_in.click()
        qtbot.waitUntil(dialog.bar.isVisible, timeout=60_000)
        assert dialog.bar.title.text() == BridgeAway.title
    finally:
        ferry.stop()
    assert isinstance(window.snapshot, Snapshot)
