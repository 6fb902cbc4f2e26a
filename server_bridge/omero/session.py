"""One open OMERO session: queries, saving and deleting with every failure in the bridge's own words.

Queries are HQL projections with named parameters. An empty ``in (:ids)`` is an error in OMERO, so it is
refused here before it is sent: callers ask only for what is not empty, in chunks (:func:`chunks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import omero
import omero.grid
import omero.sys
from omero.rtypes import rlist, rlong, rstring, unwrap

from server_bridge.config import OmeroConfig
from server_bridge.errors import ConfigurationError, TransientFailure
from server_bridge.omero.failures import OmeroAway, translated

ALL_GROUPS = -1
#: How many values go into one ``in (...)``.
CHUNK = 500
#: How many objects are saved in one call: it has to end within the call's time limit.
_SAVED_AT_ONCE = 200
_DELETE_LOOPS = 240
_DELETE_WAIT_MS = 500

T = TypeVar("T")
Value = int | str | Sequence[int] | Sequence[str]


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Cut into lists of at most ``size``; nothing at all where there is none."""
    source = iter(items)
    while piece := list(islice(source, size)):
        yield piece


class Session:
    """An open session. Not for sharing between threads: each use opens its own."""

    def __init__(self, client: Any, config: OmeroConfig) -> None:
        self.client = client
        self.config = config
        self.factory = client.getSession()
        self.read_group: int | None = None
        """OMERO's ``omero.group`` for reading: None is the session's own group, -1 all groups."""
        self.broken = False
        """OMERO stopped answering: closing does not try to be polite."""
        self.joined = False
        """Somebody else's session, to be left alone at the end."""
        context = self.event_context()
        self.user_id = int(context.userId)
        self.username = str(context.userName)
        self.group_id = int(context.groupId)
        self.group_name = str(context.groupName)

    @property
    def key(self) -> str:
        """The session key. It opens this session to whoever has it: never log it, never put it in argv."""
        return str(self.client.getSessionId())

    @cached_property
    def query(self) -> Any:
        return self.factory.getQueryService()

    @cached_property
    def update(self) -> Any:
        return self.factory.getUpdateService()

    @cached_property
    def admin(self) -> Any:
        return self.factory.getAdminService()

    def event_context(self) -> Any:
        """Who this is, as OMERO sees it."""
        with self.doing("asking who this is"):
            return self.factory.getAdminService().getEventContext()

    @contextmanager
    def doing(self, phrase: str) -> Iterator[None]:
        """Translate failures; ``phrase`` ("listing datasets") goes into their text."""
        try:
            with translated(phrase):
                yield
        except OmeroAway:
            self.broken = True
            raise

    def context(self, group: int | None = None) -> dict[str, str] | None:
        """Call context for a group (None: ``read_group``). An explicit one replaces Ice's implicit context,
        so the client's own values are copied in.
        """
        chosen = self.read_group if group is None else group
        return None if chosen is None else dict(self.client.getContext(group=chosen))

    def rows(
        self,
        hql: str,
        values: Mapping[str, Value] | None = None,
        *,
        group: int | None = None,
        page: tuple[int, int] | None = None,
        doing: str = "asking OMERO",
    ) -> list[tuple[Any, ...]]:
        """Projection: one tuple of plain values per row. ``page`` is (offset, limit)."""
        with self.doing(doing):
            found = self.query.projection(hql, parameters(values, page), *self._given(group))
        return [tuple(unwrap(cell) for cell in row) for row in found]

    def objects(
        self,
        hql: str,
        values: Mapping[str, Value] | None = None,
        *,
        group: int | None = None,
        page: tuple[int, int] | None = None,
        doing: str = "asking OMERO",
    ) -> list[Any]:
        """Whole objects (they carry permissions), where a projection cannot do."""
        with self.doing(doing):
            return list(self.query.findAllByQuery(hql, parameters(values, page), *self._given(group)))

    def save(self, thing: Any, *, doing: str) -> Any:
        """Save one graph in the session's own group and return it."""
        with self.doing(doing):
            return self.update.saveAndReturnObject(thing)

    def save_all(self, things: Sequence[Any], *, doing: str) -> None:
        """Save many in one call each chunk."""
        for piece in chunks(things, _SAVED_AT_ONCE):
            with self.doing(doing):
                self.update.saveArray(piece)

    def delete(self, kind: str, object_id: int, group_id: int, *, doing: str) -> None:
        """:meth:`delete_all` of one object."""
        self.delete_all(kind, [object_id], group_id, doing=doing)

    def delete_all(self, kind: str, object_ids: Sequence[int], group_id: int, *, doing: str) -> None:
        """Delete objects with what hangs on them, and wait until OMERO says that it is done.

        Raises:
            FerryError: what OMERO answered; ``omero_error`` where it did not finish within two minutes.
        """
        request = omero.cmd.Delete2(targetObjects={kind: list(object_ids)})
        context = dict(self.client.getContext(group=group_id))
        try:
            with self.doing(doing):
                callback = self.client.submit(
                    request, loops=_DELETE_LOOPS, ms=_DELETE_WAIT_MS, failonerror=True, failontimeout=True,
                    ctx=context,
                )  # fmt: skip
                callback.close(True)
        except omero.LockTimeout:
            raise TransientFailure(
                f"OMERO still works on it ({doing}).",
                code="omero_busy",
                title="OMERO takes long",
                remedy="Nothing to do: the bridge looks again.",
            ) from None

    @cached_property
    def managed_repository(self) -> Path:
        """Where this host sees ManagedRepository: the site file's word, or the path that OMERO reports."""
        if self.config.managed_repository is not None:
            return self.config.managed_repository
        with self.doing("asking for ManagedRepository"):
            found = self.factory.sharedResources().repositories()
            for description, proxy in zip(found.descriptions, found.proxies, strict=True):
                if proxy and omero.grid.ManagedRepositoryPrx.checkedCast(proxy):
                    # Either form occurs: "/OMERO" + "ManagedRepository" and "/OMERO/" + "ManagedRepository".
                    return Path(str(unwrap(description.path))) / str(unwrap(description.name)).strip("/")
        raise ConfigurationError(
            "OMERO reports no managed repository.",
            title="OMERO has no ManagedRepository",
            remedy="Check omero.data.dir and omero.managed.dir on the OMERO server.",
        )

    def _given(self, group: int | None) -> tuple[dict[str, str], ...]:
        context = self.context(group)
        return () if context is None else (context,)


def parameters(values: Mapping[str, Value] | None, page: tuple[int, int] | None = None) -> Any:
    """Named parameters and paging, as OMERO wants them.

    Raises:
        ValueError: for an empty list, which OMERO answers with an error of the database.
    """
    made = omero.sys.ParametersI()
    for name, value in (values or {}).items():
        if isinstance(value, str):
            made.addString(name, value)
        elif isinstance(value, int):
            made.addLong(name, value)
        elif not value:
            raise ValueError(f"an empty list must not be sent to OMERO as :{name}")
        else:
            made.add(name, rlist([rstring(one) if isinstance(one, str) else rlong(one) for one in value]))
    if page is not None:
        made.page(*page)
    return made


def like(text: str) -> str:
    """Pattern for a search inside names, to be compared with ``lower(name)``.

    ``%`` becomes the wildcard for one character, and ``_`` stays it: that finds a little more, never less.
    """
    return f"%{text.lower().replace('%', '_')}%"
