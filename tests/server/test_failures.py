"""Which status an error has, and what is told of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cascade import errors as e
from cascade.server.failures import error_body, failure_of, retry_headers

OF = {"provider": "p", "model": "m"}


def group(*causes: e.CascadeError) -> e.AllRungsFailed:
    return e.AllRungsFailed("no rung gave an answer", causes)


def limit() -> e.LimitReached:
    return e.LimitReached("full", **OF, retry_after_s=7.2)


CASES: dict[str, tuple[BaseException, int, str, float | None]] = {
    "request": (e.RequestError("stop: allowed: text"), 400, "invalid_request", None),
    "budget": (e.BudgetExceeded("spent", retry_after_s=90), 429, "budget_exceeded", 90),
    "own budget": (e.BudgetExceeded("max_cost_usd"), 429, "budget_exceeded", None),
    "deadline": (e.DeadlineExceeded("over"), 504, "deadline_exceeded", None),
    "closed": (e.EngineClosed("closed"), 503, "closing", 1),
    "limit": (limit(), 429, "limit_reached", 7.2),
    "all at their limits": (group(limit(), limit()), 429, "limit_reached", 7.2),
    "one at its limit": (
        group(limit(), e.ServerFailed("500", **OF, status=500)),
        503,
        "upstream_busy",
        7.2,
    ),
    "rate limited": (group(e.RateLimited("429", **OF)), 503, "upstream_busy", None),
    "breaker": (group(e.CircuitOpen("open", **OF, retry_after_s=3)), 503, "upstream_busy", 3),
    "down": (
        group(e.ConnectFailed("no", **OF), e.BadResponse("no", **OF)),
        502,
        "upstream_failed",
        None,
    ),
    "slow": (group(e.ProviderTimeout("late", **OF)), 504, "upstream_timeout", None),
    "key of ours": (group(e.Unauthorized("401", **OF, status=401)), 502, "upstream_failed", None),
    "refused": (group(e.RequestRefused("422", **OF, status=422)), 400, "upstream_refused", None),
    "no such model": (
        group(e.RequestRefused("404", **OF, status=404)),
        502,
        "upstream_failed",
        None,
    ),
    "too long": (group(e.ContextTooLong("long", **OF)), 400, "context_length_exceeded", None),
    "over the budget of compression": (
        group(
            e.PromptOverBudget(budget=5, least_tokens=9, protected_tokens=9, place="compress[0]")
        ),
        400,
        "context_length_exceeded",
        None,
    ),
    "content": (group(e.ContentRefused("no", **OF)), 400, "content_filter", None),
    "not recorded": (group(e.NotRecorded("no", **OF)), 404, "not_recorded", None),
    "rejected": (group(e.RunError("rung 0 m: failed gate schema")), 502, "upstream_failed", None),
    "configuration": (e.ScorerError("broken"), 500, "internal", None),
    "bug": (ValueError("SECRET-WORDS"), 500, "internal", None),
}


@pytest.mark.parametrize(("error", "status", "code", "wait_s"), CASES.values(), ids=CASES.keys())
def test_each_error_has_a_status(
    error: BaseException, status: int, code: str, wait_s: float | None
) -> None:
    """And says when to ask again where that is known."""
    failure = failure_of(error)
    assert (failure.status, failure.code, failure.retry_after_s) == (status, code, wait_s)
    headers = dict(retry_headers(failure))
    assert (b"retry-after" in headers) == (wait_s is not None)
    for shape in ("openai", "anthropic"):
        body: Any = json.loads(error_body(failure, shape, "r1"))  # type: ignore[arg-type]
        assert body["error"]["message"]
        assert "SECRET" not in str(body)


def test_waits_are_rounded_up_and_sdks_do_not_wait_for_long_ones() -> None:
    """Whole seconds, as HTTP has them."""
    assert retry_headers(failure_of(limit())) == [(b"retry-after", b"8")]
    spent = failure_of(e.BudgetExceeded("spent", retry_after_s=3_600))
    assert dict(retry_headers(spent))[b"x-should-retry"] == b"false"


def test_every_error_of_ours_is_more_than_an_internal_one() -> None:
    """Whatever ends an ask has a status of its own."""
    kinds = [getattr(e, name) for name in e.__all__ if name != "Problem"]
    runs = [k for k in kinds if issubclass(k, e.RunError) and k is not e.AllRungsFailed]
    for kind in runs:
        more = OF if issubclass(kind, e.ProviderError) else {}
        if kind is e.StreamBroken:
            more = {"rung": 0, "model": "m"}
        made = kind("x", **more)
        assert failure_of(made).status != 500, kind
