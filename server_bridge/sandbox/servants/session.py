"""ISession: sessions for others, looking at sessions, ending them."""

from __future__ import annotations

from typing import Any

import omero
import omero.model
from omero.rtypes import rlong

from server_bridge.sandbox.objects import load_one
from server_bridge.sandbox.servants.core import Call
from server_bridge.sandbox.sessions import OpenSession, usage


def as_model(call: Call, session: OpenSession) -> Any:
    """The session as clients see it: loaded, with its owner, its times and its details."""
    loaded = load_one(call.store, call.caller, "Session", session.row_id, {"owner": {}})
    details = loaded._details
    details._owner = omero.model.ExperimenterI(session.user_id, False)
    details._group = omero.model.ExperimenterGroupI(session.group_id, False)
    loaded._timeToIdle = rlong(session.idle_ms)
    loaded._timeToLive = rlong(session.live_ms)
    return loaded


class Session:
    """omero.api.ISession."""

    def createSession(self, call: Call, principal: Any, credentials: str) -> Any:
        raise usage("Create sessions by signing in, or for others with createSessionWithTimeouts.")

    def createSessionWithTimeout(self, call: Call, principal: Any, live_ms: int) -> Any:
        return self.createSessionWithTimeouts(call, principal, live_ms, 0)

    def createSessionWithTimeouts(self, call: Call, principal: Any, live_ms: int, idle_ms: int) -> Any:
        if principal is None or not principal.name:
            raise usage("A principal needs a name.")
        made = call.services.sessions.create_for(
            call.caller, principal.name, principal.group or None, principal.eventType, live_ms, idle_ms
        )
        return as_model(call, made)

    def createUserSession(self, call: Call, live_ms: int, idle_ms: int, default_group: str) -> Any:
        user = call.caller.user_name
        sessions = call.services.sessions
        made = sessions.create(
            call.caller.user_id, default_group or None, live_ms, idle_ms, "User", call.caller.sudoer_id, user
        )
        return as_model(call, made)

    def getSession(self, call: Call, key: str) -> Any:
        found = call.services.sessions.find(key)
        if found is None:
            raise omero.RemovedSessionException(
                None, "ome.conditions.RemovedSessionException", f"No session with uuid: {key}"
            )
        return as_model(call, found)

    def getReferenceCount(self, call: Call, key: str) -> int:
        return call.services.sessions.references(key)

    def closeSession(self, call: Call, session: Any) -> int:
        key = session.uuid.val if session is not None and session.uuid is not None else ""
        return call.services.sessions.close(key)

    def getMyOpenSessions(self, call: Call) -> list[Any]:
        return [as_model(call, one) for one in call.services.sessions.of_user(call.caller.user_id)]

    def getMyOpenClientSessions(self, call: Call) -> list[Any]:
        return self.getMyOpenSessions(call)

    def getMyOpenAgentSessions(self, call: Call, agent: str) -> list[Any]:
        mine = call.services.sessions.of_user(call.caller.user_id)
        return [as_model(call, one) for one in mine if one.agent == agent]

    def getInput(self, call: Call, key: str, name: str) -> Any:
        return call.services.sessions.use(key).inputs.get(name)

    def setInput(self, call: Call, key: str, name: str, value: Any) -> None:
        call.services.sessions.use(key).inputs[name] = value

    def getInputKeys(self, call: Call, key: str) -> list[str]:
        return sorted(call.services.sessions.use(key).inputs)

    def getInputs(self, call: Call, key: str) -> dict[str, Any]:
        return dict(call.services.sessions.use(key).inputs)

    def getOutput(self, call: Call, key: str, name: str) -> Any:
        return call.services.sessions.use(key).outputs.get(name)

    def setOutput(self, call: Call, key: str, name: str, value: Any) -> None:
        call.services.sessions.use(key).outputs[name] = value

    def getOutputKeys(self, call: Call, key: str) -> list[str]:
        return sorted(call.services.sessions.use(key).outputs)

    def getOutputs(self, call: Call, key: str) -> dict[str, Any]:
        return dict(call.services.sessions.use(key).outputs)
