"""Holds back what rungs say until it may be passed on: one draft a call, one outlet a stream.

Of all drafts of a stream at most one is ever passed on, and from then on no other can be. What is
done with a draft is decided by its rung's `StreamRule`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from .assembly import Assembly, estimated_usage
from .ending import Ending
from .errors import BadResponse, RunError
from .events import AnswerStarted, Event, RefusalDelta, RungLeft, RungStarted, TextDelta
from .ladder import Rung
from .ports import Clock, PrefixScorer
from .pricing import cost_usd
from .rules import Gate, prefix_failures
from .stream_rules import Handling, StreamRule, judge, next_checkpoint
from .types import (
    Answer,
    Attempt,
    Chunk,
    Compression,
    ModelCall,
    Request,
    Score,
    Streamed,
    StreamMode,
    ToolCallDelta,
    Usage,
)
from .walk import Call

__all__ = ["Draft", "Outlet"]


class Reader(Protocol):
    """Where events go; see `streaming.AnswerStream`."""

    def put_nowait(self, event: Event) -> None:
        """Add an event, however many are unread."""

    async def put(self, event: Event) -> None:
        """Add an event, once there is room for it."""


class Outlet:
    """What of one ask is passed on to its reader, and when.

    Args:
        reader: Takes the events.
        rules: How the drafts of each rung are handled, in the order of the ladder.
        gates: What an answer must be; those that can tell by its beginning end a draft early.
        scorer: Judges beginnings; None: only their log-probabilities are looked at.
        clock: Time source.
    """

    def __init__(
        self,
        reader: Reader,
        rules: Sequence[StreamRule],
        *,
        gates: Sequence[Gate],
        scorer: PrefixScorer | None,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._rules = rules
        self._left: set[int] = set()
        self._drafts: dict[int, Draft] = {}
        self._chosen: Draft | None = None
        self._may_choose = False
        self.gates = gates
        self.scorer = scorer
        self.clock = clock

    def chosen(self) -> int | None:
        """Return the rung whose draft is being passed on, or None as long as none is."""
        return None if self._chosen is None else self._chosen.rung

    def expect(self, *, outcome: bool) -> None:
        """Note whether the walk waits for a call's outcome. Only then may a draft be chosen.

        While it judges an answer another call may still run beside it (hedging): were its draft passed
        on now, the walk might keep the answer that it is judging.
        """
        self._may_choose = outcome

    async def open(self, effect: Call, rung: int, call: ModelCall) -> Draft:
        """Begin the draft of a call, and tell which rungs were left and which is asked."""
        for attempt in effect.attempts:
            await self._leave(attempt)
        rule = self._rules[rung]
        wanted = effect.rung == rung  # else it is the backup, asked beside it
        handling = rule.handling(is_last=effect.is_last) if wanted else "hold"
        draft = Draft(self, call, rung, rule, handling, effect.attempts)
        self._drafts[rung] = draft
        self._left.discard(rung)
        await self._reader.put(RungStarted(rung=rung, model=call.model))
        return draft

    def draft(self, rung: int) -> Draft | None:
        """Return the draft of a rung's last call, or None where it was not called."""
        return self._drafts.get(rung)

    def choose(self, draft: Draft) -> bool:
        """Choose this draft; return False if another one already is, or may still be."""
        if self._chosen is None and self._may_choose:
            self._chosen = draft
        return self._chosen is draft

    async def announce(self, draft: Draft) -> None:
        """Tell that the answer begins, and that what was asked beside it is left."""
        for rung, other in self._drafts.items():
            if other is not draft and rung not in self._left:
                self._left.add(rung)
                reason = f"rung {draft.rung} is surer already"
                await self._reader.put(RungLeft(rung=rung, model=other.model, reason=reason))
        await self._reader.put(AnswerStarted(rung=draft.rung, model=draft.model))

    async def pass_on(self, chunk: Chunk) -> None:
        """Tell a chunk of the chosen draft."""
        for event in _events(chunk):
            await self._reader.put(event)

    def finish(self, ending: Ending) -> None:
        """Tell what is left to tell of the answer an ask has come to; nothing waits here."""
        if ending.kept is None:
            return
        put = self._reader.put_nowait
        if self._chosen is not None:
            assert ending.attempts[ending.kept].rung == self._chosen.rung
            return
        for i, attempt in enumerate(ending.attempts):
            if i != ending.kept and attempt.rung in self._drafts and attempt.rung not in self._left:
                put(RungLeft(rung=attempt.rung, model=attempt.model, reason=attempt.reason))
        kept = ending.attempts[ending.kept]
        assert kept.answer is not None
        put(AnswerStarted(rung=kept.rung, model=kept.model))
        draft = self._drafts.get(kept.rung)
        chunks = (_whole(kept.answer),) if draft is None else draft.held(kept.answer)
        for chunk in chunks:
            for event in _events(chunk):
                put(event)

    def unfinished(
        self,
        rungs: Sequence[Rung],
        calling: Collection[int],
        compressed: Mapping[int, Compression],
    ) -> tuple[Attempt, ...]:
        """Return the calls that were in flight when their reader left, as attempts with what they cost.

        Args:
            rungs: The rungs of the ladder.
            calling: Indices of those that were being called.
            compressed: What was done to the prompts that were sent, by rung.
        """
        return tuple(
            replace(self._drafts[rung].unfinished(rungs[rung]), compression=compressed.get(rung))
            for rung in sorted(calling)
            if rung in self._drafts
        )

    async def _leave(self, attempt: Attempt) -> None:
        if attempt.rung in self._drafts and attempt.rung not in self._left:
            self._left.add(attempt.rung)
            left = RungLeft(rung=attempt.rung, model=attempt.model, reason=attempt.reason)
            await self._reader.put(left)


