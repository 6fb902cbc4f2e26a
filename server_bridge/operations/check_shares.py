"""Each share answers and shows its marker, asked the way the mover asks."""

from __future__ import annotations

from collections.abc import Iterator

from server_bridge.config import ShareConfig, SiteConfig
from server_bridge.operations.check_config import Line, attempt


def check(site: SiteConfig) -> Iterator[Line]:
    """One line a share."""
    for share in site.shares:
        yield attempt(f"share {share.id}", lambda share=share: marker_seen(site, share))  # type: ignore[misc]


def marker_seen(site: SiteConfig, share: ShareConfig) -> str:
    """List the share's marker through rsync.

    Raises:
        TransientFailure, NeedsAttention, ConfigurationError: as the mover says it.
    """
    from server_bridge.mover.listing import check_share
    from server_bridge.pipeline.sources import source_of
    from server_bridge.processes.runner import ProcessRunner

    source = source_of(share)
    check_share(
        source, ProcessRunner(), marker=share.marker, rsync=site.rsync, stall_seconds=share.stall_seconds
    )
    return f"{source.label} shows {share.marker}"
