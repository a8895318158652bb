"""Every error the package raises, as one tree.

::

    CascadeError
    ├── ConfigError               the caller must change something; nothing was spent
    │   ├── LadderError           a ladder file has mistakes: `.problems` holds all of them
    │   ├── RequestError          what was given to `ask` cannot be sent
    │   │   └── PromptOverBudget  what must be kept of it is over a budget of compression
    │   ├── ScorerError           a scorer cannot be loaded or does not fit the ladder
    │   └── LogError              a log cannot be written, or its records cannot be read
    └── RunError                  this ask failed
        ├── EngineClosed          asked outside `async with`, or after closing
        ├── DeadlineExceeded      the time given ran out before any rung had answered
        ├── BudgetExceeded        no rung may be called for the money or the tokens given
        ├── AllRungsFailed        no rung answered: an exception group of every cause
        ├── StreamBroken          a stream failed after a part of the answer was passed on
        └── ProviderError         one call of one rung failed (`.status`, `.retry_after_s`)
            ├── ConnectFailed     no connection, or it was cut           retryable
            ├── ProviderTimeout   no answer in the time of the provider  retryable
            ├── RateLimited       429                                    retryable
            ├── ServerFailed      5xx                                    retryable
            ├── BadResponse       an answer that cannot be understood    retryable
            ├── Unauthorized      401, 403
            ├── RequestRefused    another 4xx: the upstream will not take the request
            ├── ContextTooLong    the prompt does not fit the model's window
            ├── ContentRefused    a content policy of the provider
            ├── NotRecorded       a recorded provider has no answer to this prompt
            └── NotCalled         the call was not made, to spare an upstream or a limit
                ├── CircuitOpen   its breaker is open: it has failed too often just now
                ├── CoolingDown   it asked for a pause that is not over yet
                └── LimitReached  a limit of ours on calls or tokens leaves no room in time

Whether a call may be repeated is a property of the class (`retryable`), decided here and nowhere else.
Messages name what was given, what is allowed and where; they never hold prompts, answers or keys
(an upstream's own words are in `ProviderError.body`, which neither `str` nor `repr` shows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .types import Attempt, Try

__all__ = [
    "AllRungsFailed",
    "BadResponse",
    "BudgetExceeded",
    "CascadeError",
    "CircuitOpen",
    "ConfigError",
    "ConnectFailed",
    "ContentRefused",
    "ContextTooLong",
    "CoolingDown",
    "DeadlineExceeded",
    "EngineClosed",
    "LadderError",
    "LimitReached",
    "LogError",
    "NotCalled",
    "NotRecorded",
    "Problem",
    "PromptOverBudget",
    "ProviderError",
    "ProviderTimeout",
    "RateLimited",
    "RequestError",
    "RequestRefused",
    "RunError",
    "ScorerError",
    "ServerFailed",
    "StreamBroken",
    "Unauthorized",
]


class CascadeError(Exception):
    """Root of everything this package raises on purpose."""

    retryable: ClassVar[bool] = False


class ConfigError(CascadeError):
    """The caller must change something before trying again; no call was made."""


class RequestError(ConfigError):
    """The prompt or an option given to `ask` cannot be sent; the message names the place."""


class PromptOverBudget(RequestError):
    """What must be kept of a prompt is over a budget that is set to refuse it (`when_over: refuse`).

    The rung that has the setting is passed over, and nothing was sent.

    Attributes:
        budget: Tokens the prompt may have.
        least_tokens: About how many tokens must be kept.
        protected_tokens: How many of these must not change: instructions, the question, code, quotations and
            the like. The others share a number, a name or a quoted string with the question, or are first
            or last.
        place: Where the budget is set, such as ``compress.stages[1].extract``.
        mostly: The message that holds the most of it, such as ``messages[2]``; None where nobody looked.
    """

    def __init__(
        self,
        *,
        budget: int,
        least_tokens: int,
        protected_tokens: int,
        place: str,
        mostly: str | None = None,
    ) -> None:
        self.budget = budget
        self.least_tokens = least_tokens
        self.protected_tokens = protected_tokens
        self.place = place
        self.mostly = mostly
        where = "" if mostly is None else f", most of it in {mostly}"
        super().__init__(
            f"{place}: what must be kept is about {least_tokens:,} tokens, over the budget of {budget:,}; "
            f"about {protected_tokens:,} of it must not change{where}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (_over_budget, (dict(self.__dict__),))


def _over_budget(fields: dict[str, Any]) -> PromptOverBudget:
    own = {
        k: fields.pop(k) for k in ("budget", "least_tokens", "protected_tokens", "place", "mostly")
    }
    error = PromptOverBudget(**own)
    error.__dict__.update(fields)
    return error


class ScorerError(ConfigError):
    """A scorer cannot be loaded, or was not made for this ladder; the message says why."""


class LogError(ConfigError):
    """A log cannot be opened for writing, or what was given is not a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a ladder file.

    Attributes:
        path: Key path inside the file, such as ``ladder[1].accept``; empty for the whole file.
        message: What is wrong with what was given.
        allowed: What would be accepted instead, or None when the message already says it.
        line: 1-based line in the file, or None when it has no place there.
        file: Name of the file as it was given, or None for a ladder made in code.
    """

    path: str
    message: str
    allowed: str | None = None
    line: int | None = None
    file: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        head = ": ".join(part for part in (place, self.path) if part)
        text = f"{head}: {self.message}" if head else self.message
        return f"{text} (allowed: {self.allowed})" if self.allowed else text


class LadderError(ConfigError):
    """A ladder has mistakes; `problems` holds all of them, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.problems,))


