"""Signing in: the password goes to the engine once and stays nowhere in the window."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from agent.core.commands import SignIn
from agent.core.errors import AgentError
from agent.ui.sign_in_dialog import SignInDialog
from agent.ui.theme import Theme
from tests.agent.ui.fakes import RecordingEngine, failed


@pytest.fixture
def dialog(qtbot: QtBot, theme: Theme, engine: RecordingEngine) -> SignInDialog:
    made = SignInDialog(engine)
    qtbot.addWidget(made)
    made.show()
    return made


def fill(qtbot: QtBot, dialog: SignInDialog) -> None:
    qtbot.keyClicks(dialog.username, " alice ")
    qtbot.keyClicks(dialog.password, "s3cret ")


def test_it_submits_and_closes_when_it_worked(
    qtbot: QtBot, dialog: SignInDialog, engine: RecordingEngine
) -> None:
    assert not dialog.sign_in.isEnabled()
    fill(qtbot, dialog)
    with qtbot.waitSignal(dialog.accepted):
        qtbot.keyClick(dialog.password, Qt.Key.Key_Return)
    assert engine.commands == [SignIn("alice", "s3cret ")]


def test_the_password_is_gone_as_soon_as_it_is_submitted(
    qtbot: QtBot, dialog: SignInDialog, engine: RecordingEngine
) -> None:
    waiting: Future[Any] = Future()
    engine.answer = lambda _command: waiting
    fill(qtbot, dialog)
    qtbot.mouseClick(dialog.sign_in, Qt.MouseButton.LeftButton)
    assert dialog.password.text() == ""
    assert dialog.password.echoMode() is QLineEdit.EchoMode.Password
    assert "s3cret" not in repr(vars(dialog)) and "s3cret" not in repr(engine.commands)
    assert not dialog.sign_in.isEnabled()
    waiting.set_result(None)
    qtbot.waitUntil(lambda: not dialog.isVisible())


def test_a_wrong_password_is_told_in_place_and_can_be_tried_again(
    qtbot: QtBot, dialog: SignInDialog, engine: RecordingEngine
) -> None:
    error = AgentError("", title="OMERO does not know this name and password", remedy="Type it again.")
    engine.answer = lambda _command: failed(error)
    fill(qtbot, dialog)
    qtbot.mouseClick(dialog.sign_in, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dialog.bar.isVisible)
    assert dialog.bar.title.text() == "OMERO does not know this name and password"
    assert dialog.bar.detail.text() == "Type it again."
    assert dialog.isVisible() and dialog.username.text() == " alice "
    qtbot.keyClicks(dialog.password, "better")
    assert dialog.sign_in.isEnabled()
