"""What every servant shares: the services behind it, the context of a call, and the bridge to Ice.

A service is written as a plain class whose methods take a :class:`Call` first. :func:`make_servant` wraps
it into a subclass of the Slice interface that has both the plain and the ``_async`` form of each operation
(Ice calls the second for operations marked ``["amd"]``, and a servant without it would leave the client
waiting for ever). An operation the class does not have is answered with an exception that names it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import Ice
import omero

from server_bridge.sandbox.faults import FaultError, Faults
from server_bridge.sandbox.hql.nodes import HqlError
from server_bridge.sandbox.people import People
from server_bridge.sandbox.security import Caller
from server_bridge.sandbox.sessions import Sessions
from server_bridge.sandbox.store import Store

if TYPE_CHECKING:
    from server_bridge.sandbox.repository import Repository

log = logging.getLogger("omero.sandbox")

# Operations that return nothing: their asynchronous answer must carry no value at all.
VOID = frozenset(
    [
        "saveObject",
        "saveCollection",
        "saveArray",
        "deleteObject",
        "indexObject",
        "setConfigValue",
        "setFileId",
        "write",
        "setInput",
        "setOutput",
        "updateSelf",
        "updateExperimenter",
        "updateGroup",
        "addGroups",
        "removeGroups",
        "setDefaultGroup",
        "setGroupOwner",
        "unsetGroupOwner",
        "addGroupOwners",
        "removeGroupOwners",
        "changePassword",
        "changePasswordWithOldPassword",
        "changeUserPassword",
        "setAdminPrivileges",
        "changePermissions",
        "synchronizeLoginCache",
        "close",
        "activate",
        "passivate",
        "unlink",
        "deleteExperimenter",
        "deleteGroup",
        "changeGroup",
        "changeOwner",
        "moveToCommonSpace",
        "updateEnumeration",
        "updateEnumerations",
        "deleteEnumeration",
        "resetEnumerations",
        "destroySession",
        "refreshSession",
        "destroy",
        "updateExperimenterWithPassword",
    ]
)


@dataclass
class Services:
    """Everything a servant may need, made once at the start."""

    store: Store
    people: People
    sessions: Sessions
    faults: Faults
    repository: Repository
    data: Path
    adapter: Any = None
    ports: dict[str, int] = field(default_factory=dict)
    # For each client the names of its servants, so that they go when it goes.
    published: dict[str, set[tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One remote call: who calls, through which connection, with which context."""

    caller: Caller
    current: Any
    services: Services
    client: str

    @property
    def store(self) -> Store:
        return self.services.store


def internal(message: str) -> omero.InternalException:
    return omero.InternalException(None, "ome.conditions.InternalException", message)


@dataclass(frozen=True)
class Owner:
    """The client a servant belongs to: its session and its own id."""

    session: str
    client: str

    @property
    def category(self) -> str:
        return f"session-{self.client}"


def answer(
    services: Services, owner: Owner, service: Any, interface: str, name: str, args: tuple[Any, ...]
) -> Any:
    """Run one operation of a service; only exceptions that may cross the wire leave here."""
    operation = f"{interface}.{name}"
    *given, current = args
    try:
        services.faults.strike("anycall", operation)
        services.faults.strike(f"server.{name}", operation)
        session = services.sessions.use(owner.session)
        method = getattr(service, name, None)
        if method is None:
            raise internal(f"The sandbox does not implement {operation}")
        call = Call(services.sessions.caller(session, current.ctx), current, services, owner.client)
        return method(call, *given)
    except (Ice.Exception, omero.ServerError):
        raise
    except HqlError as error:
        raise omero.QueryException(None, "org.hibernate.hql.ast.QuerySyntaxException", str(error)) from error
    except FaultError as error:
        raise internal(str(error)) from error
    except Exception as error:
        log.exception("%s failed", operation)
        raise internal(f"{operation}: {type(error).__name__}: {error}") from error


_CLASSES: dict[Any, Any] = {}


def _servant_class(slice_class: Any) -> Any:
    known = _CLASSES.get(slice_class)
    if known is not None:
        return known
    members: dict[str, Any] = {}
    for attribute in dir(slice_class):
        if attribute.startswith("_op_") and not attribute.startswith("_op_ice_"):
            members |= _operation(attribute.removeprefix("_op_"))
    known = type(f"Sandbox{slice_class.__name__}", (slice_class,), members)
    _CLASSES[slice_class] = known
    return known


def _operation(name: str) -> dict[str, Callable[..., Any]]:
    def plain(self: Any, *args: Any) -> Any:
        return self.invoke(name, args)

    def asynchronous(self: Any, callback: Any, *args: Any) -> None:
        try:
            result = self.invoke(name, args)
        except Exception as error:  # noqa: BLE001 - handed to the client, which is who must see it
            callback.ice_exception(error)
            return
        if name in VOID:
            callback.ice_response()
        else:
            callback.ice_response(result)

    return {name: plain, f"{name}_async": asynchronous}


def make_servant(slice_class: Any, service: Any, services: Services, owner: Owner) -> Any:
    """An Ice servant of that interface which asks the service."""
    servant = _servant_class(slice_class)()
    interface = slice_class.__name__
    servant.invoke = lambda name, args: answer(services, owner, service, interface, name, args)
    return servant


def publish(
    services: Services, owner: Owner, slice_class: Any, prx_class: Any, service: Any, name: str
) -> Any:
    """Make a servant reachable under ``name`` for its owner and return its proxy (of the right type.

    IcePy checks).
    """
    identity = Ice.Identity(name, owner.category)
    servant = make_servant(slice_class, service, services, owner)
    if services.adapter.find(identity) is None:
        services.adapter.add(servant, identity)
        services.published.setdefault(owner.client, set()).add((name, owner.category))
    return prx_class.uncheckedCast(services.adapter.createProxy(identity))


def unpublish_all(services: Services, client: str) -> None:
    """Take out every servant of a client that is gone."""
    for name, category in services.published.pop(client, set()):
        identity = Ice.Identity(name, category)
        if services.adapter.find(identity) is not None:
            services.adapter.remove(identity)


def unpublish(services: Services, current: Any) -> None:
    """Take the servant that is being called out of the adapter."""
    client = current.id.category.removeprefix("session-")
    services.published.get(client, set()).discard((current.id.name, current.id.category))
    if services.adapter.find(current.id) is not None:
        services.adapter.remove(current.id)


def not_there() -> type[Exception]:
    """Glacier2's exception for a connection without a session.

    ZeroC's Glacier2.py puts a class of its own in the place of the one that can cross the wire.
    """
    known: list[type[Exception]] = Ice.UserException.__subclasses__()
    return next(one for one in known if one.__name__ == "SessionNotExistException")
