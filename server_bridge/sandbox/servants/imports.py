"""Imports on the server: ManagedRepository.importFileset and the process that follows it.

The client uploads or links the files, hands over their checksums, and from then on the server finishes
alone, whether or not the client is still there.
"""

from __future__ import annotations

import os
import uuid
from pathlib import PurePosixPath
from typing import Any

import omero
import omero.api
import omero.cmd
import omero.grid

from server_bridge.sandbox.faults import FaultError
from server_bridge.sandbox.importing import Import, start
from server_bridge.sandbox.model import ENTITIES
from server_bridge.sandbox.repository import DEFAULT_HASHER
from server_bridge.sandbox.servants.commands import Handle
from server_bridge.sandbox.servants.core import Call, Owner, publish, unpublish
from server_bridge.sandbox.servants.files import RawFile, register_file
from server_bridge.sandbox.sessions import usage, violation
from server_bridge.sandbox.store import now_ms

JOBS = ("UploadJob", "MetadataImportJob", "PixelDataJob", "ThumbnailGenerationJob", "IndexingJob")
LOG_MIMETYPE = "application/omero-log-file"


def begin(call: Call, fileset: Any, settings: Any) -> Any:
    """Create the fileset with its entries, files, jobs and directory; returns the ImportProcess."""
    entries = [entry for entry in fileset._usedFilesSeq or [] if entry is not None]
    if not entries:
        raise usage("No usedFiles specified")
    caller, store, repository = call.caller, call.store, call.services.repository
    if caller.writing_group is None:
        raise violation("Cannot write to group: -1")
    paths = [entry.clientPath.val for entry in entries]
    hasher = DEFAULT_HASHER
    if settings.checksumAlgorithm is not None and settings.checksumAlgorithm.value is not None:
        hasher = settings.checksumAlgorithm.value.val
    places = below_common_parent(paths)
    with store.transaction():
        event = store.event(caller)
        directory = repository.new_directory(caller)
        fileset_id = store.insert("Fileset", caller, templatePrefix=directory, details_creation=event)
        files = []
        for position, (client_path, place) in enumerate(zip(paths, places, strict=True)):
            sub, name = os.path.split(place)
            path = f"{directory}{sub}/" if sub else directory
            repository.absolute(path).mkdir(parents=True, exist_ok=True)
            file_id = register_file(call, path, name, event=event, hasher=hasher)
            store.insert(
                "FilesetEntry",
                caller,
                fileset=fileset_id,
                originalFile=file_id,
                clientPath=client_path,
                position=position,
                details_creation=event,
            )
            files.append(file_id)
        upload_job, log_file = _jobs(call, fileset_id, directory, event)
        annotate_fileset(call, fileset, fileset_id, event)
    running_import = Import(
        call, fileset_id, files, paths, settings, upload_job, log_file, Handle(None, steps=5)
    )
    process = ImportProcess(running_import)
    call.services.repository.imports[process.name] = process
    return process.published(call)


def below_common_parent(client_paths: list[str]) -> list[str]:
    """Where each file goes below the fileset's directory.

    Its path below the deepest directory they all share.
    """
    parents = [str(PurePosixPath(path).parent) for path in client_paths]
    shared = len(PurePosixPath(os.path.commonpath(parents)).parts)
    return ["/".join(PurePosixPath(path).parts[shared:]) for path in client_paths]


def _jobs(call: Call, fileset_id: int, directory: str, event: int) -> tuple[int, int]:
    """The five jobs of an import and its log file; returns (upload job, log file)."""
    store = call.store
    waiting = store.enumeration("JobStatus", "Waiting")
    upload_job = log_file = 0
    for position, kind in enumerate(JOBS):
        job = store.insert(
            kind,
            call.caller,
            username=call.caller.user_name,
            message=kind,
            status=waiting,
            submitted=now_ms(),
            scheduledFor=now_ms(),
            details_creation=event,
        )
        store.insert(
            "FilesetJobLink",
            call.caller,
            parent=fileset_id,
            child=job,
            position=position,
            details_creation=event,
        )
        if kind == "UploadJob":
            upload_job = job
        if kind == "MetadataImportJob":
            above, name = os.path.split(directory.rstrip("/"))
            log_file = register_file(call, f"{above}/", f"{name}.log", event=event, mimetype=LOG_MIMETYPE)
            store.insert(
                "JobOriginalFileLink", call.caller, parent=job, child=log_file, details_creation=event
            )
    return upload_job, log_file


