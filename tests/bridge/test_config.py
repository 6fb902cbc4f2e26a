"""The site file: the shipped example loads, mistakes are named, secrets are guarded, the environment wins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server_bridge.config import describe, load_site, read_secret
from server_bridge.errors import ConfigurationError
from tests.bridge.bridge_site import make_site

EXAMPLE = Path(__file__).parents[2] / "resources" / "site.example.toml"


def test_the_shipped_example_is_a_valid_site() -> None:
    site = load_site(EXAMPLE)
    assert [(share.id, share.source.kind) for share in site.shares] == [
        ("confocal", "daemon"),
        ("lightsheet", "ssh"),
        ("slides", "path"),
    ]
    assert site.url == "sqlite:////var/lib/omero-ferry/ferry.sqlite3"


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "site.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('id = "lightsheet"', 'id = "confocal"', "same id"),
        ('id = "lightsheet"', 'id = "Light Sheet"', "shares"),
        ('state_dir = "/var', 'state_dir = "var', "absolute"),
        ("hold_days = 3", "hold_days = -1", "hold_days"),
        ("hold_days = 3", "hold_day = 3", "hold_day"),
        ('clean = "ask"', 'clean = "released"', 'needs `deletion = "agent"`'),
        ('clean = "ask"', 'clean = "at once"', "clean"),
        ("clean_below_percent = 20", "clean_below_percent = 0", "clean_below_percent"),
        ('kind = "ssh"', 'kind = "ftp"', "source"),
        ('name = "Microscopy platform"', "", "name"),
        ("port = 8450", 'port = "many"', "http.port"),
        ('end_of_day = "20:00"', 'end_of_day = "8 pm"', "end_of_day"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_site(changed(tmp_path, old, new))
    assert named in caught.value.detail
    assert caught.value.remedy


def test_no_file_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No site file"):
        load_site(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_site(tmp_path / "bad.toml")


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRY_HTTP__PORT", "9999")
    monkeypatch.setenv("FERRY_NAME", "Elsewhere")
    site = load_site(EXAMPLE)
    assert (site.http.port, site.name) == (9999, "Elsewhere")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    secret.chmod(mode)
    with pytest.raises(ConfigurationError, match="open to others") as caught:
        read_secret(secret)
    assert "hush" not in str(caught.value)
    secret.chmod(0o600)
    assert read_secret(secret) == "hush"


def test_an_empty_or_missing_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_secret(tmp_path / "none")
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    with pytest.raises(ConfigurationError, match="empty"):
        read_secret(secret)


def test_the_description_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "omero.pass").write_text("hush\n")
    site = make_site(tmp_path)
    site.omero.password_file.write_text("hush-hush\n")
    assert "hush-hush" not in json.dumps(describe(site))
