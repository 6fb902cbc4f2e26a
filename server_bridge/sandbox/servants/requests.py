"""The requests that ServiceFactory.submit takes, and the response to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import omero
import omero.cmd
from omero.rtypes import unwrap

from server_bridge.sandbox.graphs import GraphError, as_error, delete_graph, disk_usage, move_graph
from server_bridge.sandbox.servants.core import Call
from server_bridge.sandbox.servants.session import as_model


def respond(call: Call, request: Any) -> Any:
    """The response to one request; what the sandbox does not know is answered with an error that names it."""
    answers: dict[type, Callable[[Call, Any], Any]] = {
        omero.cmd.DoAll: _all,
        omero.cmd.Delete2: _delete,
        omero.cmd.Chgrp2: _move,
        omero.cmd.DiskUsage2: _disk_usage,
        omero.cmd.CurrentSessionsRequest: _current_sessions,
        omero.cmd.UpdateSessionTimeoutRequest: _session_times,
    }
    for kind, answer in answers.items():
        if isinstance(request, kind):
            try:
                return answer(call, request)
            except GraphError as error:
                return as_error(error)
            except omero.ServerError as error:
                return omero.cmd.ERR("::omero::cmd::ERR", type(error).__name__, {"message": error.message})
    name = type(request).__name__ if request is not None else "null"
    message = f"The sandbox does not know the request {name}"
    return omero.cmd.Unknown("::omero::cmd::Unknown", "sandbox-unsupported", {"message": message})


def _all(call: Call, request: Any) -> Any:
    """One after the other up to the first that fails; what was done before stays done, unlike in OMERO."""
    responses = []
    for one in request.requests:
        responses.append(respond(call, one))
        if isinstance(responses[-1], omero.cmd.ERR):
            return responses[-1]
    return omero.cmd.DoAllRsp(responses, [omero.cmd.Status() for _ in responses])


def _delete(call: Call, request: Any) -> Any:
    return omero.cmd.Delete2Response(delete_graph(call, request.targetObjects or {}, request.dryRun))


def _move(call: Call, request: Any) -> Any:
    moved, cut = move_graph(call, request.targetObjects or {}, request.groupId, request.dryRun)
    return omero.cmd.Chgrp2Response(moved, cut)


def _disk_usage(call: Call, request: Any) -> Any:
    """Bytes and files in the repository, by owner and group and by the class that refers to them."""
    used = disk_usage(call, request.targetObjects or {})
    return omero.cmd.DiskUsage2Response(
        {key: {"FilesetEntry": files} for key, (files, _) in used.items()},
        {key: {"FilesetEntry": size} for key, (_, size) in used.items()},
        {key: files for key, (files, _) in used.items()},
        {key: size for key, (_, size) in used.items()},
    )


def _current_sessions(call: Call, _request: Any) -> Any:
    """Everybody's sessions; keys and times of others only with ReadSession."""
    sessions: list[Any] = []
    contexts: list[Any] = []
    for one in call.services.sessions.everybody():
        mine = one.user_id == call.caller.user_id or "ReadSession" in call.caller.privileges
        user = call.services.people.by_id(one.user_id)
        group = call.services.people.group_by_id(one.group_id)
        sessions.append(as_model(call, one) if mine else None)
        contexts.append(
            omero.sys.EventContext(
                sessionUuid=one.uuid if mine else "",
                userId=one.user_id,
                userName=user["omeName"] if user else "",
                groupId=one.group_id,
                groupName=group["name"] if group else "",
            )
        )
    return omero.cmd.CurrentSessionsResponse(sessions, contexts, [{} for _ in sessions])


def _session_times(call: Call, request: Any) -> Any:
    call.services.sessions.set_times(
        call.caller, request.session, unwrap(request.timeToLive), unwrap(request.timeToIdle)
    )
    return omero.cmd.OK()
