"""One process that is the sandbox: endpoints, state, and the note that tells others it is ready."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import logging
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import IO, Any

import Ice

from server_bridge.sandbox.clientdir import write_client_dir
from server_bridge.sandbox.faults import Faults
from server_bridge.sandbox.people import People
from server_bridge.sandbox.ports import free_port
from server_bridge.sandbox.repository import Repository
from server_bridge.sandbox.seed import USERS, seed
from server_bridge.sandbox.servants.core import Services
from server_bridge.sandbox.servants.router import Router
from server_bridge.sandbox.sessions import Sessions
from server_bridge.sandbox.store import Store

log = logging.getLogger("omero.sandbox")
READY_FILE = "sandbox.json"


class SandboxError(Exception):
    """The sandbox cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """Where the sandbox lives and listens; port 0 means the port of last time, or any free one."""

    data: Path
    host: str = "127.0.0.1"
    ssl_port: int = 0
    tcp_port: int = 0
    managed: Path | None = None
    empty: bool = False


class Sandbox:
    """A started sandbox; :meth:`stop` ends it."""

    def __init__(self, options: Options) -> None:
        check_host(options.host)
        self.options = options
        data = options.data
        data.mkdir(parents=True, exist_ok=True)
        (data / "faults").mkdir(exist_ok=True)
        self._lock = _only_one(data)
        self.store = Store(data / "sandbox.sqlite3")
        people = People(self.store)
        seed(self.store, people, options.empty)
        managed = options.managed or data / "OMERO" / "ManagedRepository"
        self.services = Services(
            store=self.store,
            people=people,
            sessions=Sessions(self.store, people),
            faults=Faults(data),
            repository=Repository(managed.absolute(), self.store),
            data=data,
        )
        self.ports = {
            "ssl": self._port("ssl", options.ssl_port),
            "tcp": self._port("tcp", options.tcp_port),
        }
        self.services.ports = self.ports
        client_dir = write_client_dir(data)
        self.communicator = self._communicator()
        try:
            self._listen()
        except Ice.Exception as error:
            self.communicator.destroy()
            raise SandboxError(
                f"cannot listen on {options.host} ports {self.ports['ssl']} and {self.ports['tcp']}: {error}."
                " Free the ports, or give others with --ssl-port and --tcp-port."
            ) from error
        self.ready = {
            "sandbox": True,
            "host": options.host,
            "ssl_port": self.ports["ssl"],
            "tcp_port": self.ports["tcp"],
            "pid": os.getpid(),
            "managed_repository": str(managed.absolute()),
            "omerodir": str(client_dir),
            "java_path_dir": str(client_dir / "bin"),
            "users": [user.name for user in USERS],
        }
        write_json(data / READY_FILE, self.ready)

    def _port(self, kind: str, wanted: int) -> int:
        """The port asked for, or else the one of last time, or else a free one; remembered for next time."""
        key = f"port.{kind}"
        port = wanted or int(self.store.setting(key) or 0) or free_port(self.options.host)
        self.store.set_setting(key, str(port))
        return port

    def _communicator(self) -> Any:
        certificate = self.options.data / "tls.pem"
        if not certificate.exists():
            make_certificate(certificate, self.options.host)
        properties = Ice.createProperties()
        for key, value in {
            "Ice.Plugin.IceSSL": "IceSSL:createIceSSL",
            "IceSSL.CertFile": str(certificate),
            "IceSSL.VerifyPeer": "0",
            "Ice.ThreadPool.Server.Size": "8",
            "Ice.ThreadPool.Server.SizeMax": "64",
            "Ice.MessageSizeMax": "250000",
            "Ice.CacheMessageBuffers": "0",
            # Only a closed connection ends a client; an idle one is the session's business.
            "Ice.ACM.Server.Close": "0",
            "Ice.Warn.Connections": "0",
            "Ice.Warn.Dispatch": "0",
        }.items():
            properties.setProperty(key, value)
        data = Ice.InitializationData()
        data.properties = properties
        communicator = Ice.initialize(data)
        register_factories(communicator)
        return communicator

    def _listen(self) -> None:
        host = self.options.host
        endpoints = f"ssl -h {host} -p {self.ports['ssl']}:tcp -h {host} -p {self.ports['tcp']}"
        adapter = self.communicator.createObjectAdapterWithEndpoints("sandbox", endpoints)
        self.services.adapter = adapter
        adapter.add(Router(self.services), Ice.Identity("router", "OMERO.Glacier2"))
        adapter.activate()

    def stop(self) -> None:
        """Close the endpoints and the state; open sessions end with the process, as with a real server."""
        (self.options.data / READY_FILE).unlink(missing_ok=True)
        self.services.faults.ending.set()
        self.communicator.destroy()
        self.store.close()
        self._lock.close()


def register_factories(communicator: Any) -> None:
    """Teach a communicator to build the model's and the RTypes' Python classes."""
    import omero.ObjectFactoryRegistrar
    import omero.rtypes

    omero.ObjectFactoryRegistrar.registerObjectFactory(communicator, None)
    for factory in omero.rtypes.ObjectFactories.values():
        factory.register(communicator)


def check_host(host: str) -> None:
    """Refuse every address that others could reach: this is a sandbox with documented passwords."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SandboxError(f"the sandbox listens on loopback addresses only, not on {host}")


def make_certificate(path: Path, host: str) -> None:
    """A self-signed certificate with its key in one file, readable by nobody else."""
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"]  # noqa: RUF005
        + ["-subj", f"/CN={host}", "-keyout", "-", "-out", "-"],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        raise SandboxError(f"openssl could not make a certificate: {made.stderr.decode(errors='replace')}")
    part.write_bytes(made.stdout)
    part.replace(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is either the old or the new one, whoever reads it when."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w") as handle:
        json.dump(content, handle, indent=2)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(path)


def _only_one(data: Path) -> IO[str]:
    handle = (data / "sandbox.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise SandboxError(f"another sandbox uses {data}") from error
    return handle


def run_sandbox(
    data_dir: Path,
    host: str = "127.0.0.1",
    ssl_port: int = 0,
    tcp_port: int = 0,
    managed: Path | None = None,
    empty: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; raises SandboxError if it cannot start."""
    # A handler runs between two instructions of the main thread, so an Event that this waits on may be locked
    # by itself: seen as a sandbox that never ended. Putting into a SimpleQueue is safe at any instant.
    ended: SimpleQueue[int] = SimpleQueue()

    def end(number: int, _frame: FrameType | None) -> None:
        ended.put(number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    sandbox = Sandbox(Options(data_dir.absolute(), host, ssl_port, tcp_port, managed, empty))
    print(banner(sandbox.ready), flush=True)  # noqa: T201 - the one line a person who starts it needs
    # A signal may be taken by another thread, which wakes nobody: so it is looked for now and then.
    while True:
        with suppress(Empty):
            ended.get(timeout=1.0)
            break
    sandbox.stop()


def banner(ready: dict[str, Any]) -> str:
    """The line that is printed when the sandbox is ready."""
    return (
        f"OMERO SANDBOX (for demonstration, training and tests; not an OMERO.server, keep no data in it):"
        f" {ready['host']} ssl {ready['ssl_port']} tcp {ready['tcp_port']},"
        f" repository {ready['managed_repository']}, users {', '.join(ready['users'])}"
    )
