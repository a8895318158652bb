"""Answers of a log compared without their other features."""

from __future__ import annotations

import numpy as np

from scorers.comparisons import who_agrees
from scorers.dataset import collect

from .. import traffic


def test_verdicts_are_those_of_the_features() -> None:
    """Lettered options, missing answers and texts without a claim included."""
    made = traffic.rows(40, ("tiny", "small", "large"))
    made[0].responses.pop()
    made[1].responses[0].text = None
    made[2].responses[1].text = ""
    made[3].prompt = "Which is it?\nA) this\nB) that"
    made[3].responses[0].text = "A) because it is this"
    made[3].responses[1].text = "A"
    found = collect(made)
    theirs = found.dataset().blocks.same
    ours = who_agrees(found, found.models)
    np.testing.assert_array_equal(ours, np.where(np.isnan(theirs), -1, theirs))
    assert ours[3, 0, 1] == 1
    assert {-1, 0, 1} == set(ours.ravel().tolist())
