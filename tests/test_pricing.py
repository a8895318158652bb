"""Money: real usage times price; what is not known is None, never zero."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.budget import refusal_to_spend, spent_usd
from cascade.ladder import Rung
from cascade.pricing import Price, cost_usd
from cascade.types import Attempt, Demand, Usage

PRICE = Price(input=2.0, output=8.0, cached_input=0.5, cache_write=2.5)


def test_cached_and_written_tokens_have_their_own_price() -> None:
    """They are parts of the prompt, priced apart."""
    usage = Usage(
        prompt_tokens=1000, completion_tokens=100, cached_tokens=600, cache_write_tokens=100
    )
    assert cost_usd(usage, PRICE) == pytest.approx((300 * 2 + 600 * 0.5 + 100 * 2.5 + 800) / 1e6)


def test_without_a_cached_price_cached_tokens_cost_the_full_price() -> None:
    """No discount is invented."""
    usage = Usage(prompt_tokens=1000, completion_tokens=0, cached_tokens=600)
    assert cost_usd(usage, Price(input=2.0, output=8.0)) == pytest.approx(0.002)


def test_more_cached_than_prompt_tokens_never_goes_negative() -> None:
    """A provider that miscounts does not earn the caller money."""
    usage = Usage(prompt_tokens=10, completion_tokens=0, cached_tokens=50, cache_write_tokens=50)
    assert cost_usd(usage, PRICE) == pytest.approx(10 * 0.5 / 1e6)


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(prompt_tokens=1), Usage(completion_tokens=1)], ids=str
)
def test_a_missing_count_makes_the_cost_unknown(usage: Usage) -> None:
    """None is not zero."""
    assert cost_usd(usage, PRICE) is None


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_a_price_must_be_finite_and_not_negative(bad: float) -> None:
    """The field is named."""
    with pytest.raises(ValueError, match=r"^output: "):
        Price(input=1.0, output=bad)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_caching_never_raises_the_cost(prompt: int, completion: int, cached: int) -> None:
    """With a cached price below the input price, more cached tokens cost less."""
    price = Price(input=2.0, output=8.0, cached_input=0.5)
    plain = cost_usd(Usage(prompt_tokens=prompt, completion_tokens=completion), price)
    less = cost_usd(
        Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached), price
    )
    assert plain is not None
    assert less is not None
    assert 0 <= less <= plain


def attempt(cost: float | None) -> Attempt:
    return Attempt(rung=0, model="m", provider="p", verdict="escalated", reason="", cost_usd=cost)


def test_spending_is_refused_when_it_could_not_be_counted() -> None:
    """An unknown earlier cost or an unknown price breaks the promise of a limit."""
    priced, free = (Rung(model="a", provider="p", price=PRICE), Rung(model="b", provider="p"))
    assert refusal_to_spend(priced, [], Demand(max_cost_usd=1.0)) is None
    assert refusal_to_spend(free, [], Demand()) is None
    assert "price is unknown" in str(refusal_to_spend(free, [], Demand(max_cost_usd=1.0)))
    assert "no known price" in str(
        refusal_to_spend(priced, [attempt(None)], Demand(max_cost_usd=1.0))
    )
    assert "is spent" in str(refusal_to_spend(priced, [attempt(1.0)], Demand(max_cost_usd=1.0)))
    assert spent_usd([attempt(0.25), attempt(0.5)]) == 0.75
