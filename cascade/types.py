"""The words every layer speaks: requests, answers, attempts and results, as frozen values.

Nothing here decides or does anything. An unknown number is None, never zero. They are msgspec
structs and not dataclasses because an ask makes some twenty of them: 0.2 µs each instead of 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .errors import CascadeError, ProviderError

if TYPE_CHECKING:
    from .ports import Listener

__all__ = [
    "NO_CONTEXT",
    "RANK",
    "Answer",
    "Attempt",
    "CacheEntry",
    "CacheHit",
    "CacheUse",
    "CallContext",
    "Chunk",
    "Compressed",
    "Compression",
    "Demand",
    "Message",
    "ModelCall",
    "OneOfMany",
    "Request",
    "Result",
    "Score",
    "StageReport",
    "StreamMode",
    "Streamed",
    "TokenLogprobs",
    "ToolCallDelta",
    "Try",
    "Usage",
    "Verdict",
]

Verdict = Literal["accepted", "escalated", "rejected", "failed", "skipped", "hedged", "cached"]
"""What became of an attempt: its answer is the one returned; it was left because it was not sure
enough; it failed a gate; the call itself failed; the rung was passed over without a call; it was
asked beside another rung and no longer needed; its answer came from the cache and is returned."""

StreamMode = Literal["hold", "early_accept", "early_reject", "through"]
"""How a streamed call was handled: held until the whole was judged; released from a checkpoint on; ended
at one; passed on from its first byte."""

CacheUse = Literal["use", "off", "read", "refresh"]
"""What an ask does with the cache: look and keep; neither; look only; keep only."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One chat message.

    Attributes:
        role: Who speaks: system, developer, user, assistant, tool or function.
        content: Text, a list of content parts (passed on untouched), or None.
        extra: Every further field (`name`, `tool_calls`, `tool_call_id`, …), passed on untouched.
    """

    role: str
    content: str | Sequence[Mapping[str, Any]] | None
    extra: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        size = 0 if self.content is None else len(self.content)
        unit = "characters" if isinstance(self.content, str) else "parts"
        return f"<Message {self.role}, {size} {unit}>"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller wants answered. None means: not sent, the provider's own default holds.

    Attributes:
        messages: The chat, oldest first; never empty.
        tools: Tool definitions, passed on untouched.
        response_format: Structured-output request, passed on untouched.
        temperature: Sampling temperature.
        max_tokens: Most tokens of output.
        stop: Stop sequences.
        seed: Sampling seed.
        extra: Any further field of the provider's API, passed on untouched.
    """

    messages: tuple[Message, ...]
    tools: Sequence[Mapping[str, Any]] | None = None
    response_format: Mapping[str, Any] | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: str | Sequence[str] | None = None
    seed: int | None = None
    extra: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Request {list(self.messages)!r}>"

    @property
    def prompt(self) -> str:
        """The text of the last user message; "" when it has none."""
        for message in reversed(self.messages):
            if message.role == "user":
                if isinstance(message.content, str):
                    return message.content
                parts = message.content or ()
                return "\n".join(p["text"] for p in parts if isinstance(p.get("text"), str))
        return ""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one ask demands of the walk, beside the request itself.

    Attributes:
        min_confidence: Accept nothing below this P(right) in [0, 1], or None for the ladder's thresholds alone.
        max_cost_usd: Start no call that is known to pass this total, US dollars, or None.
        max_total_tokens: Start no call once this many tokens, of prompts and answers, are used; None
            for no limit.
        deadline_s: Seconds the whole ask may take, or None.
        cache: What to do with the cache, where there is one.
        max_age_s: Oldest cached answer to take, seconds; None for any that is kept.
        cache_tags: What a kept answer may be invalidated by.
    """

    min_confidence: float | None = None
    max_cost_usd: float | None = None
    max_total_tokens: int | None = None
    deadline_s: float | None = None
    cache: CacheUse = "use"
    max_age_s: float | None = None
    cache_tags: tuple[str, ...] = ()


class CallContext(msgspec.Struct, frozen=True, kw_only=True):
    """Whose call it is and how long it may take: for what stands before a client, never sent.

    Attributes:
        deadline: Reading of the engine's monotonic clock at which the ask ends; None: no end is set.
        tenant: Whose ask it is, or None.
        session: The conversation it belongs to, or None; equal ones go to the same deployment where
            that is wished for.
        idempotent: Whether the call may be made twice at once (hedged).
        failures: What the call has failed with before, oldest first: a pool asks another deployment
            first, and one that has timed out not again.
        may_wait: Whether a limit without room may let it wait; False: it is refused at once, as there
            are others to ask.
    """

    deadline: float | None = None
    tenant: str | None = None
    session: str | None = None
    idempotent: bool = True
    failures: tuple[ProviderError, ...] = ()
    may_wait: bool = True


NO_CONTEXT = CallContext()


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call as a client performs it.

    Attributes:
        model: The provider's name of the model.
        request: What to ask.
        max_tokens: The rung's own output limit, used when the request sets none; None for no limit.
        logprobs: Whether token log-probabilities are wanted.
        top_logprobs: Alternatives wanted per token, >= 0.
        extra: The rung's extra request fields; the request's own fields win over them.
        rung: Index in the ladder of the rung it is for.
        context: Whose call it is and how long it may take.
        listener: Is told of the answer while it comes; None: nobody listens, and the whole is enough.
        escalated: Whether another rung was asked before, or is being asked at the same time.
        headers: HTTP headers of this call alone, names in lower case: its place in a trace.
        shortened: Is told what was done to the prompt before it is sent; None: nobody asks.
    """

    model: str
    request: Request
    max_tokens: int | None = None
    logprobs: bool = True
    top_logprobs: int = 5
    extra: Mapping[str, Any] = {}
    rung: int = 0
    context: CallContext = NO_CONTEXT
    listener: Listener | None = None
    escalated: bool = False
    headers: Mapping[str, str] = {}
    shortened: Callable[[Compression], None] | None = None

    def __repr__(self) -> str:
        return f"<ModelCall to {self.model}: {self.request!r}>"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens a call used as the provider counts them; None where it does not say.

    Attributes:
        prompt_tokens: All input tokens, cached ones included.
        completion_tokens: All output tokens that are billed, reasoning included.
        cached_tokens: The part of `prompt_tokens` read from the provider's prompt cache.
        cache_write_tokens: The part of `prompt_tokens` written to the provider's prompt cache.
        reasoning_tokens: The part of `completion_tokens` spent on hidden reasoning.
        estimated: Whether a count is ours: the stream was closed before the provider told its own.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False


