"""Runs the real ``omero import``: asks how files group, and imports units in place as a person.

The run *reports*; it decides nothing. Whether something was imported is asked in OMERO's database afterwards
(`server_bridge.omero.receipts`), whatever the exit code says: it can be 0 with nothing imported, and an
import goes on in the server when its client was killed after the upload.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, BinaryIO, Protocol

from server_bridge.config import OmeroConfig
from server_bridge.errors import NeedsAttention
from server_bridge.omero.connection import Omero
from server_bridge.omero.failures import clean
from server_bridge.omero.import_failures import explain
from server_bridge.omero.importer_command import (
    LEAST_DEPTH,
    import_command,
    import_environment,
    prepare,
    scan_command,
    session_files,
)
from server_bridge.omero.importer_output import (
    ImportStep,
    RunLog,
    ScannedUnit,
    StepKind,
    UnitLog,
    parse_error,
    parse_groups,
    parse_log_line,
    parse_result_yaml,
    parse_unread,
    reports_refusal,
)
from server_bridge.omero.targets import ResolvedTarget

__all__ = [
    "ImportRun",
    "ImportStep",
    "ScannedUnit",
    "StepKind",
    "UnitLog",
    "explain",
    "import_command",
    "import_environment",
    "parse_groups",
    "parse_log_line",
    "parse_result_yaml",
    "run_import",
    "scan_command",
    "scan_units",
]

NO_CANDIDATES = 125
"""Exit code of ``omero import -f`` where no reader takes anything."""
_KEPT_OUTPUT_BYTES = 4 << 20
_SCAN_OUTPUT_BYTES = 256 << 20
_LOG_LIMIT_BYTES = 2 << 20

_log = logging.getLogger(__name__)


class StopSignal(Protocol):
    def is_set(self) -> bool: ...


class Finished(Protocol):
    """What a runner gives back (`server_bridge.processes.runner.ChildResult`)."""

    @property
    def returncode(self) -> int: ...
    @property
    def ended(self) -> Any: ...
    @property
    def duration_seconds(self) -> float: ...
    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...


class Runner(Protocol):
    """Runs children (`server_bridge.processes.runner.ProcessRunner`)."""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        lock: Any = None,
        lock_path: Path | None = None,
        on_stdout_line: Callable[[bytes], None] | None = None,
        on_stderr_line: Callable[[bytes], None] | None = None,
        stall_seconds: float | None = None,
        deadline_seconds: float | None = None,
        stop_event: StopSignal | None = None,
        stdout_limit_bytes: int = 1 << 20,
        stderr_limit_bytes: int = 1 << 18,
    ) -> Finished: ...


@dataclass(frozen=True, slots=True)
class ImportRun:
    """What one run of ``omero import`` reported. No part of it is proof."""

    returncode: int
    ended: str
    """``exited``, ``stopped`` (our stop signal), ``stalled``, ``overtime``, or ``given up`` (we ended it
    after too many failures in a row)."""
    filesets: tuple[int, ...]
    images: tuple[int, ...]
    plates: tuple[int, ...]
    last_error: str
    """The last error line, on one line, without session keys."""
    last_step: ImportStep | None
    log_file_id: int | None
    """OriginalFile of the server's own log of this import."""
    duration_seconds: float
    output: str
    """Tails of standard error and standard output, cleaned, for a person."""
    refused: bool = False
    """OMERO itself reported an import as failed."""
    units: Mapping[str, UnitLog] = field(default_factory=dict)
    """What was said about each unit, by its main file."""