class RunError(CascadeError):
    """One ask failed although the configuration is sound.

    Attributes:
        ask_id: Id of the ask that ended with it, as in the decision log; None for the error of a
            single attempt.
        attempts: What was tried, as in `Result.attempts`; empty for the error of a single attempt.
        cost_usd: What the ask had cost, US dollars, rejected answers included; None if unknown.
    """

    ask_id: str | None = None
    attempts: tuple[Attempt, ...] = ()
    cost_usd: float | None = None


class EngineClosed(RunError):
    """The engine was asked before it was entered or after it was closed."""


class DeadlineExceeded(RunError):
    """The time given ran out and no rung had answered yet."""


class BudgetExceeded(RunError):
    """What may be spent does not allow a single call: `max_cost_usd`, `max_total_tokens` or a budget.

    Attributes:
        retry_after_s: Seconds until the budget's next period begins; None for the ask's own limits.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class StreamBroken(RunError):
    """A stream failed after a part of the answer had been passed on: no other rung may take over.

    What was passed on is a true part of one model's answer, and all there will be of it. `__cause__`
    is what ended it: a `ProviderError`, `DeadlineExceeded` or `EngineClosed`.

    Attributes:
        rung: Index of the rung that was answering.
        model: Its model.
    """

    def __init__(self, message: str, *, rung: int, model: str) -> None:
        self.rung = rung
        self.model = model
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {k: v for k, v in self.__dict__.items() if k not in ("rung", "model")}
        return (_rebuild_broken, (self.args[0], self.rung, self.model, fields))


def _rebuild_broken(message: str, rung: int, model: str, fields: dict[str, Any]) -> StreamBroken:
    error = StreamBroken(message, rung=rung, model=model)
    error.__dict__.update(fields)
    return error


class ProviderError(RunError):
    """One call to one provider failed.

    Attributes:
        provider: Name of the provider in the ladder.
        model: Model that was asked.
        status: HTTP status, or None when there was no HTTP answer.
        retry_after_s: Seconds the provider asked to wait, or None when it did not say.
        body: What the provider sent, cut to 2,000 characters, or None. It may quote the prompt:
            it is never part of `str`, `repr` or a log record.
        sent: False when the request is known not to have left: nothing can have been billed.
        tries: The requests made before it for the same attempt, oldest first.
    """

    tries: tuple[Try, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        body: str | None = None,
        sent: bool = True,
    ) -> None:
        self.message = message
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after_s = retry_after_s
        self.body = body
        self.sent = sent
        super().__init__(f"{provider}/{model}: {message}")

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {k: v for k, v in self.__dict__.items() if k != "message"}
        return (_rebuild, (type(self), self.message, fields))


def _rebuild(kind: type[ProviderError], message: str, fields: dict[str, Any]) -> ProviderError:
    about_the_ask = {k: fields.pop(k) for k in _OF_THE_ASK if k in fields}
    error = kind(message, **fields)
    error.__dict__.update(about_the_ask)
    return error


_OF_THE_ASK = ("ask_id", "attempts", "cost_usd", "tries", "refuse")


class ConnectFailed(ProviderError):
    """No connection could be made, or it was cut before the answer was complete."""

    retryable = True


class ProviderTimeout(ProviderError):
    """The provider did not answer within the timeouts set for it."""

    retryable = True


class RateLimited(ProviderError):
    """The provider answered 429; `retry_after_s` holds the wait it asked for, if it did."""

    retryable = True


class ServerFailed(ProviderError):
    """The provider answered with a status of 500 or above."""

    retryable = True


class BadResponse(ProviderError):
    """The provider answered something that is not a completion: HTML, half a JSON, no choices."""

    retryable = True


class Unauthorized(ProviderError):
    """The provider answered 401 or 403: the key is wrong or may not use this model."""


class RequestRefused(ProviderError):
    """The provider answered another 4xx: it will not take this request."""


class ContextTooLong(RequestRefused):
    """The prompt and the wanted output do not fit the model's window."""


class ContentRefused(RequestRefused):
    """A content policy of the provider refused the request."""


class NotRecorded(ProviderError):
    """The traffic log behind a recorded provider holds no answer of this model to this prompt."""


class NotCalled(ProviderError):
    """No request was sent, to spare an upstream or a limit; `retry_after_s` says when one may be."""

    def __init__(
        self, message: str, *, provider: str, model: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(
            message, provider=provider, model=model, retry_after_s=retry_after_s, sent=False
        )

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (kind, message, fields) = super().__reduce__()
        return (rebuild, (kind, message, {k: v for k, v in fields.items() if k not in _NO_ANSWER}))


_NO_ANSWER = ("status", "body", "sent")
"""What an error without a request cannot hold."""


class CircuitOpen(NotCalled):
    """The deployment has failed too often just now; its breaker lets no call through."""


class CoolingDown(NotCalled):
    """The deployment asked for a pause (`Retry-After`, rate-limit headers) that is not over yet."""


class LimitReached(NotCalled):
    """A limit of ours on calls or tokens leaves no room within the time or the queue.

    Attributes:
        refuse: Whether the limit is set to end the ask instead of letting it go on with another rung.
    """

    refuse: bool = False


class AllRungsFailed(ExceptionGroup[CascadeError], RunError):
    """No rung gave an answer that can be returned; `exceptions` holds one cause a rung."""

    def __str__(self) -> str:
        return self.message  # without the count of causes that exception groups add: it names them

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which some rung may take a call again, as far as it said; None if none did."""
        said = [getattr(cause, "retry_after_s", None) for cause in self.exceptions]
        return min((seconds for seconds in said if seconds is not None), default=None)

    def derive(self, excs: Sequence[CascadeError], /) -> AllRungsFailed:  # type: ignore[override]
        """Return a group of the same kind over `excs`, as `except*` needs it."""
        return AllRungsFailed(self.message, excs)
