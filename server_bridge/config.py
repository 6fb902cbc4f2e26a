"""The site file: one TOML that says everything about a site, checked before anything starts.

Secrets never stand in it: ``*_file`` names a file with mode 0600. Every value can be overridden by an
environment variable ``FERRY_<SECTION>__<NAME>``, which is what containers and tests use.
"""

from __future__ import annotations

import ipaddress
import re
import stat
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from server_bridge.contract import CleaningMode, DeletionMode, SessionPolicy, ShareId
from server_bridge.errors import ConfigurationError
from server_bridge.rule_config import ShareRuleConfig


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{path} must be an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DaemonSourceConfig(_Section):
    """An rsync daemon on a trusted acquisition LAN (nothing is encrypted)."""

    kind: Literal["daemon"]
    host: str
    port: int = 873
    module: str
    user: str = ""
    password_file: AbsolutePath | None = None
    path: str = "."
    """Where the share's top is below the module."""


class SshSourceConfig(_Section):
    """rsync over ssh, normally behind ``rrsync -ro`` on the buffer's side."""

    kind: Literal["ssh"]
    host: str
    config_file: AbsolutePath
    path: str = "."


class PathSourceConfig(_Section):
    """The buffer mounted on this host."""

    kind: Literal["path"]
    path: AbsolutePath


SourceConfig = Annotated[DaemonSourceConfig | SshSourceConfig | PathSourceConfig, Field(discriminator="kind")]


class PatternConfig(_Section):
    """What becomes of files that no fileset takes (shell patterns against the path and the name)."""

    ignore: tuple[str, ...] = (
        "Thumbs.db",
        "desktop.ini",
        ".DS_Store",
        "._*",
        "~$*",
        "*.tmp",
        "*~",
        ".~lock.*",
    )
    attach: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


class SessionRuleConfig(_Section):
    """When a forgotten sign-in ends; what is not set does not end it."""

    idle_minutes: Annotated[float, Field(ge=1)] | None = None
    end_of_day: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] | None = None


class SessionPolicyConfig(SessionRuleConfig):
    """The site's rule, and workstations that have one of their own."""

    workstations: dict[str, SessionRuleConfig] = {}
    """By the workstation's name; what such a rule does not set is the site's."""

    def of(self, workstation: str) -> SessionPolicy:
        """The rule of one workstation."""
        own = self.workstations.get(workstation, SessionRuleConfig())
        return SessionPolicy(
            idle_minutes=own.idle_minutes if own.idle_minutes is not None else self.idle_minutes,
            end_of_day=own.end_of_day if own.end_of_day is not None else self.end_of_day,
        )


class ShareConfig(_Section):
    id: ShareId
    title: str = ""
    source: SourceConfig
    marker: str = ".omero-ferry-share"
    mtime_tolerance_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    hold_days: Annotated[float, Field(ge=0)] = 3.0
    lifetime_days: Annotated[float, Field(gt=0, le=36_500)] = 60.0
    require_backup: bool = False
    """Release only what a backup of ManagedRepository holds, as the site reports them."""
    quarantine_days: Annotated[float, Field(ge=0)] = 30.0
    """How long a staged copy is kept whose data was deleted in OMERO."""
    deletion: DeletionMode = DeletionMode.STORAGE
    deletion_schedule: Annotated[str, Field(max_length=100)] = ""
    """For people: when the storage staff's job runs."""
    clean: CleaningMode = CleaningMode.ASK
    """Whether the agent deletes released copies by itself; only with ``deletion = "agent"``."""
    clean_below_percent: Annotated[float, Field(gt=0, lt=100)] = 20.0
    patterns: PatternConfig = PatternConfig()
    rule: ShareRuleConfig = ShareRuleConfig()
    person_folder: str = ""
    """Folder rule below a workstation's root, e.g. ``{user}``: what lies there is that person's data."""
    unclaimed: Literal["staff", "signed-in"] = "staff"
    """Who may order data that was first seen while nobody was signed in at the workstation."""
    stall_seconds: Annotated[float, Field(gt=1)] = 60.0
    pulls: Annotated[int, Field(ge=1, le=16)] = 1
    """Pulls from this share at a time."""
    full_rate_mib_s: Annotated[float, Field(ge=0)] = 0.0
    """All pulls from this share together; 0: as fast as they go."""
    floor_rate_mib_s: Annotated[float, Field(ge=0.1)] = 20.0
    """The same while a workstation of this share acquires."""
    floor_until_fill: Annotated[float, Field(ge=0, le=1)] = 0.70
    full_from_fill: Annotated[float, Field(ge=0, le=1)] = 0.90
    """A fuller buffer raises the floor, up to the full rate here."""

    @model_validator(mode="after")
    def _rates_fit(self) -> ShareConfig:
        if self.full_rate_mib_s and self.floor_rate_mib_s > self.full_rate_mib_s:
            raise ValueError("`floor_rate_mib_s` is above `full_rate_mib_s`")
        if self.floor_until_fill >= self.full_from_fill:
            raise ValueError("`floor_until_fill` must be below `full_from_fill`")
        return self

    @model_validator(mode="after")
    def _cleans_what_it_may(self) -> ShareConfig:
        if self.clean is not CleaningMode.ASK and self.deletion is not DeletionMode.AGENT:
            raise ValueError(f'`clean = "{self.clean.value}"` needs `deletion = "agent"`')
        return self


