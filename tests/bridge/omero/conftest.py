"""Fixtures of the tests against OMERO: the bridge's own classes, the real ``omero`` command, a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from server_bridge.config import OmeroConfig
from server_bridge.omero.connection import Omero, Session
from tests.bridge.conftest_sandbox import RunningSandbox, sandbox, start_sandbox

__all__ = ["sandbox", "start_sandbox"]

AsPerson = Callable[..., AbstractContextManager[Session]]


def config_for(running: RunningSandbox, **changes: object) -> OmeroConfig:
    """The site file's ``[omero]`` for a sandbox."""
    secret = running.data.with_name(f"{running.data.name}-password")
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text("ferry-sandbox\n")
    values: dict[str, object] = {
        "host": running.host,
        "port": running.ssl_port,
        "password_file": secret,
        "omerodir": running.omerodir,
        "java": str(running.java_dir / "java"),
        "call_timeout_seconds": 20,
        "import_stall_seconds": 60,
    }
    return OmeroConfig.model_validate(values | changes)


@pytest.fixture
def config(sandbox: RunningSandbox) -> OmeroConfig:
    return config_for(sandbox)


@pytest.fixture
def bridge(config: OmeroConfig) -> Omero:
    """The bridge's OMERO, on the sandbox that the whole run shares."""
    return Omero(config)


@pytest.fixture
def groups(bridge: Omero) -> dict[str, int]:
    """Group ids by name."""
    found: dict[str, int] = {}
    for name in ("alice", "bob"):
        person = bridge.person(name)
        assert person is not None
        found |= {group.name: group.id for group in person.groups}
    return found


@pytest.fixture
def as_person(bridge: Omero, groups: dict[str, int]) -> AsPerson:
    """``with as_person("alice", "Platform") as session``."""
    return lambda name, group="Cytoskeleton": bridge.as_person(name, groups[group])


@pytest.fixture
def alice(as_person: AsPerson) -> Iterator[Session]:
    with as_person("alice") as session:
        yield session


@pytest.fixture
def service(bridge: Omero) -> Iterator[Session]:
    with bridge.service() as session:
        yield session


@pytest.fixture
def staging(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> Path:
    """A folder of this test's own on the mount of the repository, as an order's staging is."""
    path = sandbox.data / "staging" / request.node.name.replace("[", "-").replace("]", "")
    path.mkdir(parents=True)
    return path
