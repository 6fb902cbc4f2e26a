"""From the site file's share to the mover's source."""

from __future__ import annotations

from server_bridge.config import DaemonSourceConfig, PathSourceConfig, ShareConfig, SshSourceConfig
from server_bridge.mover.sources import DaemonSource, PathSource, Source, SshSource


def source_of(share: ShareConfig) -> Source:
    """Where ``share`` is read from.

    Raises:
        ConfigurationError: where a value would change the meaning of rsync's command line.
    """
    match share.source:
        case DaemonSourceConfig() as daemon:
            return DaemonSource(
                host=daemon.host,
                module=daemon.module,
                port=daemon.port,
                user=daemon.user,
                password_file=daemon.password_file,
                subpath=daemon.path,
            )
        case SshSourceConfig() as ssh:
            return SshSource(host=ssh.host, config_file=ssh.config_file, subpath=ssh.path)
        case PathSourceConfig() as mounted:
            return PathSource(path=mounted.path)
