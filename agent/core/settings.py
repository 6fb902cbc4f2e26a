"""The agent's settings: ordered sources, and every value knows where it came from and whether it is locked.

From strongest to weakest: the administrator's *policy*, the *machine* (what the installer wrote, or the file
named on the command line), the *environment* (development), the *user*, the built-in default. What decides
where data and passwords go (:data:`MACHINE_ONLY`) is taken from policy or machine whenever one of them says
something: otherwise any user of a shared PC could redirect everybody's sign-ins.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agent.core.errors import SettingsError
from server_bridge.contract import ShareId

ENVIRONMENT_PREFIX = "FERRY_AGENT_"
MACHINE_ONLY = frozenset(
    {"bridge_url", "ca_file", "shares", "workstation_name", "machine_dir", "allow_plain_http"}
)


class Source(StrEnum):
    """Where a value came from, strongest first."""

    POLICY = "policy"
    MACHINE = "machine"
    ENVIRONMENT = "environment"
    USER = "user"
    DEFAULT = "default"


Seconds = Annotated[float, Field(gt=0, le=86_400)]


class AgentSettings(BaseModel):
    """The effective settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bridge_url: str = ""
    """``https://bridge.example.org:8450``; plain http is for this machine itself only."""
    workstation_name: str = ""
    """Empty: the machine's host name."""
    shares: dict[ShareId, Path] = Field(default_factory=dict)
    """Share id → where this machine sees its top, such as ``Z:\\`` or ``\\\\server\\share``."""
    ca_file: Path | None = None
    """Certificates (PEM) that the bridge's TLS certificate is checked against; empty: the public ones."""
    allow_plain_http: bool = False
    """Development only: speak http to another host. Passwords then cross the network in the clear."""
    machine_dir: Path | None = None
    user_dir: Path | None = None
    hot_seconds: Seconds = 7.0
    """Between two looks at what is being written. Below 10 s an SMB client answers from its cache anyway."""
    today_seconds: Seconds = 60.0
    full_seconds: Seconds = 900.0
    pass_budget_seconds: Seconds = 20.0
    """How long one pass may look at acquisitions before it lets the share rest; the next one goes on."""
    scan_entries_per_second: float = Field(default=5_000.0, ge=10, le=1_000_000)
    """Files of a share that may be looked at per second on average; a first look may be faster."""
    stuck_seconds: Seconds = 40.0
    """After which a call to the share that has not returned is shown."""
    heartbeat_seconds: Seconds = 30.0
    open_manifest_seconds: Seconds = 60.0
    """Between two open manifests of an acquisition that is still being written."""
    request_seconds: Seconds = 30.0
    retry_cap_seconds: Seconds = 300.0
    idle_sign_out_minutes: Annotated[float, Field(ge=1)] | None = None
    """Sign out after so long without input; counts where it is stricter than the site's rule."""
    end_of_day: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] | None = None
    """Sign out at this time, ``HH:MM``; counts where it is earlier than the site's."""
    hints: bool = True
    """Let the system tell about changes, to look sooner; never trusted."""

    @field_validator("bridge_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        value = value.strip().rstrip("/")
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is no address such as https://bridge.example.org:8450")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("the address holds more than host, port and path")
        return value

    @field_validator("shares")
    @classmethod
    def _absolute(cls, value: dict[str, Path]) -> dict[str, Path]:
        for share, top in value.items():
            if not top.is_absolute():
                raise ValueError(f"{share}: {top} must be a full path such as Z:\\ or \\\\server\\share")
        return value


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from."""

    source: Source
    where: str = ""
    locked: bool = False
    """The person cannot change it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The values and their origins."""

    values: AgentSettings
    origins: Mapping[str, Origin]

    def origin(self, name: str) -> Origin:
        """Where a value came from."""
        return self.origins.get(name, Origin(Source.DEFAULT))


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says."""

    source: Source
    where: str
    values: Mapping[str, Any]


def is_loopback(host: str) -> bool:
    """Whether a host name is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_file(path: Path, source: Source) -> Layer:
    """Read one TOML file; a missing one says nothing.

    Raises:
        SettingsError: where it is there and cannot be read or understood.
    """
    try:
        return Layer(source, str(path), tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        return Layer(source, str(path), {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"{path}: {error}", remedy="Correct the file, or ask the platform staff."
        ) from error


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """``FERRY_AGENT_BRIDGE_URL=…``; tables and switches are JSON."""
    found: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        found[key] = json.loads(text) if text[:1] == "{" else text
    return Layer(Source.ENVIRONMENT, "environment", found)


def merge(layers: list[Layer]) -> Settings:
    """Put the sources together.

    Args:
        layers: Strongest first.

    Raises:
        SettingsError: naming the value, its source and what is wrong with it.
    """
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for layer in layers:
        for name, value in layer.values.items():
            if name not in AgentSettings.model_fields:
                raise SettingsError(
                    f"{layer.where}: there is no setting {name!r}.",
                    remedy="Correct or remove it; the settings are listed in the administrator's guide.",
                )
            if name in values:
                continue
            locked = layer.source is Source.POLICY or (
                layer.source is Source.MACHINE and name in MACHINE_ONLY
            )
            values[name] = value
            origins[name] = Origin(layer.source, layer.where, locked)
    try:
        effective = AgentSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_explain(dict(item), origins) for item in error.errors()),
            remedy="Correct it there, or ask the platform staff.",
        ) from error
    url = urlsplit(effective.bridge_url)
    if url.scheme == "http" and not is_loopback(url.hostname or "") and not effective.allow_plain_http:
        raise SettingsError(
            f"bridge_url ({origins['bridge_url'].source.value}): {effective.bridge_url} is not encrypted.",
            remedy="Use https; passwords go over this connection.",
        )
    return Settings(effective, origins)


def _explain(item: dict[str, Any], origins: Mapping[str, Origin]) -> str:
    name = str(item["loc"][0]) if item["loc"] else "settings"
    origin = origins.get(name, Origin(Source.DEFAULT))
    return f"{'.'.join(str(part) for part in item['loc'])} ({origin.source.value}): {item['msg']}"


def load(
    *,
    policy: Mapping[str, Any],
    machine: Mapping[str, Any],
    machine_file: Path | None,
    user_file: Path | None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read all sources of this machine.

    Raises:
        SettingsError: where one of them is wrong.
    """
    layers = [Layer(Source.POLICY, "policy", policy), Layer(Source.MACHINE, "machine registry", machine)]
    if machine_file is not None:
        layers.append(read_file(machine_file, Source.MACHINE))
    layers.append(environment_layer(os.environ if environment is None else environment))
    if user_file is not None:
        layers.append(read_file(user_file, Source.USER))
    return merge(layers)
