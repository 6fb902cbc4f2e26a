"""Each value knows where it came from, and nobody redirects everybody's sign-in from a user's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.errors import SettingsError
from agent.core.settings import Settings, Source, load


def loaded(tmp_path: Path, machine: str = "", user: str = "", **more: object) -> Settings:
    (tmp_path / "machine.toml").write_text(machine, encoding="utf-8")
    (tmp_path / "user.toml").write_text(user, encoding="utf-8")
    return load(
        policy=more.get("policy", {}),  # type: ignore[arg-type]
        machine=more.get("registry", {}),  # type: ignore[arg-type]
        machine_file=tmp_path / "machine.toml",
        user_file=tmp_path / "user.toml",
        environment=more.get("environment", {}),  # type: ignore[arg-type]
    )


def test_policy_beats_machine_beats_environment_beats_user_beats_default(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "hot_seconds = 2\ntoday_seconds = 2",
        "hot_seconds = 4\ntoday_seconds = 4\nfull_seconds = 4\nstuck_seconds = 4",
        policy={"hot_seconds": 1},
        environment={"FERRY_AGENT_FULL_SECONDS": "3", "OTHER": "x"},
    )
    values = found.values
    assert (values.hot_seconds, values.today_seconds, values.full_seconds, values.stuck_seconds) == (
        1,
        2,
        3,
        4,
    )
    assert found.origin("hot_seconds").source is Source.POLICY and found.origin("hot_seconds").locked
    assert found.origin("full_seconds").source is Source.ENVIRONMENT
    assert found.origin("heartbeat_seconds").source is Source.DEFAULT


def test_the_bridge_of_the_machine_cannot_be_redirected(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        'bridge_url = "https://bridge.example.org/"',
        'bridge_url = "https://evil.example.org"',
        environment={"FERRY_AGENT_BRIDGE_URL": "https://evil.example.org"},
    )
    assert found.values.bridge_url == "https://bridge.example.org"
    assert found.origin("bridge_url").locked


def test_plain_http_is_for_this_machine_only(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'bridge_url = "http://127.0.0.1:8450"').values.bridge_url
    with pytest.raises(SettingsError, match="not encrypted"):
        loaded(tmp_path, 'bridge_url = "http://bridge.example.org"')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hot_second = 3", "no setting 'hot_second'"),
        ("hot_seconds = -1", "hot_seconds (machine)"),
        ("hot_seconds = [", "machine.toml"),
        ('bridge_url = "bridge"', "bridge_url (machine)"),
        ('bridge_url = "https://me:secret@bridge"', "more than host"),
        ('[shares]\nscope1 = "data"', "full path"),
    ],
)
def test_a_wrong_setting_is_named_with_its_source(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    assert says in caught.value.detail and caught.value.remedy


def test_missing_files_say_nothing(tmp_path: Path) -> None:
    found = load(policy={}, machine={}, machine_file=tmp_path / "no", user_file=None, environment={})
    assert found.values.bridge_url == ""
