"""The exact rsync commands, built by pure functions. No option of a person or of the site is ever passed on.

Every flag has a measured reason. The ones that are easy to get wrong:

* no ``--inplace``, ``--append``, ``-c``, ``--delete``: they change or remove data that OMERO may already
  hold by a hard link;
* ``-p`` with one constant ``--chmod``: alone, ``--chmod`` is masked by the umask and loses the set-group-id
  bit;
* ``--no-whole-file --partial-dir``: an interrupted transfer resumes (``--whole-file`` throws the partial
  away);
* ``--checksum-choice=sha1``: ``%C`` in the line per file is then the SHA-1 OMERO stores, computed while
  reading;
* ``--trust-sender``: without it a list of 100,000 names takes minutes (quadratic check). What arrives is
  compared with the list afterwards by `server_bridge.mover.pull`;
* no ``-r`` when pulling: only listed files are wanted, and a listed file that became a folder would drag
  its whole tree along;
* each listed name starts with ``./``: rsync ignores list entries that begin with ``#`` or ``;``, also with
  ``--from0``.

Checked with rsync 3.2.7 (Debian 12 as released) and 3.5.0 (Debian 12 with its security updates): all
options exist in both and the outputs parsed here are the same. One difference: 3.2.7-1+deb12u6 cannot use a
*read-only* file in ``--partial-dir`` (code 23), which is why `server_bridge.mover.staging` makes partial
files writable.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from server_bridge.mover.sources import Source

PARTIAL_DIR = ".rsync-partial"
#: rsync's own time limit. It does not protect a pull (keep-alives count as traffic): the stall watchdog does.
IO_TIMEOUT_SECONDS = 60
PULL_FORMAT = "@F|%i|%l|%C|%n"
LIST_FORMAT = "@L|%i|%l|%M|%n"
DIRECTORY_MODE = 0o2770
FILE_MODE = 0o440


def environment(path: str = "/usr/local/bin:/usr/bin:/bin") -> dict[str, str]:
    """The whole environment of an rsync child.

    ``LC_ALL=C`` makes names pure ASCII with escapes, ``TZ=UTC`` fixes the listing's times.
    RSYNC_PROTECT_ARGS, RSYNC_RSH and the like are absent because nothing is inherited (rrsync refuses
    protected arguments). HOME is not needed: ssh takes the user's home from the password database.
    """
    return {"LC_ALL": "C", "PATH": path, "TZ": "UTC"}


def files_from(paths: Iterable[str]) -> bytes:
    """The content of a ``--files-from`` list: sorted, anchored by ``./``, closed by NUL each."""
    return b"".join(b"./" + path.encode("utf-8", "surrogateescape") + b"\0" for path in sorted(paths))


def pull_command(
    rsync: str,
    source: Source,
    files_from: Path,
    destination: Path,
    *,
    bandwidth_kib_per_second: int | None = None,
    compress: bool = False,
) -> list[str]:
    """Pull the listed files below ``destination``. ``bandwidth_kib_per_second`` is for this one process."""
    command = [
        rsync,
        "-t",
        "--no-recursive",
        "--no-links",
        "--no-D",
        "--numeric-ids",
        "-p",
        "--chmod=D2770,F0440",
        "--no-whole-file",
        "--no-inplace",
        "--no-append",
        f"--partial-dir={PARTIAL_DIR}",
        "--checksum-choice=sha1",
        "--trust-sender",
        f"--timeout={IO_TIMEOUT_SECONDS}",
        "--from0",
        f"--files-from={files_from}",
        "--no-h",
        "--outbuf=L",
        "--info=none,progress2",
        f"--out-format={PULL_FORMAT}",
    ]
    if bandwidth_kib_per_second is not None:
        # 0 would mean "no limit" to rsync: a floor of one keeps a limit a limit.
        command.append(f"--bwlimit={max(1, bandwidth_kib_per_second)}")
    if compress:
        command += ["--compress", "--compress-choice=zstd", "--compress-level=1"]
    return [*command, *source.rsync_connection_args(), source.rsync_source_arg(), f"{destination}/"]


def list_command(
    rsync: str, source: Source, files_from: Path, empty_directory: Path, *, recursive: bool
) -> list[str]:
    """List what the entries of ``files_from`` are, by a dry run into an empty directory: nothing is written.

    ``-l`` shows symbolic links as links instead of skipping them silently; a dry run creates none. FIFOs,
    sockets and devices are named by ``nonreg`` lines: ``-D`` would show their kind, but a hardened daemon
    refuses it. Without ``recursive`` only the entries themselves are shown, and ``--no-implied-dirs`` keeps
    a linked parent from passing as a folder (rsync follows links in the parents of a listed name).
    """
    return [
        rsync,
        "-t",
        "--recursive" if recursive else "--no-recursive",
        "--dry-run",
        "-l",
        "--no-D",
        *([] if recursive else ["--dirs", "--no-implied-dirs"]),
        "--numeric-ids",
        "--trust-sender",
        f"--timeout={IO_TIMEOUT_SECONDS}",
        "--from0",
        f"--files-from={files_from}",
        "--no-h",
        "--outbuf=L",
        "--info=none,nonreg",
        f"--out-format={LIST_FORMAT}",
        *source.rsync_connection_args(),
        source.rsync_source_arg(),
        f"{empty_directory}/",
    ]
