"""Several independent questions in one call (query concatenation, FrugalGPT, arXiv:2305.05176, section 3).

One model is asked once for all of them. Each answer is then held by itself against the ladder's
gates, its scorer and its policy; a question whose answer cannot be read, or would have been
escalated, is asked alone the usual way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from msgspec.structs import replace

from .budget import tokens_used
from .by_part import score_of
from .errors import (
    AllRungsFailed,
    BadResponse,
    BudgetExceeded,
    CascadeError,
    ConfigError,
    DeadlineExceeded,
    NotRecorded,
    RequestError,
    RequestRefused,
    RunError,
)
from .intake import Prompt, check_labels, make_demand, make_request
from .ladder import Ladder
from .one_of_many import Question, shared
from .policy import Decision, Policy, State
from .ports import Clock
from .pricing import add_costs
from .rules import Gate, failed_gates
from .together import (
    Part,
    joint_format,
    joint_max_tokens,
    put_together,
    take_apart,
)
from .types import Attempt, Message, OneOfMany, Result

__all__ = ["MOST_PER_CALL", "Parts", "ask_many"]

MOST_PER_CALL = 64
"""Questions that one call may hold."""

Ask = Callable[..., Awaitable[Result]]
"""`Cascade.ask`."""

_REQUEST_OPTIONS = ("temperature", "max_tokens", "seed", "response_format")
_ALONE_ONLY = ("cache", "max_age_s", "cache_tags")
_KEY = "ask_many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of an engine that decide about one answer.

    Attributes:
        ladder: The rungs.
        policy: Decides whether an answer is kept.
        gates: What each answer must be.
        clock: Time source.
        new_id: Makes the id of an `ask_many`.
    """

    ladder: Ladder
    policy: Policy
    gates: tuple[Gate, ...]
    clock: Clock
    new_id: Callable[[], str]


async def ask_many(
    ask: Ask,
    parts: Parts,
    questions: Sequence[str],
    *,
    preamble: Prompt | None,
    per_call: int,
    at_once: int,
    structured: bool,
    options: dict[str, Any],
) -> list[OneOfMany]:
    """Return one result a question; see `Cascade.ask_many`."""
    work = _Many(ask, parts, questions, preamble, per_call, at_once, structured, options)
    await work.run()
    return work.results()


