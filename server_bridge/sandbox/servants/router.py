"""Signing in: a Glacier2 router without routing, and the service factory it hands out.

Clients reach every servant through the endpoints they know already, so the router answers no client proxy
and no evicted proxies. Callbacks travel back over the client's own connection.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import Any

import Glacier2
import Ice
import omero
import omero.api
import omero.cmd
import omero.grid

from server_bridge.sandbox.faults import FaultError
from server_bridge.sandbox.servants.admin import Admin
from server_bridge.sandbox.servants.commands import submit
from server_bridge.sandbox.servants.config import Config
from server_bridge.sandbox.servants.container import Container
from server_bridge.sandbox.servants.core import (
    Call,
    Owner,
    Services,
    internal,
    log,
    not_there,
    publish,
    unpublish_all,
)
from server_bridge.sandbox.servants.files import RawFile, resources
from server_bridge.sandbox.servants.metadata import Metadata, Types
from server_bridge.sandbox.servants.query import Query
from server_bridge.sandbox.servants.session import Session
from server_bridge.sandbox.servants.update import Update
from server_bridge.sandbox.sessions import OpenSession

SERVICES: dict[str, tuple[str, type]] = {
    "getAdminService": ("IAdmin", Admin),
    "getConfigService": ("IConfig", Config),
    "getContainerService": ("IContainer", Container),
    "getMetadataService": ("IMetadata", Metadata),
    "getQueryService": ("IQuery", Query),
    "getSessionService": ("ISession", Session),
    "getTypesService": ("ITypes", Types),
    "getUpdateService": ("IUpdate", Update),
}
BY_NAME = {f"omero.api.{interface}": operation for operation, (interface, _) in SERVICES.items()}


@dataclass
class Client:
    """One connected client: the session it uses and whether the session ends with it."""

    owner: Owner
    close_on_destroy: bool = True


class Router(Glacier2.Router):  # type: ignore[misc]
    """``OMERO.Glacier2/router``."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.services = services
        self._lock = threading.Lock()
        self._clients: dict[str, Client] = {}

    def createSession_async(self, callback: Any, user: str, password: str, current: Any) -> None:
        try:
            result = self.sign_in(user, password, current)
        except Exception as error:  # noqa: BLE001 - handed to the client, which is who must see it
            callback.ice_exception(error)
            return
        callback.ice_response(result)

    def sign_in(self, user: str, password: str, current: Any) -> Any:
        """A new session, or one more reference to the session whose key was given as the name."""
        try:
            self.services.faults.strike("login", user)
        except FaultError as error:
            raise omero.WrappedCreateSessionException(str(error), False, 0, "sandbox.Fault") from error
        sessions = self.services.sessions
        client = current.ctx.get(omero.constants.CLIENTUUID) or str(uuid.uuid4())
        session = sessions.join(user)
        if session is None:
            group = current.ctx.get("omero.group") or None
            agent = current.ctx.get(omero.constants.AGENT, "")
            try:
                session = sessions.login(user, password, group, agent)
            except omero.ServerError as error:
                raise omero.WrappedCreateSessionException(
                    error.message, False, 0, error.serverExceptionClass or type(error).__name__
                ) from error
        if session is None:
            known = self.services.people.by_name(user)
            place = f" [id={known['id']}]" if known is not None else ""
            raise Glacier2.PermissionDeniedException(f"Password check failed for '{user}':{place}")
        owner = Owner(session.uuid, client)
        with self._lock:
            self._clients[client] = Client(owner)
        current.con.setCallback(_Watch(self, client))
        return self.service_factory(session, owner)

    def service_factory(self, session: OpenSession, owner: Owner) -> Any:
        factory = ServiceFactory(self, owner)
        return publish(
            self.services, owner, omero.api.ServiceFactory, omero.api.ServiceFactoryPrx, factory, session.uuid
        )

    def set_close(self, client: str, close: bool) -> None:
        with self._lock:
            if client in self._clients:
                self._clients[client].close_on_destroy = close

    def drop(self, client: str) -> bool:
        """Forget a client and give back its reference; False if it was not known."""
        with self._lock:
            known = self._clients.pop(client, None)
        if known is None:
            return False
        self.services.sessions.detach(known.owner.session, known.close_on_destroy)
        self.services.repository.forget_client(client)
        # The servants go; an import that the server took over runs on without them.
        unpublish_all(self.services, client)
        return True

    def destroySession(self, current: Any) -> None:
        if not self.drop(current.ctx.get(omero.constants.CLIENTUUID, "")):
            raise not_there()()

    def refreshSession_async(self, callback: Any, current: Any) -> None:
        callback.ice_response()

    def getClientProxy(self, current: Any) -> Any:
        return None

    def getServerProxy(self, current: Any) -> Any:
        return current.adapter.createProxy(current.id)

    def getCategoryForClient(self, current: Any) -> str:
        return str(uuid.uuid4())

    def addProxies(self, proxies: Any, current: Any) -> list[Any]:
        return []

    def getSessionTimeout(self, current: Any) -> int:
        return 600

    def getACMTimeout(self, current: Any) -> int:
        return 60


class _Watch(Ice.ConnectionCallback):  # type: ignore[misc]
    """Gives a client's reference back when its connection closes, however it closes."""

    def __init__(self, router: Router, client: str) -> None:
        super().__init__()
        self.router = router
        self.client = client

    def heartbeat(self, connection: Any) -> None:
        return None

    def closed(self, connection: Any) -> None:
        if self.router.drop(self.client):
            log.info("client %s went away without saying so", self.client)


class ServiceFactory:
    """What a client holds after signing in; its proxy's name is the session's key."""

    def __init__(self, router: Router, owner: Owner) -> None:
        self.router = router
        self.owner = owner

    def __getattr__(self, name: str) -> Any:
        if name not in SERVICES:
            raise AttributeError(name)
        return lambda _call: self.service(name)

    def service(self, operation: str) -> Any:
        interface, implementation = SERVICES[operation]
        return publish(
            self.router.services,
            self.owner,
            getattr(omero.api, interface),
            getattr(omero.api, f"{interface}Prx"),
            implementation(),
            f"{self.owner.session}/omero.api.{interface}",
        )

    def getByName(self, call: Call, name: str) -> Any:
        operation = BY_NAME.get(name)
        if operation is None:
            raise internal(f"The sandbox does not implement the service {name}")
        return omero.api.ServiceInterfacePrx.uncheckedCast(self.service(operation))

    def createRawFileStore(self, call: Call) -> Any:
        return RawFile(call.services).published(call)

    def sharedResources(self, call: Call) -> Any:
        return resources(call, self.owner)

    def submit(self, call: Call, request: Any) -> Any:
        return submit(call, request)

    def setCallback(self, call: Call, callback: Any) -> None:
        return None

    def closeOnDestroy(self, call: Call) -> None:
        self.router.set_close(self.owner.client, True)

    def detachOnDestroy(self, call: Call) -> None:
        self.router.set_close(self.owner.client, False)

    def keepAlive(self, call: Call, proxy: Any) -> bool:
        return True

    def keepAllAlive(self, call: Call, proxies: Any) -> int:
        # A bit for each proxy that is gone; nothing here goes before its session does.
        return 0

    def activeServices(self, call: Call) -> list[str]:
        return []

    def getSecurityContexts(self, call: Call) -> list[Any]:
        return []

    def destroy(self, call: Call) -> None:
        self.router.drop(self.owner.client)
