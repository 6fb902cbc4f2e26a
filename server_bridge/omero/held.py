"""Which file of OMERO's is a file of ours? By the import unit that it belongs to, and by its client path.

A table of whole client paths would be as large as all that OMERO said; this one is of names, folder by
folder, which are there already. It is made when a unit is first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

from server_bridge.omero.receipts import FilesetInfo, ManagedFile, split_client_path

_SEARCHED = 8
"""So few files are looked through faster than a table is made."""


class Held:
    """What OMERO holds of an order, by the index of its import units."""

    def __init__(self, filesets: Mapping[int, FilesetInfo]) -> None:
        """
        Args:
            filesets: by unit; a unit whose fileset is not there is left out.
        """
        self._filesets = filesets
        self._tables: dict[int, dict[str, dict[str, ManagedFile]]] = {}

    @classmethod
    def of(cls, fileset_of: Mapping[int, int], filesets: Mapping[int, FilesetInfo]) -> Held:
        """From the units' fileset ids, and what OMERO has by id."""
        return cls({unit: filesets[number] for unit, number in fileset_of.items() if number in filesets})

    def fileset(self, unit: int | None) -> FilesetInfo | None:
        """The unit's fileset."""
        return None if unit is None else self._filesets.get(unit)

    def file(self, unit: int | None, client_path: str) -> ManagedFile | None:
        """The file of that client path in the unit's fileset."""
        fileset = self.fileset(unit)
        if unit is None or fileset is None:
            return None
        if len(fileset.files) <= _SEARCHED:
            return fileset.file(client_path)
        if unit not in self._tables:
            table: dict[str, dict[str, ManagedFile]] = {}
            for one in fileset.files:
                table.setdefault(one.client_folder, {})[one.client_name] = one
            self._tables[unit] = table
        folder, name = split_client_path(client_path)
        return self._tables[unit].get(folder, {}).get(name)
