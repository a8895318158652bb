"""What a ladder file may say of failures: repetitions, breakers, limits, hedging.

Fields and defaults are those of the classes in `cascade.resilience` that they become; a test holds
both together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .table import Table
from .values import Count, Seconds

__all__ = ["BreakerConfig", "HedgeConfig", "LimitsConfig", "RetryConfig"]

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_PositiveShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_Wait = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class RetryConfig(Table):
    """How often a call that failed in a way that may pass is made again. `retry: null`: never."""

    attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Most calls for one attempt, the first included."
    )
    backoff_s: _Wait = Field(
        default=0.5,
        description="Longest wait before the first repetition; it doubles with each further one, "
        "and each wait is a random part of it.",
    )
    max_backoff_s: _Wait = Field(
        default=8.0,
        description="Longest wait; a provider that asks for a longer one is not waited for.",
    )
    share: _Share = Field(
        default=0.2,
        description="Most repetitions as a share of calls (and ten beyond it), so that an outage is "
        "not made worse.",
    )


class BreakerConfig(Table):
    """When a provider that fails is left alone for a while, each model apart. `breaker: null`: never."""

    failure_rate: _PositiveShare = Field(
        default=0.5, description="Share of failed calls in the window from which it opens."
    )
    window_s: Seconds = Field(default=30.0, description="Length of that window.")
    min_calls: Count = Field(
        default=10, description="Calls the window must hold before the share counts."
    )
    consecutive: Count = Field(
        default=5, description="Failures in a row from which it opens whatever the share."
    )
    open_s: Seconds = Field(
        default=5.0,
        description="Seconds until one call probes whether it is well again; doubled for each probe "
        "that fails, up to eightfold.",
    )


class LimitsConfig(Table):
    """What may be asked at once and a minute, each model apart, and what becomes of the rest."""

    concurrent: Count | None = Field(default=None, description="Calls in flight. Absent: no limit.")
    requests_per_min: Seconds | None = Field(
        default=None, description="Calls a minute. Absent: no limit."
    )
    tokens_per_min: Seconds | None = Field(
        default=None, description="Tokens of prompts and answers a minute. Absent: no limit."
    )
    queue: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=1_000, description="Calls that may wait for room."
    )
    order: Literal["fifo", "lifo"] = Field(
        default="fifo",
        description="Who goes first. `lifo`: under lasting overload some are answered in time "
        "instead of none.",
    )
    when_full: Literal["wait", "escalate", "refuse"] = Field(
        default="wait",
        description="Wait for room, go on with the next rung at once, or end the ask with "
        "`LimitReached` and `retry_after_s`.",
    )
    max_wait_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Longest wait for room, and for a pause that a provider asked for.",
    )
    adaptive: bool = Field(
        default=False,
        description="Let fewer than `concurrent` through while the provider bears less (it halves at "
        "429 and slow answers, and grows by one).",
    )


class HedgeConfig(Table):
    """When a second one is asked beside the first because that takes long. The first good answer wins."""

    after_s: Seconds | None = Field(
        default=None, description="Seconds without an answer. Absent: by `quantile`."
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.95, description="Share of the last calls that were quicker."
    )
    share: _PositiveShare = Field(default=0.05, description="Most calls that are hedged.")
