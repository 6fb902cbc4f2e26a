"""API v1 as the agent calls it: bounded in time, and every failure is one of two kinds.

:class:`BridgeRefused` means "no" (asking again will not help), :class:`BridgeAway` means "not now" (the
outbox keeps it). Nothing here retries: the callers know what may wait. No header and no body is ever logged.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import requests
from pydantic import BaseModel, ValidationError

from agent.core.errors import BridgeAway, BridgeRefused
from server_bridge.contract import (
    MANIFEST_MEDIA_TYPE,
    WORKSTATION_HEADER,
    ChangesPage,
    CommandRequest,
    CommandResult,
    Container,
    ContainerList,
    FreedAccepted,
    FreedReport,
    Heartbeat,
    HeartbeatAnswer,
    ManifestAccepted,
    NewContainer,
    OrderIntent,
    OrderState,
    Person,
    PersonList,
    Problem,
    Release,
    SessionCreated,
    SessionRequest,
    SessionState,
    TagList,
    Workstation,
    WorkstationRegistration,
)

AnswerModel = TypeVar("AnswerModel", bound=BaseModel)
CONNECT_SECONDS = 10.0
UPLOAD_SECONDS = 300.0
"""A manifest of a million files takes the bridge a while to store."""
RELEASE_SECONDS = 150.0
"""A release looks at every file of the order on two disks and in OMERO."""
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504, 507})


class Credentials:
    """What stands in the headers of one request. Its repr shows nothing."""

    __slots__ = ("bearer", "workstation")

    def __init__(self, workstation: str = "", bearer: str = "") -> None:
        self.workstation = workstation
        """``<id>:<key>``, or empty."""
        self.bearer = bearer

    def headers(self) -> dict[str, str]:
        """The headers."""
        found = {}
        if self.workstation:
            found[WORKSTATION_HEADER] = self.workstation
        if self.bearer:
            found["Authorization"] = f"Bearer {self.bearer}"
        return found

    def __repr__(self) -> str:
        return "Credentials(…)"


class BridgeClient:
    """One bridge. Every method may be called from any thread."""

    def __init__(self, url: str, *, ca_file: Path | None = None, timeout_seconds: float = 30.0) -> None:
        self._url = url
        self._verify: bool | str = str(ca_file) if ca_file else True
        self._timeout = timeout_seconds
        self._local = threading.local()
        self._guard = threading.Lock()
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """Close every connection; requests that still run end with :class:`BridgeAway`."""
        with self._guard:
            for session in self._sessions:
                session.close()
            self._sessions.clear()

    def _session(self) -> requests.Session:
        found: requests.Session | None = getattr(self._local, "session", None)
        if found is None:
            found = requests.Session()
            # No .netrc (it would replace our Authorization) and no proxy: a bridge is on the site's network.
            found.trust_env = False
            found.verify = self._verify
            self._local.session = found
            with self._guard:
                self._sessions.append(found)
        return found

    # --- one request ----------------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        credentials: Credentials,
        *,
        body: BaseModel | None = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> requests.Response:
        all_headers = {"Accept": "application/json", **credentials.headers(), **(headers or {})}
        if body is not None:
            data = body.model_dump_json().encode()
            all_headers["Content-Type"] = "application/json"
        try:
            answer = self._session().request(
                method,
                self._url + path,
                data=data,
                headers=all_headers,
                params=params,
                timeout=(CONNECT_SECONDS, timeout_seconds or self._timeout),
                # A redirect would carry the token to whoever sent it.
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            raise BridgeAway(
                "Its certificate could not be checked.",
                code="bridge_tls",
                title="The bridge's certificate is not trusted",
                remedy="Ask the platform staff for the site's certificate file (setting ca_file).",
            ) from error
        except requests.exceptions.Timeout as error:
            raise BridgeAway("It took too long.", remedy="Nothing to do: it is tried again.") from error
        except requests.exceptions.RequestException as error:
            raise BridgeAway(
                f"No connection to {self._url}.", remedy="Nothing to do: it is tried again."
            ) from error
        if answer.status_code >= 300:
            raise self._failure(answer)
        return answer

    @staticmethod
    def _failure(answer: requests.Response) -> BridgeRefused | BridgeAway:
        status = answer.status_code
        try:
            problem = Problem.model_validate_json(answer.content)
        except ValidationError:
            problem = None
        if status in _LATER or problem is None:
            # Something that is not our bridge (a proxy, a maintenance page) has refused nothing.
            return BridgeAway(
                problem.detail if problem else f"The answer was HTTP {status}.",
                code=problem.code if problem else "",
                title=problem.title if problem else "",
                remedy=problem.remedy if problem else "Nothing to do: it is tried again.",
                contact=problem.contact if problem else "",
            )
        return BridgeRefused(problem)

    @staticmethod
    def _read(model: type[AnswerModel], answer: requests.Response) -> AnswerModel:
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise BridgeAway(
                f"The answer does not fit ({error.error_count()} places).",
                code="bridge_answer",
                title="The bridge speaks differently",
                remedy="The agent and the bridge may need the same version: ask the platform staff.",
            ) from error

    # --- sessions and workstations --------------------------------------------------------------------

    def sign_in(self, request: SessionRequest, credentials: Credentials) -> SessionCreated:
        """``POST /v1/session``. The password is in ``request`` and nowhere else."""
        return self._read(SessionCreated, self._call("POST", "/v1/session", credentials, body=request))

    def session(self, credentials: Credentials) -> SessionState:
        """``GET /v1/session``."""
        return self._read(SessionState, self._call("GET", "/v1/session", credentials))

    def sign_out(self, credentials: Credentials) -> None:
        """``DELETE /v1/session``."""
        self._call("DELETE", "/v1/session", credentials)

    def register(self, request: WorkstationRegistration) -> Workstation:
        """``POST /v1/workstation``."""
        return self._read(Workstation, self._call("POST", "/v1/workstation", Credentials(), body=request))

    def workstation(self, credentials: Credentials) -> Workstation:
        """``GET /v1/workstation``."""
        return self._read(Workstation, self._call("GET", "/v1/workstation", credentials))

    def heartbeat(
        self, beat: Heartbeat, credentials: Credentials, without: frozenset[str] = frozenset()
    ) -> HeartbeatAnswer:
        """``POST /v1/workstation/heartbeat``. ``without``: fields that this bridge does not know."""
        body = beat.model_dump_json(exclude=set(without)).encode()
        answer = self._call(
            "POST",
            "/v1/workstation/heartbeat",
            credentials,
            data=body,
            headers={"Content-Type": "application/json"},
        )
        return self._read(HeartbeatAnswer, answer)

    # --- targets --------------------------------------------------------------------------------------

    def containers(
        self,
        credentials: Credentials,
        group_id: int,
        kind: str,
        project_id: int | None,
        query: str,
        person: str = "",
    ) -> ContainerList:
        """``GET /v1/targets/containers``; staff may ask as another ``person``."""
        params: dict[str, Any] = {"group": group_id, "kind": kind, "q": query}
        if project_id is not None:
            params["project"] = project_id
        if person:
            params["person"] = person
        return self._read(
            ContainerList, self._call("GET", "/v1/targets/containers", credentials, params=params)
        )

    def tags(self, credentials: Credentials, group_id: int, query: str, person: str = "") -> TagList:
        """``GET /v1/targets/tags``; staff may ask as another ``person``."""
        params: dict[str, Any] = {"group": group_id, "q": query}
        if person:
            params["person"] = person
        return self._read(TagList, self._call("GET", "/v1/targets/tags", credentials, params=params))

    def persons(self, credentials: Credentials, query: str) -> PersonList:
        """``GET /v1/persons``, for staff."""
        return self._read(PersonList, self._call("GET", "/v1/persons", credentials, params={"q": query}))

    def person(self, credentials: Credentials, username: str) -> Person:
        """``GET /v1/persons/{username}``, for staff."""
        return self._read(Person, self._call("GET", f"/v1/persons/{quote(username, safe='')}", credentials))

    def create_container(self, new: NewContainer, credentials: Credentials) -> Container:
        """``POST /v1/targets/containers``."""
        return self._read(Container, self._call("POST", "/v1/targets/containers", credentials, body=new))

    # --- orders ---------------------------------------------------------------------------------------

    def put_order(self, order_id: UUID, intent: OrderIntent, credentials: Credentials) -> OrderState:
        """``PUT /v1/orders/{id}``; a repeat is harmless."""
        return self._read(OrderState, self._call("PUT", f"/v1/orders/{order_id}", credentials, body=intent))

    def put_manifest(
        self, order_id: UUID, revision: int, sealed: bool, body: bytes, credentials: Credentials
    ) -> ManifestAccepted:
        """``PUT /v1/orders/{id}/manifest`` with a gzip NDJSON body."""
        answer = self._call(
            "PUT",
            f"/v1/orders/{order_id}/manifest",
            credentials,
            data=body,
            headers={"Content-Type": MANIFEST_MEDIA_TYPE, "Content-Encoding": "gzip"},
            params={"revision": revision, "sealed": "true" if sealed else "false"},
            timeout_seconds=UPLOAD_SECONDS,
        )
        return self._read(ManifestAccepted, answer)

    def command(self, order_id: UUID, request: CommandRequest, credentials: Credentials) -> CommandResult:
        """``POST /v1/orders/{id}/commands``; a repeat with the same id gets the first answer."""
        return self._read(
            CommandResult, self._call("POST", f"/v1/orders/{order_id}/commands", credentials, body=request)
        )

    def order(self, order_id: UUID, credentials: Credentials) -> OrderState:
        """``GET /v1/orders/{id}``."""
        return self._read(OrderState, self._call("GET", f"/v1/orders/{order_id}", credentials))

    def changes(
        self, after: int, wait_seconds: float, progress_after: float, credentials: Credentials
    ) -> ChangesPage:
        """``GET /v1/orders``: the feed, waiting up to ``wait_seconds``."""
        params = {"after": after, "wait": wait_seconds, "progress_after": progress_after}
        answer = self._call(
            "GET",
            "/v1/orders",
            credentials,
            params=params,
            timeout_seconds=wait_seconds + self._timeout,
        )
        return self._read(ChangesPage, answer)

    def release(self, order_id: UUID, credentials: Credentials) -> Release:
        """``GET /v1/orders/{id}/release``: checked by the bridge here and now."""
        answer = self._call(
            "GET",
            f"/v1/orders/{quote(str(order_id))}/release",
            credentials,
            timeout_seconds=RELEASE_SECONDS,
        )
        return self._read(Release, answer)

    def freed(self, order_id: UUID, report: FreedReport, credentials: Credentials) -> FreedAccepted:
        """``POST /v1/orders/{id}/freed``."""
        return self._read(
            FreedAccepted, self._call("POST", f"/v1/orders/{order_id}/freed", credentials, body=report)
        )
