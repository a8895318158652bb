"""Policies beside `cascade.policy.Thresholds`: interchangeable, pure, and each with an array twin in `cascade.replay`."""

from __future__ import annotations

from .agreement import Agreement, SameClaim
from .baselines import Fixed, RandomShare, Weighted, pick, uniform
from .chain import Chain
from .valued import FEATURES, CascadeRouting, Induction, Routing, continuation

__all__ = [
    "FEATURES",
    "Agreement",
    "CascadeRouting",
    "Chain",
    "Fixed",
    "Induction",
    "RandomShare",
    "Routing",
    "SameClaim",
    "Weighted",
    "continuation",
    "pick",
    "uniform",
]