class TokenLogprobs(msgspec.Struct, frozen=True, kw_only=True):
    """Log-probabilities of an answer's tokens, as the provider reports them.

    Attributes:
        tokens: The chosen tokens, in order. Shape (n_tokens,). Empty strings when a log kept none.
        logprobs: Their natural-log probabilities, <= 0. Shape (n_tokens,).
        top: Log-probabilities of the best alternatives of each token, best first. Shape
            (n_tokens, k) with k varying, or None when the provider gives none.
    """

    tokens: Sequence[str]
    logprobs: Sequence[float]
    top: Sequence[Sequence[float]] | None = None

    def __repr__(self) -> str:
        return f"<TokenLogprobs of {len(self.logprobs)} tokens>"


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a tool call, as in OpenAI's chunks.

    Attributes:
        index: Which of the answer's tool calls it belongs to, from 0.
        id: The call's id, in its first piece; else None.
        name: The tool's name, in its first piece; else None.
        arguments: A further piece of the JSON text of its arguments; may be "".
        kind: The call's type, in its first piece; else None.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    kind: str | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has said since the chunk before.

    Attributes:
        text: Further text; may be "".
        tool_calls: Pieces of tool calls.
        refusal: Further text of the provider's own refusal; may be "".
        logprobs: Log-probabilities of the tokens in it, or None when there are none.
        raw_logprobs: The same as the provider wrote them (JSON), where they were asked for by name.
        tokens: Tokens in it, as far as can be told: those with log-probabilities, else one for a chunk
            that says anything.
    """

    text: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    refusal: str = ""
    logprobs: TokenLogprobs | None = None
    raw_logprobs: bytes | None = None
    tokens: int = 1

    def __repr__(self) -> str:
        return f"<Chunk of {len(self.text)} characters, {self.tokens} tokens>"


class Streamed(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt's answer was streamed.

    Attributes:
        mode: What was done with it.
        released_at_tokens: Tokens that had come when it was first passed on, 0 for ``through``; None: it
            never was, or only as a whole.
        stopped_at_tokens: Tokens that had come when it was ended early; None: it was not.
        judged: Tokens and P(right) in [0, 1] at every checkpoint; None where nothing could be measured.
        first_s: Seconds from the call to its first chunk; None when none came.
        usage: Tokens of a draft that was ended or cut, of which there is no answer; else None.
    """

    mode: StreamMode
    released_at_tokens: int | None = None
    stopped_at_tokens: int | None = None
    judged: tuple[tuple[int, float | None], ...] = ()
    first_s: float | None = None
    usage: Usage | None = None


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One request of several that a single attempt took: a repeated or a hedged one.

    Attributes:
        deployment: Name of the provider that was asked.
        error: Why nothing was had from it; None for a hedged one that was merely too late.
        latency_s: Wall seconds it took, waiting for its turn included.
        cost_usd: What it cost, US dollars; None if unknown.
        estimated: Whether `cost_usd` is what it may have cost at most: it was cancelled, and nobody
            says how far it had come.
    """

    deployment: str
    error: CascadeError | None
    latency_s: float
    cost_usd: float | None
    estimated: bool = False


class StageReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage of prompt compression did.

    Attributes:
        name: Name of the stage.
        tokens_before: Tokens of the prompt's text before it, as `Compression.counted` says.
        tokens_after: Tokens after it.
        removed: What it removed, in words, without any of the prompt's text; "" for nothing.
        lossy: Whether something may be missed that it removed.
    """

    name: str
    tokens_before: int
    tokens_after: int
    removed: str = ""
    lossy: bool = False


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a prompt before it was sent.

    Attributes:
        tokens_before: Tokens of the prompt's text, tools and images aside; None: it was not counted,
            as there was nothing to do.
        tokens_after: Tokens of what is sent in its place.
        stages: What each stage did, in order; those that removed nothing are there too once one did.
        counted: How the tokens were counted: an encoding of tiktoken, or ``estimate``.
        note: Why less, or nothing, was done, or what was kept for the provider's prompt cache; "" for
            nothing to say.
    """

    tokens_before: int | None
    tokens_after: int | None
    stages: tuple[StageReport, ...] = ()
    counted: str = "estimate"
    note: str = ""


class Compressed(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it is sent, and what was done to it.

    Attributes:
        request: What to send; the very same object when nothing was done.
        compression: What was done.
    """

    request: Request
    compression: Compression

    @property
    def stages(self) -> tuple[StageReport, ...]:
        """What each stage did."""
        return self.compression.stages


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one model answered to one call.

    Attributes:
        text: The answer's text, or None when it holds only tool calls.
        model: The model's name as the provider states it.
        finish_reason: `stop`, `length`, `tool_calls`, `content_filter`, …; None when not said.
        usage: Tokens used.
        tool_calls: Tool calls, as the provider sent them.
        refusal: The provider's own refusal text, or None.
        logprobs: Token log-probabilities, or None when the provider gave none.
        cost_usd: What the source says was paid, or None: then usage and prices decide.
        p_true: The model's own probability of being right where a log holds it, in [0, 1].
        raw: The provider's body as received, or None.
        deployment: Name of the provider that answered, where several serve the rung; else None.
        tries: The other requests that were made for it, oldest first.
        pause_s: Seconds for which the provider wants no further request, by its rate-limit headers;
            None when it did not say.
        compression: What was done to the prompt before it was sent; None where nothing is set.
    """

    text: str | None
    model: str
    finish_reason: str | None = None
    usage: Usage = Usage()
    tool_calls: Sequence[Mapping[str, Any]] = ()
    refusal: str | None = None
    logprobs: TokenLogprobs | None = None
    cost_usd: float | None = None
    p_true: float | None = None
    raw: bytes | None = None
    deployment: str | None = None
    tries: tuple[Try, ...] = ()
    pause_s: float | None = None
    compression: Compression | None = None

    def __repr__(self) -> str:
        return (
            f"<Answer of {self.model}, {len(self.text or '')} characters, "
            f"finish_reason={self.finish_reason!r}>"
        )


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An answer kept for later, with all that says whether it may be served.

    Attributes:
        key: Digest of the whole request and of what it was asked of: ladder, tenant.
        scope: Digest of the same without the text of the last user message: near-duplicates are looked
            for among entries of one scope only.
        tenant: Whose answer it is, or None.
        text: The last user message, or None where it must not be compared with others.
        answer: The answer, without the provider's body and without log-probabilities.
        rung: Index of the rung that gave it.
        model: Its model.
        confidence: P(right) in [0, 1] as it was then, or None when it was not measurable.
        cost_usd: What it had cost, US dollars, rejected answers included; None if unknown.
        ladder: Version of the ladder.
        policy: Version of the policy.
        scorer: Version of the scorer, or None without one.
        ask_id: The ask that it was given to, as in the decision log.
        stored_at: When, UTC, ISO 8601 with milliseconds.
        expires_at: When it is no longer served, in the same form; None: never.
        tags: What it may be invalidated by.
    """

    key: str
    scope: str
    tenant: str | None
    text: str | None
    answer: Answer
    rung: int
    model: str
    confidence: float | None
    cost_usd: float | None
    ladder: str
    policy: str
    scorer: str | None
    ask_id: str
    stored_at: str
    expires_at: str | None = None
    tags: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<CacheEntry {self.key} of {self.model}, stored {self.stored_at}>"


