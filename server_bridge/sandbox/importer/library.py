"""Importing the units of a scan one after the other, and counting as the original counts.

Only errors of the transfer and failed responses of the server are counted; a missing target or a checksum
mismatch makes the run fail with "0 errors".
"""

from __future__ import annotations

import os
import threading
from typing import Any

import Ice
import omero
import omero.callbacks
import omero.cmd
import omero.constants.namespaces
import omero.grid
import omero.model
import omero.sys
from omero.rtypes import rbool, rstring

from server_bridge.sandbox.faults import FaultError, Faults
from server_bridge.sandbox.images.unit import Unit
from server_bridge.sandbox.importer import output
from server_bridge.sandbox.importer.connection import Connection
from server_bridge.sandbox.importer.options import ImportOptions
from server_bridge.sandbox.importer.paths import client_path
from server_bridge.sandbox.importer.targets import TargetError, find_target
from server_bridge.sandbox.importer.transfer import Transfer, TransferError
from server_bridge.sandbox.importing import STEPS

NS_FILE_TRANSFER = "openmicroscopy.org/omero/import/fileTransfer"


class ServerFailureError(Exception):
    """The server's own import failed."""


class _Progress(omero.callbacks.CmdCallbackI):  # type: ignore[misc]
    """Logs each step of the server once, in order, however the news arrive."""

    def __init__(self, client: Any, handle: Any, log_file: int) -> None:
        self.log_file = log_file
        self.logged = 0
        self._logging = threading.Lock()
        super().__init__(client, handle)

    def step(self, complete: int, total: int, current: Any = None) -> None:
        self.up_to(complete)

    def up_to(self, number: int) -> None:
        with self._logging:
            while self.logged < number:
                self.logged += 1
                name = STEPS[self.logged - 1]
                text = f"{name} Step: {self.logged} of {len(STEPS)}  Logfile: {self.log_file}"
                output.log("INFO", output.MONITOR, text)


