"""A ladder checks itself, and its version changes when anything that changes answers does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from cascade import Ladder, LadderError, Price, Rung

RUNG = Rung(model="m", provider="p", accept=0.5)


def ladder(*rungs: Rung) -> Ladder:
    return Ladder(name="x", rungs=rungs)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"accept": -0.1}, "ladder[0].accept"),
        ({"accept": 1.1}, "ladder[0].accept"),
        ({"accept": math.nan}, "ladder[0].accept"),
        ({"max_tokens": 0}, "ladder[0].max_tokens"),
        ({"top_logprobs": 21}, "ladder[0].top_logprobs"),
        ({"top_logprobs": -1}, "ladder[0].top_logprobs"),
    ],
)
def test_a_bad_rung_is_refused_with_its_place(change: dict[str, Any], path: str) -> None:
    """The problem names the key and what is allowed."""
    with pytest.raises(LadderError) as caught:
        ladder(replace(RUNG, **change))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert problem.allowed


def test_no_rungs_and_doubled_rungs_are_refused() -> None:
    """At least one, and each once."""
    with pytest.raises(LadderError, match="no rungs"):
        ladder()
    with pytest.raises(LadderError, match=r"ladder\[1\]: p/m is already ladder\[0\]"):
        ladder(RUNG, RUNG)


def test_all_mistakes_are_told_at_once() -> None:
    """Not only the first."""
    with pytest.raises(LadderError) as caught:
        ladder(replace(RUNG, accept=2.0), replace(RUNG, top_logprobs=99))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"accept": 0.6},
        {"max_tokens": 5},
        {"price": Price(input=1, output=1)},
        {"extra": {"reasoning_effort": "low"}},
        {"provider": "q"},
    ],
)
def test_the_version_changes_with_the_rungs_and_only_with_them(change: dict[str, Any]) -> None:
    """The same rungs have the same version in every process; the name does not count."""
    first = ladder(RUNG)
    assert Ladder(name="other", rungs=(RUNG,)).version == first.version
    assert ladder(replace(RUNG, **change)).version != first.version
