"""`ferry-bridge serve`: API and pipeline in one process, one process per state folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Literal

import uvicorn

from server_bridge.api.waker import Waker
from server_bridge.app import create_app
from server_bridge.config import HttpConfig, SiteConfig, is_loopback, load_site
from server_bridge.context import build_context, refuse_root
from server_bridge.errors import ConfigurationError
from server_bridge.observability import configure_logging, get_logger
from server_bridge.orders.soundness import require_sound

GRACE_SECONDS = 5
"""For answers that are being sent when the bridge is told to end; polls are answered at once."""
log = get_logger("ferry.serve")


def require_safe_listening(http: HttpConfig) -> None:
    """Passwords travel to this port: nothing but loopback goes without TLS.

    Raises:
        ConfigurationError: for another address without TLS, or with half of it.
    """
    if bool(http.tls_certificate_file) != bool(http.tls_key_file):
        raise ConfigurationError(
            "http.tls_certificate_file and http.tls_key_file belong together.",
            title="Half of TLS is configured",
            remedy="Give both, or none on a loopback address.",
        )
    if http.tls_certificate_file is None and not is_loopback(http.host):
        raise ConfigurationError(
            f"http.host is {http.host}, which others can reach, and there is no TLS.",
            title="Passwords would travel in the clear",
            remedy="Configure http.tls_certificate_file and http.tls_key_file, or listen on 127.0.0.1 "
            "behind a proxy that speaks TLS.",
        )


@contextlib.contextmanager
def serve_lock(state_dir: Path) -> Iterator[None]:
    """Be the one server of this state. The kernel lets go of it however the process ends.

    Raises:
        ConfigurationError: where another process serves it.
    """
    path = state_dir / "serve.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise ConfigurationError(
                f"Process {holder or '?'} serves {state_dir}.",
                title="The bridge runs already",
                remedy="Stop it first; the other commands work beside it.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def listen(http: HttpConfig) -> socket.socket:
    """Take the port before anything starts.

    Raises:
        ConfigurationError: where the port or the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(http.host, http.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((http.host, http.port), family=family, backlog=512)
    except OSError as error:
        raise ConfigurationError(
            f"{http.host}:{http.port}: {error.strerror or error}.",
            title="The bridge cannot listen there",
            remedy="Look what uses the port (`ss -ltnp`), or choose another one (http.port).",
        ) from error


class Server(uvicorn.Server):
    """uvicorn, which answers the waiting polls at once when it is told to end."""

    def __init__(self, config: uvicorn.Config, waker: Waker) -> None:
        super().__init__(config)
        self._waker = waker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Release the polls, then end as uvicorn does."""
        self._waker.release_from_signal()
        super().handle_exit(sig, frame)


def serve(site: Path, log_format: str) -> None:
    """Run the bridge until it is told to end.

    Raises:
        ConfigurationError: where it cannot start.
    """
    configure_logging(_log_style(log_format))
    refuse_root()
    run(load_site(site))


def _log_style(given: str) -> Literal["auto", "json", "console"]:
    match given:
        case "auto" | "json" | "console":
            return given
    raise ConfigurationError(f"{given!r} is none of json, console, auto.", title="Unknown log format")


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def run(site: SiteConfig) -> None:
    """Serve a site until TERM or INT.

    Raises:
        ConfigurationError: where it cannot start.
        SystemExit: with 0, after TERM or INT ended everything in order.
    """
    # uvicorn has handlers of its own while it serves, and raises the signal again when it has ended; before
    # and after that a signal simply ends the process, unwinding what was opened.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        _serve(site)
    finally:
        log.info("stopped", site=site.name)


def _serve(site: SiteConfig) -> None:
    require_safe_listening(site.http)
    site.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not site.staging_dir.is_dir():
        raise ConfigurationError(
            f"{site.staging_dir} is not a folder.",
            title="The staging folder is not there",
            remedy="Make it on the same mount as ManagedRepository; `ferry-bridge check-config` looks at it.",
        )
    with serve_lock(site.state_dir), listen(site.http) as port:
        from server_bridge.pipeline import service

        context = build_context(site)
        sound = require_sound(context.store.engine)
        log.info("the orders' database is sound", database=sound.text)
        for remark in sound.remarks:
            log.warning("the orders' database", remark=remark)
        app = create_app(context)
        config = uvicorn.Config(
            app,
            ssl_certfile=site.http.tls_certificate_file,
            ssl_keyfile=site.http.tls_key_file,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=65,
        )
        server = Server(config, app.state.parts.waker)
        # Not in the application's lifespan: what stops the pipeline from starting is told in one line there.
        pipeline = service.start(context)
        try:
            log.info("serving", site=site.name, address=f"{site.http.host}:{site.http.port}", pid=os.getpid())
            server.run(sockets=[port])
        finally:
            pipeline.stop()
            context.store.engine.dispose()
        if not server.started:
            raise ConfigurationError(
                "The lines above say why.",
                title="The bridge could not start",
                remedy="Run `ferry-bridge check-config`.",
            )