class _Many:
    """One `ask_many` while it runs: what is known of each question."""

    def __init__(
        self,
        ask: Ask,
        parts: Parts,
        questions: Sequence[str],
        preamble: Prompt | None,
        per_call: int,
        at_once: int,
        structured: bool,
        options: dict[str, Any],
    ) -> None:
        _check_count("per_call", per_call, MOST_PER_CALL)
        _check_count("at_once", at_once, None)
        if isinstance(questions, str) or not isinstance(questions, Sequence):
            kind = type(questions).__name__
            raise RequestError(f"questions: {kind} given; allowed: a list of texts")
        for name in ("stop", "tools"):
            if per_call > 1 and options.get(name) is not None:
                raise RequestError(
                    f"{name}: cannot be used with several questions in a call; allowed: per_call=1"
                )
        self._ask, self._parts = ask, parts
        self._per_call, self._structured = per_call, structured
        self._before = _messages(preamble)
        self._options = dict(options)
        check_labels(options.get("tenant"), options.get("metadata"))
        self._metadata = dict(self._options.pop("metadata", None) or {})
        if _KEY in self._metadata:
            raise RequestError(
                f"metadata[{_KEY!r}]: given; it says what `ask_many` has put together"
            )
        self._ends = _ends(parts.clock, self._options.get("deadline_s"))
        self._deadline_s = self._options.pop("deadline_s", None)
        self._most_usd: float | None = self._options.pop("max_cost_usd", None)
        self._most_tokens: int | None = self._options.pop("max_total_tokens", None)
        self._demand = make_demand(
            min_confidence=self._options.get("min_confidence"),
            max_cost_usd=self._most_usd,
            max_total_tokens=self._most_tokens,
            deadline_s=self._deadline_s,
        )
        # What is left is known only when a call has come back.
        bounded = self._most_usd is not None or self._most_tokens is not None
        self._at_once = 1 if bounded else at_once
        self._spent_usd: float | None = 0.0
        self._used_tokens = 0
        self._id = parts.new_id()
        request = {name: self._options.get(name) for name in _REQUEST_OPTIONS}
        make_request([*self._before, _user("?")], **request)  # a bad option concerns all
        self._all = [Question(n, text) for n, text in enumerate(questions, start=1)]
        for question in self._all:
            try:
                question.alone = make_request([*self._before, _user(question.text)], **request)
            except RequestError as exc:
                question.error = RequestError(f"questions[{question.number - 1}]: {exc}")

    async def run(self) -> None:
        """Ask them: first those that go together, then those that are to be asked alone."""
        open_ones = [question for question in self._all if question.error is None]
        groups = [group for group in _evenly(open_ones, self._per_call) if len(group) > 1]
        await self._side_by_side([partial(self._ask_together, group) for group in groups])
        left = [q for q in open_ones if q.error is None and q.answer is None]
        await self._side_by_side([partial(self._ask_alone, question) for question in left])
        mistakes = [q.error for q in self._all if isinstance(q.error, ConfigError)]
        if mistakes and len(mistakes) == len(self._all):
            raise mistakes[0]

    def results(self) -> list[OneOfMany]:
        """Return what has become of each question."""
        return [question.result(f"{self._id}-{question.number}") for question in self._all]

    async def _side_by_side(self, jobs: Sequence[Callable[[], Awaitable[None]]]) -> None:
        waiting = iter(jobs)

        async def work() -> None:
            for job in waiting:
                await job()

        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(min(self._at_once, len(jobs))):
                    tasks.start_soon(work)
        except ExceptionGroup as group:  # a mistake in somebody's own code: raised as itself
            raise _first(group) from group

    async def _ask_together(self, group: Sequence[Question]) -> None:
        alone = [question.alone for question in group if question.alone is not None]
        asked = put_together(alone)
        own = self._options.get("max_tokens")
        limits = [rung.max_tokens for rung in self._parts.ladder.rungs] if own is None else [own]
        options = {k: v for k, v in self._options.items() if k not in _ALONE_ONLY}
        options |= {
            "cache": "off",
            "max_tokens": joint_max_tokens(limits, len(alone)),
            "response_format": joint_format(alone, structured=self._structured),
        }
        error: CascadeError | None = None
        result: Result | None = None
        try:
            result = await self._put([*self._before, asked], group, options)
        except CascadeError as exc:
            error = exc
        if result is not None:
            ask_id: str | None = result.id
            attempts, cost_usd = result.attempts, result.cost_usd
        else:
            assert error is not None
            ask_id = getattr(error, "ask_id", None)
            attempts, cost_usd = _spent_on(error)
        parts = () if result is None else take_apart(result.answer, alone)
        for place, (question, share) in enumerate(
            zip(group, shared(attempts, cost_usd, len(group)), strict=True)
        ):
            question.heard_part(ask_id, share, len(group))
            if result is not None:
                self._decide(question, result, place, parts[place])
            elif error is not None and _is_about_the_request(error):
                question.why_alone = f"asked together it failed: {type(error).__name__}"
            else:
                question.error = error

    def _decide(self, question: Question, result: Result, place: int, part: Part) -> None:
        """Keep the answer to one question of a joint call, or say why it is to be asked alone."""
        single = question.alone
        assert single is not None
        if part.answer is None:
            question.why_alone = part.why_not
            return
        failed = failed_gates(self._parts.gates, single, part.answer)
        if failed:
            question.why_alone = "failed gate " + ", ".join(g.partition(":")[0] for g in failed)
            return
        at = next(i for i, a in enumerate(result.attempts) if a.answer is result.answer)
        score = score_of(result.attempts[at], place)
        attempt = replace(
            question.attempts[at], answer=part.answer, score=score, verdict="escalated"
        )
        policy = self._options.get("policy") or self._parts.policy
        rungs = range(len(self._parts.ladder.rungs))
        decision = policy.decide(
            State(
                ladder=self._parts.ladder,
                attempts=(attempt,),
                open=tuple(i for i in rungs if i != attempt.rung),
                forecast=score.forecast,
                demand=self._demand,
                request=single,
            )
        )
        kept = replace(
            attempt, verdict="accepted", reason=decision.reason, threshold=decision.threshold
        )
        if decision.rung is not None or _is_unsure(decision, score.confidence):
            question.why_alone = decision.reason
            question.spare = (kept, at)
        else:
            question.keep(kept, at)

    async def _ask_alone(self, question: Question) -> None:
        try:
            prompt = [*self._before, _user(question.text)]
            result = await self._put(prompt, [question], dict(self._options))
        except CascadeError as exc:
            question.heard(getattr(exc, "ask_id", None), *_spent_on(exc))
            question.fail(exc)
            return
        question.heard(result.id, result.attempts, result.cost_usd)
        question.take(result)

    async def _put(
        self, prompt: Prompt, group: Sequence[Question], options: dict[str, Any]
    ) -> Result:
        """Ask within what is left of time and money."""
        if self._ends is not None:
            left_s = self._ends - self._parts.clock.monotonic()
            if left_s <= 0:
                raise DeadlineExceeded(f"deadline_s {self._deadline_s:g} ran out")
            options["deadline_s"] = left_s
        if self._most_usd is not None:
            if self._spent_usd is None:
                raise BudgetExceeded(
                    "an earlier call has no known price, so max_cost_usd cannot be kept"
                )
            options["max_cost_usd"] = max(0.0, self._most_usd - self._spent_usd)
        if self._most_tokens is not None:
            left = self._most_tokens - self._used_tokens
            if left < 1:
                raise BudgetExceeded(f"max_total_tokens {self._most_tokens:,} is used")
            options["max_total_tokens"] = left
        about = {"id": self._id, "questions": [f"{self._id}-{q.number}" for q in group]}
        options["metadata"] = {**self._metadata, _KEY: about}
        try:
            result = await self._ask(prompt, **options)
        except CascadeError as exc:
            self._count(*_spent_on(exc))
            raise
        self._count(result.attempts, result.cost_usd)
        return result

    def _count(self, attempts: Sequence[Attempt], cost_usd: float | None) -> None:
        self._spent_usd = add_costs(self._spent_usd, cost_usd)
        self._used_tokens += tokens_used(attempts)