class Draft:
    """What one rung says, as far as it has come: the listener of its call.

    Attributes:
        rung: Index of the rung.
        model: Its model.
        stopped: Why it was ended early; None when it was not.
    """

    def __init__(
        self,
        outlet: Outlet,
        call: ModelCall,
        rung: int,
        rule: StreamRule,
        handling: Handling,
        attempts: tuple[Attempt, ...],
    ) -> None:
        self.rung = rung
        self.model = call.model
        self.stopped: str | None = None
        self._outlet = outlet
        self._call = call
        self._rule = rule
        self._handling = handling
        self._attempts = attempts
        self._began = outlet.clock.monotonic()
        self._first_s: float | None = None
        self._released_at: int | None = None
        self._stopped_at: int | None = None
        self._start()

    def _start(self) -> None:
        self._assembly = Assembly()
        self._chunks: list[Chunk] = []
        self._judged: tuple[tuple[int, float | None], ...] = ()
        self._next = self._rule.checkpoints[0] if self._handling == "early" else None

    @property
    def may_repeat(self) -> bool:
        """Whether another answer may take the place of what has come so far."""
        return self._released_at is None

    def begin(self) -> None:
        """Note that a response begins: what an earlier one said is void.

        Raises:
            BadResponse: A part of the earlier one has been passed on.
        """
        if self._released_at is not None:
            raise BadResponse(
                "a second answer to a call whose first was passed on already",
                provider="stream",
                model=self.model,
            )
        if not self._assembly.is_empty:
            self._start()

    async def take(self, chunk: Chunk) -> bool:
        """Take what has come; return whether more is wanted."""
        if self.stopped is not None:
            return False
        self._assembly.add(chunk)
        if self._released_at is not None:
            await self._outlet.pass_on(chunk)
            return True
        if self._first_s is None:
            self._first_s = self._outlet.clock.monotonic() - self._began
        self._chunks.append(chunk)
        if self._handling == "through":
            await self._release(0)
        elif self._next is not None and self._assembly.tokens >= self._next:
            await self._judge()
        return self.stopped is None

    async def complete(self, answer: Answer) -> None:
        """Note that the call is answered; what of the answer did not come in chunks is passed on.

        Raises:
            BadResponse: It is not the answer that was passed on.
        """
        if self._released_at is None or self.stopped is not None:
            return
        told, whole = self._assembly.text, answer.text or ""
        if told == whole:
            return
        if not whole.startswith(told):
            raise BadResponse(
                "the whole answer is not the one that was passed on",
                provider=answer.deployment or "stream",
                model=self.model,
            )
        await self._outlet.pass_on(Chunk(text=whole[len(told) :]))

    def held(self, answer: Answer) -> Sequence[Chunk]:
        """Return the answer in as few chunks as hold all that is known of it."""
        in_pieces = any(chunk.raw_logprobs is not None for chunk in self._chunks)
        if in_pieces and self._assembly.text == (answer.text or ""):
            return self._chunks
        return (_whole(answer),)

    def streamed(self, usage: Usage | None = None) -> Streamed:
        """Return how it was streamed.

        Args:
            usage: What it used, when it was ended early.
        """
        if self.stopped is not None:
            mode: StreamMode = "early_reject"
        elif self._released_at is None:
            mode = "hold"
        else:
            mode = "early_accept" if self._released_at else "through"
        return Streamed(
            mode=mode,
            released_at_tokens=self._released_at,
            stopped_at_tokens=self._stopped_at,
            judged=self._judged,
            first_s=self._first_s,
            usage=usage,
        )

    def usage(self) -> Usage | None:
        """Return what it has used so far, estimated; None when nothing came: then nobody can tell."""
        if self._assembly.is_empty:
            return None
        usage = estimated_usage(self._call.request, self._assembly)
        counts = [a.answer.usage.prompt_tokens for a in self._attempts if a.answer is not None]
        known = next((count for count in counts if count is not None), None)
        return usage if known is None else replace(usage, prompt_tokens=known)

    def unfinished(self, rung: Rung) -> Attempt:
        """Return the call as an attempt that was cancelled while it was in flight."""
        usage = self.usage()
        return Attempt(
            rung=self.rung,
            model=self.model,
            provider=rung.provider,
            verdict="failed",
            reason="cancelled: its reader has left",
            cost_usd=None if usage is None else cost_usd(usage, rung.price),
            latency_s=self._outlet.clock.monotonic() - self._began,
            streamed=self.streamed(usage),
        )

    async def _release(self, tokens: int) -> None:
        if not self._outlet.choose(self):
            return
        self._released_at = (
            tokens  # before anything waits: a call that is cut there is a broken stream
        )
        await self._outlet.announce(self)
        for chunk in self._chunks:
            await self._outlet.pass_on(chunk)
        self._chunks.clear()

    async def _judge(self) -> None:
        """Decide at a checkpoint whether to wait, to pass on or to end."""
        tokens = self._assembly.tokens
        self._next = next_checkpoint(self._rule.checkpoints, tokens)
        request, prefix = self._call.request, self._assembly.answer(self.model)
        failed = prefix_failures(self._outlet.gates, request, prefix)
        if failed:
            names = ", ".join(gate.partition(":")[0] for gate in failed)
            self._stop(tokens, f"failed gate {names} by token {tokens}")
            return
        score = await self._score(request, prefix, tokens)
        mean = _mean_logprob(prefix)
        self._judged = (*self._judged, (tokens, score.confidence))
        verdict = judge(self._rule, score.confidence, mean)
        if verdict == "release":
            await self._release(tokens)
        elif verdict == "stop":
            self._stop(tokens, _why_stopped(self._rule, score.confidence, mean, tokens))

    async def _score(self, request: Request, prefix: Answer, tokens: int) -> Score:
        scorer = self._outlet.scorer
        if scorer is None:
            return Score(confidence=None, why_unknown="no prefix scorer")
        try:
            return await scorer.score_prefix(
                request, self._attempts, prefix, rung=self.rung, tokens=tokens
            )
        except RunError as exc:
            return Score(confidence=None, why_unknown=f"scorer failed: {type(exc).__name__}")

    def _stop(self, tokens: int, why: str) -> None:
        self._stopped_at, self.stopped = tokens, why


