"""A real SMTP server on loopback, with the ways in which such servers disappoint."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from server_bridge.sandbox.ports import free_port

USER, PASSWORD = "ferry", "s3cret-of-the-mail"


@dataclass
class Post:
    """What the server took, and how it behaves."""

    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    """Address → answer to RCPT."""
    data_answer: str = "250 taken"
    on_data: Callable[[], None] | None = None
    port: int = 0

    async def handle_RCPT(self, _s: Any, _session: Any, envelope: Any, address: str, _o: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=default)
        self.mails.append((list(envelope.rcpt_tos), cast(EmailMessage, mail)))
        if self.on_data is not None:
            self.on_data()
        if self.data_answer == "break off":
            server.transport.abort()
        return self.data_answer

    def authenticate(self, _s: Any, _session: Any, _e: Any, _m: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and data == LoginPassword(USER.encode(), PASSWORD.encode())
        if right:
            self.signed_in.append(USER)
        return AuthResult(success=right, handled=False)


@contextmanager
def running(
    certificate: Path | None = None, *, sign_in: bool = False, implicit_tls: bool = False
) -> Iterator[Post]:
    """A server; with a certificate it offers STARTTLS (or speaks TLS at once)."""
    post = Post(port=free_port())
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    options: dict[str, Any] = {}
    if context is not None:
        options = {"ssl_context": context} if implicit_tls else {"tls_context": context}
    if sign_in:
        options |= {"authenticator": post.authenticate, "auth_required": True}
        options |= {"auth_require_tls": not implicit_tls}
    controller = Controller(post, hostname="127.0.0.1", port=post.port, ready_timeout=60.0, **options)
    controller.start()
    try:
        yield post
    finally:
        controller.stop()


@contextmanager
def mute(first: bytes = b"") -> Iterator[int]:
    """A server that takes connections, may say something, and then nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            connection.sendall(first)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for one in held:
            one.close()


def certificate(folder: Path, host: str = "localhost") -> Path:
    """A self-signed certificate with its key, PEM."""
    path = folder / f"{host}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={host}",
         "-addext", f"subjectAltName=DNS:{host}", "-keyout", str(path), "-out", f"{path}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    with path.open("a") as stream:
        stream.write(Path(f"{path}.crt").read_text())
    path.chmod(0o600)
    return path


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