def _is_unsure(decision: Decision, confidence: float | None) -> bool:
    """Return whether an answer missed its threshold with no other rung left: alone it may be better."""
    if decision.accepted or decision.threshold is None:
        return False
    return confidence is None or confidence < decision.threshold


def _is_about_the_request(error: CascadeError) -> bool:
    """Return whether fewer questions in a call may fare better: its size, its content, its money."""
    causes = error.exceptions if isinstance(error, AllRungsFailed) else (error,)
    about = (RequestRefused, BadResponse, NotRecorded, BudgetExceeded)
    return any(isinstance(cause, about) for cause in causes)


def _spent_on(error: CascadeError) -> tuple[tuple[Attempt, ...], float | None]:
    """Return the attempts of an ask that failed and what they cost; one that was refused cost nothing."""
    if not isinstance(error, RunError) or getattr(error, "ask_id", None) is None:
        return (), 0.0
    return tuple(error.attempts), error.cost_usd


def _evenly(questions: Sequence[Question], most: int) -> Iterator[list[Question]]:
    """Yield groups of at most `most`, as few as can be, whose sizes differ by one at most."""
    count = -(-len(questions) // most)
    for i in range(count):
        yield list(questions[i * len(questions) // count : (i + 1) * len(questions) // count])


def _messages(preamble: Prompt | None) -> list[Message]:
    """Return what stands before each question: a text is the system's."""
    if preamble is None:
        return []
    if isinstance(preamble, str):
        return [Message(role="system", content=preamble)] if preamble.strip() else []
    try:
        return list(make_request(preamble).messages)
    except RequestError as exc:
        raise RequestError(f"preamble: {exc}") from None


def _user(text: object) -> Message:
    if not isinstance(text, str):
        raise RequestError(f"{type(text).__name__} given; allowed: text")
    return Message(role="user", content=text)


def _ends(clock: Clock, deadline_s: Any) -> float | None:
    return clock.monotonic() + deadline_s if isinstance(deadline_s, int | float) else None


def _check_count(name: str, given: object, most: int | None) -> None:
    whole = isinstance(given, int) and not isinstance(given, bool) and given >= 1
    if not whole or (most is not None and isinstance(given, int) and given > most):
        allowed = "a whole number >= 1" if most is None else f"a whole number from 1 to {most}"
        raise RequestError(f"{name}: {given!r:.40} given; allowed: {allowed}")


def _first(group: ExceptionGroup[Exception]) -> Exception:
    first: Exception = group
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first
