"""The command line of the importer, as the ``omero import`` plugin hands it over."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

START_CLASS = "ome.formats.importer.cli.CommandLineImporter"


class UsageError(Exception):
    """The arguments are wrong: usage on standard error and exit code 1."""


@dataclass(frozen=True)
class ImportOptions:
    """What one run is asked to do."""

    host: str | None = None
    port: int | None = None
    session: str | None = None
    target: str | None = None
    name: str | None = None
    description: str | None = None
    files_only: bool = False
    keep_going: bool = False
    output: str = "ids"
    transfer: str = "upload"
    exclusions: tuple[str, ...] = ()
    checksum_algorithm: str | None = None
    stats_info: bool = True
    thumbnails: bool = True
    annotations: tuple[tuple[str, str], ...] = ()
    annotation_links: tuple[int, ...] = ()
    agent: str = "importer-cli"
    depth: int = 4
    minutes_wait: int = -1
    paths: tuple[str, ...] = field(default=())


# Not those that delete their sources: the original does that even after imports that failed without an error.
TRANSFERS = ("ln", "ln_s", "cp", "upload")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="importer-cli", add_help=False, allow_abbrev=False)
    parser.add_argument("-s")
    parser.add_argument("-p", type=int)
    parser.add_argument("-k")
    parser.add_argument("-u")
    parser.add_argument("-w")
    for flag in ("-f", "-c", "-h"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-l", "--readers")
    parser.add_argument("-d", dest="target", action=_Target, prefix="Dataset")
    parser.add_argument("-r", dest="target", action=_Target, prefix="Screen")
    parser.add_argument("-T", "--target", dest="target", action=_Target, prefix="")
    parser.add_argument("-n", "--name", action="append")
    parser.add_argument("-x", "--description", action="append")
    parser.add_argument("--output", choices=("ids", "legacy", "yaml"), default="ids")
    parser.add_argument("--transfer", default="upload")
    parser.add_argument("--exclude", action="append", default=[])
    parser.add_argument("--checksum-algorithm", action="append")
    parser.add_argument("--no-stats-info", action="store_true")
    parser.add_argument("--no-thumbnails", action="store_true")
    parser.add_argument("--annotation-ns", "--annotation_ns", action="append", default=[])
    parser.add_argument("--annotation-text", "--annotation_text", action="append", default=[])
    parser.add_argument("--annotation-link", "--annotation_link", action="append", type=int, default=[])
    parser.add_argument("--agent", default="importer-cli")
    parser.add_argument("--minutes-wait", type=int, default=-1)
    # Taken and not needed: what they switch on or off does not exist here.
    for ignored in (
        "--encrypted",
        "--debug",
        "--keep-alive",
        "--parallel-upload",
        "--parallel-fileset",
        "--email",
        "--qa-baseurl",
        "--wait-completed",
    ):
        parser.add_argument(ignored)
    for ignored in ("--no-upgrade-check", "--report", "--upload", "--logs", "--advanced-help"):
        parser.add_argument(ignored, action="store_true")
    parser.add_argument("paths", nargs="*")
    return parser


class _Target(argparse.Action):
    """``-d``, ``-r`` and ``-T`` set one and the same thing; the last one wins."""

    def __init__(self, option_strings: list[str], dest: str, prefix: str = "") -> None:
        super().__init__(option_strings, dest)
        self.prefix = prefix

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        text = str(values)
        if self.prefix:
            if not text.lstrip("-").isdigit():
                raise UsageError(f'For input string: "{text}"')
            text = f"{self.prefix}:{text}"
        setattr(namespace, self.dest, text)


def split_java(argv: list[str]) -> tuple[list[str], int]:
    """Take off what belongs to the virtual machine.

    Returns (the importer's arguments, the depth of the scan).
    """
    if START_CLASS not in argv:
        raise UsageError(f"the sandbox's java runs {START_CLASS} only")
    at = argv.index(START_CLASS)
    depth = 4
    for argument in argv[:at]:
        if argument.startswith("-Domero.import.depth="):
            depth = int(argument.partition("=")[2])
    return argv[at + 1 :], depth


def parse(argv: list[str]) -> ImportOptions:
    """The options in a whole java command line; raises UsageError."""
    rest, depth = split_java(argv)
    # A lone "--" only ends the options of the Python side.
    given = _parser().parse_args([argument for argument in rest if argument != "--"])
    for field_name in ("name", "description", "checksum_algorithm"):
        values = getattr(given, field_name)
        if values is not None and len(values) > 1:
            raise UsageError(f"Conflicting arguments setting {field_name}: {values}")
    if len(given.annotation_ns) != len(given.annotation_text):
        raise UsageError("--annotation-ns and --annotation-text come in pairs")
    if given.transfer not in TRANSFERS:
        raise UsageError(f"The sandbox has no transfer {given.transfer}")
    for exclusion in given.exclude:
        if exclusion not in ("clientpath", "filename"):
            raise UsageError(f"No such exclusion: {exclusion}")
    if given.h or not given.paths:
        raise UsageError("")
    return ImportOptions(
        host=given.s,
        port=given.p,
        session=given.k,
        target=given.target,
        name=given.name[0] if given.name else None,
        description=given.description[0] if given.description else None,
        files_only=given.f,
        keep_going=given.c,
        output=given.output,
        transfer=given.transfer,
        exclusions=tuple(given.exclude),
        checksum_algorithm=given.checksum_algorithm[0] if given.checksum_algorithm else None,
        stats_info=not given.no_stats_info,
        thumbnails=not given.no_thumbnails,
        annotations=tuple(zip(given.annotation_ns, given.annotation_text, strict=True)),
        annotation_links=tuple(given.annotation_link),
        agent=given.agent,
        depth=depth,
        minutes_wait=given.minutes_wait,
        paths=tuple(given.paths),
    )
