"""What a call costs: tokens used times the price of the model. An unknown price or count is None."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .types import Usage

__all__ = ["Price", "add_costs", "cost_usd", "shares"]

_MILLION = 1_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices of one model, US dollars per million tokens, finite and >= 0.

    Attributes:
        input: Input tokens.
        output: Output tokens, hidden reasoning included.
        cached_input: Input tokens read from the provider's prompt cache; None: priced as `input`.
        cache_write: Input tokens written to the provider's prompt cache; None: priced as `input`.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input", "cache_write"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"{name}: {value!r} is not a price; give US dollars per million tokens, >= 0"
                )


def cost_usd(usage: Usage, price: Price | None) -> float | None:
    """Return what a call cost in US dollars, or None when the price or a token count is unknown.

    Tokens read from or written to the provider's prompt cache are parts of the prompt tokens and
    are priced apart; reasoning tokens are part of the completion tokens.

    >>> cost_usd(Usage(prompt_tokens=1_000, completion_tokens=100), Price(input=1.0, output=10.0))
    0.002
    >>> cost_usd(Usage(prompt_tokens=1_000), Price(input=1.0, output=10.0)) is None
    True
    """
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if price is None or prompt is None or completion is None:
        return None
    if not usage.cached_tokens and not usage.cache_write_tokens:
        return (prompt * price.input + completion * price.output) / _MILLION
    cached = min(usage.cached_tokens or 0, prompt)
    written = min(usage.cache_write_tokens or 0, prompt - cached)
    cached_price = price.input if price.cached_input is None else price.cached_input
    write_price = price.input if price.cache_write is None else price.cache_write
    total = (
        (prompt - cached - written) * price.input
        + cached * cached_price
        + written * write_price
        + completion * price.output
    )
    return total / _MILLION


def shares(cost: float | None, count: int) -> tuple[float | None, ...]:
    """Return a cost in equal parts that add up to it exactly, in any order; unknown stays unknown.

    A float is a whole number of its last places: these are dealt out, so no part is rounded.

    >>> shares(0.5, 2), sum(shares(0.1, 3)) == 0.1, shares(None, 2)
    ((0.25, 0.25), True, (None, None))
    """
    if cost is None or count == 1:
        return (cost,) * count
    mantissa, exponent = math.frexp(cost)
    places = int(mantissa * 2**53)
    return tuple(
        math.ldexp((places * (i + 1)) // count - (places * i) // count, exponent - 53)
        for i in range(count)
    )


def add_costs(*costs: float | None) -> float | None:
    """Return the sum of costs; unknown when one of them is unknown.

    >>> add_costs(0.5, 0.25), add_costs(0.5, None), add_costs()
    (0.75, None, 0.0)
    """
    total = 0.0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
