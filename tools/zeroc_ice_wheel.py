"""Makes a wheel of zeroc-ice for a Python its authors had not seen yet, once, into a cache.

omero-py talks to OMERO through ZeroC Ice 3.6. PyPI holds that release as source only, written for Python up
to 3.10: ``src/Slice.cpp`` includes ``eval.h`` and ``src/Util.cpp`` reads ``PyThreadState.frame``; Python 3.11
has neither. Not a line of the source is edited. A compiler wrapper puts an empty ``eval.h`` on the include
path and, for ``Util.cpp`` alone, forces a header in front that answers the old expression through
``PyThreadState_GetFrame``.

As shipped (-O3 -g, one file after the other) the build takes about six minutes and gives 35 MB; optimised
lightly, without debug symbols and on all cores it is under two minutes on two cores and 3 MB.

    python tools/zeroc_ice_wheel.py --into DIR [--log FILE]

prints the wheel's path. A wheel that pip can find (``PIP_FIND_LINKS`` or an index that has one) is used
instead of building. Needs pip and setuptools in the Python that runs it, g++ and the headers of OpenSSL
and bzip2.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import fcntl
import importlib
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

VERSION = "3.6.5"
SDIST_SHA256 = "4235ffeb605bcd4e22e716577f7d61e4aa1bc82f65276bb542701a81b7933356"

# The expression in Util.cpp is `PyThreadState_GET()->frame`, a borrowed reference. PyThreadState_GetFrame
# returns a new one, so the stand-in gives it back at the end of the statement; the running function keeps its
# frame alive.
FRAME_HEADER = """\
#include <Python.h>
#include <frameobject.h>
#if PY_VERSION_HEX >= 0x030b0000
struct FerryThreadState
{
    PyFrameObject* frame;
    FerryThreadState() : frame(PyThreadState_GetFrame(PyThreadState_Get())) {}
    ~FerryThreadState() { Py_XDECREF(frame); }
    FerryThreadState* operator->() { return this; }
};
#undef PyThreadState_GET
#define PyThreadState_GET() FerryThreadState()
#endif
"""

PROGRESS_SECONDS = 15.0
DEBIAN_PACKAGES = "apt-get install g++ libssl-dev libbz2-dev python3-dev"


class BuildError(Exception):
    """The wheel could not be made; the message says why and what to do."""


@dataclass(frozen=True)
class Compilers:
    """The real compilers behind the wrapper."""

    c: str
    cxx: str


def abi_tag(version: tuple[int, int] = sys.version_info[:2]) -> str:
    """The wheel tag of a CPython: (3, 11) is ``cp311``."""
    return f"cp{version[0]}{version[1]}"


def cached_wheel(directory: Path, tag: str | None = None) -> Path | None:
    """The wheel for this Python in ``directory``, or None.

    The name alone decides: wheels enter the directory by a rename, so one that is there is whole.
    """
    tag = tag or abi_tag()
    found = sorted(directory.glob(f"zeroc_ice-{VERSION}-{tag}-*.whl"))
    return found[-1] if found else None


def wrapper_script(compilers: Compilers, helpers: Path) -> str:
    """A compiler in POSIX shell: adds the helpers for Python 3.11, and our optimisation after all flags.

    distutils hands one source to a call. C stays C: g++ would compile the bundled preprocessor as C++.
    """
    c, cxx, headers = (shlex.quote(text) for text in (compilers.c, compilers.cxx, str(helpers)))
    return f"""\
#!/bin/sh
compiler={cxx}
force=
for argument in "$@"; do
    case $argument in
    *.c) compiler={c} ;;
    src/Util.cpp) force=1 ;;
    esac
done
if [ -n "$force" ]; then
    set -- -include {headers}/ferry_frame.h "$@"
