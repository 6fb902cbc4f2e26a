"""The mutants: where the edit goes, what it breaks, and which tests have to notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    promise: str
    file: str
    before: str
    """Stands exactly once in the file."""
    after: str
    tests: tuple[str, ...]


STORY = "tests/bridge/pipeline/test_order_to_proof.py::test_one_file_is_proven_with_every_fact"

POWER = "tests/faults/test_power_loss.py"
MACHINE = "tests/bridge/promises/test_machine.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="hard-link-replaced-by-copy",
        promise="staged and managed names are one inode",
        file="server_bridge/sandbox/importer/transfer.py",
        before="os.link(source, location)",
        after='__import__("shutil").copy2(source, location)',
        tests=(STORY,),
    ),
    Mutant(
        name="lstat-confirmation-skipped",
        promise="a file is staged when a look at it says so, not when rsync announces it",
        file="server_bridge/mover/pull.py",
        before="if staging.is_complete(self._root + path, wanted.size_bytes, wanted.mtime_s):\n"
        "                arrived.append",
        after="if True:\n                arrived.append",
        tests=(
            "tests/bridge/mover/test_pull.py::test_a_file_that_changed_since_its_listing_is_pending",
            "tests/bridge/mover/test_pull_faults.py"
            "::test_a_file_that_is_cut_short_during_the_pull_is_not_confirmed",
        ),
    ),
    Mutant(
        name="source-not-listed-again",
        promise="what changed after the pull is not imported",
        file="server_bridge/pipeline/steps/verifying.py",
        before="    require_unchanged_source(attempt, files)\n    require_staged",
        after="    require_staged",
        tests=(
            "tests/bridge/pipeline/test_failures.py"
            "::test_a_source_that_changes_after_the_pull_is_not_imported",
        ),
    ),
    Mutant(
        name="bit-flipped-in-staging",
        promise="the bytes in OMERO are the bytes that were read from the buffer",
        file="server_bridge/pipeline/steps/importing.py",
        before="        attempt, book = self._attempt, self._book\n        book.importing(units)\n",
        after="        attempt, book = self._attempt, self._book\n"
        "        import os\n"
        "        for file in [file for unit in units for file in book.members(unit)]:\n"
        "            path = self._places.staged(file.path)\n"
        "            before = path.stat()\n"
        "            path.chmod(0o640)\n"
        "            data = bytearray(path.read_bytes())\n"
        "            data[-1] ^= 1\n"
        "            path.write_bytes(data)\n"
        "            path.chmod(0o440)\n"
        "            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))\n"
        "        book.importing(units)\n",
        tests=(STORY,),
    ),
    Mutant(
        name="compare-and-set-dropped",
        promise="an attempt that lost its order writes nothing",
        file="server_bridge/orders/store.py",
        before="if order is None or order.attempt != attempt or order.condition != Condition.RUNNING:",
        after="if order is None:",
        tests=(
            "tests/bridge/orders/test_commands.py::test_an_attempt_that_lost_its_order_can_write_nothing",
        ),
    ),
    Mutant(
        name="attempt-number-not-compared",
        promise="an attempt whose order another attempt took over writes nothing",
        file="server_bridge/orders/store.py",
        before="if order is None or order.attempt != attempt or order.condition != Condition.RUNNING:",
        after="if order is None or order.condition != Condition.RUNNING:",
        tests=(
            "tests/bridge/orders/test_commands.py::test_an_attempt_can_write_nothing_while_a_later_one_runs",
        ),
    ),
    Mutant(
        name="freed-without-a-look-at-the-size",
        promise="a file that changed after its import stays on the buffer",
        file="agent/core/freeing.py",
        before="    if status.st_size != wanted.size_bytes:\n",
        after="    if status.st_size < 0:\n",
        tests=("tests/agent/core/test_freeing.py",),
    ),
    Mutant(
        name="an-outage-is-a-deletion",
        promise="a share that went away in the middle makes no file look freed",
        file="agent/core/freeing.py",
        before="            return self._gone(path)\n",
        after="            return None\n",
        tests=("tests/agent/core/test_freeing.py", "tests/agent/core/test_cleaner.py"),
    ),
    Mutant(
        name="marker-not-asked-after-a-pass",
        promise="a pass over an unmounted share changes nothing",
        file="agent/core/scanner.py",
        before="        if self._marker() != device:\n",
        after="        if device is None:\n",
        tests=("tests/agent/core/test_scanner.py",),
    ),
    Mutant(
        name="omeros-own-work-not-awaited",
        promise="what OMERO still imports is not imported a second time",
        file="server_bridge/pipeline/unit_rules.py",
        before="        and fileset.upload_finished is not False\n",
        after="        and fileset.upload_finished is None\n",
        tests=(MACHINE,),
    ),
    Mutant(
        name="released-on-an-old-receipt",
        promise="nothing on the buffer goes without a re-check at that moment",
        file="server_bridge/retention/guard.py",
        before="    if facts.problems:\n",
        after="    if facts.problems and facts.stage is Stage.RETIRED:\n",
        tests=(MACHINE,),
    ),
    Mutant(
        name="place-taken-unnoticed",
        promise="one live order per place",
        file="server_bridge/orders/places.py",
        before="    found = _among(session, share, place, HOLD_PLACE, order_id, collide)\n",
        after="    found = [one for one in _among(session, share, place, HOLD_PLACE, order_id, collide)"
        " if session.get_one(Order, one).path == place.path]\n",
        tests=(MACHINE,),
    ),
    Mutant(
        name="commit-not-on-the-disk",
        promise="an order that was answered survives a power loss",
        file="server_bridge/orders/database.py",
        before='cursor.execute("PRAGMA synchronous=FULL")',
        after='cursor.execute("PRAGMA synchronous=NORMAL")',
        tests=(POWER,),
    ),
    Mutant(
        name="digest-before-the-disk-has-the-file",
        promise="what the table says is staged survives a power loss",
        file="server_bridge/pipeline/steps/pulling.py",
        before="        sync_filesystem(attempt.places.staging)\n        file_rows.write(",
        after="        file_rows.write(",
        tests=(POWER,),
    ),
)
