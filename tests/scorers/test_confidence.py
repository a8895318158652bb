"""Measures over token log-probabilities, and the untrained confidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.intake import make_request
from cascade.testing import reply
from cascade.types import Attempt, TokenLogprobs
from scorers.confidence import MAPS, Measures, answer_span, confidence_from, measure, quantile
from scorers.logprob import LogprobScorer

logs = st.lists(st.floats(-20, 0), min_size=1, max_size=60)


@given(logs)
def test_measures_agree_with_numpy(values: list[float]) -> None:
    """An independent implementation gives the same numbers."""
    found = measure(TokenLogprobs(tokens=[""] * len(values), logprobs=values))
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["min"] == np.min(values)
    for name, q in (("quantile_5", 0.05), ("quantile_25", 0.25), ("quantile_50", 0.5)):
        assert found[name] == pytest.approx(np.quantile(values, q))
    assert found["below_half"] == pytest.approx(np.mean(np.array(values) < math.log(0.5)))


@given(logs, st.floats(0, 5), st.sampled_from([m for m in MAPS if m != "margin"]))
def test_less_likely_tokens_never_raise_the_confidence(
    values: list[float], less: float, name: str
) -> None:
    """The map is monotone: lowering every log-probability lowers the confidence, or leaves it."""
    before = measure(TokenLogprobs(tokens=[""] * len(values), logprobs=values))
    lowered = [value - less for value in values]
    after = measure(TokenLogprobs(tokens=[""] * len(values), logprobs=lowered))
    first, second = confidence_from(before, name), confidence_from(after, name)
    assert first is not None
    assert second is not None
    assert 0 <= second <= first <= 1


def test_absent_is_nan_never_zero() -> None:
    """Nothing to measure gives no number, and alternatives are not invented."""
    assert all(math.isnan(v) for v in measure(None).values())
    assert all(math.isnan(v) for v in measure(TokenLogprobs(tokens=[], logprobs=[])).values())
    without = measure(TokenLogprobs(tokens=["a"], logprobs=[-0.1]))
    assert math.isnan(without["margin"])
    assert confidence_from(without, "margin") is None


def test_a_sentinel_for_very_unlikely_is_floored() -> None:
    """OpenAI writes -9999; one such token must not decide everything."""
    found = measure(TokenLogprobs(tokens=["a", "b"], logprobs=[-9999.0, 0.0]))
    assert (found["min"], found["mean"]) == (-20.0, -10.0)


def test_margin_is_to_the_best_other_token() -> None:
    """The chosen token may be among the alternatives, or below all of them."""
    half, fifth, tenth = math.log(0.5), math.log(0.2), math.log(0.1)
    top = [[half, fifth], [half, fifth], [half]]
    found = measure(TokenLogprobs(tokens=["a", "b", "c"], logprobs=[half, tenth, half], top=top))
    assert found["margin"] == pytest.approx((0.3 - 0.4) / 2)
    assert found["margin_min"] == pytest.approx(-0.4)


@pytest.mark.parametrize(
    ("tokens", "own"),
    [
        (["42"], "42"),
        (["So", " the", " answer", " is", " 4", "2", "."], " 42."),
        (["Step", "\n", "####", " 7"], " 7"),
        (["Answer:", " B", "\n", "Because", " of", " it"], " B"),
        (["The answer", " is", ":"], "The answer is:"),
    ],
)
def test_the_answers_own_tokens(tokens: list[str], own: str) -> None:
    """What follows the last marker, to the end of its line; all of it when there is none."""
    start, stop = answer_span(tokens)
    assert "".join(tokens[start:stop]) == own


def test_quantile_of_one_value() -> None:
    """A single token is its own quantile."""
    assert quantile([-1.0], 0.05) == -1.0


def attempts(logprobs: list[float] | None) -> list[Attempt]:
    answer = reply("x", logprobs=logprobs)
    return [Attempt(rung=0, model="m", provider="p", verdict="escalated", reason="", answer=answer)]


@pytest.mark.anyio
async def test_the_scorer_says_how_sure_and_why_not() -> None:
    """exp(mean) with log-probabilities; None with the reason without."""
    scorer, request = LogprobScorer(), make_request("x")
    sure = await scorer.score(request, attempts([math.log(0.5), math.log(0.5)]))
    assert sure.confidence == pytest.approx(0.5)
    assert sure.measures["n_tokens"] == 2
    unknown = await scorer.score(request, attempts(None))
    assert unknown.confidence is None
    assert unknown.why_unknown == "the provider gave no log-probabilities"
    margin = await LogprobScorer("margin").score(request, attempts([-0.1]))
    assert (margin.confidence, margin.why_unknown) == (None, "no margin without alternatives")
    assert (await scorer.score(request, [])).confidence is None


def test_an_unknown_measure_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match="measure: 'vibes' given; allowed: mean, min"):
        LogprobScorer("vibes")


@given(logs)
def test_measures_worked_out_later_are_the_same(values: list[float]) -> None:
    """The mean alone, and all of them, equal what measuring at once gives."""
    logprobs = TokenLogprobs(tokens=["x"] * len(values), logprobs=values, top=[[0.0, -1.0]] * 60)
    later = Measures(logprobs)
    assert later.mean() == measure(logprobs)["mean"]
    assert dict(later) == measure(logprobs)
    assert later.mean() == measure(logprobs)["mean"]
    assert all(math.isnan(v) for v in Measures(None).values())