class CacheHit(msgspec.Struct, frozen=True, kw_only=True):
    """Where an answer from the cache came from.

    Attributes:
        kind: ``exact``: the same request; ``near``: another one with the same answer, as far as its
            verification can tell; ``shared``: the same request, in flight at the same time.
        key: Key of the entry.
        ask_id: The ask that it was given to first.
        stored_at: When, UTC, ISO 8601; None for one that was in flight.
        text: The prompt it was an answer to, of a near hit; else None.
        similarity: Of the two prompts, in [0, 1], of a near hit; else None.
        p_same: P(both have the same answer) in [0, 1], of a near hit; else None.
    """

    kind: Literal["exact", "near", "shared"]
    key: str
    ask_id: str
    stored_at: str | None
    text: str | None = None
    similarity: float | None = None
    p_same: float | None = None

    def __repr__(self) -> str:
        return f"<CacheHit {self.kind} {self.key}, of ask {self.ask_id}>"


RANK = "rank_among_logged_answers"
"""The measure of a score whose confidence is only a rank in [0, 1], and no probability."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What a scorer says after reading what has been answered so far.

    Attributes:
        confidence: P(the newest answer is right) in [0, 1], or None when nothing could be measured.
        why_unknown: Why `confidence` is None, in words; None otherwise.
        measures: The numbers behind it, by name; NaN marks an absent one. `RANK` among them says
            that the confidence is a rank.
        forecast: P(rung j is right) by rung index, given everything seen so far: for rungs not called
            yet, and revised for those that were; empty if not known.
        cost_usd: What scoring itself cost (a judge's call), US dollars; None if a price is unknown.
    """

    confidence: float | None
    why_unknown: str | None = None
    measures: Mapping[str, float] = {}
    forecast: Mapping[int, float] = {}
    cost_usd: float | None = 0.0


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One rung that was tried, and why it was kept or left.

    Attributes:
        rung: Index in the ladder, 0 for the first.
        model: Model of the rung.
        provider: Name of its provider; of the deployment that answered, where several serve it.
        verdict: What became of it.
        reason: That verdict in words.
        threshold: Confidence it had to reach, in [0, 1]; None when none was set.
        answer: What it answered, or None when the call failed.
        error: Why the call failed, or None.
        failed_gates: The gates its answer failed, each with the reason.
        score: What the scorer said, or None when it was not asked.
        cost_usd: What the call, its repetitions and its scoring cost, US dollars; None if unknown.
        latency_s: Wall seconds the call took, waits between repetitions included.
        tries: The other requests it took, oldest first: repeated and hedged ones.
        action: What the policy did next: ``stop`` or ``call:<rung>``.
        probabilities: Probability of each action the policy could have taken, summing to 1.
        streamed: How its answer was streamed; None in an ask that is no stream.
        compression: What was done to the prompt before it was sent, also when the call then failed; None
            where nothing is set, or nothing was sent.
    """

    rung: int
    model: str
    provider: str
    verdict: Verdict
    reason: str
    threshold: float | None = None
    answer: Answer | None = None
    error: CascadeError | None = None
    failed_gates: tuple[str, ...] = ()
    score: Score | None = None
    cost_usd: float | None = None
    latency_s: float = 0.0
    tries: tuple[Try, ...] = ()
    action: str = ""
    probabilities: Mapping[str, float] = {}
    streamed: Streamed | None = None
    compression: Compression | None = None

    @property
    def confidence(self) -> float | None:
        """P(right) of this answer in [0, 1], or None when it was not scored or not measurable."""
        return self.score.confidence if self.score is not None else None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What an ask returns: the best answer tried, and everything about how it came about.

    Attributes:
        id: Joins the decision log, feedback and traces.
        answer: The answer kept.
        rung: Index of the rung that gave it.
        confidence: Calibrated P(right) in [0, 1], or None when nothing could be measured.
        attempts: Every rung tried, in order.
        cost_usd: All that was spent, rejected attempts included; None if a price is unknown.
        saving_usd_estimate: Estimated saving against always calling the top rung, US dollars: the
            top rung's prices times the tokens of the answer kept, less `cost_usd`. None if unknown.
        latency_s: Wall seconds of the whole ask.
        degraded: Why this answer is less than was asked for, in words; None when it is not.
        cache: Where it came from, if from the cache; else None.
        cache_miss: Why the cache had nothing to give, in words; None for a hit and without a cache.
    """

    id: str
    answer: Answer
    rung: int
    confidence: float | None
    attempts: tuple[Attempt, ...]
    cost_usd: float | None
    saving_usd_estimate: float | None
    latency_s: float
    degraded: str | None = None
    cache: CacheHit | None = None
    cache_miss: str | None = None

    @property
    def text(self) -> str:
        """The answer's text; "" when it holds only tool calls."""
        return self.answer.text or ""

    @property
    def model(self) -> str:
        """Model of the rung that answered."""
        return next(a.model for a in self.attempts if a.answer is self.answer)

    @property
    def tool_calls(self) -> Sequence[Mapping[str, Any]]:
        """Tool calls of the answer, as the provider sent them."""
        return self.answer.tool_calls

    def explain(self) -> str:
        """Return the walk in words: which rung, what it said, why it was kept or left, what it cost."""
        from .explain import explain

        return explain(self)