def scan_units(
    config: OmeroConfig,
    staged_root: Path,
    runner: Runner,
    *,
    stop_event: StopSignal | None = None,
    lock: Any = None,
    lock_path: Path | None = None,
    output_path: Path | None = None,
    unread: dict[str, str] | None = None,
) -> list[ScannedUnit]:
    """How the files of a staged acquisition (a folder or one file) group into import units.

    Files that no unit takes are in none; an empty list means that no reader takes anything. Needs no OMERO
    server. Files whose names begin with a dot are never looked at.

    Args:
        unread: takes the files at which a reader failed, with what it said: they are in no unit either, and
            may be in one at the next look.

    Raises:
        NeedsAttention: ``scan_failed``, ``unit_leaves_acquisition`` where a file's metadata names files
            outside of the acquisition, ``units_overlap`` where two units would import the same file.
        StepFailed: ``import_stopped``, ``import_stalled``; what the runner raises (lock, missing program).
    """
    with _Workplace(config, {}, output_path) as place:

        def stderr_line(line: bytes) -> None:
            place.note(line)
            if unread is not None and (said := parse_unread(_text(line))) is not None:
                path, why = _file_and_why(said)
                unread[path] = clean(why)

        done = runner.run(
            scan_command(config, staged_root, depth=_depth(staged_root)),
            env=place.environment,
            cwd=place.folder,
            lock=lock,
            lock_path=lock_path,
            on_stderr_line=stderr_line,
            stall_seconds=config.import_stall_seconds,
            stop_event=stop_event,
            stdout_limit_bytes=_SCAN_OUTPUT_BYTES,
        )
    ended = str(getattr(done.ended, "value", done.ended))
    stderr = _text(done.stderr)
    if ended != "exited":
        raise explain(done.returncode, ended, "", stderr)
    if done.returncode == NO_CANDIDATES:
        return []
    units = parse_groups(_text(done.stdout))
    if done.returncode != 0:
        raise NeedsAttention(
            f"omero import -f exited with {done.returncode}: {clean(stderr[-400:])}",
            code="scan_failed",
            title="The files could not be examined",
            remedy="Look at the order's output; check Java and OMERODIR with `ferry-bridge check-config`.",
        )
    _require_confined(units, staged_root)
    return units


def _file_and_why(said: str) -> tuple[str, str]:
    """Take ``/path: why`` apart at the colon before which there is a file; nothing is there: at the first."""
    end = len(said)
    while end > 0:
        if os.path.lexists(said[:end]):
            return said[:end], said[end:].removeprefix(": ")
        end = said.rfind(": ", 0, end)
    path, _colon, why = said.partition(": ")
    return path, why


def run_import(
    config: OmeroConfig,
    session_key: str,
    target: ResolvedTarget | str,
    mains: Sequence[Path],
    order_id: str,
    attempt: int = 0,
    *,
    username: str,
    runner: Runner,
    main_of: Mapping[str, str] | None = None,
    most_failures: int = 0,
    on_step: Callable[[ImportStep], None] | None = None,
    stop_event: StopSignal | None = None,
    lock: Any = None,
    lock_path: Path | None = None,
    output_path: Path | None = None,
) -> ImportRun:
    """Import units in place, as the person whose session this is; returns when the client has ended.

    Args:
        session_key: of ``Omero.as_person(…)``, which must stay open (and so kept alive) during the run.
        mains: the main file of each unit in staging, absolute.
        username: whose session it is.
        main_of: every file of these units → the main file of its unit; for units of one file, not needed.
        most_failures: end the run after so many failed units in a row (0: never): what fails then is not the
            units, and each failed import leaves remains in OMERO.
        on_step: called in this thread for each sign of progress.
        output_path: where the run's output goes, up to 2 MiB; made with mode 0600.

    Raises:
        StepFailed: only what the runner raises (a busy lock, a missing program). A failed import is an
            ``ImportRun``; :func:`explain` says in words what one means.
    """
    properties = Omero(config).client_properties()
    specification = target if isinstance(target, str) else target.specification
    files = session_files(properties, username, session_key)
    seen = _Seen(main_of or {str(main): str(main) for main in mains}, on_step)
    stop = _Stop(stop_event, seen.log, most_failures)
    with _Workplace(config, files, output_path) as place:
        more = f" and {len(mains) - 1} more" if len(mains) > 1 else ""
        place.note(f"--- attempt {attempt}: {mains[0]}{more} into {specification}".encode())

        def stderr_line(line: bytes) -> None:
            place.note(line)
            seen.take(_text(line))

        done = runner.run(
            import_command(config, specification, mains, order_id),
            env=place.environment,
            cwd=place.folder,
            lock=lock,
            lock_path=lock_path,
            on_stdout_line=place.note,
            on_stderr_line=stderr_line,
            stall_seconds=config.import_stall_seconds,
            stop_event=stop,
            stdout_limit_bytes=_KEPT_OUTPUT_BYTES,
        )
    ended = str(getattr(done.ended, "value", done.ended))
    result = parse_result_yaml(_text(done.stdout))
    return ImportRun(
        returncode=done.returncode,
        ended="given up" if ended == "stopped" and stop.given_up else ended,
        filesets=result.filesets,
        images=result.images,
        plates=result.plates,
        last_error=clean(seen.last_error),
        last_step=seen.last_step,
        log_file_id=seen.log_file_id,
        duration_seconds=done.duration_seconds,
        # Where it could not join the session, `omero` says so on standard output.
        output=f"{_tail(done.stderr)}\n{_tail(done.stdout)}".strip(),
        refused=seen.refused,
        units=seen.log.units,
    )


