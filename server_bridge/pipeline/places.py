"""Where an order's things lie on this host. One place says it, so that no two parts disagree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server_bridge.config import SiteConfig

QUARANTINE = ".ferry-quarantine"
"""Below the staging directory (one filesystem, so that moving is a rename): what arrived unlisted."""


@dataclass(frozen=True, slots=True)
class OrderPlaces:
    """The paths of one order."""

    staging: Path
    """The order's own directory, for ever; files lie in it under their paths from the share's top."""
    lock: Path
    work: Path
    """Output of its children, rsync's lists; in the state folder."""
    quarantine: Path

    def staged(self, path: str) -> Path:
        """Where the file of that share path is staged. ``path`` was confined when the order was accepted."""
        return self.staging / path

    def acquisition(self, path: str, *, is_group: bool) -> Path:
        """Where the whole acquisition is staged. A group's folder holds nothing but the group here: the
        directory is one order's, and what the manifest does not name was moved out of it."""
        folder = path.rpartition("/")[0] if is_group else path
        return self.staging / folder if folder not in ("", ".") else self.staging

    def relative(self, staged: str | Path) -> str | None:
        """The share path of an absolute staged path; None for a path outside."""
        prefix = f"{self.staging}/"
        text = str(staged)
        return text[len(prefix) :] if text.startswith(prefix) else None

    def output(self, attempt: int, step: str) -> Path:
        """Where a child's output of that step is kept."""
        return self.work / f"{attempt}-{step}.log"


def locks_of(site: SiteConfig) -> Path:
    """The folder of the orders' locks."""
    return site.state_dir / "locks"


def places_of(site: SiteConfig, share: str, order_id: str) -> OrderPlaces:
    """The paths of an order; nothing is made."""
    return OrderPlaces(
        staging=site.staging_dir / share / order_id,
        lock=locks_of(site) / f"{order_id}.lock",
        work=site.state_dir / "orders" / order_id,
        quarantine=site.staging_dir / QUARANTINE / share / order_id,
    )
