"""Budgets and amounts: what is refused, and how replies read."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cascade.errors import ConfigError
from cascade.ledgers import Budget, Refusal, Spend
from cascade.ledgers.budgets import period_end, period_start


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"usd": 0, "per": "day"}, "usd 0 is not a number of dollars above 0"),
        ({"usd": -1.5, "per": "day"}, "usd -1.5 is not"),
        ({"usd": math.nan, "per": "day"}, "usd nan is not"),
        ({"usd": math.inf, "per": "day"}, "usd inf is not"),
        ({"usd": 1e10, "per": "day"}, "at most 1e9"),
        ({"usd": 1e-12, "per": "day"}, "usd 1e-12 is not"),
        ({"usd": True, "per": "day"}, "usd True is not"),
        ({"usd": "5", "per": "day"}, "usd '5' is not"),
        ({"tokens": 0, "per": "day"}, "tokens 0 is not a whole number above 0"),
        ({"tokens": -3, "per": "day"}, "tokens -3 is not"),
        ({"tokens": 1.5, "per": "day"}, "tokens 1.5 is not"),
        ({"tokens": True, "per": "day"}, "tokens True is not"),
        ({"tokens": 10**16, "per": "day"}, "at most 10^15"),
        ({"per": "day"}, "neither usd nor tokens is given"),
        ({"usd": 1, "per": "week"}, "per 'week' is not one of minute, day, month"),
        ({"usd": 1, "per": None}, "per None is not one of minute, day, month"),
    ],
    ids=str,
)
def test_a_budget_that_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    """The message names what was given and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        Budget(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"usd": -1e-9},
        {"usd": math.nan},
        {"usd": math.inf},
        {"usd": 1e7},
        {"tokens": -1},
        {"tokens": 1.5},
        {"tokens": math.nan},
        {"tokens": 10**16},
    ],
    ids=str,
)
def test_an_amount_that_no_call_can_have_is_refused(given: dict[str, Any]) -> None:
    """A ledger is never told to count less than nothing."""
    with pytest.raises(ConfigError, match="spend: "):
        Spend(**given)


@pytest.mark.parametrize(
    ("per", "period", "start", "end"),
    [
        ("minute", "2026-12-31T23:59", "2026-12-31T23:59:00", "2027-01-01T00:00:00"),
        ("day", "2028-02-28", "2028-02-28T00:00:00", "2028-02-29T00:00:00"),
        ("month", "2026-12", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("month", "2028-02", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
    ],
)
def test_periods_are_those_of_the_calendar(per: Any, period: str, start: str, end: str) -> None:
    """Minutes, days and months begin and end in UTC."""
    assert period_start(per, period).isoformat() == start + "+00:00"
    assert period_end(per, period).isoformat() == end + "+00:00"


@pytest.mark.parametrize("period", ["", "2026", "2026-13", "2026-01-01T00:0", "nonsense"])
def test_a_name_of_no_period_is_refused(period: str) -> None:
    """What a damaged file holds is not taken for a period."""
    with pytest.raises(ValueError):
        period_start("month", period)


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("spent", "is spent (0.25 USD and 7 tokens left)"),
        ("held", "is held by calls in flight (0.25 USD and 7 tokens left)"),
        ("too_large", "is smaller than what this one call may cost"),
        ("unknown", "cannot be kept: nobody knows what this call may cost"),
    ],
)
def test_a_refusal_says_which_budget_and_why(why: Any, said: str) -> None:
    """It can be shown as it is."""
    refusal = Refusal(
        why=why,
        account="a",
        budget=Budget(usd=5, tokens=100, per="day"),
        retry_after_s=60.0,
        usd_left=0.25,
        tokens_left=7,
    )
    assert str(refusal) == f"the budget of 5 USD and 100 tokens a day {said}"


def test_a_refusal_without_a_budget_says_that_the_store_is_away() -> None:
    """Nobody's budget is to blame."""
    refusal = Refusal(why="outage", account="a", budget=None, retry_after_s=1.0)
    assert "cannot be asked" in str(refusal)