def _why_stopped(
    rule: StreamRule, confidence: float | None, mean: float | None, tokens: int
) -> str:
    if rule.min_logprob is not None and mean is not None and mean < rule.min_logprob:
        return f"ended at token {tokens}: mean log-probability {mean:.2f} < {rule.min_logprob:.2f}"
    return f"ended at token {tokens}: confidence {confidence or 0.0:.2f} < {rule.reject or 0.0:.2f}"


def _mean_logprob(answer: Answer) -> float | None:
    given = answer.logprobs
    return sum(given.logprobs) / len(given.logprobs) if given and given.logprobs else None


def _whole(answer: Answer) -> Chunk:
    """Return a whole answer as one chunk."""
    calls = []
    for index, call in enumerate(answer.tool_calls):
        function = call.get("function") or {}
        calls.append(
            ToolCallDelta(
                index=index,
                id=call.get("id"),
                kind=call.get("type"),
                name=function.get("name"),
                arguments=function.get("arguments") or "",
            )
        )
    return Chunk(
        text=answer.text or "",
        refusal=answer.refusal or "",
        tool_calls=tuple(calls),
        logprobs=answer.logprobs,
    )


def _events(chunk: Chunk) -> list[Event]:
    events: list[Event] = []
    if chunk.text:
        events.append(
            TextDelta(text=chunk.text, logprobs=chunk.logprobs, raw_logprobs=chunk.raw_logprobs)
        )
    if chunk.refusal:
        events.append(RefusalDelta(text=chunk.refusal))
    events.extend(chunk.tool_calls)
    return events
