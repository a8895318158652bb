"""Scorers: how likely an answer is right.

Importing this package loads neither numpy nor LightGBM; the modules that need them do.
"""

from __future__ import annotations

from .logprob import LogprobScorer

__all__ = ["LogprobScorer"]
