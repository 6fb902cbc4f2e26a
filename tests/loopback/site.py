"""The site's folders, its site file and its three programs."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from server_bridge.sandbox.ports import free_port
from tests import databases
from tests.loopback.processes import Program, SiteError, answers, healthy, python_module

SHARE = "scope1"
MARKER = ".omero-ferry-share"
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class LoopbackSite:
    """One site in one folder. All of it is on one filesystem, as hard links need."""

    top: Path
    hold_days: float = 0.0
    quiet_seconds: float = 3.0
    deletion: str = "agent"
    database_url: str = ""
    """Empty: what the run's tests work on, and that is SQLite where nobody says otherwise."""
    omero_host: str = "127.0.0.1"
    retry_base_seconds: float = 1.0
    source_lines: tuple[str, ...] = ()
    """TOML of ``[shares.source]``; empty: the rsync daemon, which is started for it."""
    site_extra: dict[str, Any] = field(default_factory=dict)
    _programs: dict[str, Program] = field(default_factory=dict)
    bridge_port: int = 0
    rsync_port: int = 0

    @property
    def buffer(self) -> Path:
        """The share's top, as the microscope sees it."""
        return self.top / "buffer"

    @property
    def staging(self) -> Path:
        return self.top / "staging"

    @property
    def state(self) -> Path:
        return self.top / "state"

    @property
    def omero_data(self) -> Path:
        return self.top / "omero"

    @property
    def managed(self) -> Path:
        return Path(self.omero["managed_repository"])

    @property
    def omero(self) -> dict[str, Any]:
        """What the sandbox wrote about itself when it was ready."""
        text = (self.omero_data / "sandbox.json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
        return found

    @property
    def site_file(self) -> Path:
        return self.top / "site.toml"

    @property
    def bridge_url(self) -> str:
        return f"http://127.0.0.1:{self.bridge_port}"

    def program(self, name: str) -> Program:
        """``sandbox``, ``rsyncd`` or ``bridge``."""
        return self._programs[name]

    # --- coming up ------------------------------------------------------------------------------------

    def __enter__(self) -> LoopbackSite:
        self.prepare()
        try:
            self.start_sandbox()
            if not self.source_lines:
                self.start_rsyncd()
            self.write_site_file()
            self.start_bridge()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def prepare(self) -> None:
        """Make the folders, the marker and the secrets."""
        for folder in (self.top, self.buffer, self.staging, self.state, self.omero_data, self.top / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        self.database_url = self.database_url or databases.url_for(self.top)
        self.staging.chmod(0o2770)
        self.state.chmod(0o700)
        (self.buffer / MARKER).touch()
        self.bridge_port = self.bridge_port or free_port()
        self.rsync_port = self.rsync_port or free_port()
        secret = secrets.token_hex(16)
        self._secret("rsync.pass", secret)
        self._secret("rsyncd.secrets", f"bridge:{secret}")
        self._secret("omero.pass", "ferry-sandbox")

    def _secret(self, name: str, text: str) -> None:
        path = self.top / name
        if path.exists():
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")

    def _program(self, name: str, argv: list[str], environment: dict[str, str] | None = None) -> Program:
        found = self._programs.get(name)
        if found is None:
            environment = {"PYTHONPATH": str(PROJECT), **(environment or {})}
            found = Program(name, argv, self.top / "logs" / f"{name}.log", environment)
            self._programs[name] = found
        return found

    def start_sandbox(self) -> None:
        """OMERO's protocol on loopback; ready when its description is there and its port answers."""
        description = self.omero_data / "sandbox.json"
        description.unlink(missing_ok=True)
        program = self._program(
            "sandbox", python_module("server_bridge.sandbox", "--data", str(self.omero_data))
        )
        program.start(lambda: description.exists() and answers(int(self.omero["ssl_port"])))

    def start_rsyncd(self) -> None:
        """The buffer storage's rsync daemon, read-only, with a user and a secret."""
        configuration = self.top / "rsyncd.conf"
        configuration.write_text(
            f"port = {self.rsync_port}\naddress = 127.0.0.1\nuse chroot = no\nnumeric ids = yes\n"
            f"pid file = {self.top / 'rsyncd.pid'}\nlog file = {self.top / 'logs' / 'rsyncd-transfers.log'}\n"
            f"lock file = {self.top / 'rsyncd.lock'}\nmax connections = 16\nreverse lookup = no\n"
            f"[{SHARE}]\npath = {self.buffer}\nread only = yes\nlist = no\nauth users = bridge:ro\n"
            f"secrets file = {self.top / 'rsyncd.secrets'}\nstrict modes = yes\n"
            "hosts allow = 127.0.0.1\nhosts deny = *\nmunge symlinks = yes\n"
            "refuse options = delete* remove-source-files write-devices copy-links\ndont compress = *\n",
            encoding="utf-8",
        )
        (self.top / "rsyncd.pid").unlink(missing_ok=True)
        program = self._program("rsyncd", ["rsync", "--daemon", "--no-detach", f"--config={configuration}"])
        program.start(lambda: answers(self.rsync_port), 20)

    def write_site_file(self) -> None:
        """The bridge's site file, as an admin would write it."""
        omero = self.omero
        staff = ["root"]
        lines = [
            'name = "Loopback"',
            'contact = "the platform staff, microscopy@example.org"',
            f'state_dir = "{self.state}"',
            f'staging_dir = "{self.staging}"',
            f'database_url = "{self.database_url}"',
            f"staff = {json.dumps(staff)}",
            "[http]",
            f"port = {self.bridge_port}",
            "[limits]",
            "keep_free_bytes = 67108864",
            "dispatch_seconds = 0.2",
            f"retry_base_seconds = {self.retry_base_seconds}",
            "retry_cap_seconds = 5",
            "[omero]",
            f'host = "{self.omero_host}"',
            f"port = {omero['ssl_port']}",
            'user = "ferry"',
            f'password_file = "{self.top / "omero.pass"}"',
            f'omerodir = "{omero["omerodir"]}"',
            f'java = "{Path(omero["java_path_dir"]) / "java"}"',
            "call_timeout_seconds = 10",
            "[[shares]]",
            f'id = "{SHARE}"',
            'title = "Confocal SP8 buffer"',
            f"hold_days = {self.hold_days}",
            f'deletion = "{self.deletion}"',
            'person_folder = "{user}"',
            "stall_seconds = 20",
            "[shares.rule]",
            "depth = 2",
            f"quiet_seconds = {self.quiet_seconds}",
            "[shares.source]",
            *(self.source_lines or self._daemon_lines()),
        ]
        self.site_file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _daemon_lines(self) -> tuple[str, ...]:
        return (
            'kind = "daemon"',
            'host = "127.0.0.1"',
            f"port = {self.rsync_port}",
            f'module = "{SHARE}"',
            'user = "bridge"',
            f'password_file = "{self.top / "rsync.pass"}"',
        )

    def start_bridge(self) -> None:
        """The bridge, by the command of the README."""
        program = self._program(
            "bridge", python_module("server_bridge.cli", "serve", "--site", str(self.site_file))
        )
        program.start(lambda: healthy(self.bridge_url))

    @property
    def agent_settings(self) -> Path:
        """The settings file of this site's workstation."""
        return self.top / "agent.toml"

    def write_agent_settings(self, workstation: str) -> Path:
        """What an installer leaves on a workstation, with looks as frequent as a demo needs."""
        lines = [
            f'bridge_url = "{self.bridge_url}"',
            f'workstation_name = "{workstation}"',
            f'machine_dir = "{self.top / "agent-machine"}"',
            f'user_dir = "{self.top / "agent-user"}"',
            "hot_seconds = 0.5",
            "today_seconds = 2.0",
            "full_seconds = 5.0",
            "heartbeat_seconds = 2.0",
            "open_manifest_seconds = 2.0",
            "[shares]",
            f'{SHARE} = "{self.buffer}"',
        ]
        self.agent_settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.agent_settings

    def ferry_bridge(self, *arguments: str) -> str:
        """Run one `ferry-bridge` command and return its stdout.

        Raises:
            SiteError: where it does not exit 0; with what it said.
        """
        done = subprocess.run(
            python_module("server_bridge.cli", *arguments),
            env={**os.environ, "PYTHONPATH": str(PROJECT), "FERRY_SITE": str(self.site_file)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise SiteError(f"ferry-bridge {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    # --- going down -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """End what was started, the bridge first."""
        for name in ("bridge", "rsyncd", "sandbox"):
            if name in self._programs:
                self._programs[name].stop()
