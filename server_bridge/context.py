"""What every part of the running bridge is given: the site, the orders, and OMERO. Built once.

OMERO's client libraries are heavy and are imported when a context is built, not when this module is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DatabaseError

from server_bridge.config import SiteConfig
from server_bridge.errors import ConfigurationError
from server_bridge.orders.database import open_database
from server_bridge.orders.migrating import migrate
from server_bridge.orders.soundness import not_usable
from server_bridge.orders.store import Store

if TYPE_CHECKING:
    from server_bridge.omero.connection import Omero


@dataclass(frozen=True, slots=True)
class Context:
    """Site, orders and OMERO of one process."""

    site: SiteConfig
    store: Store
    omero: Omero


def refuse_root() -> None:
    """Everything of the bridge belongs to one ordinary user.

    Raises:
        ConfigurationError: for root, who would leave files behind that the bridge cannot open, and whom
            `omero` refuses.
    """
    if os.geteuid() == 0:
        raise ConfigurationError(
            "The bridge and its commands run as OMERO's own user, never as root.",
            title="Running as root",
            remedy="Use `sudo -u omero-server ferry-bridge …` (or the user your site chose).",
        )


def open_store(site: SiteConfig) -> Store:
    """Open the orders, bringing the schema up to date; makes ``state_dir`` where it is missing.

    Raises:
        ConfigurationError: where the folder cannot be used, the user is root, or the database cannot be
            reached, is of a newer bridge, or cannot be brought up to date.
    """
    refuse_root()
    try:
        site.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(site.state_dir, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise ConfigurationError(
            f"{site.state_dir}: {error.strerror}.",
            title="The state folder cannot be used",
            remedy="Make it, owned by the bridge's user, mode 0700.",
        ) from error
    engine = open_database(site.url)
    try:
        migrate(engine, site.state_dir / "backups")
    except DatabaseError as error:
        engine.dispose()
        raise not_usable(engine, error) from error
    except BaseException:
        engine.dispose()
        raise
    return Store(engine)


def build_context(site: SiteConfig) -> Context:
    """Open the database (migrating it) and prepare OMERO; no connection is made yet.

    Raises:
        ConfigurationError: where the site does not allow it.
    """
    from server_bridge.omero.connection import Omero

    return Context(site=site, store=open_store(site), omero=Omero(site.omero))