class _Stop:
    """The caller's stop signal, or our own: too many failures in a row."""

    def __init__(self, outer: StopSignal | None, log: RunLog, most_failures: int) -> None:
        self._outer = outer
        self._log = log
        self._most_failures = most_failures

    @property
    def given_up(self) -> bool:
        return 0 < self._most_failures <= self._log.failures_in_a_row and not self._asked()

    def is_set(self) -> bool:
        return self._asked() or self.given_up

    def _asked(self) -> bool:
        return self._outer is not None and self._outer.is_set()


class _Seen:
    """What went by on standard error."""

    def __init__(self, main_of: Mapping[str, str], on_step: Callable[[ImportStep], None] | None) -> None:
        self.log = RunLog(main_of)
        self.refused = False
        self._on_step = on_step
        self.last_error = ""
        self.last_step: ImportStep | None = None
        self.log_file_id: int | None = None

    def take(self, line: str) -> None:
        step = parse_log_line(line)
        self.log.take(line, step)
        self.refused = self.refused or reports_refusal(line)
        if step is not None:
            self.last_step = step
            self.log_file_id = step.log_file_id or self.log_file_id
            if self._on_step is not None:
                self._on_step(step)
            return
        self.last_error = parse_error(line) or self.last_error


class _Workplace:
    """A run's own folder (session files, OMERO_USERDIR, temporary files), gone when the run is."""

    def __init__(self, config: OmeroConfig, files: Mapping[str, str], output_path: Path | None) -> None:
        self._config = config
        self._files = files
        self._output_path = output_path
        self._output: BinaryIO | None = None
        self._room = _LOG_LIMIT_BYTES
        self.folder = Path()
        self.environment: dict[str, str] = {}

    def __enter__(self) -> _Workplace:
        self.folder = Path(mkdtemp(prefix="omero-ferry-"))  # mode 0700
        try:
            prepare(self._config, self.folder, self._files)
            if self._output_path is not None:
                self._output_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                self._output = os.fdopen(os.open(self._output_path, flags, 0o600), "ab", buffering=0)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.environment = import_environment(self._config, self.folder, os.environ)
        return self

    def note(self, line: bytes) -> None:
        """Keep a line of output, as long as there is room; session keys are cut out."""
        if self._output is None or self._room <= 0:
            return
        kept = clean(_text(line)).encode("utf-8", "surrogateescape") + b"\n"
        self._room -= len(kept)
        try:
            self._output.write(kept if self._room > 0 else b"[the rest is left out]\n")
        except OSError as error:
            # An import must not end because its output has no room.
            self._room = 0
            _log.warning("output is not kept: %s", error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._output is not None:
            self._output.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _tail(data: bytes, lines: int = 40) -> str:
    return "\n".join(clean(line) for line in _text(data).split("\n")[-lines:]).strip()


def _depth(root: Path) -> int:
    """Levels of folders below ``root``: Bio-Formats' scan stops at four unless it is told otherwise."""
    deepest = 0
    with suppress(NotADirectoryError):
        for folder, _, _ in os.walk(root):
            deepest = max(deepest, len(Path(folder).relative_to(root).parts))
    return max(LEAST_DEPTH, deepest + 1)


def _require_confined(units: Sequence[ScannedUnit], root: Path) -> None:
    """Every file of every unit lies at or below ``root`` and belongs to one unit only."""
    top = os.path.realpath(root)
    owner: dict[str, str] = {}
    for unit in units:
        for file in unit.files:
            real = os.path.realpath(file)
            if real != top and not real.startswith(top + os.sep):
                raise NeedsAttention(
                    f"{unit.main} refers to {file}, which is not part of this acquisition.",
                    code="unit_leaves_acquisition",
                    title="A file refers to files outside of the acquisition",
                    remedy="Order the folder that holds all of its files, or correct the file's metadata.",
                )
            if owner.setdefault(file, unit.main) != unit.main:
                raise NeedsAttention(
                    f"{file} belongs to {owner[file]} and to {unit.main}.",
                    code="units_overlap",
                    title="Two import units share a file",
                    remedy="Look at the acquisition with `omero import -f`; order the sets one by one.",
                )
