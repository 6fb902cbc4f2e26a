"""The demo's experimenter: she sees the agent's window and uses its widgets, nothing below them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QEventLoop, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog

from agent.core.snapshot import Card, Snapshot
from agent.ui.controller import Controller
from agent.ui.sign_in_dialog import SignInDialog
from agent.ui.target_dialog import TargetDialog

AnyDialog = TypeVar("AnyDialog", bound=QDialog)


class DemoError(RuntimeError):
    """Something the demo waited for did not happen; the text says what was seen instead."""


def let_it_live(milliseconds: int) -> None:
    """Run Qt's loop. Not QTest.qWait: it keeps Python's lock, and the engine's threads would stand still."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


class Experimenter:
    """Clicks, types and waits, with Qt's event loop running in between."""

    def __init__(self, app: QApplication, controller: Controller, pictures: Path) -> None:
        self._app = app
        self._controller = controller
        self._pictures = pictures
        self.on_look: Callable[[Snapshot], None] | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """What the window shows now."""
        return self._controller.window.snapshot

    def wait_until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Let the window live until ``condition`` holds.

        Raises:
            DemoError: after ``seconds``; with what the cards say.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(f"{what} did not happen within {seconds:.0f} s. {self._cards()}")
            let_it_live(50)
            if self.on_look is not None and self.snapshot is not None:
                self.on_look(self.snapshot)

    def _cards(self) -> str:
        if self.snapshot is None:
            return "The window shows nothing yet."
        said = []
        for card in self.snapshot.cards:
            why = f" ({card.reason.title}: {card.reason.detail})" if card.reason else ""
            said.append(f"{card.title}: {card.state.value}{why}")
        problem = self.snapshot.bridge.problem
        return "; ".join(said) + (f"; bridge: {problem.title} {problem.detail}" if problem else "")

    def card(self, title: str) -> Card | None:
        """The card of that title."""
        cards = self.snapshot.cards if self.snapshot else ()
        return next((card for card in cards if card.title == title), None)

    def picture(self, name: str) -> Path:
        """Keep a picture of the window, with an open dialog on top, as she sees it."""
        self._pictures.mkdir(parents=True, exist_ok=True)
        let_it_live(50)
        dialog = self._controller.dialog
        shown = dialog if dialog is not None and dialog.isVisible() else self._controller.window
        path = self._pictures / f"{name}.png"
        if not shown.grab().save(str(path)):
            raise DemoError(f"{path} could not be written")
        return path

    def sign_in(self, username: str, password: str) -> None:
        """Through the sign-in dialog."""
        self._controller.sign_in()
        dialog = self._dialog(SignInDialog)
        QTest.keyClicks(dialog.username, username)
        QTest.keyClicks(dialog.password, password)
        QTest.mouseClick(dialog.sign_in, Qt.MouseButton.LeftButton)
        self.wait_until(
            lambda: self.snapshot is not None and self.snapshot.person is not None,
            20,
            f"{username}'s sign-in",
        )

    def send(
        self,
        title: str,
        *,
        group: str,
        project: str,
        dataset: str,
        tags: tuple[str, ...],
        values: dict[str, str],
        picture: str,
    ) -> None:
        """Choose the target of a card in the target dialog and send it."""
        self._controller.window.choose(self._known(title).id)
        self._controller.act(self._known(title).id, "ChooseTarget")
        dialog = self._dialog(TargetDialog)
        form = dialog.form
        self.wait_until(lambda: form.group.count() > 0, 20, "the list of groups")
        number = next((n for n in range(form.group.count()) if form.group.itemText(n).startswith(group)), -1)
        if number < 0:
            raise DemoError(f"the group {group} is not offered")
        form.group.setCurrentIndex(number)
        form.project.field.setFocus()
        QTest.keyClicks(form.project.field, project)
        self.wait_until(lambda: not form.project.choice.looking, 20, f"the search for project {project}")
        form.container.field.setFocus()
        QTest.keyClicks(form.container.field, dataset)
        self.wait_until(lambda: not form.container.choice.looking, 20, f"the search for dataset {dataset}")
        for tag in tags:
            QTest.keyClicks(form.tags.field, tag)
            QTest.keyClick(form.tags.field, Qt.Key.Key_Return)
        for row, (key, value) in enumerate(values.items()):
            form.pairs.set_cell(row, 0, key)
            form.pairs.set_cell(row, 1, value)
        self.wait_until(dialog.send.isEnabled, 20, f"permission to send {title}: {dialog.verdict.text()}")
        self.picture(picture)
        QTest.mouseClick(dialog.send, Qt.MouseButton.LeftButton)
        self.wait_until(
            lambda: self._controller.dialog is None or dialog.bar.isVisible(), 30, f"sending {title}"
        )
        if self._controller.dialog is not None:
            raise DemoError(f"{title} was not sent: {dialog.bar.title.text()} {dialog.bar.detail.text()}")

    def answer_left_out(self, title: str, note: str) -> None:
        """Say that the files OMERO cannot take may stay outside, and confirm it in the bar."""
        self._controller.window.accept_left_out.emit(self._known(title).id, note)
        self._confirm("the question about the files left out")

    def free(self, title: str) -> None:
        """Press "Free space" on a card and confirm."""
        self._controller.act(self._known(title).id, "FreeSpace")
        self._confirm("the question before freeing")

    def _confirm(self, what: str) -> None:
        bar = self._controller.window.bar
        self.wait_until(bar.is_question, 5, what)
        QTest.mouseClick(bar.yes, Qt.MouseButton.LeftButton)

    def _known(self, title: str) -> Card:
        found = self.card(title)
        if found is None:
            raise DemoError(f"there is no card {title}. {self._cards()}")
        return found

    def _dialog(self, kind: type[AnyDialog]) -> AnyDialog:
        self.wait_until(lambda: isinstance(self._controller.dialog, kind), 10, f"the {kind.__name__}")
        found = self._controller.dialog
        assert isinstance(found, kind)
        return found
