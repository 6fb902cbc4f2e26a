"""Two kinds of failure over a real socket: "no" and "not now"."""

from __future__ import annotations

import logging
from uuid import uuid4

import pytest

from agent.core.bridge_client import BridgeClient, Credentials
from agent.core.errors import BridgeAway, BridgeRefused
from server_bridge.contract import AcquisitionKind, OrderIntent, SessionRequest, Target
from tests.agent.bridge_stub import BridgeStub, Refusal

INTENT = OrderIntent(
    share="s", path="a", kind=AcquisitionKind.FILE, target=Target(group_id=1, container_name="d")
)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(503),
        Refusal(429, "too_many_attempts"),
        Refusal(500, "internal"),
        Refusal(502, as_problem=False),
        Refusal(404, as_problem=False),
        Refusal(302, as_problem=False),
        Refusal(cut=True),
        Refusal(silent_seconds=1.5),
    ],
)
def test_later_a_proxys_page_a_cut_line_and_silence_mean_not_now(stub: BridgeStub, refusal: Refusal) -> None:
    stub.refuse = lambda _seen: refusal
    client = BridgeClient(stub.url, timeout_seconds=0.5)
    with pytest.raises(BridgeAway) as caught:
        client.put_order(uuid4(), INTENT, Credentials())
    assert caught.value.title
    client.close()


def test_no_answer_at_all_means_not_now(stub: BridgeStub) -> None:
    stub.stop()
    with pytest.raises(BridgeAway):
        BridgeClient(stub.url).put_order(uuid4(), INTENT, Credentials())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_a_problem_with_4xx_is_a_no_with_its_words(stub: BridgeStub, status: int) -> None:
    stub.refuse = lambda _seen: Refusal(status, "some_code", "Some title", "Some detail")
    with pytest.raises(BridgeRefused) as caught:
        BridgeClient(stub.url).put_order(uuid4(), INTENT, Credentials())
    error = caught.value
    assert (error.status, error.code, error.title, error.detail, error.remedy) == (
        status,
        "some_code",
        "Some title",
        "Some detail",
        "Do this.",
    )


def test_nothing_secret_is_logged_or_shown(stub: BridgeStub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = BridgeClient(stub.url)
    request = SessionRequest(username="alice", password="secret-of-alice")
    session = client.sign_in(request, Credentials(workstation="ws-1:the-key"))
    stub.refuse = lambda _seen: Refusal(422, "x")
    with pytest.raises(BridgeRefused) as caught:
        client.put_order(uuid4(), INTENT, Credentials("ws-1:the-key", session.token))
    shown = caplog.text + repr(request) + repr(session) + repr(caught.value) + repr(Credentials("a:b", "c"))
    for secret in ("secret-of-alice", session.token, session.grant.key, "the-key"):
        assert secret not in shown


def test_an_answer_that_does_not_fit_is_not_now(stub: BridgeStub) -> None:
    stub.refuse = lambda _seen: Refusal(200, as_problem=False)
    with pytest.raises(BridgeAway, match="bridge_answer"):
        BridgeClient(stub.url).order(uuid4(), Credentials())
