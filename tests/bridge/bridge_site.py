"""A small site for tests: real files, a real database, one or two shares, nothing running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from server_bridge.config import SiteConfig
from server_bridge.context import open_store
from server_bridge.orders.store import Store
from tests import databases


def make_site(top: Path, **more: Any) -> SiteConfig:
    """A valid site below ``top``; keyword arguments replace parts of it."""
    (top / "state").mkdir(exist_ok=True)
    (top / "staging").mkdir(exist_ok=True)
    (top / "buffer").mkdir(exist_ok=True)
    password = top / "omero.pass"
    if not password.exists():  # never truncated again: a bridge may be reading it at this moment
        password.touch(mode=0o600)
        password.write_text("ferry\n")
    share: dict[str, Any] = {
        "id": "conf",
        "title": "Confocal",
        "person_folder": "{user}",
        "source": {"kind": "path", "path": str(top / "buffer")},
    }
    values: dict[str, Any] = {
        "name": "Test site",
        "contact": "the platform staff",
        "state_dir": str(top / "state"),
        "staging_dir": str(top / "staging"),
        "database_url": databases.url_for(top),
        "staff": ("staff",),
        "omero": {
            "host": "127.0.0.1",
            "port": 1,
            "password_file": str(password),
            "omerodir": str(top),
            "call_timeout_seconds": 5,
        },
        "shares": (share,),
    }
    return SiteConfig(**{**values, **more})


def make_store(site: SiteConfig) -> Store:
    """The site's orders, migrated."""
    return open_store(site)
