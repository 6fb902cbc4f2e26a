"""`ferry-bridge check-config`: the site as the bridge understands it, and whether it can work like that.

Every check is tried for real: a hard link from staging into ManagedRepository is made and removed, OMERO is
logged in to, each share is listed for its marker. One line each; the exit code is 1 when any needs attention.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.engine import make_url

from server_bridge.config import SiteConfig, describe, load_site, read_secret
from server_bridge.errors import ConfigurationError, FerryError
from server_bridge.human import plain
from server_bridge.mover import staging_disk
from server_bridge.operations.terminal import JsonOption, SiteOption, say, say_json, told
from server_bridge.orders.database import open_database
from server_bridge.orders.soundness import require_local, require_sound

MINIMUM_RSYNC = (3, 2, 7)
"""--trust-sender and the checksum names appear in 3.2.x; the mover was measured with 3.2.7 and 3.5.0."""
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Line:
    """One check's outcome."""

    what: str
    ok: bool
    detail: str = ""
    remedy: str = ""


def attempt(what: str, check: Callable[[], str]) -> Line:
    """Run one check; whatever the bridge or the system says against it becomes its line."""
    try:
        return Line(what, True, check())
    except FerryError as error:
        detail = f"{error.title}. {error.detail}" if error.detail else error.title
        return Line(what, False, detail, error.remedy)
    except OSError as error:
        return Line(what, False, f"{error.filename or ''} {error.strerror or error}".strip())


def _not_root() -> str:
    if os.geteuid() == 0:
        raise ConfigurationError(
            "Run this as the bridge's own user: root is allowed everything and proves nothing.",
            title="Running as root",
            remedy="sudo -u omero-server ferry-bridge check-config …",
        )
    return f"uid {os.geteuid()}"


def state_folder(folder: Path) -> str:
    """The state folder is there, ours and closed to others (the database holds grant keys)."""
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} is not a folder.", title="Missing", remedy=f"mkdir -m 700 {folder}"
        )
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o007:
        raise ConfigurationError(
            f"{folder} has mode {mode:04o}.", title="Open to others", remedy=f"chmod 700 {folder}"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{folder} is not writable.", title="Not ours", remedy="chown it to the bridge's user."
        )
    return str(folder)


def orders_database(site: SiteConfig) -> str:
    """The orders' database keeps what the bridge promises; nothing is made or changed.

    Raises:
        ConfigurationError: where it does not, or is not reached.
    """
    url = make_url(site.url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        require_local(Path(url.database or ""), Path("/proc/self/mountinfo").read_text().splitlines())
        return f"SQLite, {url.database}; made at the first start"
    engine = open_database(site.url)
    try:
        found = require_sound(engine)
    finally:
        engine.dispose()
    return "; ".join((found.text, *found.remarks))


def staging_folder(folder: Path) -> str:
    """The staging folder is there and writable."""
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{folder} is not a folder that the bridge's user may write.",
            title="Staging cannot be used",
            remedy="Make it on the mount of ManagedRepository, owned by the bridge's user.",
        )
    usage = shutil.disk_usage(folder)
    return f"{folder}, {usage.free / 1e9:.0f} GB free"


def trial_link(staging: Path, managed: Path) -> str:
    """Make a hard link from staging into ManagedRepository and remove it, as every import does.

    Raises:
        StagingUnlinkable: where it cannot be made, saying what the kernel's word means here.
    """
    staging_disk.trial_link(staging, managed)
    return f"{staging} and {managed} are one mount"


def rsync_version(program: str) -> str:
    """rsync is there, new enough, and can compute SHA-1."""
    try:
        out = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"{program}: {error}",
            title="rsync does not run",
            remedy="apt-get install rsync, or set `rsync` in the site.",
        ) from error
    return judge_rsync(out)


def judge_rsync(version_text: str) -> str:
    """Judge `rsync --version`.

    Raises:
        ConfigurationError: where it is too old or was built without SHA-1.
    """
    found = re.search(r"version v?(\d+)\.(\d+)\.(\d+)", version_text)
    if found is None:
        raise ConfigurationError("Its --version cannot be understood.", title="Not rsync?")
    version = tuple(int(part) for part in found.groups())
    if version < MINIMUM_RSYNC:
        raise ConfigurationError(
            f"It is {'.'.join(found.groups())}.",
            title="rsync is too old",
            remedy=f"Install {'.'.join(map(str, MINIMUM_RSYNC))} or later.",
        )
    checksums = re.search(r"Checksum list:\n((?:[ \t]+.*\n?)+)", version_text)
    if checksums is None or "sha1" not in checksums[1].split():
        raise ConfigurationError(
            "Its checksum list has no sha1.",
            title="rsync cannot compute SHA-1",
            remedy="Install an rsync built with OpenSSL (Debian's is).",
        )
    return f"{'.'.join(found.groups())} with SHA-1"


