"""What a failed import means, in words, from what the importer wrote.

Texts differ between client versions (a hard link across mounts has two wordings), so only words that both
have are looked for, and what is not recognised is worth another try (their number is bounded elsewhere).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server_bridge.errors import NeedsAttention, StepFailed, TransientFailure
from server_bridge.omero.failures import clean


@dataclass(frozen=True, slots=True)
class _Known:
    words: re.Pattern[str]
    code: str
    title: str
    remedy: str
    transient: bool = False


def _known(words: str, code: str, title: str, remedy: str, *, transient: bool = False) -> _Known:
    return _Known(re.compile(words, re.IGNORECASE), code, title, remedy, transient)


OF_THE_UNIT = frozenset(
    {
        "format_unknown",
        "format_library_missing",
        "file_unreadable_in_omero",
        "checksum_mismatch",
        "check_sized_file",
        "omero_queue_full",
        "nothing_imported",
        "import_failed",
    }
)
"""Failures that say something about one unit. All others would befall the next one as well."""

_KNOWN = (
    _known(
        r"Invalid cross-device link|failed to create hard link|transfer process returned",
        "not_one_mount",
        "Staging and ManagedRepository are not on one mount",
        "Mount one common parent of both; `ferry-bridge check-config` tries a hard link.",
    ),
    _known(
        r"You likely do not have access to the ManagedRepository|does not match check text",
        "managed_repository_access",
        "The bridge cannot write where OMERO stores files",
        "Run the bridge as OMERO's own user, or share a group with it and use umask 0002.",
    ),
    _known(
        r"server could not check the size|no read access",
        "managed_file_unreadable",
        "OMERO cannot read the linked file",
        "Let the bridge run as OMERO's own user, or let both share a group that may read staging.",
    ),
    _known(
        r"No space left on device|Disk quota exceeded",
        "omero_full",
        "OMERO's disk is full",
        "Make room on the disk of ManagedRepository; the order goes on by itself.",
        transient=True,
    ),
    _known(
        # [infer] What OMERO's thread pool says when a background task found no slot for an hour
        # (`omero.threads.background_timeout`).
        r"RejectedExecutionException|Failed to execute .* after \d+ ?ms",
        "omero_queue_full",
        "OMERO's import queue is full",
        "The bridge tries again. If it lasts, ask the OMERO administrator which imports fill the queue.",
        transient=True,
    ),
    _known(
        r"Could not load target|Failed to load target",
        "target_gone",
        "The place to import into is not there",
        "Choose another place for this order.",
    ),
    _known(
        r"Cannot link to target",
        "target_not_writable",
        "OMERO does not let this person add to the chosen place",
        "Choose a place of your own, or ask its owner.",
    ),
    _known(
        r"import-unknown-format|No imports found",
        "format_unknown",
        "OMERO's Bio-Formats cannot read these files",
        "Check that the acquisition is complete; ask the OMERO administrator about this format.",
    ),
    _known(
        r"import-missing-library",
        "format_library_missing",
        "OMERO lacks a library to read these files",
        "Ask the OMERO administrator to install it.",
    ),
    _known(
        r"import-file-exception|FormatException|Failed to (?:read|parse)",
        "file_unreadable_in_omero",
        "OMERO cannot make images of these files",
        "Open them on the workstation: they may be incomplete or damaged.",
    ),
    _known(
        r"checksum|ChecksumValidationException",
        "checksum_mismatch",
        "OMERO read other bytes than the importer",
        "The bridge tries again; if it lasts, let the disk of ManagedRepository be checked.",
        transient=True,
    ),
    _known(
        r"Bad session key|RemovedSession|SessionNotExist|SessionTimeout|Previous session expired|"
        r"No session with uuid|ObjectNotExistException",
        "omero_session_lost",
        "The OMERO session ended during the import",
        "Nothing to do: the bridge tries again.",
        transient=True,
    ),
    _known(
        r"ConnectionRefused|ConnectionLost|UnknownHost|isn't running",
        "omero_away",
        "OMERO cannot be reached",
        "Nothing to do: the bridge tries again. If it lasts, ask the OMERO administrator.",
        transient=True,
    ),
    _known(
        r"No JAR files found|Java could not be found|could not be found\. \(Executable",
        "importer_incomplete",
        "The OMERO importer is not installed completely",
        "Check OMERODIR (lib/client) and Java with `ferry-bridge check-config`.",
    ),
)


_REFUSAL = re.compile(
    r"^Name: (?P<name>import-[a-z-]+)\s*\n(?:Parameters: (?P<parameters>.*))?", re.MULTILINE
)


def _refusal(output: str) -> str:
    """What OMERO itself said about an import it ended as failed; empty where it said nothing."""
    found = _REFUSAL.search(f"{output}\n")
    return f"({found['name']}: {found['parameters'] or ''})" if found else ""


def explain(returncode: int, ended: str, last_error: str, output: str) -> StepFailed:
    """The failure of a run as the order shows it. Ask only where OMERO holds no images for the unit.

    Args:
        ended: why the child ended (``exited``, ``stopped``, ``stalled``, ``overtime``).
        last_error: its last error line.
        output: the tail of its standard error.
    """
    if ended == "stopped":
        return TransientFailure(
            "The bridge ended the importer itself.",
            code="import_stopped",
            title="The import was interrupted",
            remedy="Nothing to do: the bridge goes on with it.",
        )
    if ended in ("stalled", "overtime"):
        return TransientFailure(
            "The importer gave no sign of life for too long and was ended.",
            code="import_stalled",
            title="The import stood still",
            remedy="The bridge tries again. If it lasts, look whether OMERO is overloaded.",
        )
    for text in (last_error, output):
        found = next((known for known in _KNOWN if known.words.search(text)), None)
        if found is not None:
            kind = TransientFailure if found.transient else NeedsAttention
            said = f"{last_error or text[-400:]} {_refusal(output)}"
            return kind(clean(said), code=found.code, title=found.title, remedy=found.remedy)
    if returncode == 0:
        return TransientFailure(
            "omero import reported success, and OMERO holds no images of these files.",
            code="nothing_imported",
            title="OMERO took nothing in",
            remedy="The bridge tries again; look at the order's output.",
        )
    return TransientFailure(
        f"omero import exited with {returncode}. "
        f"{clean(f'{last_error or output[-400:]} {_refusal(output)}')}".strip(),
        code="import_failed",
        title="The import failed",
        remedy="The bridge tries again; look at the order's output.",
    )


def check_sized(detail: str) -> NeedsAttention:
    """The failure of a set with a file of exactly 36 bytes, once its checksum did not agree.

    [infer: read in OMERO's sources] The importer's check of an in-place import writes 36 bytes where the link
    will be, and the server hashes that file again only when its size is another one afterwards. The stored
    hash then is that of the check, the importer's own hash does not agree, and OMERO refuses the whole set:
    now, and at every other try. Nothing wrong is ever stored.
    """
    return NeedsAttention(
        detail,
        code="check_sized_file",
        title="OMERO cannot take a file of exactly 36 bytes in place",
        remedy="Add a byte to that file at the microscope (at its end, where the format allows it) and order "
        "the acquisition again, or let the OMERO administrator import this set without --transfer=ln. The "
        "data on the buffer stays.",
    )
