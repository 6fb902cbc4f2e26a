"""IUpdate: saving graphs of objects."""

from __future__ import annotations

from typing import Any

from omero import rtypes

from server_bridge.sandbox.graphs import delete_graph
from server_bridge.sandbox.model import ENTITIES
from server_bridge.sandbox.objects import load
from server_bridge.sandbox.saving import Saver
from server_bridge.sandbox.servants.core import Call
from server_bridge.sandbox.sessions import usage


class Update:
    """omero.api.IUpdate."""

    def saveObject(self, call: Call, given: Any) -> None:
        self._save(call, [given])

    def saveCollection(self, call: Call, given: list[Any]) -> None:
        self._save(call, given)

    def saveArray(self, call: Call, given: list[Any]) -> None:
        self._save(call, given)

    def saveAndReturnObject(self, call: Call, given: Any) -> Any:
        return self.saveAndReturnArray(call, [given])[0]

    def saveAndReturnArray(self, call: Call, given: list[Any]) -> list[Any]:
        saver, ids = self._save(call, given)
        result = []
        for one, row_id in zip(given, ids, strict=True):
            of = saver.described(one)
            result += load(call.store, call.caller, of, [row_id], saver.tree_of(one))
        return result

    def saveAndReturnIds(self, call: Call, given: list[Any]) -> list[int]:
        return self._save(call, given)[1]

    def deleteObject(self, call: Call, given: Any) -> None:
        name = type(given).__name__.removesuffix("I")
        if name not in ENTITIES or given.id is None:
            raise usage(f"Cannot delete {name}")
        delete_graph(call, {name: [rtypes.unwrap(given.id)]}, dry_run=False)

    @staticmethod
    def _save(call: Call, given: list[Any]) -> tuple[Saver, list[int]]:
        with call.store.transaction():
            saver = Saver(call.store, call.caller)
            return saver, [saver.save(one) for one in given]
