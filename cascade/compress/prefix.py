"""What is cheaper: a beginning that the provider has in its prompt cache, or a shorter prompt.

Providers keep the beginnings of prompts for some minutes and bill what is found there at a fraction of
the price of input. A prompt whose beginning was changed is not found. So the beginnings of prompts are
remembered here for as long, as digests of blocks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from hashlib import blake2b

from ..fingerprint import digest
from ..pricing import Price
from ..types import Request
from .draft import text_slots

__all__ = ["LEAST_TOKENS", "PrefixMemory", "input_cost_usd"]

BLOCK_CHARS = 512
"""Characters of a block: a common beginning is found to within one."""

KEPT_S = 300.0
"""Seconds that providers keep a beginning at least after it was used last."""

MOST_BLOCKS = 100_000
"""Blocks that are remembered; the least recently used go first."""

LEAST_TOKENS = 1_024
"""Providers cache no shorter beginning."""


class PrefixMemory:
    """Remembers the beginnings of prompts that were sent or could have been.

    Args:
        now: Seconds that never go backwards.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def common(self, key: str, request: Request) -> int:
        """Return how many characters of the texts, from the first on, an earlier prompt begins with; take it in.

        Args:
            key: Whose prompts are compared: those of one model.
            request: The prompt.
        """
        now = self._now()
        common = 0
        unbroken = True
        for block, end in _blocks(key, request):
            at = self._seen.get(block)
            unbroken = unbroken and at is not None and now - at <= KEPT_S
            if unbroken:
                common = end
            self._seen[block] = now
            self._seen.move_to_end(block)
        while len(self._seen) > MOST_BLOCKS:
            self._seen.popitem(last=False)
        return common


def input_cost_usd(tokens: float, cached: float, price: Price, hit_rate: float = 1.0) -> float:
    """Return what the input of a call costs, US dollars.

    Args:
        tokens: All input tokens.
        cached: The part of them that the provider may have in its prompt cache.
        price: Of the model.
        hit_rate: How often it has it, in [0, 1].

    >>> round(input_cost_usd(2000, 1000, Price(input=10.0, output=30.0, cached_input=1.0)), 6)
    0.011
    """
    cached_price = price.input if price.cached_input is None else price.cached_input
    found = min(cached, tokens) * hit_rate
    return ((tokens - found) * price.input + found * cached_price) / 1_000_000


def _blocks(key: str, request: Request) -> Iterator[tuple[bytes, int]]:
    """Yield (digest of everything up to its end, characters up to its end) of each block.

    The last piece of a text is a block too, as the next text begins a new one.
    """
    seed = f"{key}\x00{digest(request.tools) if request.tools else ''}".encode()
    chain = blake2b(seed, digest_size=12).digest()
    total = 0
    for slot in text_slots(request.messages):
        place = f"{slot.message}:{slot.part}:{slot.role}\x00"
        for at in range(0, len(slot.text), BLOCK_CHARS):
            block = slot.text[at : at + BLOCK_CHARS]
            piece = f"{place}{block}".encode("utf-8", "surrogatepass")
            chain = blake2b(chain + piece, digest_size=12).digest()
            total += len(block)
            yield chain, total
