"""A log through a response cache: hits, false hits, what is saved."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cascade.replay.cache_pass import pass_through_cache
from cascade.replay.walks import Outcome


def done(quality: list[float], cost: list[float]) -> Outcome:
    return Outcome(
        quality=np.array(quality),
        cost=np.array(cost),
        latency=None,
        asked=np.ones(len(quality), dtype=np.int32),
    )


def test_the_second_of_two_equal_questions_is_a_hit() -> None:
    """It costs nothing, and is false when its own answer would have scored otherwise."""
    found = pass_through_cache(["a", "b", "a", "b"], done([1, 0, 1, 1], [1.0, 2.0, 3.0, 4.0]))
    assert (found.hits, found.exact, found.false) == (2, 2, 1)
    assert found.saved_usd == pytest.approx(7.0)
    assert found.cost_usd == pytest.approx(3.0 / 4)
    assert found.quality == pytest.approx(2 / 4)
    assert (found.hit_rate, found.false_hit_rate) == (0.5, 0.5)


def test_what_the_log_does_not_know_passes_the_cache_by() -> None:
    """It is neither a hit nor an answer to be kept."""
    found = pass_through_cache(["a", "a", "a"], done([math.nan, 1, 1], [math.nan, 1.0, 1.0]))
    assert (found.n, found.hits) == (2, 1)


def test_near_duplicates_are_hits_only_where_they_are_looked_for() -> None:
    """Told of every row that is no exact hit, in order."""
    told: list[int] = []

    def find(row: int) -> int | None:
        told.append(row)
        return 0 if row == 2 else None

    found = pass_through_cache(["a", "b", "a?", "b"], done([1, 1, 1, 1], [1.0] * 4), find)
    assert told == [0, 1, 2]
    assert (found.exact, found.near, found.false) == (1, 1, 0)


def test_a_log_without_a_known_row_has_no_rates() -> None:
    """Nothing is invented."""
    found = pass_through_cache(["a"], done([math.nan], [1.0]))
    assert (found.n, found.hit_rate, found.false_hit_rate) == (0, None, None)
