"""Detection rules as staff write them in the site file: checked strictly, for a share and for single
workstations.

The agent ignores what it does not know in a rule, so that an older one goes on; a misspelled name in the
site file would then be a wish that nobody hears. Here it is an error.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import ConfigDict, Field, field_validator, model_validator

from server_bridge.contract import FORMATS, TEMPLATE_FIELDS, AcquisitionRule

WorkstationName = Annotated[str, Field(min_length=1, max_length=255)]

_FIELD = re.compile(r"\{([^{}]*)\}")
DEEPEST = 10


def template_problem(template: str) -> str:
    """What is wrong with a template; empty where nothing is."""
    plain = template.strip("/")
    if not plain:
        return ""
    levels = plain.split("/")
    fields = _FIELD.findall(plain)
    unknown = [name for name in fields if name not in TEMPLATE_FIELDS]
    known = ", ".join(f"{{{name}}}" for name in TEMPLATE_FIELDS)
    if unknown:
        return f"a template knows {known}, not {{{unknown[0]}}}"
    if any(mark in _FIELD.sub("", plain) for mark in "{}"):
        return "a brace of the template is not closed"
    twice = [name for name in fields if name != "any" and fields.count(name) > 1]
    if twice:
        return f"{{{twice[0]}}} stands in the template twice"
    if "" in levels:
        return "a level of the template is empty"
    if len(levels) > DEEPEST:
        return f"a template has at most {DEEPEST} levels"
    if "acquisition" in fields and "{acquisition}" not in levels[-1]:
        return "{acquisition} is the template's last level"
    return ""


class RuleConfig(AcquisitionRule):
    """A rule of the site file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("template")
    @classmethod
    def _readable(cls, template: str) -> str:
        problem = template_problem(template)
        if problem:
            raise ValueError(problem)
        return template

    @field_validator("formats")
    @classmethod
    def _known(cls, formats: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in formats or ():
            if name.lstrip("+-") not in FORMATS:
                raise ValueError(f"{name!r} is no known format; there are {', '.join(FORMATS)}")
        return formats

    @field_validator("format_quiet_seconds")
    @classmethod
    def _for_known(cls, seconds: dict[str, float]) -> dict[str, float]:
        for name in seconds:
            if name not in FORMATS:
                raise ValueError(f"{name!r} is no known format; there are {', '.join(FORMATS)}")
        return seconds

    @model_validator(mode="after")
    def _one_depth(self) -> RuleConfig:
        if self.template.strip("/") and "depth" in self.model_fields_set and self.depth != self.levels:
            raise ValueError(
                f"depth = {self.depth} and a template of {self.levels} levels: "
                "give one of them, or let them agree"
            )
        return self


class ShareRuleConfig(RuleConfig):
    """A share's rule, and workstations that have one of their own."""

    workstations: dict[WorkstationName, RuleConfig] = {}  # noqa: RUF012 - pydantic copies it
    """By the workstation's name; what such a rule does not set is the share's."""

    @model_validator(mode="after")
    def _all_fit(self) -> ShareRuleConfig:
        for name, own in self.workstations.items():
            if "ignore" in own.model_fields_set and own.ignore != self.ignore:
                raise ValueError(f"{name}: `ignore` is the share's, the bridge compares with it as well")
            self.of(name)
        return self

    def of(self, workstation: str) -> AcquisitionRule:
        """The rule of one workstation."""
        values = self.model_dump(exclude_unset=True, exclude={"workstations"})
        own = self.workstations.get(workstation)
        if own is not None:
            theirs = own.model_dump(exclude_unset=True)
            if "depth" in theirs and "template" not in theirs:
                values.pop("template", None)
            if theirs.get("template"):
                values.pop("depth", None)
            values |= theirs
        checked = RuleConfig.model_validate(values)
        # An agent that knows no templates goes by the depth.
        return AcquisitionRule.model_validate(checked.model_dump() | {"depth": checked.levels})
