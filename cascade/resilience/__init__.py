"""What stands between the engine and a client: repetitions, a breaker, limits.

Each is a client around a client, and a plain state machine without IO that decides for it. For one
provider: ``Retrying(Breaking(Limited(client)))``.
"""

from __future__ import annotations

from .breaker import Breaker, BreakerSettings, Breaking
from .limits import CallLimits, Limited, LimiterState
from .retry import RetryBudget, Retrying, RetryPolicy

__all__ = [
    "Breaker",
    "BreakerSettings",
    "Breaking",
    "CallLimits",
    "Limited",
    "LimiterState",
    "RetryBudget",
    "RetryPolicy",
    "Retrying",
]
