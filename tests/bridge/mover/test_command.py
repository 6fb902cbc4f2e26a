"""The exact commands, compared word by word."""

from __future__ import annotations

from pathlib import Path

from server_bridge.mover.command import environment, files_from, list_command, pull_command
from server_bridge.mover.sources import DaemonSource, PathSource, SshSource

NAMES = Path("/lists of o1/names")
DAEMON = DaemonSource("10.0.5.2", "acq", user="bridge", password_file=Path("/etc/ferry/rsync.pass"))
PULL = [
    "rsync", "-t", "--no-recursive", "--no-links", "--no-D", "--numeric-ids", "-p", "--chmod=D2770,F0440",
    "--no-whole-file", "--no-inplace", "--no-append", "--partial-dir=.rsync-partial",
    "--checksum-choice=sha1", "--trust-sender", "--timeout=60", "--from0", "--files-from=/lists of o1/names",
    "--no-h", "--outbuf=L", "--info=none,progress2", "--out-format=@F|%i|%l|%C|%n",
]  # fmt: skip


def test_pull_from_a_daemon() -> None:
    assert pull_command("rsync", DAEMON, NAMES, Path("/staging/o1")) == [
        *PULL,
        "--contimeout=10",
        "--no-motd",
        "--password-file=/etc/ferry/rsync.pass",
        "rsync://bridge@10.0.5.2:873/acq/",
        "/staging/o1/",
    ]


def test_pull_over_ssh_has_no_daemon_options() -> None:
    source = SshSource("buffer", Path("/etc/ferry/ssh_config"))
    assert pull_command("rsync", source, NAMES, Path("/staging/o1")) == [
        *PULL,
        "-e",
        "ssh -F /etc/ferry/ssh_config",
        "buffer:./",
        "/staging/o1/",
    ]


def test_pull_from_a_path_with_a_limit_and_compression() -> None:
    command = pull_command(
        "/opt/rsync",
        PathSource(Path("/mnt/acq")),
        NAMES,
        Path("/s"),
        bandwidth_kib_per_second=500,
        compress=True,
    )
    assert command == [
        "/opt/rsync",
        *PULL[1:],
        "--bwlimit=500",
        "--compress",
        "--compress-choice=zstd",
        "--compress-level=1",
        "/mnt/acq/",
        "/s/",
    ]


def test_a_limit_of_zero_never_means_unlimited() -> None:
    assert "--bwlimit=1" in pull_command("rsync", DAEMON, NAMES, Path("/s"), bandwidth_kib_per_second=0)


def test_no_command_can_delete_or_write_in_place() -> None:
    commands = [
        *pull_command("rsync", DAEMON, NAMES, Path("/s")),
        *list_command("rsync", DAEMON, NAMES, Path("/e"), recursive=True),
    ]
    for word in commands:
        assert not word.startswith(("--delete", "--inplace", "--append", "--remove", "--checksum="))
        assert word not in {"-c", "-a", "-L", "-K", "--checksum", "--partial", "--whole-file", "-W"}


def test_listing_is_a_dry_run_that_shows_links() -> None:
    command = list_command("rsync", PathSource(Path("/mnt/acq")), NAMES, Path("/e"), recursive=True)
    assert command == [
        "rsync", "-t", "--recursive", "--dry-run", "-l", "--no-D", "--numeric-ids", "--trust-sender",
        "--timeout=60", "--from0", "--files-from=/lists of o1/names", "--no-h", "--outbuf=L",
        "--info=none,nonreg", "--out-format=@L|%i|%l|%M|%n", "/mnt/acq/", "/e/",
    ]  # fmt: skip
    probe = list_command("rsync", PathSource(Path("/mnt/acq")), NAMES, Path("/e"), recursive=False)
    assert "--dry-run" in probe and "--no-recursive" in probe and "--no-implied-dirs" in probe


def test_names_are_sorted_anchored_and_closed_by_nul() -> None:
    latin = b"l\xe4".decode("utf-8", "surrogateescape")
    assert files_from(["b", "#a", "-x", latin]) == b"./#a\0./-x\0./b\0./l\xe4\0"


def test_the_environment_is_fixed_and_holds_nothing_else() -> None:
    assert environment() == {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}
