"""Whether what is new on the share is what was ordered under another name. Pure.

Some acquisition programs write under a working name and rename at the end; people rename folders. An order
goes along only where that is certain: everything that the order's last list names lies in the new place too,
under the same names below it, and is exactly the same. One file may have grown since that list, where three
others are the same: of a folder of few files, as a later run writes them again, the person is asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from server_bridge.contract import AcquisitionKind

SAME_BESIDE = 3
"""As many files have to be the same beside one that has grown."""
Files = Mapping[str, tuple[int, int]]
"""Path below the share → bytes, mtime in ns; as `agent.core.manifests.lines_of` gives them."""


def below(files: Files, path: str, kind: AcquisitionKind) -> dict[str, tuple[int, int]]:
    """The files under their names below an acquisition; a single file has none."""
    if kind is AcquisitionKind.FILE:
        return {"": files[path]} if path in files else {}
    start = f"{path}/"
    return {name[len(start) :]: facts for name, facts in files.items() if name.startswith(start)}


def is_renamed(before: Files, old: str, now: Files, new: str, kind: AcquisitionKind) -> bool:
    """Whether the files that lay in ``old`` lie in ``new`` now.

    Args:
        before: the last list of what lay in ``old``; it need not be complete.
        now: what lies in ``new``.
        kind: of both. A group's files have names that begin with the group's own: it is never certain.
    """
    if kind is AcquisitionKind.GROUP or old == new:
        return False
    was, there = below(before, old, kind), below(now, new, kind)
    if not was or not was.keys() <= there.keys():
        return False
    others = [name for name, facts in was.items() if there[name] != facts]
    if not others:
        return True
    (size, mtime), (size_now, mtime_now) = was[others[0]], there[others[0]]
    grown = size_now >= size and mtime_now >= mtime
    return kind is AcquisitionKind.FOLDER and len(others) == 1 and len(was) > SAME_BESIDE and grown
