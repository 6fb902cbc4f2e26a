"""How each kind of share names itself to rsync, and what a site file may not smuggle in."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_bridge.errors import ConfigurationError
from server_bridge.mover.sources import DaemonSource, PathSource, SshSource

CONFIG = Path("/etc/ferry/ssh_config")


def test_a_daemon_is_a_url_with_its_password_in_a_file() -> None:
    source = DaemonSource("10.0.5.2", "acq", 8730, "bridge", Path("/etc/ferry/rsync.pass"), "scope 1/")
    assert source.rsync_source_arg() == "rsync://bridge@10.0.5.2:8730/acq/scope 1/"
    assert source.rsync_connection_args() == [
        "--contimeout=10",
        "--no-motd",
        "--password-file=/etc/ferry/rsync.pass",
    ]
    assert "pass" not in source.label


def test_an_open_module_and_an_ipv6_address() -> None:
    source = DaemonSource("fe80::1", "acq")
    assert source.rsync_source_arg() == "rsync://[fe80::1]:873/acq/"
    assert source.rsync_connection_args() == ["--contimeout=10", "--no-motd"]


def test_ssh_asks_for_the_forced_directory_itself() -> None:
    source = SshSource("buffer", CONFIG)
    assert source.rsync_source_arg() == "buffer:./"
    assert source.rsync_connection_args() == ["-e", "ssh -F /etc/ferry/ssh_config"]
    assert SshSource("buffer", CONFIG, "scope").rsync_source_arg() == "buffer:./scope/"


def test_a_mounted_path_ends_in_one_slash() -> None:
    assert PathSource(Path("/mnt/a:b")).rsync_source_arg() == "/mnt/a:b/"
    assert PathSource(Path("/mnt/acq")).rsync_connection_args() == []


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "", "a b", "a/b", "a@b", "a\nb", "$(id)"])
def test_a_host_that_is_syntax_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError):
        DaemonSource(host, "acq")
    with pytest.raises(ConfigurationError):
        SshSource(host, CONFIG)


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b", "-x", "a\nb"])
def test_a_subpath_stays_below_the_module(path: str) -> None:
    with pytest.raises(ConfigurationError):
        DaemonSource("host", "acq", subpath=path)
    with pytest.raises(ConfigurationError):
        SshSource("host", CONFIG, path)


def test_paths_that_would_change_the_command_are_refused() -> None:
    for config in (Path("/etc/a b"), Path("/etc/'x'"), Path("relative")):
        with pytest.raises(ConfigurationError):
            SshSource("buffer", config)
    for path in (Path("host:acq"), Path("/mnt/../etc")):
        with pytest.raises(ConfigurationError):
            PathSource(path)
