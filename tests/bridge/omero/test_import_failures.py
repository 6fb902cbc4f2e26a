"""A failed import in words: what is worth another try and what a person must decide."""

from __future__ import annotations

import pytest

from server_bridge.errors import NeedsAttention, TransientFailure
from server_bridge.omero.import_failures import OF_THE_UNIT, check_sized, explain


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("java.nio.file.FileSystemException: /m/a -> /s/a: Invalid cross-device link", "not_one_mount"),
        ("ln: failed to create hard link '/m/a': Operation not permitted", "not_one_mount"),
        (
            "Check failed: /OMERO/a does not exist! You likely do not have access to the ManagedRepository",
            "managed_repository_access",
        ),
        ("Failed to load target", "target_gone"),
        ("Cannot link to target", "target_not_writable"),
        ("Name: import-unknown-format", "format_unknown"),
        ("No imports found", "format_unknown"),
        ("ERROR: Java could not be found. (Executable=java)", "importer_incomplete"),
        ("The server could not check the size of the file", "managed_file_unreadable"),
    ],
)
def test_what_does_not_go_away_by_itself_asks_somebody(error: str, code: str) -> None:
    found = explain(2, "exited", error, "")
    assert isinstance(found, NeedsAttention)
    assert (found.code, bool(found.title), bool(found.remedy)) == (code, True, True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("Failure: ChecksumValidationException", "checksum_mismatch"),
        ("Bad session key. Cannot join", "omero_session_lost"),
        ("Error on import: No session with uuid: x", "omero_session_lost"),
        ("Ice.ConnectionRefusedException: localhost:4064 isn't running", "omero_away"),
        ("write: No space left on device", "omero_full"),
        (
            "java.util.concurrent.RejectedExecutionException: Failed to execute ome.x@1 after 3600000ms",
            "omero_queue_full",
        ),
        ("something that nobody has seen before", "import_failed"),
    ],
)
def test_what_may_go_away_is_tried_again(error: str, code: str) -> None:
    found = explain(2, "exited", "", error)
    assert isinstance(found, TransientFailure)
    assert found.code == code


def test_what_omero_said_about_a_refusal_is_in_the_words() -> None:
    output = (
        "ERROR x - Error on import: Failure response on import!\nCategory: ::omero::grid::ImportRequest\n"
        "Name: import-request-failure\nParameters: {message=no room for more, filename=a}\n\tat a.b"
    )
    found = explain(2, "exited", "Error on import: Failure response on import!", output)
    assert "(import-request-failure: {message=no room for more, filename=a})" in found.detail


def test_a_file_as_long_as_the_check_text_is_explained() -> None:
    found = check_sized("A checksum mismatch has occurred")
    assert isinstance(found, NeedsAttention)
    assert (found.code, "36 bytes" in found.title, bool(found.remedy)) == ("check_sized_file", True, True)
    assert found.code in OF_THE_UNIT


def test_success_without_images_is_no_success() -> None:
    assert explain(0, "exited", "", "").code == "nothing_imported"


@pytest.mark.parametrize(
    ("ended", "code"),
    [("stopped", "import_stopped"), ("stalled", "import_stalled"), ("overtime", "import_stalled")],
)
def test_what_we_ended_ourselves_is_told_so(ended: str, code: str) -> None:
    assert explain(-15, ended, "Failed to load target", "").code == code


def test_no_session_key_gets_into_the_words() -> None:
    key = "0f3a2f8e-0000-4000-8000-1234567890ab"
    assert key not in str(explain(11, "exited", f"Bad session key. Cannot join {key}", ""))
