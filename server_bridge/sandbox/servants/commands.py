"""Requests that run as commands: a handle with a status, a response and callbacks."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import Ice
import omero
import omero.cmd

from server_bridge.sandbox.servants.core import Call, Owner, log, publish, unpublish
from server_bridge.sandbox.servants.requests import respond
from server_bridge.sandbox.store import now_ms


class Handle:
    """omero.cmd.Handle: one running or finished request."""

    def __init__(self, request: Any, steps: int = 1) -> None:
        self.request = request
        self.response: Any = None
        self.status = omero.cmd.Status(
            flags=[], parameters={}, steps=steps, startTime=now_ms(), stepStartTimes=[], stepStopTimes=[]
        )
        self._lock = threading.Lock()
        self._callbacks: dict[Any, Any] = {}

    # -- for the one who runs it

    def step(self, number: int) -> None:
        """Tell everybody that ``number`` of the steps are done."""
        self.status.currentStep = number
        for callback in self._listeners():
            self._tell(lambda to=callback: to.begin_step(number, self.status.steps))

    def finish(self, response: Any) -> None:
        """The end, well or not; flags follow from the kind of response."""
        self.status.stopTime = now_ms()
        flag = omero.cmd.State.FAILURE if isinstance(response, omero.cmd.ERR) else omero.cmd.State.SUCCESS
        self.status.flags = [omero.cmd.State.ALL, flag] if flag is omero.cmd.State.FAILURE else [flag]
        with self._lock:
            self.response = response
            listeners = list(self._callbacks.values())
        for callback in listeners:
            self._tell(lambda to=callback: to.begin_finished(response, self.status))

    def _listeners(self) -> list[Any]:
        with self._lock:
            return list(self._callbacks.values())

    @staticmethod
    def _tell(say: Any) -> None:
        # A client that is gone must not stop what it started.
        try:
            say()
        except Ice.Exception as error:
            log.info("a callback could not be told: %s", type(error).__name__)

    # -- for clients

    def addCallback(self, call: Call, callback: Any) -> None:
        # Back over the client's own connection: it listens nowhere else.
        identity = callback.ice_getIdentity()
        back = omero.cmd.CmdCallbackPrx.uncheckedCast(call.current.con.createProxy(identity))
        with self._lock:
            self._callbacks[(identity.category, identity.name)] = back

    def removeCallback(self, call: Call, callback: Any) -> None:
        identity = callback.ice_getIdentity()
        with self._lock:
            self._callbacks.pop((identity.category, identity.name), None)

    def getRequest(self, call: Call) -> Any:
        return self.request

    def getResponse(self, call: Call) -> Any:
        with self._lock:
            return self.response

    def getStatus(self, call: Call) -> Any:
        return self.status

    def cancel(self, call: Call) -> bool:
        return self.response is not None

    def close(self, call: Call) -> None:
        unpublish(call.services, call.current)

    def published(self, call: Call) -> Any:
        owner = Owner(call.caller.session_uuid, call.client)
        return publish(
            call.services, owner, omero.cmd.Handle, omero.cmd.HandlePrx, self, f"handle-{uuid.uuid4()}"
        )


def submit(call: Call, request: Any) -> Any:
    """Run a request; what the sandbox does not know is answered with an error that names it."""
    handle = Handle(request)
    handle.finish(respond(call, request))
    return handle.published(call)