class OmeroConfig(_Section):
    host: str
    port: int = 4064
    user: str = "ferry"
    password_file: AbsolutePath
    """Of the service account, which needs the privilege ``Sudo`` and no other."""
    omerodir: AbsolutePath
    java: str = "java"
    """The Java program, or an absolute path to it."""
    managed_repository: AbsolutePath | None = None
    """Where this host sees ManagedRepository; empty: at the path OMERO itself reports."""
    omero_cli: str = ""
    """The ``omero`` command; empty: the one beside this Python."""
    call_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Without it a call to a hung server never returns (seen with a stopped process)."""
    session_idle_seconds: Annotated[float, Field(ge=60)] = 3600.0
    import_stall_seconds: Annotated[float, Field(gt=1)] = 3600.0
    imports: Annotated[int, Field(ge=1, le=4)] = 2
    """Imports at a time: OMERO has five for everybody (`omero.threads.background_threads`)."""
    skip: tuple[Literal["minmax", "thumbnails"], ...] = ()
    webclient_url: str = ""


class HttpConfig(_Section):
    host: str = "127.0.0.1"
    port: int = 8450
    tls_certificate_file: AbsolutePath | None = None
    tls_key_file: AbsolutePath | None = None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")


def is_address(text: str) -> bool:
    """Whether this is a plain mail address: nothing in it can end a header or begin another recipient."""
    return len(text) <= 254 and _ADDRESS.fullmatch(text) is not None


def _mail_address(text: str) -> str:
    if not is_address(text):
        raise ValueError(f"{text!r} is no plain mail address, such as microscopy@example.org")
    return text


MailAddress = Annotated[str, AfterValidator(_mail_address)]


class MailConfig(_Section):
    """Mail through the site's SMTP server; nobody is mailed where ``host`` is empty."""

    host: str = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: AbsolutePath | None = None
    sender: MailAddress | Literal[""] = ""
    staff: tuple[MailAddress, ...] = ()
    digest_minutes: Annotated[float, Field(ge=0)] = 15.0
    """How long a notice waits for others that go into the same mail, or for its own withdrawal."""
    max_per_hour: Annotated[int, Field(ge=1)] = 60
    """Mails of the whole bridge; what does not go now goes into a later digest."""
    outage_minutes: Annotated[float, Field(ge=0)] = 30.0
    """Also without mail: how long an outage lasts before staff are told."""
    status_url: str = ""

    @model_validator(mode="after")
    def _fits(self) -> MailConfig:
        if not self.host:
            return self
        if not self.sender or not self.staff:
            raise ValueError("mail needs `sender` and at least one address of `staff`")
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("`user` and `password_file` belong together")
        if self.security == "none" and not is_loopback(self.host):
            raise ValueError('`security = "none"` is for a mail server on this machine only')
        return self


