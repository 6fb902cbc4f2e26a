"""One agent per desktop session: a lock file decides, a local socket only says "show yourself".

On Windows two local servers may listen on one pipe name at the same time, so the socket is no lock; QLockFile
is (it checks process id and name, so a crashed agent locks nobody out). The name carries the session, because
fast user switching and remote desktops run several sessions of one machine at once.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

_PATIENCE_MS = 3_000


def session_name(session: str, data_dir: str = "") -> str:
    """Return a name for this desktop session and data directory.

    ``session`` is the platform's ``session_id()`` (user and login session); a display of its own is a session
    of its own too, which matters where several run under one login.
    """
    display = os.environ.get("WAYLAND_DISPLAY", "") or os.environ.get("DISPLAY", "")
    return f"omero-ferry-{zlib.crc32(f'{session}|{display}|{data_dir}'.encode()):08x}"


class SingleInstance(QObject):
    """Tries to be the one agent of this session."""

    show_requested = Signal()

    def __init__(self, name: str, directory: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("singleInstance")
        self._name = name
        self._lock = QLockFile(str(directory / f"{name}.lock"))
        self._lock.setStaleLockTime(0)
        self._server: QLocalServer | None = None

    def acquire(self) -> bool:
        """Return True when this process is the one; it then listens for "show yourself"."""
        if not self._lock.tryLock(100):
            return False
        # The lock is ours, so whatever listens under this name is left over from a crash.
        QLocalServer.removeServer(self._name)
        server = QLocalServer(self)
        server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        server.newConnection.connect(self._connected)
        server.listen(self._name)
        self._server = server
        return True

    def ask_other_to_show(self) -> bool:
        """Ask the running agent to show its window; return whether there is one."""
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(_PATIENCE_MS):
            return False
        # The other hangs up once it has seen us; leaving earlier may lose the call on a named pipe.
        if socket.state() is QLocalSocket.LocalSocketState.ConnectedState:
            socket.waitForDisconnected(_PATIENCE_MS)
        return True

    def release(self) -> None:
        """Let another process be the one."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._lock.unlock()

    def _connected(self) -> None:
        """To call is to ask for the window: nothing is read, so nothing can be sent that does harm."""
        while self._server is not None and (caller := self._server.nextPendingConnection()) is not None:
            caller.abort()
            caller.deleteLater()
            self.show_requested.emit()
