"""List prices: known, unknown, and whose."""

from __future__ import annotations

import pytest

from cascade.catalogue import catalogue_price

OPENAI = "https://api.openai.com/v1"


def test_a_hosted_model_has_its_list_price() -> None:
    """US dollars per million tokens, with the price of cached input."""
    price = catalogue_price("gpt-4o-mini", OPENAI)
    assert price is not None
    assert (price.input, price.output, price.cached_input) == (0.15, 0.6, 0.075)


@pytest.mark.parametrize("served_at", [None, "recorded", "openai", OPENAI])
def test_address_name_and_model_alone_find_the_same_price(served_at: str | None) -> None:
    """A traffic log says only the model's name."""
    assert catalogue_price("gpt-4o", served_at) == catalogue_price("gpt-4o", OPENAI)


@pytest.mark.parametrize(
    ("model", "served_at"),
    [
        ("no-such-model", OPENAI),
        ("no-such-model", None),
        ("gpt-4o", "http://127.0.0.1:8080/v1"),
        ("gpt-4o", "no-such-provider"),
        ("", OPENAI),
        ("text-embedding-3-small", OPENAI),
        ("sonar", "https://api.perplexity.ai"),
    ],
    ids=["model", "name", "own_server", "provider", "empty", "no_output_price", "fee_per_request"],
)
def test_what_the_catalogue_cannot_say_is_unknown(model: str, served_at: str | None) -> None:
    """An unknown price is None, never zero and never somebody else's."""
    assert catalogue_price(model, served_at) is None


def test_a_price_with_tiers_is_that_of_the_lowest() -> None:
    """Long prompts cost more at some providers; the catalogue's price here is the base one."""
    price = catalogue_price("claude-sonnet-4-5", "https://api.anthropic.com")
    assert price is not None
    assert (price.input, price.output) == (3.0, 15.0)


def test_a_price_by_the_hour_is_the_dearest() -> None:
    """Spending is never understated."""
    price = catalogue_price("deepseek-chat", "https://api.deepseek.com")
    assert price is not None
    assert (price.input, price.output) == (0.27, 1.1)
