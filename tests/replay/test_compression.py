"""Paired tests of compression: harm is refused, harmlessness is shown, the promise is kept."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.replay.compression import Case, decide

RATIO, CONFIDENCE = 0.95, 0.9


def case(
    plain: np.ndarray,
    compressed: np.ndarray,
    *,
    variant: str = "compressed",
    cluster: str = "0",
    saved: float = 0.4,
) -> Case:
    return Case(
        variant=variant,
        model="m",
        cluster=cluster,
        plain=np.asarray(plain, float),
        compressed=np.asarray(compressed, float),
        saved=saved,
    )


def drawn(
    rng: np.random.Generator, n: int, p_plain: float, p_lost: float
) -> tuple[np.ndarray, np.ndarray]:
    """Answers right with p_plain, and of those p_lost lost by compression."""
    plain = rng.random(n) < p_plain
    return plain, plain & (rng.random(n) >= p_lost)


def test_a_harmless_variant_is_allowed_and_a_harmful_one_refused() -> None:
    """In the same place, on the same prompts."""
    rng = np.random.default_rng(0)
    plain, same = drawn(rng, 300, 0.8, 0.0)
    harmed = plain & (rng.random(300) >= 0.15)
    good, bad = decide(
        [case(plain, same, variant="good"), case(plain, harmed, variant="bad", saved=0.9)],
        ratio=RATIO,
        confidence=CONFIDENCE,
    )
    assert (good.harmless, good.allowed, good.more_rows) == (True, True, None)
    assert (bad.harmless, bad.allowed, bad.more_rows) == (False, False, None)
    assert bad.kept == pytest.approx(0.85, abs=0.05)


def test_with_too_few_rows_it_says_how_many_more_would_do() -> None:
    """And that many then do."""
    few = decide([case(np.ones(20), np.ones(20))], ratio=RATIO, confidence=CONFIDENCE)[0]
    assert not few.harmless
    assert few.more_rows is not None
    n = 20 + few.more_rows
    assert decide([case(np.ones(n), np.ones(n))], ratio=RATIO, confidence=CONFIDENCE)[0].harmless


def test_of_harmless_variants_the_one_that_saves_most_is_used_and_no_two() -> None:
    """Together they were not tested."""
    ones = np.ones(200)
    verdicts = decide(
        [case(ones, ones, variant="a", saved=0.2), case(ones, ones, variant="b", saved=0.5)],
        ratio=RATIO,
        confidence=CONFIDENCE,
    )
    assert [v.harmless for v in verdicts] == [True, True]
    assert [v.allowed for v in verdicts] == [False, True]


@pytest.mark.parametrize("saved", [0.0, -0.1, float("nan")])
def test_what_saves_nothing_is_not_used(saved: float) -> None:
    """However harmless."""
    (verdict,) = decide(
        [case(np.ones(200), np.ones(200), saved=saved)], ratio=RATIO, confidence=CONFIDENCE
    )
    assert verdict.harmless
    assert not verdict.allowed


def test_more_tests_need_more_rows() -> None:
    """Each is a chance to be wrong."""
    ones = np.ones(75)
    one = decide([case(ones, ones)], ratio=RATIO, confidence=0.9)
    many = decide(
        [case(ones, ones, cluster=str(i)) for i in range(12)], ratio=RATIO, confidence=0.9
    )
    assert one[0].harmless
    assert not any(v.harmless for v in many)


def test_the_promise_is_broken_no_more_often_than_stated() -> None:
    """At the very edge, where compression keeps exactly the share that is promised, and in a place of no
    harm beside it; looked at after every 50 rows and believed at the first success."""
    broken = shown = 0
    runs = 400
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        edge = drawn(rng, 300, 0.8, 1 - RATIO)
        fine = drawn(rng, 300, 0.8, 0.0)
        looks = [
            decide(
                [
                    case(edge[0][:n], edge[1][:n], cluster="edge"),
                    case(fine[0][:n], fine[1][:n], cluster="fine"),
                ],
                ratio=RATIO,
                confidence=CONFIDENCE,
            )
            for n in range(50, 301, 50)
        ]
        broken += any(look[0].harmless for look in looks)
        shown += looks[-1][1].harmless
    assert broken / runs <= 1 - CONFIDENCE
    assert shown / runs >= 0.95


def test_a_place_where_plain_is_never_right_proves_nothing() -> None:
    """Nor does it fail."""
    (verdict,) = decide([case(np.zeros(50), np.zeros(50))], ratio=RATIO, confidence=CONFIDENCE)
    assert not verdict.harmless
    assert verdict.more_rows is None
    assert np.isnan(verdict.kept)
