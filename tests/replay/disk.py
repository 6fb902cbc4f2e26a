"""The share as the storage has it: real files, with the times that the storage would give them.

It knows what nobody else can know: how often each file's data was written. That is the truth by which seals
are judged, also where neither size nor time shows a change.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.core import listing
from tests.replay import contents
from tests.replay.scenario import Moment, Storage

Versions = Mapping[str, int]
"""Share path of a file → how often its data was written."""


class Disk:
    """Acts for the microscope; ``top`` is the share's top."""

    def __init__(self, top: Path, storage: Storage, now: Callable[[], float]) -> None:
        self.top = top
        self._storage = storage
        self._now = now
        self._round_ns = storage.round_ns
        self._versions: dict[str, int] = {}
        self._writes = 0
        self._open: dict[str, int] = {}
        self._changes: list[tuple[float, str]] = []

    def everything(self) -> dict[str, int]:
        """All that is there now."""
        return dict(self._versions)

    def versions(
        self, path: str, ignore: tuple[str, ...] = (), everything: Versions | None = None
    ) -> dict[str, int]:
        """The data at and below a path, now or as ``everything`` says, without what the patterns cover."""
        return {
            name: version
            for name, version in (self._versions if everything is None else everything).items()
            if (name == path or name.startswith(path + "/"))
            and not listing.matches(name.rsplit("/", 1)[-1], ignore)
        }

    def last_change(self, path: str, before: float) -> float:
        """When something at or below a path was last written, named or deleted (seconds since 1970)."""
        return max(
            (
                at
                for at, name in self._changes
                if at <= before and (name == path or name.startswith(path + "/"))
            ),
            default=0.0,
        )

    def listing(self, path: str) -> dict[str, tuple[int, int]]:
        """What the bridge sees there: path → size and mtime in ns; empty where nothing is."""
        try:
            return {
                seen.path: (seen.size_bytes, seen.mtime_ns)
                for seen in listing.walk(self.top, path, judged=True)
            }
        except listing.Gone:
            return {}

    def close(self) -> None:
        """Close what a program left open."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    # --- what happens ---------------------------------------------------------------------------------

    def do(self, moment: Moment) -> str:
        """Carry out a step of the microscope. Returns the path it touched."""
        step, path = moment.step, moment.path
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        size = max(1, int(step.kib * 1024))
        match step.do:
            case "write" | "copy-in":
                self._put(path, size, moment)
                self._stamp(path, age=step.age)
            case "append":
                self._append(path, size, moment)
            case "preallocate":
                file.touch()
                os.truncate(file, size)
                self._wrote(path)
                self._stamp(path, age=step.age)
            case "fill":
                self._fill(path, moment)
            case "touch":
                self._stamp(path, age=step.age)
            case "rename":
                self._rename(path, moment.to)
                return moment.to
            case "delete":
                self._delete(path)
            case "open":
                self._open[path] = os.open(file, os.O_RDWR | os.O_CREAT)
                self._versions.setdefault(path, 0)
            case "close":
                os.close(self._open.pop(path))
            case _:
                raise AssertionError(f"{step.do} is no step of the disk")
        return path

    def round_from_now_on(self, round_ns: int) -> None:
        """The storage rounds all times, those it told precisely before as well."""
        self._round_ns = round_ns
        for path in self._versions:
            status = (self.top / path).stat()
            self._set_mtime(path, status.st_mtime_ns)

    def _wrote(self, path: str) -> None:
        self._writes += 1
        self._versions[path] = self._writes
        self._changed(path)

    def _changed(self, path: str) -> None:
        self._changes.append((self._now(), path))

    def _stamp_of_writing(self) -> bytes:
        return self._writes.to_bytes(8, "little")

    def _put(self, path: str, size: int, moment: Moment) -> None:
        self._wrote(path)
        data = contents.whole(moment.step.content, size, moment.number, self._stamp_of_writing())
        (self.top / path).write_bytes(data)

    def _append(self, path: str, size: int, moment: Moment) -> None:
        keep = moment.step.mtime == "kept"
        before = self._mtime(path) if keep else 0
        self._wrote(path)
        with (self.top / path).open("ab") as file:
            if file.tell() == 0:
                file.write(contents.start_of(moment.step.content))
            file.write(contents.whole(moment.step.content, size, moment.number, self._stamp_of_writing()))
        self._keep_or_stamp(path, before)

    def _fill(self, path: str, moment: Moment) -> None:
        keep = moment.step.mtime == "kept"
        before = self._mtime(path) if keep else 0
        self._wrote(path)
        size = (self.top / path).stat().st_size
        descriptor = self._open.get(path)
        mine = os.open(self.top / path, os.O_RDWR) if descriptor is None else descriptor
        for at, data in contents.patches(moment.step.content, size, moment.number, self._stamp_of_writing()):
            os.pwrite(mine, data, at)
        if descriptor is None:
            os.close(mine)
        self._keep_or_stamp(path, before)

    def _keep_or_stamp(self, path: str, before_ns: int) -> None:
        if before_ns:
            self._set_mtime(path, before_ns)
        else:
            self._stamp(path)

    def _rename(self, path: str, to: str) -> None:
        (self.top / to).parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.top / path, self.top / to)  # noqa: PTH105 - as the programs do
        for name in [one for one in self._versions if one == path or one.startswith(path + "/")]:
            self._versions[to + name[len(path) :]] = self._versions.pop(name)
        self._changed(path)
        self._changed(to)

    def _delete(self, path: str) -> None:
        target = self.top / path
        if target.is_dir():
            for file in sorted(target.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
            target.rmdir()
        else:
            target.unlink()
        for name in [one for one in self._versions if one == path or one.startswith(path + "/")]:
            del self._versions[name]
        self._changed(path)

    # --- times ----------------------------------------------------------------------------------------

    def _mtime(self, path: str) -> int:
        return (self.top / path).stat().st_mtime_ns

    def _stamp(self, path: str, age: float = 0.0) -> None:
        """Now by the storage's clock, or so much earlier."""
        self._set_mtime(path, int((self._now() + self._storage.skew - age) * 1e9))
        if path in self._versions:
            self._changed(path)

    def _set_mtime(self, path: str, mtime_ns: int) -> None:
        rounded = mtime_ns // self._round_ns * self._round_ns
        os.utime(self.top / path, ns=(rounded, rounded))
