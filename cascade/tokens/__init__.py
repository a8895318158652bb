"""How many tokens a text is, without a network: by the model's own vocabulary, or by an estimate."""

from __future__ import annotations

from .counter import TokenCounter
from .estimate import estimate_tokens
from .vocabulary import Encoder, encoding_name, offline_encoder

__all__ = [
    "Encoder",
    "TokenCounter",
    "encoding_name",
    "estimate_tokens",
    "offline_encoder",
]