class OneOfMany(msgspec.Struct, frozen=True, kw_only=True):
    """What `ask_many` returns for one question.

    Attributes:
        id: Id of the whole and number of the question from 1; the decision records of the calls it was
            part of name it under `metadata.ask_many`.
        question: As it was given.
        answer: The answer, or None when there is none: then `error` says why. One that was given
            together with others states no usage: nobody counted its tokens alone.
        model: Model of the rung that answered, or None.
        rung: Index of that rung, or None.
        confidence: P(right) in [0, 1] as the scorer says of this answer and its own tokens, or None.
        why_unknown: Why `confidence` is None, in words.
        cost_usd: Its share of the joint call and what asking it alone cost, US dollars; None if
            unknown. Those of all questions add up to what was paid.
        share_usd: The share in it: an equal part of what the joint call cost, 0 if it was in none.
        together: Questions in the joint call, itself included; 1: it was in none.
        why_alone: Why it was asked alone after all, in words; None if it was not, or in no joint call.
        attempts: Every rung tried for it, in order; those of a joint call with its share of the cost.
        ask_ids: Ids of the asks it was part of, as in the decision log.
        degraded: Why the answer is less than was asked for, in words; None when it is not.
        error: Why there is no answer, or None.
    """

    id: str
    question: str
    answer: Answer | None
    model: str | None
    rung: int | None
    confidence: float | None
    why_unknown: str | None
    cost_usd: float | None
    share_usd: float | None
    together: int
    why_alone: str | None
    attempts: tuple[Attempt, ...]
    ask_ids: tuple[str, ...]
    degraded: str | None = None
    error: CascadeError | None = None

    @property
    def text(self) -> str:
        """The answer's text; "" when there is none."""
        return "" if self.answer is None else self.answer.text or ""
