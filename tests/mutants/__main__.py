"""`python -m tests.mutants`: exit 0 only if every mutant is noticed."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant

PROJECT = Path(__file__).resolve().parents[2]
COPIED = (
    "agent",
    "server_bridge",
    "tests",
    "resources",
    "pyproject.toml",
    "README.md",
    "docs",
    "dev",
    "tools",
)
TEST_FAILURES = 1
"""pytest's exit code when tests ran and some failed; anything above is a broken run, not a noticed defect."""


def _copy(into: Path) -> None:
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, into / name)


def _run(copy: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    # Not inherited: a cache of compiled files could hide an edit made within one second.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["FERRY_MACHINE_UNSHRUNK"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=copy,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    return done.returncode, done.stdout


def _apply(copy: Path, mutant: Mutant) -> None:
    path = copy / mutant.file
    text = path.read_text(encoding="utf-8")
    count = text.count(mutant.before)
    if count != 1:
        raise SystemExit(
            f"mutant {mutant.name}: its text stands {count} times in {mutant.file}: correct the catalogue"
        )
    path.write_text(text.replace(mutant.before, mutant.after), encoding="utf-8")


def main() -> int:
    """Run the control and every mutant; print a table."""
    parser = argparse.ArgumentParser(prog="./dev test --mutants", description=__doc__)
    parser.add_argument("--only", help="name of one mutant")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in (None, mutant.name)]
    if not chosen:
        parser.error(f"no mutant is called {options.only}; there are: {', '.join(m.name for m in MUTANTS)}")
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="ferry-mutants-") as scratch:
        control = Path(scratch, "control")
        _copy(control)
        guards = tuple(sorted({test for mutant in chosen for test in mutant.tests}))
        print(f"control: {len(guards)} guards on the unchanged product", flush=True)
        code, output = _run(control, guards)
        if code != 0:
            print(output)
            print("control FAILED: the guards do not pass on the unchanged product")
            return 1
        for mutant in chosen:
            copy = Path(scratch, mutant.name)
            _copy(copy)
            _apply(copy, mutant)
            start = time.monotonic()
            code, output = _run(copy, mutant.tests)
            noticed = code == TEST_FAILURES
            if not noticed:
                survivors += 1
                print(output)
            word = "noticed" if noticed else f"NOT NOTICED (pytest ended with {code})"
            print(
                f"{mutant.name:32} {word:12} {time.monotonic() - start:6.1f} s   {mutant.promise}", flush=True
            )
            shutil.rmtree(copy)
    print(f"{len(chosen) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
