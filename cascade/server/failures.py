"""What an error is over HTTP: its status and its words, in OpenAI's shape or in Anthropic's. Pure.

Messages are those of our own errors, which hold neither prompts nor keys; of an error that is not ours
nothing is told but that it happened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from ..errors import (
    AllRungsFailed,
    BudgetExceeded,
    CascadeError,
    ContentRefused,
    ContextTooLong,
    DeadlineExceeded,
    EngineClosed,
    LimitReached,
    NotCalled,
    NotRecorded,
    PromptOverBudget,
    ProviderTimeout,
    RateLimited,
    RequestError,
    RequestRefused,
    RunError,
    StreamBroken,
)

__all__ = ["Failure", "Refused", "Shape", "error_body", "failure_of", "retry_headers"]

Shape = Literal["openai", "anthropic"]
"""Whose API a path is part of."""

PATIENCE_S = 60.0
"""Seconds up to which an SDK is told to try again by itself."""

CLOSED_RETRY_S = 1.0
"""Seconds after which another process may have taken over from one that is closing."""

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_BY_THE_CLIENT = frozenset({400, 413, 422})
"""Statuses with which an upstream says that the request itself is wrong."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it leaves the server.

    Attributes:
        status: HTTP status.
        message: What is wrong, for the caller.
        code: The same as one word that programs can tell apart.
        param: The field it is about, or None.
        retry_after_s: Seconds to wait before asking again, or None when unknown.
        again: Whether the same request can succeed soon; None: as its status says.
        error: The ask's own error, which knows what it has cost.
    """

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after_s: float | None = None
    again: bool | None = None
    error: RunError | None = None


class Refused(Exception):
    """Ends a request that reaches no ladder. It never leaves the server."""

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, close: bool = False
    ) -> None:
        super().__init__(message)
        self.failure = Failure(status=status, message=message, code=code, param=param)
        self.close = close


def failure_of(error: BaseException) -> Failure:
    """Return what a caller is told of an error."""
    if isinstance(error, Refused):
        return error.failure
    if isinstance(error, RequestError):
        message = str(error)
        return Failure(status=400, message=message, code="invalid_request", param=_param(message))
    if isinstance(error, AllRungsFailed):
        return _of_group(error)
    if isinstance(error, BudgetExceeded):
        wait_s = error.retry_after_s
        return _failed(
            429,
            "budget_exceeded",
            error,
            retry_after_s=wait_s,
            again=wait_s is not None and wait_s <= PATIENCE_S,
        )
    if isinstance(error, LimitReached):
        return _failed(429, "limit_reached", error, retry_after_s=error.retry_after_s)
    if isinstance(error, DeadlineExceeded):
        return _failed(504, "deadline_exceeded", error, again=False)
    if isinstance(error, EngineClosed):
        return Failure(
            status=503,
            message="the server is closing",
            code="closing",
            retry_after_s=CLOSED_RETRY_S,
            error=error,
        )
    if isinstance(error, StreamBroken):
        return _failed(502, "stream_broken", error)
    if isinstance(error, RunError):
        return _failed(502, "upstream_failed", error)
    return Failure(
        status=500, message="an error inside the server; its log says more", code="internal"
    )


def error_body(failure: Failure, shape: Shape, request_id: str) -> bytes:
    """Return the body of an error."""
    error = failure.error
    told: dict[str, object] = {}
    if error is not None and error.ask_id is not None:
        told["cascade"] = {
            "id": error.ask_id,
            "cost_usd": error.cost_usd,
            "attempts": [
                {"rung": a.rung, "model": a.model, "verdict": a.verdict, "cost_usd": a.cost_usd}
                for a in error.attempts
            ],
        }
    if shape == "anthropic":
        kind = _ANTHROPIC_TYPES.get(failure.status) or _by_class(failure.status, "api_error")
        body = {"type": kind, "message": failure.message}
        return msgspec.json.encode(
            {"type": "error", "error": body, "request_id": request_id, **told}
        )
    kind = _OPENAI_TYPES.get(failure.status) or _by_class(failure.status, "server_error")
    return msgspec.json.encode(
        {
            "error": {
                "message": failure.message,
                "type": kind,
                "param": failure.param,
                "code": failure.code,
            },
            **told,
        }
    )


def retry_headers(failure: Failure) -> list[tuple[bytes, bytes]]:
    """Return the headers that say whether and when to ask again."""
    headers = []
    if failure.retry_after_s is not None:
        seconds = max(1, math.ceil(failure.retry_after_s))
        headers.append((b"retry-after", str(seconds).encode()))
    if failure.again is not None:  # the SDKs of OpenAI and Anthropic heed it
        headers.append((b"x-should-retry", b"true" if failure.again else b"false"))
    return headers


def _of_group(error: AllRungsFailed) -> Failure:
    causes: Sequence[Exception] = error.exceptions
    wait_s = error.retry_after_s
    if _all(causes, (LimitReached, BudgetExceeded)):
        return _failed(429, "limit_reached", error, retry_after_s=wait_s)
    if _all(causes, (RequestRefused, RequestError)) and all(map(_is_the_clients, causes)):
        code = "upstream_refused"
        if _all(causes, (ContextTooLong, PromptOverBudget)):
            code = "context_length_exceeded"
        elif _all(causes, (ContentRefused,)):
            code = "content_filter"
        return _failed(400, code, error)
    if _all(causes, (NotRecorded,)):
        return _failed(404, "not_recorded", error)
    if wait_s is not None or any(isinstance(c, (NotCalled, RateLimited)) for c in causes):
        return _failed(503, "upstream_busy", error, retry_after_s=wait_s)
    if _all(causes, (ProviderTimeout, DeadlineExceeded)):
        return _failed(504, "upstream_timeout", error)
    return _failed(502, "upstream_failed", error)


def _failed(
    status: int,
    code: str,
    error: RunError,
    *,
    retry_after_s: float | None = None,
    again: bool | None = None,
) -> Failure:
    return Failure(
        status=status,
        message=str(error),
        code=code,
        retry_after_s=retry_after_s,
        again=again,
        error=error,
    )


def _all(causes: Sequence[Exception], kinds: tuple[type[CascadeError], ...]) -> bool:
    return bool(causes) and all(isinstance(cause, kinds) for cause in causes)


def _is_the_clients(cause: Exception) -> bool:
    if isinstance(cause, (RequestError, ContextTooLong, ContentRefused)):
        return True
    return getattr(cause, "status", None) in _BY_THE_CLIENT


def _by_class(status: int, server_error: str) -> str:
    return "invalid_request_error" if status < 500 else server_error


def _param(message: str) -> str | None:
    """Return the field that one of our messages (``field: what is wrong``) begins with."""
    head, colon, _ = message.partition(": ")
    return head if colon and " " not in head else None
