"""The scenarios run, and find nothing wrong, on a scale that takes a second or two."""

from __future__ import annotations

import pytest

from .__main__ import run
from .scenarios import fault_scenarios

_QUICK = ("500", "429-date", "cut-in-body", "truncated-chunks", "bad-utf8", "refused", "mixed")


@pytest.mark.parametrize("name", _QUICK)
def test_a_few_asks_survive_the_fault(name: str) -> None:
    """A fault alone on the first rung, or all of them together, break no promise."""
    scenarios = [scenario for scenario in fault_scenarios() if scenario.name == name]
    (line,) = run(scenarios, asks=40, in_flight=10)
    assert line.violations == []
    assert line.asks == 40
