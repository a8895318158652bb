"""Decides between a provider's prompt cache and a shorter prompt, by the price of the rung."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ..pricing import Price
from ..tokens import TokenCounter
from ..types import Compressed, Compression, Request
from .draft import text_slots
from .prefix import LEAST_TOKENS, PrefixMemory, input_cost_usd

__all__ = ["CachedPrefix"]

_LEARNING = 0.1
"""Weight of the newest answer in how often the provider has a known beginning."""

_CHARS_A_TOKEN = 4.0


class CachedPrefix:
    """Weighs the prompt cache for one rung.

    Three ways are compared by what their input costs once they are followed all the time: the prompt as it
    is; with its known beginning as it is and the rest shortened; and all of it shortened.

    Args:
        model: Name of the model.
        price: Its prices; without one for cached input there is nothing to weigh.
        counter: Counts tokens.
        now: Seconds that never go backwards.
    """

    def __init__(
        self, model: str, price: Price | None, counter: TokenCounter, now: Callable[[], float]
    ) -> None:
        self._model = model
        self._price = price
        self._counter = counter
        self._memory = PrefixMemory(now)
        self._hit_rate = 1.0

    def shorten(self, shorten: Callable[[int], Compressed], request: Request) -> Compressed:
        """Return the cheapest way to send a request, and say why in its note; see `compressing.PromptCache`."""
        price = self._price
        cheaper = price is not None and (price.cached_input or price.input) < price.input
        size = sum(len(slot.text) for slot in text_slots(request.messages))
        if price is None or not cheaper or size < LEAST_TOKENS * 2:
            return shorten(0)
        known = self._memory.common("plain", request)
        whole = shorten(0)
        if known / _CHARS_A_TOKEN < LEAST_TOKENS / 2:
            self._memory.common("short", whole.request)
            return whole
        cached = self._tokens(request, known)
        cached_short = self._tokens(whole.request, self._memory.common("short", whole.request))
        if cached < LEAST_TOKENS or whole.request is request:
            return whole
        behind = shorten(known)
        before = whole.compression.tokens_before or self._tokens(request, size)
        ways = {
            "plain": (before, cached),
            "behind": (behind.compression.tokens_after or before, cached),
            "whole": (whole.compression.tokens_after or before, cached_short),
        }
        costs = {
            way: input_cost_usd(
                tokens, found if found >= LEAST_TOKENS else 0, price, self._hit_rate
            )
            for way, (tokens, found) in ways.items()
        }
        said = f"its first {cached:,} tokens as they are: cached input costs ${price.cached_input:g} instead of ${price.input:g} a million"
        if costs["behind"] < min(costs["whole"], costs["plain"]):
            return _noted(behind, f"kept {said}")
        if costs["plain"] <= costs["whole"]:
            note = f"kept {said}, and no way to shorten the rest would cost less"
            untouched = Compression(tokens_before=None, tokens_after=None, note=note)
            return Compressed(request=request, compression=untouched)
        share = 1 - costs["whole"] / costs["plain"] if costs["plain"] else 0.0
        return _noted(
            whole,
            f"{share:.0%} cheaper than to keep its first {cached:,} tokens for the provider's cache",
        )

    def learn(self, done: Compressed, cached_tokens: int | None, prompt_tokens: int | None) -> None:
        """Take in whether the provider had the beginning that was kept for it."""
        if (
            cached_tokens is None
            or not prompt_tokens
            or "kept its first" not in done.compression.note
        ):
            return
        had = 1.0 if cached_tokens > 0 else 0.0
        self._hit_rate += _LEARNING * (had - self._hit_rate)

    def _tokens(self, request: Request, chars: int) -> int:
        """Return the tokens of the first `chars` characters of its texts."""
        found = 0
        for slot in text_slots(request.messages):
            if chars <= 0:
                break
            part = slot.text if len(slot.text) <= chars else slot.text[:chars]
            found += self._counter.count(part, self._model)
            chars -= len(part)
        return found


def _noted(done: Compressed, note: str) -> Compressed:
    said = f"{done.compression.note}; {note}" if done.compression.note else note
    return replace(done, compression=replace(done.compression, note=said))
