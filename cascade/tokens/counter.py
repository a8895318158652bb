"""Counts tokens, no text twice, and learns from what providers bill how a model differs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from .estimate import estimate_tokens
from .vocabulary import Encoder, encoding_name, offline_encoder

__all__ = ["ESTIMATE", "TokenCounter"]

ESTIMATE = "estimate"
"""How a count is called that no vocabulary stands behind."""

MOST_KEPT = 8_192
"""Counts that are remembered."""

_SHORT_CHARS = 48
"""Shorter texts are their own key: a digest would be longer."""

_PRIOR_TOKENS = 500.0
"""What providers have billed weighs against this many tokens counted right."""

_DECAY = 0.98
"""Weight of all that was seen before, at each further bill."""

_LEAST, _MOST = 0.5, 3.0


class TokenCounter:
    """Counts the tokens of texts by model, each text once.

    Safe to use from several threads. It never touches the network.

    Args:
        find: Name of an encoding → its encoder, or None where it is not on this machine.
        most_kept: Counts that are remembered; the least recently used goes first.
    """

    def __init__(
        self,
        find: Callable[[str], Encoder | None] = offline_encoder,
        *,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._find = find
        self._most_kept = most_kept
        self._encoders: dict[str, Encoder | None] = {}
        self._names: dict[str, str] = {}
        self._kept: OrderedDict[tuple[str, str | bytes], int] = OrderedDict()
        self._billed: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def how(self, model: str = "") -> str:
        """Return how tokens of a model are counted: the name of an encoding, or ``estimate``."""
        name = self._names.get(model)
        if name is None:
            known = encoding_name(model) if model else None
            name = ESTIMATE if known is None or self._encoder(known) is None else known
            self._names[model] = name
        return name

    def count(self, text: str, model: str = "") -> int:
        """Return how many tokens of a model a text is, >= 0, less any correction."""
        if not text:
            return 0
        how = self.how(model)
        key = (how, text if len(text) <= _SHORT_CHARS else _digest(text))
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        encode = self._encoders.get(how)
        found = estimate_tokens(text) if encode is None else encode(text)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._most_kept:
                self._kept.popitem(last=False)
        return found

    def learn(self, model: str, counted: int, billed: int) -> None:
        """Take in that a provider billed a prompt that was counted here.

        Args:
            model: The model that was asked.
            counted: Tokens of the prompt as counted here, before any correction.
            billed: Prompt tokens as the provider says, cached ones included.
        """
        if counted <= 0 or billed <= 0:
            return
        with self._lock:
            past_counted, past_billed = self._billed.get(model, (0.0, 0.0))
            self._billed[model] = (past_counted * _DECAY + counted, past_billed * _DECAY + billed)

    def correction(self, model: str) -> float:
        """Return what to multiply a count by for what a provider bills, in [0.5, 3]; 1 if not known."""
        counted, billed = self._billed.get(model, (0.0, 0.0))
        learned = (billed + _PRIOR_TOKENS) / (counted + _PRIOR_TOKENS)
        return min(max(learned, _LEAST), _MOST)

    def billed(self, tokens: int, model: str) -> int:
        """Return what a provider is expected to bill for a prompt that was counted as `tokens`."""
        return round(tokens * self.correction(model))

    def _encoder(self, name: str) -> Encoder | None:
        if name not in self._encoders:
            self._encoders[name] = self._find(name)
        return self._encoders[name]


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
