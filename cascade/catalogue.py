"""List prices of hosted models, from the data that the package genai-prices carries. Never the network.

The package renews its prices only for whoever starts its `UpdatePrices`; nothing here does.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from .clock import SystemClock
from .pricing import Price

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

__all__ = ["catalogue_price"]


def catalogue_price(model: str, served_at: str | None = None) -> Price | None:
    """Return the list price of a model, or None when the catalogue does not know it.

    The price of the lowest tier is taken where it rises with the length of the prompt, today's
    where it changes by date, and the dearest where it changes by the hour. Discounts for batches,
    fees per request or per search and prices of audio and images are not in it; a model that
    charges per request has no price here.

    Args:
        model: Name of the model.
        served_at: Who serves it: the address of the API, or a provider's name (``openai``,
            ``anthropic``). An address the catalogue does not know has no prices: a model on your
            own machine does not cost what its name costs elsewhere. None, or ``recorded``: whoever
            is known for a model of that name.

    >>> catalogue_price("gpt-4o-mini", "https://api.openai.com/v1").output
    0.6
    >>> catalogue_price("gpt-4o-mini", "http://127.0.0.1:8080/v1") is None
    True
    """
    # 0.4 s to load, so only when a price is asked for. It keeps its data and look-ups itself.
    from genai_prices.data_snapshot import get_snapshot

    address = served_at if served_at is not None and "://" in served_at else None
    provider = None if address or served_at == "recorded" else served_at
    try:
        _, found = get_snapshot().find_provider_model(model, None, provider, address)
    except LookupError:
        return None
    return _price(found)


def _price(model: ModelInfo) -> Price | None:
    now = datetime.fromisoformat(SystemClock().now_iso())
    # The hours at which a price by the hour can change; a price by date is the same at all of them.
    hours = [datetime.combine(now.date(), time(hour, 30), tzinfo=UTC) for hour in range(24)]
    prices = [_of_list(model.get_prices(hour)) for hour in hours]
    known = [price for price in prices if price is not None]
    return max(known, key=lambda price: price.input + price.output) if known else None


def _of_list(prices: Any) -> Price | None:
    if prices.requests_kcount is not None:
        return None
    given, wanted = _base(prices.input_mtok), _base(prices.output_mtok)
    if given is None or wanted is None:
        return None
    return Price(
        input=given,
        output=wanted,
        cached_input=_base(prices.cache_read_mtok),
        cache_write=_base(prices.cache_write_mtok),
    )


def _base(price: Any) -> float | None:
    """Return the price of the lowest tier, US dollars per million tokens."""
    return None if price is None else float(getattr(price, "base", price))
