"""The five steps of an import that run on the server, in the background.

At most five imports run at once, as with OMERO's default of background threads; the rest waits. A step that
fails leaves what the steps before it made: after the first one there are images even though the import is
reported failed.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import omero
import omero.cmd
import omero.grid
import omero.model

from server_bridge.sandbox.faults import FaultError
from server_bridge.sandbox.images import readers
from server_bridge.sandbox.images.unit import CorruptFileError, Unit, UnknownFormatError, UnreadableFileError
from server_bridge.sandbox.model import ENTITIES
from server_bridge.sandbox.objects import load
from server_bridge.sandbox.rows import Made, make_images
from server_bridge.sandbox.security import Action, Caller
from server_bridge.sandbox.servants.core import log

if TYPE_CHECKING:
    from server_bridge.sandbox.servants.commands import Handle
    from server_bridge.sandbox.servants.core import Call

BACKGROUND_THREADS = 5
STEPS = (
    "METADATA_IMPORTED",
    "PIXELDATA_PROCESSED",
    "THUMBNAILS_GENERATED",
    "METADATA_PROCESSED",
    "OBJECTS_RETURNED",
)

_pool = ThreadPoolExecutor(BACKGROUND_THREADS, thread_name_prefix="import")


class ImportFailedError(Exception):
    """The import fails; ``name`` is how OMERO names the failure to the client."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Import:
    """One import between importFileset and its last step."""

    def __init__(
        self,
        call: Call,
        fileset_id: int,
        files: list[int],
        client_paths: list[str],
        settings: Any,
        upload_job: int,
        log_file: int,
        handle: Handle,
    ) -> None:
        self.services = call.services
        self.caller: Caller = call.caller
        self.client = call.client
        self.fileset_id = fileset_id
        self.files = files
        self.client_paths = client_paths
        self.settings = settings
        self.upload_job = upload_job
        self.log_file = log_file
        self.handle = handle
        self._log_lock = threading.Lock()

    def log_model(self, call: Call) -> Any:
        return load(call.store, call.caller, ENTITIES["OriginalFile"], [self.log_file])[0]

    def path_of(self, file_id: int) -> Any:
        row = self.services.store.by_ids(ENTITIES["OriginalFile"], [file_id])[0]
        return self.services.repository.path_of(row)

    def write_log(self, text: str) -> None:
        """Add a line to the import's log in the repository, which clients can read."""
        path = self.path_of(self.log_file)
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
        with self._log_lock, path.open("a") as handle:
            handle.write(f"{stamp} INFO  [sandbox] {text}\n")
        self.services.store.update(ENTITIES["OriginalFile"], self.log_file, {"size": path.stat().st_size})


def start(work: Import) -> None:
    """Queue the import; its handle tells how it went."""
    _pool.submit(_run, work)


def _run(work: Import) -> None:
    try:
        response = _steps(work)
    except ImportFailedError as error:
        response = _failure(work, error.name, str(error))
    except FaultError as error:
        response = _failure(work, "import-request-failure", str(error))
    except Exception as error:  # noqa: BLE001 - logged, and told to the client
        log.exception("import of fileset %d failed", work.fileset_id)
        response = _failure(work, "import-request-failure", f"{type(error).__name__}: {error}")
    work.handle.finish(response)


def _failure(work: Import, name: str, message: str) -> Any:
    work.write_log(f"import failed: {message}")
    return omero.cmd.ERR(
        "::omero::grid::ImportRequest", name, {"message": message, "filename": work.client_paths[0]}
    )


def _steps(work: Import) -> Any:
    made = Made()
    subject = "\n".join(work.client_paths)
    for number, step in enumerate(STEPS, 1):
        work.services.faults.strike(f"step{number}", subject)
        # A long import keeps its session from idling, but not beyond its time to live.
        if why := work.services.sessions.touch(work.caller.session_uuid):
            raise ImportFailedError("import-request-failure", f"the session expired: {why}")
        if number == 1:
            unit = _read(work)
            _check_target(work)
            with work.services.store.transaction():
                made = make_images(work, unit)
        work.write_log(step)
        work.handle.step(number)
    store, caller = work.services.store, work.caller
    pixels = load(store, caller, ENTITIES["Pixels"], made.pixels, {"image": {}, "channels": {}})
    objects = load(store, caller, ENTITIES["Plate"], made.plates)
    objects += load(store, caller, ENTITIES["Image"], made.images)
    return omero.grid.ImportResponse(pixels, [*objects, omero.model.FilesetI(work.fileset_id, False)])


def _read(work: Import) -> Unit:
    main = work.path_of(work.files[0])
    try:
        return readers.read(main)
    except UnknownFormatError as error:
        raise ImportFailedError("import-unknown-format", str(error)) from error
    except (UnreadableFileError, CorruptFileError) as error:
        raise ImportFailedError("import-file-exception", str(error)) from error


def _check_target(work: Import) -> None:
    target = work.settings.userSpecifiedTarget
    if target is None:
        return
    of = ENTITIES[type(target).__name__.removesuffix("I")]
    rows = work.services.store.by_ids(of, [target.id.val])
    if not rows:
        raise ImportFailedError("import-request-failure", f"{of.name} {target.id.val} is gone")
    row = rows[0]
    if row["details_group"] != work.caller.group_id:
        raise ImportFailedError(
            "import-request-failure", f"MIXED GROUP: {of.name} {row['id']} is in another group"
        )
    if not work.caller.may(Action.LINK, row["details_owner"], row["details_group"]):
        raise ImportFailedError(
            "import-request-failure", f"Group is READ-ONLY. Cannot link to object: {of.name}:Id_{row['id']}"
        )
