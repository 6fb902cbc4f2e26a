"""The developer's script: what it says without set-up, and the recipe for the zeroc-ice wheel."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DEV = ROOT / "dev"


def run_dev(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(DEV), *arguments],
        env={"PATH": os.defpath, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel() -> ModuleType:
    path = ROOT / "tools" / "zeroc_ice_wheel.py"
    spec = importlib.util.spec_from_file_location("zeroc_ice_wheel", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# --- ./dev ---


def test_help_names_every_command_and_needs_no_set_up() -> None:
    answer = run_dev("help")
    assert answer.returncode == 0
    assert answer.stderr == ""
    for command in (
        "demo",
        "test",
        "test --quick",
        "test --postgres",
        "test --mutants",
        "test-wine",
        "faults",
        "replay",
        "lint",
        "bench",
        "screenshots",
        "help",
        "run CMD",
    ):
        assert f"\n  {command}" in answer.stdout


@pytest.mark.parametrize("arguments", [(), ("frobnicate",)])
def test_an_unknown_command_ends_with_2_and_help_on_standard_error(arguments: tuple[str, ...]) -> None:
    answer = run_dev(*arguments)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert "Usage: ./dev COMMAND" in answer.stderr
    assert all(f"There is no command {word}." in answer.stderr for word in arguments)


def test_run_without_a_command_says_what_is_missing() -> None:
    answer = run_dev("run")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "run what?" in answer.stderr


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_the_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / script
    shell = path.read_text().splitlines()[0].removeprefix("#!")
    assert os.access(path, os.X_OK)
    assert subprocess.run([shell, "-n", str(path)], check=False).returncode == 0


def fake_debian(directory: Path, *, installed: str, sudo: bool) -> str:
    """A PATH on which dpkg-query knows only what we say, and sudo and apt-get are notes in a file."""
    directory.mkdir()
    for name, body in {
        "dpkg-query": f"printf '%s installed\\n' {installed}",
        "sudo": f'[ "$2" = true ] && exit {0 if sudo else 1}; echo "$*" >>{directory}/calls',
    }.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    return f"{directory}{os.pathsep}{os.defpath}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root would install packages for real")
def test_without_the_right_to_install_it_names_exactly_what_to_ask_for(tmp_path: Path) -> None:
    path = fake_debian(tmp_path / "bin", installed="python3 g++ libglib2.0-0t64", sudo=False)
    answer = run_dev("lint", environment={"PATH": path, "HOME": str(tmp_path)})
    assert answer.returncode == 1
    lines = [line for line in answer.stderr.splitlines() if "apt-get install" in line]
    assert len(lines) == 1
    asked = lines[0].split()
    assert {"python3-venv", "libssl-dev", "rsync", "openssh-server", "libxcb-cursor0"} <= set(asked)
    # Installed, the last under the name that Debian 13 gave it.
    assert not {"python3", "g++", "libglib2.0-0"} & set(asked)
    # The window manager and its kind are for pictures alone.
    assert "openbox" not in asked


@pytest.mark.skipif(os.geteuid() == 0, reason="root would install packages for real")
def test_screenshots_ask_for_a_display_server_too(tmp_path: Path) -> None:
    path = fake_debian(tmp_path / "bin", installed="python3", sudo=False)
    answer = run_dev("screenshots", environment={"PATH": path, "HOME": str(tmp_path)})
    assert answer.returncode == 1
    assert {"xvfb", "openbox", "trayer"} <= set(answer.stderr.split())


@pytest.mark.skipif(os.geteuid() == 0, reason="root would install packages for real")
@pytest.mark.parametrize(("command", "needed"), [("demo", False), ("test", True)])
def test_postgresql_is_asked_for_by_whoever_tests(tmp_path: Path, command: str, needed: bool) -> None:
    path = fake_debian(tmp_path / "bin", installed="python3", sudo=False)
    answer = run_dev(command, environment={"PATH": path, "HOME": str(tmp_path)})
    assert answer.returncode == 1
    assert ("postgresql" in answer.stderr.split()) is needed


@pytest.mark.skipif(os.geteuid() == 0, reason="root would install packages for real")
def test_a_home_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    path = fake_debian(tmp_path / "bin", installed="python3", sudo=True)
    answer = run_dev("lint", environment={"PATH": path, "HOME": "/proc"})
    assert answer.returncode == 1
    assert "Set XDG_CACHE_HOME" in answer.stderr
    # With sudo that asks no password, the packages were installed first.
    calls = (tmp_path / "bin" / "calls").read_text()
    assert "apt-get -q update" in calls
    assert "install --no-install-recommends" in calls


# --- the wheel ---


def test_the_wheel_is_found_for_this_python_only(wheel: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "zeroc_ice-3.6.5-cp311-cp311-linux_x86_64.whl").touch()
    (tmp_path / "zeroc_ice-3.6.4-cp312-cp312-linux_x86_64.whl").touch()
    found = wheel.cached_wheel(tmp_path, "cp311")
    assert found == tmp_path / "zeroc_ice-3.6.5-cp311-cp311-linux_x86_64.whl"
    assert wheel.cached_wheel(tmp_path, "cp312") is None
    assert wheel.cached_wheel(tmp_path / "missing", "cp311") is None
    assert wheel.abi_tag((3, 13)) == "cp313"


def test_a_cached_wheel_is_used_without_pip_or_compiler(
    wheel: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / f"zeroc_ice-3.6.5-{wheel.abi_tag()}-{wheel.abi_tag()}-linux_x86_64.whl"
    ready.touch()
    monkeypatch.setattr(wheel.subprocess, "run", lambda *_a, **_k: pytest.fail("started a program"))
    assert wheel.main(["--into", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{ready}\n"


@pytest.fixture
def arguments_of(wheel: ModuleType, tmp_path: Path) -> Any:
    """What the real compiler is given for a source, with echo in the compilers' place."""
    for name in ("c", "c++"):
        (tmp_path / name).write_text('#!/bin/sh\necho "${0##*/}" "$@"\n')
        (tmp_path / name).chmod(0o755)
    compilers = wheel.Compilers(str(tmp_path / "c"), str(tmp_path / "c++"))
    wrapper = wheel.write_helpers(tmp_path / "with space", compilers)

    def run(*arguments: str, name: str = "g++") -> str:
        command = [str(wrapper.with_name(name)), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip("\n")

    return run


def test_the_wrapper_adds_the_empty_header_and_has_the_last_word_on_optimisation(
    arguments_of: Any, tmp_path: Path
) -> None:
    for name in ("g++", "gcc"):
        answer = arguments_of("-O3", "-g", "-c", "src/Slice.cpp", name=name)
        assert answer == f"c++ -isystem {tmp_path}/with space -O3 -g -c src/Slice.cpp -O1 -g0"


def test_the_frame_header_is_forced_on_one_source_alone(arguments_of: Any, tmp_path: Path) -> None:
    assert f"-include {tmp_path}/with space/ferry_frame.h" in arguments_of("-c", "src/Util.cpp")
    assert "-include" not in arguments_of("-c", "src/ice/cpp/src/Slice/Util.cpp")


def test_c_sources_stay_c(arguments_of: Any) -> None:
    assert arguments_of("-c", "src/ice/mcpp/main.c").startswith("c ")


def test_a_missing_compiler_names_the_package(wheel: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(wheel.BuildError, match=r"apt-get install g\+\+"):
        wheel.find_compilers(str(tmp_path))


def test_flags_of_the_caller_do_not_reach_the_build(wheel: ModuleType, tmp_path: Path) -> None:
    wrapper = tmp_path / "g++"
    environment = wheel.build_environment(wrapper, {"CFLAGS": "-O9", "PATH": "/bin", "PIP_CERT": "x"})
    assert "CFLAGS" not in environment
    assert environment["PIP_CERT"] == "x"
    assert environment["CC"] == environment["CXX"] == str(wrapper)
    assert environment["LDSHARED"] == f"{wrapper} -shared"
    assert environment["PATH"] == f"{tmp_path}{os.pathsep}/bin"


class FakeCompiler:
    """As much of distutils' compiler as the replacement touches."""

    def __init__(self, sources: list[str], fails_on: str = "") -> None:
        self._fails_on = fails_on
        self._build = {f"{source}.o": (source, ".cpp") for source in sources}
        self.compiled: set[str] = set()
        self.threads: set[int] = set()
        # Nobody passes before two threads are here: a compile one after the other would time out.
        self._both = threading.Barrier(2, timeout=30) if not fails_on else None

    def _setup_compile(self, *_arguments: Any) -> Any:
        return [], list(self._build), [], [], self._build

    def _get_cc_args(self, *_arguments: Any) -> list[str]:
        return []

    def _compile(self, name: str, source: str, *_arguments: Any) -> None:
        if source == self._fails_on:
            raise RuntimeError(source)
        if self._both is not None:
            self._both.wait()
        self.compiled.add(name)
        self.threads.add(threading.get_ident())


def test_sources_are_compiled_side_by_side_and_all_objects_returned(wheel: ModuleType) -> None:
    sources = [f"{number}.cpp" for number in range(6)]
    compiler = FakeCompiler(sources)
    seen: list[tuple[int, int]] = []
    compile_all = wheel.parallel_compile(lambda done, total: seen.append((done, total)), 2)
    assert compile_all(compiler, sources) == [f"{source}.o" for source in sources]
    assert compiler.compiled == {f"{source}.o" for source in sources}
    assert len(compiler.threads) == 2
    assert seen == [(done, 6) for done in range(1, 7)]


def test_a_source_that_does_not_compile_fails_the_build(wheel: ModuleType) -> None:
    compiler = FakeCompiler(["a.cpp", "b.cpp"], fails_on="b.cpp")
    with pytest.raises(RuntimeError, match=r"b\.cpp"):
        wheel.parallel_compile(lambda _done, _total: None, 2)(compiler, ["a.cpp", "b.cpp"])


def test_a_failed_build_quotes_the_log_and_leaves_nothing_half_made(
    wheel: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: list[str], **options: Any) -> SimpleNamespace:
        options["stdout"].write(b"".join(b"line %d\n" % number for number in range(40)))
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(wheel.subprocess, "run", refuse)
    (tmp_path / "build-of-a-killed-run").mkdir()
    assert wheel.main(["--into", str(tmp_path), "--log", str(tmp_path / "the.log")]) == 1
    answer = capsys.readouterr()
    assert answer.out == ""
    assert "line 39" in answer.err
    assert "PIP_FIND_LINKS" in answer.err
    assert str(tmp_path / "the.log") in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "the.log"]


def test_the_frame_header_compiles_against_this_python(wheel: ModuleType, tmp_path: Path) -> None:
    include = wheel.sysconfig.get_path("include")
    if not (Path(include) / "Python.h").exists():
        pytest.fail("python3-dev is among the packages of ./dev")
    (tmp_path / "ferry_frame.h").write_text(wheel.FRAME_HEADER)
    source = tmp_path / "util.cpp"
    source.write_text("PyFrameObject* current() { return PyThreadState_GET()->frame; }\n")
    subprocess.run(
        ["g++", "-fsyntax-only", f"-I{include}", "-include", str(tmp_path / "ferry_frame.h"), str(source)],
        check=True,
    )