def java_version(java: str) -> str:
    """Java runs; `omero import` is a Java program."""
    try:
        done = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"{java}: {error}",
            title="Java does not run",
            remedy="apt-get install default-jre-headless, or set omero.java.",
        ) from error
    return plain((done.stderr or done.stdout).splitlines()[0]) if done.stderr or done.stdout else java


def omero_folder(omerodir: Path) -> str:
    """OMERODIR holds the importer's Java libraries."""
    libraries = omerodir / "lib" / "client"
    if not libraries.is_dir() or not any(libraries.glob("*.jar")):
        raise ConfigurationError(
            f"{libraries} has no .jar.",
            title="OMERODIR is not an OMERO.server or OMERO.insight import folder",
            remedy="Set omero.omerodir to OMERO.server's folder, or unpack OMERO's import libraries there.",
        )
    return str(omerodir)


def secret_files(site: SiteConfig) -> Iterator[tuple[str, Path]]:
    """Every secret file of the site, with the name of its setting."""
    yield "omero.password_file", site.omero.password_file
    if site.http.tls_key_file:
        yield "http.tls_key_file", site.http.tls_key_file
    if site.mail.host and site.mail.password_file:
        yield "mail.password_file", site.mail.password_file
    for share in site.shares:
        if share.source.kind == "daemon" and share.source.password_file:
            yield f"shares.{share.id}.password_file", share.source.password_file


def check(site: SiteConfig) -> Iterator[Line]:
    """Every check, as it is made."""
    from server_bridge.operations.serve import require_safe_listening

    yield attempt("user", _not_root)
    yield attempt("listening", lambda: _listening(site, require_safe_listening))
    for name, path in secret_files(site):
        yield attempt(name, lambda path=path: f"{path}" if read_secret(path) else "")  # type: ignore[misc]
    yield attempt("state_dir", lambda: state_folder(site.state_dir))
    yield attempt("database", lambda: orders_database(site))
    yield attempt("staging_dir", lambda: staging_folder(site.staging_dir))
    yield attempt("rsync", lambda: rsync_version(site.rsync))
    yield attempt("java", lambda: java_version(site.omero.java))
    yield attempt("omerodir", lambda: omero_folder(site.omero.omerodir))
    if site.mail.host:
        from server_bridge.notices import mailer

        yield attempt("mail", lambda: mailer.check(site.mail))
    from server_bridge.operations import check_omero, check_shares

    yield from check_omero.check(site)
    yield from check_shares.check(site)


def _listening(site: SiteConfig, require: Callable[..., None]) -> str:
    require(site.http)
    return (
        f"{site.http.host}:{site.http.port}{', TLS' if site.http.tls_certificate_file else ', loopback only'}"
    )


@told
def check_config(
    site: SiteOption,
    as_json: JsonOption = False,
    offline: Annotated[
        bool, typer.Option("--show", help="Only show the effective configuration; try nothing.")
    ] = False,
) -> None:
    """Show the effective configuration and try everything the bridge depends on."""
    config = load_site(site)
    if as_json:
        lines = [] if offline else list(check(config))
        say_json({"site": describe(config), "checks": [asdict(line) for line in lines]})
    else:
        _show(describe(config))
        lines = []
        for line in () if offline else check(config):
            lines.append(line)
            say(f"{'OK     ' if line.ok else 'PROBLEM'} {line.what}: {plain(line.detail)}")
            if line.remedy:
                say(f"        → {plain(line.remedy)}")
    bad = sum(not line.ok for line in lines)
    if bad:
        typer.echo(f"ferry-bridge: {bad} of {len(lines)} checks need attention.", err=True)
        raise typer.Exit(1)


def _show(values: object, name: str = "") -> None:
    """Settings one a line, ``section.setting = value``."""
    if isinstance(values, dict):
        for key, value in values.items():
            _show(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list) and values and all(isinstance(item, dict) for item in values):
        for item in values:
            _show(item, f"{name}[{item.get('id', '')}]")
    else:
        say(f"{name} = {plain(str(values))}")
