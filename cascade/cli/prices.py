"""Prices for logs: the catalogue's, under those of a file. What a log says was paid wins over both."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cascade.catalogue import catalogue_price
from cascade.errors import ConfigError
from cascade.pricing import Price, cost_usd
from cascade.types import Usage

__all__ = ["PriceList", "read_prices"]


class PriceList:
    """Prices by model; the catalogue is asked once a model.

    Args:
        given: Prices that win over the catalogue's.
    """

    def __init__(self, given: dict[str, Price] | None = None) -> None:
        self._given = given or {}
        self._known: dict[str, Price | None] = {}

    def price(self, model: str) -> Price | None:
        """Return the price of a model, or None when nobody knows it."""
        if model not in self._known:
            given = self._given.get(model)
            self._known[model] = catalogue_price(model, "recorded") if given is None else given
        return self._known[model]

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return what a call costs, US dollars, or None when the price is unknown."""
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        return cost_usd(usage, self.price(model))

    def table(self, models: Iterable[str]) -> dict[str, dict[str, float]]:
        """Return the known prices of these models, as a prices file has them."""
        found = {model: self.price(model) for model in models}
        return {
            model: {"input": price.input, "output": price.output}
            for model, price in found.items()
            if price is not None
        }


def read_prices(path: Path | None) -> PriceList:
    """Read ``{model: {"input": USD per million tokens, "output": …}}``; None for the catalogue alone.

    Raises:
        ConfigError: It cannot be read, or holds something else; names the model.
    """
    if path is None:
        return PriceList()
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as exc:
        raise ConfigError(f"--prices {path}: no such file") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise ConfigError(f"--prices {path} is not JSON ({exc})") from exc
    if not isinstance(data, dict):
        raise ConfigError(f"--prices {path}: a list of prices by model is an object")
    return PriceList({model: _price(path, model, entry) for model, entry in data.items()})


def _price(path: Path, model: str, entry: Any) -> Price:
    names = ("input", "output", "cached_input", "cache_write")
    wanted = 'give {"input": USD per million tokens, "output": …}'
    if not isinstance(entry, dict) or not {"input", "output"} <= set(entry):
        raise ConfigError(f"--prices {path}: {model}: {wanted}")
    numbers = {name: entry[name] for name in names if entry.get(name) is not None}
    if not all(type(value) in (int, float) for value in numbers.values()):
        raise ConfigError(f"--prices {path}: {model}: {wanted}")
    try:
        return Price(**numbers)
    except ValueError as exc:
        raise ConfigError(f"--prices {path}: {model}: {exc}") from exc