class Library:
    """One run over many units."""

    def __init__(self, connection: Connection, options: ImportOptions, faults: Faults) -> None:
        self.connection = connection
        self.options = options
        self.faults = faults
        self.totals = output.Totals()
        self.algorithm = self._algorithm()
        self.transfer = Transfer(connection, options.transfer, self.algorithm.value.val, faults)

    def _algorithm(self) -> Any:
        wanted = []
        if self.options.checksum_algorithm:
            one = omero.model.ChecksumAlgorithmI()
            one.value = rstring(self.options.checksum_algorithm)
            wanted.append(one)
        found = self.connection.repository.suggestChecksumAlgorithm(wanted)
        if found is None:
            raise TargetError(
                f"The server does not know the checksum algorithm {self.options.checksum_algorithm}"
            )
        return found

    def import_units(self, units: list[Unit]) -> bool:
        """Import them all; False as soon as one fails, unless told to go on."""
        target = None
        if self.options.target is not None:
            output.log("INFO", output.LIBRARY, f"Import target specifies container: {self.options.target}")
            try:
                target = find_target(self.connection, self.options.target)
            except TargetError as error:
                output.log("ERROR", output.LIBRARY, str(error))
                # A target that is there and may not be used is told otherwise, as by the original.
                missing = str(error) != "Cannot link to target"
                output.log("ERROR", output.LIBRARY, "Failed to load target" if missing else "Error on import")
                return False
        for unit in units:
            if not self._import_or_explain(unit, target):
                if not self.options.keep_going:
                    output.log("INFO", output.LIBRARY, "Exiting on error")
                    return False
                output.log("INFO", output.LIBRARY, "Continuing after error")
        return True

    def _import_or_explain(self, unit: Unit, target: Any) -> bool:
        try:
            if self._excluded(unit):
                return True
            self._import(unit, target)
        except (TransferError, FaultError, OSError) as error:
            self.totals.errors += 1
            output.log("ERROR", output.MONITOR, f"FILE_EXCEPTION: {unit.main}: {error}")
            output.log("ERROR", output.LIBRARY, f"Error on import: {error}")
            return False
        except ServerFailureError as error:
            self.totals.errors += 1
            output.log("ERROR", output.MONITOR, f"INTERNAL_EXCEPTION: {unit.main}")
            output.log("ERROR", output.LIBRARY, f"Error on import: {error}")
            return False
        except omero.ServerError as error:
            output.log("ERROR", output.LIBRARY, f"Error on import: {error.message}")
            return False
        except Ice.Exception as error:
            output.log("ERROR", output.LIBRARY, f"Error on import: {type(error).__name__}")
            return False
        return True

    def _excluded(self, unit: Unit) -> bool:
        """Whether an exclusion vetoes the unit; only its main file is looked at, as by the original."""
        if "clientpath" in self.options.exclusions:
            given = omero.sys.ParametersI().addString("clientPath", client_path(unit.main))
            known = self.connection.query.findAllByQuery(
                "select o from FilesetEntry fe join fe.originalFile o where fe.clientPath = :clientPath",
                given,
            )
            if known:
                output.log(
                    "INFO",
                    "ome.formats.importer.exclusions.ClientPathExclusion",
                    f"ClientPath match for filename: {client_path(unit.main)}",
                )
                return True
        if "filename" in self.options.exclusions:
            return self._same_name_and_hash(unit)
        return False

    def _same_name_and_hash(self, unit: Unit) -> bool:
        from server_bridge.sandbox.repository import RepositoryError, checksum

        given = omero.sys.ParametersI().addString("name", unit.main.name)
        known = self.connection.query.projection(
            "select o.hash, h.value from OriginalFile o left outer join o.hasher h where o.name = :name",
            given,
        )
        for stored, hasher in known:
            if stored is None or hasher is None:
                return False
            try:
                if checksum(unit.main, hasher.val) == stored.val:
                    output.log(
                        "INFO",
                        "ome.formats.importer.exclusions.FilenameExclusion",
                        f"Filename match for filename: {unit.main.name}",
                    )
                    return True
            except RepositoryError:
                return False
        return False

    # -- one unit

    def _import(self, unit: Unit, target: Any) -> None:
        main = str(unit.main)
        output.log("INFO", output.MONITOR, "FILESET_UPLOAD_PREPARATION")
        self.faults.strike("importFileset", main)
        process = self.connection.repository.importFileset(self._fileset(unit), self._settings(target))
        output.log("INFO", output.MONITOR, "FILESET_UPLOAD_START")
        hashes = []
        for place, path in enumerate(unit.files):
            hashes.append(self.transfer.transfer(process, place, path))
            self.totals.files += 1
        output.log("INFO", output.MONITOR, "FILESET_UPLOAD_END")
        self.faults.strike("verifyUpload", main)
        handle = process.verifyUpload(hashes)
        self.totals.filesets += 1
        process.close()
        if self.options.minutes_wait == 0:
            output.log("INFO", output.LIBRARY, "Disconnecting from import process...")
            return
        response = self._wait(unit, handle)
        self._report(unit, response)

    def _fileset(self, unit: Unit) -> Any:
        fileset = omero.model.FilesetI()
        for path in unit.files:
            entry = omero.model.FilesetEntryI()
            entry.clientPath = rstring(client_path(path))
            fileset.addFilesetEntry(entry)
        note = omero.model.CommentAnnotationI()
        note.ns = rstring(NS_FILE_TRANSFER)
        note.textValue = rstring(self.transfer.class_name)
        fileset.linkAnnotation(note)
        return fileset

    def _settings(self, target: Any) -> Any:
        annotations = []
        for ns, text in self.options.annotations:
            note = omero.model.CommentAnnotationI()
            note.ns, note.textValue = rstring(ns), rstring(text)
            annotations.append(note)
        annotations += [omero.model.CommentAnnotationI(one, False) for one in self.options.annotation_links]
        return omero.grid.ImportSettings(
            userSpecifiedTarget=target.proxy() if target is not None else None,
            userSpecifiedName=rstring(self.options.name) if self.options.name is not None else None,
            userSpecifiedDescription=(
                rstring(self.options.description) if self.options.description is not None else None
            ),
            userSpecifiedPixels=None,
            userSpecifiedAnnotationList=annotations,
            doThumbnails=rbool(self.options.thumbnails),
            noStatsInfo=rbool(not self.options.stats_info),
            checksumAlgorithm=self.algorithm,
        )

    def _wait(self, unit: Unit, handle: Any) -> Any:
        request = handle.getRequest()
        log_file = request.logFile.id.val
        output.log("INFO", output.MONITOR, f"IMPORT_STARTED Logfile: {log_file}")
        progress = _Progress(self.connection.client, handle, log_file)
        self.faults.strike("wait", str(unit.main))
        minutes = self.options.minutes_wait
        waited = 0.0
        while not progress.block(5000):
            # The news may be lost with a connection; the server is asked, as the original does.
            progress.poll()
            waited += 5 / 60
            if 0 < minutes <= waited:
                raise omero.LockTimeout(
                    None, None, f"Import unfinished after {minutes} minutes", 5000, minutes * 60
                )
        response = progress.getResponse()
        progress.up_to(progress.getStatus().currentStep)
        progress.close(True)
        if isinstance(response, omero.cmd.ERR):
            raise ServerFailureError(
                f"Failure response on import!\nCategory: {response.category}\nName: {response.name}\n"
                f"Parameters: {response.parameters}"
            )
        return response

    def _report(self, unit: Unit, response: Any) -> None:
        output.log("INFO", output.MONITOR, f"IMPORT_DONE Imported file: {unit.main}")
        found: dict[type, list[int]] = {}
        for one in response.objects:
            found.setdefault(type(one), []).append(one.id.val)
        result = output.Result(
            fileset=found[omero.model.FilesetI][0],
            images=tuple(found.get(omero.model.ImageI, [])),
            plates=tuple(found.get(omero.model.PlateI, [])),
            pixels=tuple(one.id.val for one in response.pixels),
        )
        self.totals.images += len(result.images)
        self.totals.plates += len(result.plates)
        self.faults.strike("output", str(unit.main))
        output.result(result, self.options.output)


def leave(code: int) -> None:
    """End the process now: Ice's threads may outlive a connection that was dropped under them."""
    import sys

    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