fi
exec "$compiler" -isystem {headers} "$@" -O1 -g0
"""


def find_compilers(search_path: str | None = None) -> Compilers:
    """The C and C++ compiler of this machine.

    Raises:
        BuildError: there is none; names the Debian package.
    """
    c = shutil.which("gcc", path=search_path) or shutil.which("cc", path=search_path)
    cxx = shutil.which("g++", path=search_path) or shutil.which("c++", path=search_path)
    if c is None or cxx is None:
        raise BuildError(f"No C++ compiler found. On Debian: {DEBIAN_PACKAGES}")
    return Compilers(c, cxx)


def write_helpers(helpers: Path, compilers: Compilers) -> Path:
    """Write the stand-in headers and the compiler wrapper; returns the wrapper."""
    helpers.mkdir()
    (helpers / "eval.h").write_text("")
    (helpers / "ferry_frame.h").write_text(FRAME_HEADER)
    wrapper = helpers / "g++"
    wrapper.write_text(wrapper_script(compilers, helpers))
    wrapper.chmod(0o755)
    # Which of the two names compiles and links depends on the version of setuptools.
    (helpers / "gcc").symlink_to("g++")
    return wrapper


def build_environment(wrapper: Path, base: Mapping[str, str]) -> dict[str, str]:
    """The environment for setup.py: our wrapper compiles and links, whatever this Python was built with."""
    environment = dict(base)
    environment.update(
        CC=str(wrapper),
        CXX=str(wrapper),
        LDSHARED=f"{wrapper} -shared",
        LDCXXSHARED=f"{wrapper} -shared",
        PATH=f"{wrapper.parent}{os.pathsep}{base.get('PATH', os.defpath)}",
        SETUPTOOLS_USE_DISTUTILS="local",
    )
    for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS"):
        environment.pop(name, None)
    return environment


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def parallel_compile(report: Callable[[int, int], None], cores: int) -> Callable[..., list[str]]:
    """A replacement for distutils' ``CCompiler.compile`` that compiles the sources ``cores`` at a time."""

    def compile_all(
        self: Any,
        sources: list[str],
        output_dir: str | None = None,
        macros: Any = None,
        include_dirs: Any = None,
        debug: bool = False,
        extra_preargs: Any = None,
        extra_postargs: Any = None,
        depends: Any = None,
    ) -> list[str]:
        macros, objects, extra_postargs, pp_opts, build = self._setup_compile(
            output_dir, macros, include_dirs, sources, depends, extra_postargs
        )
        cc_args = self._get_cc_args(pp_opts, debug, extra_preargs)
        done = 0
        counting = threading.Lock()

        def one(item: tuple[str, tuple[str, str]]) -> None:
            nonlocal done
            name, (source, extension) = item
            self._compile(name, source, extension, cc_args, extra_postargs, pp_opts)
            with counting:
                done += 1
                report(done, len(build))

        with concurrent.futures.ThreadPoolExecutor(cores) as pool:
            try:
                # A list, so that the first failure is raised here and not lost in an iterator.
                list(pool.map(one, build.items()))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [str(name) for name in objects]

    return compile_all


def run_setup(into: Path) -> None:
    """Build the wheel of the source in the working directory. Patches setuptools, so in its own process."""
    # setuptools puts its own distutils in place of the one that Python 3.12 dropped.
    importlib.import_module("setuptools")
    compiler: Any = importlib.import_module("distutils.ccompiler").CCompiler

    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            sys.stderr.write(f"    compiled {done} of {total} files\n")
            sys.stderr.flush()

    compiler.compile = parallel_compile(report, available_cores())
    sys.argv = ["setup.py", "--quiet", "bdist_wheel", "--dist-dir", str(into)]
    # setup.py expects to be run in its directory, which it then finds as sys.path[0].
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_path("setup.py", run_name="__main__")


