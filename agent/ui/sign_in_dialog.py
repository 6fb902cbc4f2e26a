"""Signing in with the OMERO account. The password leaves the field at once and is stored nowhere."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from agent.core.commands import SignIn
from agent.core.errors import AgentError
from agent.ui.inline_bar import InlineBar
from agent.ui.ports import EnginePort
from agent.ui.relay import deliver
from agent.ui.theme import Tone
from agent.ui.widgets import button, label


class SignInDialog(QDialog):
    """Asks for name and password; says what is wrong in place and closes by itself once it worked."""

    def __init__(self, engine: EnginePort, parent: QWidget | None = None, username: str = "") -> None:
        super().__init__(parent)
        self.setObjectName("signInDialog")
        self.setWindowTitle(self.tr("Sign in to OMERO"))
        self.setMinimumWidth(400)
        self._engine = engine
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.bar = InlineBar(closable=False)
        column.addWidget(self.bar)
        form = QVBoxLayout()
        form.setContentsMargins(24, 20, 24, 20)
        form.setSpacing(4)
        column.addLayout(form)
        form.addWidget(label(self.tr("Sign in to OMERO"), "dialogHeading"))
        hint = label(
            self.tr(
                "So that your data goes to your groups. The password is used once and not kept; what you "
                "have ordered goes on after you sign out."
            ),
            "bodyMute",
            wrap=True,
        )
        form.addWidget(hint)
        form.addSpacing(10)
        self.username = QLineEdit(username)
        self.username.setAccessibleName(self.tr("User name"))
        self.password = QLineEdit()
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        self.password.setInputMethodHints(Qt.InputMethodHint.ImhSensitiveData)
        self.password.setAccessibleName(self.tr("Password"))
        for name, field in ((self.tr("User name"), self.username), (self.tr("Password"), self.password)):
            caption = label(name, "fieldLabel")
            caption.setBuddy(field)
            form.addWidget(caption)
            form.addWidget(field)
            form.addSpacing(6)
            field.textChanged.connect(self._update_button)
        form.addSpacing(6)
        row = QHBoxLayout()
        row.addStretch(1)
        self.cancel = button(self.tr("Not now"))
        self.cancel.setAutoDefault(False)
        self.cancel.clicked.connect(self.reject)
        self.sign_in = button(self.tr("Sign in"), primary=True)
        self.sign_in.setDefault(True)
        self.sign_in.clicked.connect(self._submit)
        row.addWidget(self.cancel)
        row.addWidget(self.sign_in)
        form.addLayout(row)
        self._running: Future[Any] | None = None
        self._update_button()
        (self.password if username else self.username).setFocus()

    def _update_button(self) -> None:
        ready = bool(self.username.text().strip() and self.password.text()) and self._running is None
        self.sign_in.setEnabled(ready)

    def _submit(self) -> None:
        if not self.sign_in.isEnabled():
            return
        command = SignIn(self.username.text().strip(), self.password.text())
        self.password.clear()
        self.bar.dismiss()
        self._running = self._engine.submit(command)
        self.sign_in.setText(self.tr("Signing in…"))
        for field in (self.username, self.password):
            field.setEnabled(False)
        self._update_button()
        deliver(self._running, self, lambda _result: self.accept(), self._failed)

    def _failed(self, error: AgentError) -> None:
        self._running = None
        self.sign_in.setText(self.tr("Sign in"))
        for field in (self.username, self.password):
            field.setEnabled(True)
        self.bar.show_reason(error.reason(), Tone.NEEDS_YOU)
        self._update_button()
        self.password.setFocus()
