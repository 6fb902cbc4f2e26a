"""Rules in the site file: mistakes are named, and a workstation's own rule changes what it names alone."""

from __future__ import annotations

import tomllib

import pytest
from pydantic import ValidationError

from server_bridge.contract import AcquisitionRule
from server_bridge.rule_config import ShareRuleConfig


def rule(text: str) -> ShareRuleConfig:
    return ShareRuleConfig.model_validate(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dept = 2", "dept"),
        ('items = "plates"', "folders"),
        ('template = "{user}/{projct}/{acquisition}"', "{projct}"),
        ('template = "{acquisition}/{user}"', "last level"),
        ('template = "{user}/{user}/{acquisition}"', "twice"),
        ('template = "{user}//{acquisition}"', "empty"),
        ('template = "{user/{acquisition}"', "template"),
        ('depth = 2\ntemplate = "{user}/{project}/{acquisition}"', "depth = 2"),
        ('formats = ["cz1"]', "cz1"),
        ('formats = ["-cz1"]', "cz1"),
        ("format_quiet_seconds = { cz1 = 3 }", "cz1"),
        ("format_quiet_seconds = { czi = 0 }", "greater than 0"),
        ('[workstations."Confocal"]\ndept = 1', "dept"),
        ('[workstations."Confocal"]\nignore = ["*.log"]', "the share's"),
        ('[workstations."Confocal"]\ntemplate = "{usr}"', "{usr}"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        rule(text)
    assert said in str(caught.value)


def test_a_workstation_gets_the_shares_rule_with_its_own_changes() -> None:
    site = rule(
        """
        template = "{user}/{acquisition}"
        quiet_seconds = 300
        acquisition_programs = ["zen.exe"]
        [workstations."Screening"]
        items = "files"
        depth = 1
        quiet_seconds = 900
        format_quiet_seconds = { metaxpress = 3600 }
        [workstations."Light sheet"]
        template = "{user}/{project}/{acquisition}"
        """
    )
    assert site.of("any other") == AcquisitionRule(
        template="{user}/{acquisition}", depth=2, quiet_seconds=300, acquisition_programs=("zen.exe",)
    )
    screening = site.of("Screening")
    assert (screening.items, screening.levels, screening.template) == ("files", 1, "")
    assert (screening.quiet_for("metaxpress"), screening.quiet_for("czi")) == (3600, 900)
    assert screening.acquisition_programs == ("zen.exe",)
    assert (site.of("Light sheet").levels, site.of("Light sheet").quiet_seconds) == (3, 300)


def test_an_old_rule_of_depth_alone_is_still_one() -> None:
    assert rule("depth = 2\nquiet_seconds = 60").of("x") == AcquisitionRule(depth=2, quiet_seconds=60)