def pip(arguments: Sequence[str], log: IO[bytes]) -> int:
    """Run this Python's pip, output into the log; returns its exit status."""
    log.write(f"$ pip {shlex.join(arguments)}\n".encode())
    log.flush()
    return subprocess.run(
        [sys.executable, "-m", "pip", "--no-input", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        check=False,
    ).returncode


def download_wheel(into: Path, log: IO[bytes]) -> Path | None:
    """A ready wheel for this Python where pip looks for packages, or None."""
    options = ["--no-deps", "--only-binary", "zeroc-ice", "--dest", str(into)]
    if pip(["download", *options, f"zeroc-ice=={VERSION}"], log) != 0:
        return None
    return next(iter(sorted(into.glob("*.whl"))), None)


def download_source(into: Path, log: IO[bytes]) -> Path:
    """Fetch and unpack the released source; returns its directory.

    Raises:
        BuildError: it cannot be fetched, or it is not the archive this recipe was written for (by SHA-256).
    """
    requirements = into / "requirements.txt"
    requirements.write_text(f"zeroc-ice=={VERSION} --hash=sha256:{SDIST_SHA256}\n")
    options = ["--no-deps", "--no-binary", "zeroc-ice", "--no-build-isolation", "--require-hashes"]
    status = pip(["download", *options, "--dest", str(into), "--requirement", str(requirements)], log)
    archive = into / f"zeroc-ice-{VERSION}.tar.gz"
    if status != 0 or not archive.is_file():
        raise BuildError(
            f"pip could not fetch the source of zeroc-ice {VERSION}. Check the network and pip's settings, "
            "or put a wheel for this Python into a directory and name it in PIP_FIND_LINKS."
        )
    with tarfile.open(archive) as packed:
        # No filter argument: Debian 12's Python has none, and the digest says what is in the archive.
        packed.extractall(into)
    return into / f"zeroc-ice-{VERSION}"


def build(work: Path, log: IO[bytes]) -> Path:
    """Fetch the source into ``work`` and build it there; returns the wheel.

    Raises:
        BuildError: no compiler, no source, or the compiler failed.
    """
    compilers = find_compilers()
    source = download_source(work, log)
    wrapper = write_helpers(work / "helpers", compilers)
    into = work / "dist"
    sys.stderr.write(
        f"Building zeroc-ice {VERSION} once (about {expected_minutes(available_cores())} "
        f"on {available_cores()} core(s)) ...\n"
    )
    sys.stderr.flush()
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--run-setup", "--into", str(into)],
        cwd=source,
        env=build_environment(wrapper, os.environ),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.PIPE,
        # A group of its own, so that the compilers can be ended with it.
        start_new_session=True,
    )
    assert child.stderr is not None
    try:
        # Progress goes to the person, the rest to the log: compilers' words matter only after a failure.
        for line in child.stderr:
            log.write(line)
            if line.startswith(b"    compiled "):
                sys.stderr.write(line.decode())
                sys.stderr.flush()
        status = child.wait()
    except BaseException:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()
        raise
    log.flush()
    wheel = next(iter(sorted(into.glob("*.whl"))), None)
    if status != 0 or wheel is None:
        raise BuildError(
            f"The compiler failed on zeroc-ice {VERSION} (exit status {status}). Usual causes: "
            f"a missing header ({DEBIAN_PACKAGES}), or less than 1 GB of free memory or disk."
        )
    return wheel


def expected_minutes(cores: int) -> str:
    """How long the build takes in words; 210 CPU seconds were measured with -O1."""
    minutes = max(1, round(210 / 60 / cores))
    return "a minute" if minutes == 1 else f"{minutes} minutes"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory for one build at a time; the kernel lets go of it when the process dies."""
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def obtain(directory: Path, log_path: Path) -> Path:
    """The wheel in ``directory``: found there, else downloaded, else built.

    Raises:
        BuildError: see build().
    """
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        ready = cached_wheel(directory)
        if ready is not None:
            return ready
        for left in directory.glob("build-*"):
            shutil.rmtree(left, ignore_errors=True)
        with (
            tempfile.TemporaryDirectory(prefix="build-", dir=directory) as temporary,
            log_path.open("wb") as log,
        ):
            work = Path(temporary)
            made = download_wheel(work, log) or build(work, log)
            return made.replace(directory / made.name)


def last_lines(path: Path, count: int) -> str:
    """The end of a log, bytes that are no UTF-8 replaced."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(lines[-count:])


def main(argv: Sequence[str]) -> int:
    """Entry point: the wheel's path on standard output, everything else on standard error."""
    parser = argparse.ArgumentParser(description="Make a wheel of zeroc-ice for this Python, once.")
    parser.add_argument("--into", type=Path, required=True, help="the directory that keeps the wheel")
    parser.add_argument("--log", type=Path, help="what pip and the compiler say (default: DIR/build.log)")
    parser.add_argument("--run-setup", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    into: Path = arguments.into.absolute()
    if arguments.run_setup:
        run_setup(into)
        return 0
    log_path: Path = arguments.log or into / "build.log"
    # As an exception, so that the compilers are ended and the build directory is removed.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        wheel = obtain(into, log_path)
    except BuildError as error:
        sys.stderr.write(f"{last_lines(log_path, 30)}\n\n{error}\nThe whole log: {log_path}\n")
        return 1
    sys.stdout.write(f"{wheel}\n")
    return 0


if __name__ == "__main__":
    # The build asks for this Python's own headers, which Debian packages apart.
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists() and "--run-setup" not in sys.argv:
        sys.stderr.write(f"Note: no Python.h in {sysconfig.get_path('include')} (python3-dev).\n")
    sys.exit(main(sys.argv[1:]))