def annotate_fileset(call: Call, fileset: Any, fileset_id: int, event: int) -> None:
    """Keep the annotations the client sent along, such as the way the files were transferred."""
    for link in fileset._annotationLinksSeq or []:
        annotation = link.child
        made = call.store.insert(
            type(annotation).__name__.removesuffix("I"),
            call.caller,
            ns=annotation.ns.val if annotation.ns is not None else None,
            textValue=annotation.textValue.val if annotation.textValue is not None else None,
            details_creation=event,
        )
        call.store.insert(
            "FilesetAnnotationLink", call.caller, parent=fileset_id, child=made, details_creation=event
        )


def running(call: Call) -> list[Any]:
    """The processes of the caller that nobody has closed."""
    processes = list(call.services.repository.imports.values())
    mine = [one for one in processes if one.work.caller.user_id == call.caller.user_id]
    return [one.published(call) for one in mine]


class ImportProcess:
    """omero.grid.ImportProcess."""

    def __init__(self, work: Import) -> None:
        self.work = work
        self.name = f"import-{uuid.uuid4()}"
        self.handle: Any = None

    def published(self, call: Call) -> Any:
        owner = Owner(call.caller.session_uuid, call.client)
        return publish(
            call.services, owner, omero.grid.ImportProcess, omero.grid.ImportProcessPrx, self, self.name
        )

    def getUploader(self, call: Call, place: int) -> Any:
        if not 0 <= place < len(self.work.files):
            raise usage(f"No such file in this import: {place}")
        readable_only = call.current.ctx.get("omero.fs.mode") == "r"
        return RawFile(call.services, self.work.files[place], writable=not readable_only).published(call)

    def getUploadOffset(self, call: Call, place: int) -> int:
        row = call.store.by_ids(ENTITIES["OriginalFile"], [self.work.files[place]])[0]
        path = call.services.repository.path_of(row)
        return path.stat().st_size if path.exists() else 0

    def getImportSettings(self, call: Call) -> Any:
        return self.work.settings

    def getHandle(self, call: Call) -> Any:
        return self.handle

    def verifyUpload(self, call: Call, hashes: list[str]) -> Any:
        """Compare the client's checksums with the stored ones, finish the UploadJob and start the import."""
        store = call.store
        if len(hashes) != len(self.work.files):
            raise usage(f"Expected {len(self.work.files)} checksums, got {len(hashes)}")
        by_id = {row["id"]: row for row in store.by_ids(ENTITIES["OriginalFile"], self.work.files)}
        failing = {
            place: by_id[file_id]["hash"] or ""
            for place, (file_id, given) in enumerate(zip(self.work.files, hashes, strict=True))
            if by_id[file_id]["hash"] != given
        }
        if failing:
            raise omero.ChecksumValidationException(
                None,
                "omero.ChecksumValidationException",
                f"A checksum mismatch has occurred for {len(failing)} of {len(hashes)} file(s)",
                failing,
            )
        finished = store.enumeration("JobStatus", "Finished")
        store.execute(
            "UPDATE job SET status = ?, finished = ? WHERE id = ?", [finished, now_ms(), self.work.upload_job]
        )
        self.work.handle.request = omero.grid.ImportRequest(
            clientUuid=call.client,
            repoUuid=call.services.repository.uuid,
            process=None,
            activity=None,
            settings=self.work.settings,
            location=None,
            logFile=self.work.log_model(call),
        )
        try:
            call.services.faults.strike("queue", "\n".join(self.work.client_paths))
        except FaultError:
            # The words of OMERO's thread pool; the job is finished already, and nothing will follow it.
            raise omero.InternalException(
                None,
                "java.util.concurrent.RejectedExecutionException",
                "java.util.concurrent.RejectedExecutionException: Failed to execute import after 3600000ms",
            ) from None
        self.handle = self.work.handle.published(call)
        start(self.work)
        return self.handle

    def close(self, call: Call) -> None:
        call.services.repository.imports.pop(self.name, None)
        unpublish(call.services, call.current)
