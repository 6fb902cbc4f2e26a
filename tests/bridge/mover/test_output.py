"""Parsing what rsync really wrote: recorded runs of 3.5.0 and 3.2.7, and every name there can be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server_bridge.mover.output import (
    FileLine,
    ListLine,
    NamedProblem,
    Progress,
    Remark,
    Skipped,
    decode_name,
    encode_name,
    match_name,
    parse_error_line,
    parse_line,
)

RECORDED = Path(__file__).parent / "recorded"


def lines_of(name: str) -> list[bytes]:
    return [line for line in re.split(rb"[\r\n]", (RECORDED / name).read_bytes()) if line]


@pytest.mark.parametrize("version", ["3.5.0", "3.2.7"])
def test_a_recorded_pull_is_understood_line_by_line(version: str) -> None:
    parsed = [parse_line(line) for line in lines_of(f"pull.{version}.bin")]
    assert not [line for line in parsed if isinstance(line, Remark)]
    files = {line.path: line for line in parsed if isinstance(line, FileLine) and line.is_file}
    assert set(files) == {
        "lab/run 1/-rf",
        "lab/run 1/a|b",
        "lab/run 1/empty.txt",
        "lab/run 1/hash \\#012",
        "lab/run 1/image.czi",
        "lab/run 1/new\nline",
        "lab/run 1/é.tif",
        "lab/run 1/sub/meta.xml",
    }
    assert files["lab/run 1/image.czi"].size_bytes == 30_000_000
    assert files["lab/run 1/empty.txt"].sha1 == "da39a3ee5e6b4b0d3255bfef95601890afd80709"
    assert all(line.sha1 and not line.verification_failed for line in files.values())
    folders = [line for line in parsed if isinstance(line, FileLine) and not line.is_file]
    assert {line.path for line in folders} == {"./", "lab/", "lab/run 1/", "lab/run 1/sub/"}
    assert all(line.sha1 is None and not line.verification_failed for line in folders)
    counters = [line.bytes_done for line in parsed if isinstance(line, Progress)]
    assert counters == sorted(counters)
    assert counters[-1] == 30_000_070
    assert max(line.files_done or 0 for line in parsed if isinstance(line, Progress)) == 8


@pytest.mark.parametrize("version", ["3.5.0", "3.2.7"])
def test_a_recorded_listing_is_understood_line_by_line(version: str) -> None:
    parsed = [parse_line(line) for line in lines_of(f"list.{version}.bin")]
    assert Skipped("lab/run 1/fifo") in parsed
    found = {line.path: line for line in parsed if isinstance(line, ListLine)}
    assert len(found) + 1 == len(parsed)
    assert found["lab/run 1/image.czi"] == ListLine("f", 30_000_000, 1_700_000_000, "lab/run 1/image.czi")
    assert found["lab/run 1/empty.txt"].mtime_s == -86400 * 365
    assert found["lab/run 1/abs"].kind == "L"
    assert found["lab/run 1/locked/"].kind == "d"


def test_a_zero_digest_is_a_failed_verification() -> None:
    line = parse_line(b"@F|>f+++++++++|5|" + b"0" * 40 + b"|x")
    assert line == FileLine(">f+++++++++", 5, None, "x", verification_failed=True)


@pytest.mark.parametrize(
    "line",
    [b"@F|", b"@F|>f|x|y|z", b"@L|>f+++++++++|5|no date|x", b"@L|||", b"\xff\xfe", b"created directory /x"],
)
def test_what_is_not_understood_is_a_remark_and_never_an_error(line: bytes) -> None:
    assert isinstance(parse_line(line), Remark)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail(line: bytes) -> None:
    for prefix in (b"", b"@F|>f+++++++++|1|", b"@L|>f+++++++++|1|"):
        parse_line(prefix + line)
        parse_error_line(prefix + line)


@given(st.binary(max_size=60))
@example(b"\\#012")
@example(b"\\#134#012")
@example(b"new\nline \x80 \\ \\# \\#9")
def test_every_name_survives_writing_and_reading(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    written = encode_name(name)
    assert not set(written) & set(b"\r\n"), "one line per file holds always"
    assert decode_name(written) == name
    parsed = parse_line(b"@F|>f+++++++++|1|" + b"a" * 40 + b"|" + written)
    assert isinstance(parsed, FileLine)
    assert parsed.path == name


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            b'rsync: [sender] link_stat "lab/a" (in acq) failed: No such file or directory (2)',
            NamedProblem("source_missing", "lab/a"),
        ),
        (
            b'rsync: [sender] send_files failed to open "/srv/acq/a (in b)" (in acq): Permission denied (13)',
            NamedProblem("source_unreadable", "/srv/acq/a (in b)"),
        ),
        (
            b'rsync: [sender] opendir "lab/x\\#012y" (in acq) failed: Permission denied (13)',
            NamedProblem("folder_unreadable", "lab/x\ny"),
        ),
        (b'file has vanished: "z/v/f3" (in acq)', NamedProblem("source_vanished", "z/v/f3")),
        (
            b"WARNING: z/big failed verification -- update discarded (will try again).",
            NamedProblem("verification_failed", "z/big"),
        ),
        (b"rsync error: some files/attrs were not transferred (code 23) at main.c(1)", None),
    ],
)
def test_stderr_lines_name_their_file(line: bytes, problem: NamedProblem | None) -> None:
    assert parse_error_line(line) == problem


def test_recorded_stderr_names_the_missing_and_the_unreadable_file() -> None:
    problems = [parse_error_line(line) for line in lines_of("pull.stderr.23.txt")]
    assert [problem for problem in problems if problem] == [
        NamedProblem("source_missing", "lab/run 1/missing"),
        NamedProblem("source_unreadable", "lab/run 1/secret"),
    ]


def test_an_absolute_name_of_the_far_side_is_matched_by_its_longest_tail() -> None:
    wanted = {"a/b", "b"}
    assert match_name("/srv/acq/./a/b", wanted) == "a/b"
    assert match_name("/srv/b", wanted) == "b"
    assert match_name("/srv/c", wanted) is None