class LimitsConfig(_Section):
    session_hours: Annotated[float, Field(gt=0)] = 12.0
    grant_days: Annotated[float, Field(gt=0)] = 14.0
    login_attempts: Annotated[int, Field(ge=1)] = 5
    login_window_seconds: Annotated[float, Field(gt=0)] = 300.0
    keep_free_bytes: Annotated[int, Field(ge=0)] = 10 * 1024**3
    """Room that a pull must leave on the staging disk."""
    dispatch_seconds: Annotated[float, Field(gt=0)] = 0.5
    retry_base_seconds: Annotated[float, Field(gt=0)] = 30.0
    retry_cap_seconds: Annotated[float, Field(gt=0)] = 3600.0
    idle_tries: Annotated[int, Field(ge=1)] = 3
    """Tries without one new byte or unit before a person is asked."""
    release_seconds: Annotated[float, Field(gt=0)] = 900.0
    """How long a release answer may be acted upon."""
    empty_hours: Annotated[float, Field(gt=0)] = 24.0
    """How long an order that the bridge seals itself waits for its place to hold data."""
    acquiring_lease_seconds: Annotated[int, Field(gt=0)] = 120
    audit_days: Annotated[float, Field(ge=30)] = 3650.0
    """How long the audit table and the history of ended orders are kept; receipts are kept for ever."""
    reprove_bytes_per_hour: Annotated[int, Field(ge=0)] = 100 * 1024**3
    """How much the bridge reads by itself to prove files whose inode changed; 0: only on command."""


class SiteConfig(BaseSettings):
    """The whole site. Use :func:`load_site`."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="FERRY_", env_nested_delimiter="__"
    )

    # A class variable: pydantic would make a private attribute of one that begins with an underscore.
    toml_file: ClassVar[Path | None] = None

    name: str
    contact: str
    state_dir: AbsolutePath
    """The bridge's own data: database, logs, per-order output, locks."""
    staging_dir: AbsolutePath
    """On the same mount as OMERO's ManagedRepository."""
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in ``state_dir``."""
    staff: tuple[str, ...] = ()
    """OMERO user names."""
    rsync: str = "rsync"
    http: HttpConfig = HttpConfig()
    limits: LimitsConfig = LimitsConfig()
    session_policy: SessionPolicyConfig = SessionPolicyConfig()
    mail: MailConfig = MailConfig()
    omero: OmeroConfig
    shares: tuple[ShareConfig, ...]

    @model_validator(mode="after")
    def _shares_differ(self) -> SiteConfig:
        ids = [share.id for share in self.shares]
        if not ids:
            raise ValueError("a site has at least one share")
        if len(set(ids)) != len(ids):
            raise ValueError("two shares have the same id")
        return self

    @property
    def url(self) -> str:
        """Database URL with the default filled in."""
        return self.database_url or f"sqlite:///{self.state_dir / 'ferry.sqlite3'}"

    def share(self, share_id: str) -> ShareConfig | None:
        """Return the share of that id."""
        return next((share for share in self.shares if share.id == share_id), None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; ``.env`` files and secret directories are not read."""
        del dotenv_settings, file_secret_settings
        if cls.toml_file is None:
            return (env_settings, init_settings)
        return (env_settings, init_settings, TomlConfigSettingsSource(settings_cls, cls.toml_file))


def load_site(path: Path) -> SiteConfig:
    """Read and check the site file.

    Raises:
        ConfigurationError: where it cannot be read or a value does not fit, naming each place.
    """
    if not path.is_file():
        raise ConfigurationError(
            f"{path} is not there.",
            title="No site file",
            remedy="Name it with --site, or make one from resources/.",
        )

    class _Loaded(SiteConfig):
        toml_file = path

    try:
        loaded = _Loaded()  # type: ignore[call-arg]
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'site'}: {item['msg']}"
            for item in error.errors()
        )
        raise ConfigurationError(
            places, remedy=f"Correct {path} and run `ferry-bridge check-config`."
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"{path}: {error}", title="The site file is not valid TOML", remedy="Correct the line it names."
        ) from error
    return loaded


def read_secret(path: Path) -> str:
    """Return the first line of a secret file.

    Raises:
        ConfigurationError: where it is missing, empty, or readable by others.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}", title="A secret file cannot be read", remedy="Make it, mode 0600."
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(
            f"{path} has mode {stat.S_IMODE(mode):04o}.",
            title="A secret file is open to others",
            remedy=f"chmod 600 {path}",
        )
    secret = text.splitlines()[0].strip() if text.strip() else ""
    if not secret:
        raise ConfigurationError(
            f"{path} is empty.", title="A secret file is empty", remedy="Put the secret in."
        )
    return secret


def describe(site: SiteConfig) -> dict[str, Any]:
    """The effective site for `check-config`, without any secret (none is ever loaded into it)."""
    return site.model_dump(mode="json")
