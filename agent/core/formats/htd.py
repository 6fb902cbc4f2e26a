"""How many images a MetaXpress .HTD asks for. Pure: text in, a number out.

The file is lines of ``"Key", value``. Wells, sites, wavelengths and time points multiply; steps in z are
files of their own only where their folders (``ZStep_1``) exist, otherwise a projection is saved. [infer: a
wavelength that is not collected at every time point makes the number too large; then a person is asked.]
"""

from __future__ import annotations

import re

_LINE = re.compile(r'^\s*"([^"]+)"\s*,\s*(.*?)\s*$')


def expected_images(text: str, *, z_folders: bool) -> int | None:
    """The number of images; None where the text does not say it."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found:
            values[found.group(1)] = found.group(2)
    wells = _trues(values, "WellsSelection")
    if wells == 0:
        return None
    sites = _trues(values, "SiteSelection") if _is_true(values.get("Sites", "TRUE")) else 1
    waves = _number(values, "NWavelengths") if _is_true(values.get("Waves", "FALSE")) else 1
    steps = _number(values, "ZSteps") if z_folders else 1
    return wells * max(1, sites) * waves * _number(values, "TimePoints") * steps


def _is_true(text: str) -> bool:
    return text.strip().strip('"').casefold() == "true"


def _trues(values: dict[str, str], prefix: str) -> int:
    rows = (value for key, value in values.items() if key.startswith(prefix))
    return sum(_is_true(one) for row in rows for one in row.split(","))


def _number(values: dict[str, str], key: str) -> int:
    text = values.get(key, "1").strip().strip('"')
    return max(1, int(text)) if text.isdigit() else 1
