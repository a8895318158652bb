"""The engine: drives the walk, performing what it asks for.

`Cascade` owns the clients, the scorer and the sink from `async with` to its end. Every ask is
independent; nothing about one is kept on the engine.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from .budget import cost_of_failure
from .clock import SystemClock
from .errors import (
    CascadeError,
    ConfigError,
    DeadlineExceeded,
    EngineClosed,
    LadderError,
    Problem,
    RunError,
)
from .fingerprint import request_digest
from .intake import Prompt, check_labels, make_demand, make_request
from .ladder import Ladder
from .policy import Policy, Thresholds
from .ports import Client, Clock, Observer, Scorer, Sink
from .records import Outcome as RecordOutcome
from .records import decision_record
from .rules import BUILT_IN_GATES, Gate
from .types import Answer, Attempt, Demand, Request, Result, Score
from .walk import Answered, Call, Effect, Ending, Failed, Keep, OnAllRejected, Outcome, Plan, walk

__all__ = ["Cascade"]

_log = logging.getLogger("cascade")

CLOSING_S = 5.0
"""Seconds that closing waits for asks in flight to end once their connections are closed."""
_CLOSING_POLL_S = 0.002

_UNSCORED = Score(confidence=None, why_unknown="no scorer")


class Cascade:
    """A ladder of models that answers each request with the cheapest one that is sure enough.

    Usually made by `from_yaml`; the constructor takes the parts themselves::

        async with Cascade.from_yaml("configs/ladder.yaml") as ladder:
            answer = await ladder.ask("Which is heavier, a mole of iron or a mole of lead?")

    Args:
        ladder: The rungs.
        clients: A client for every provider the ladder names. They are closed with the engine.
        scorer: Says how sure an answer is; None: every confidence is unknown.
        policy: Decides what to do next; None: the ladder's thresholds in order.
        gates: What an answer must be before it is scored; None: all built-in gates.
        on_all_rejected: When every answer failed a gate: ``return`` the last one marked as degraded,
            or ``raise``.
        keep: Which of the answers tried to return: the ``surest``, or the ``last``, for scorers whose
            confidences cannot be compared between models.
        sink: Takes decision records; None: no log.
        log_text: Whether records keep prompts and answers.
        observers: Told of every decision record.
        clock: Time source.
        new_id: Makes the id of an ask.

    Raises:
        LadderError: A rung names a provider without a client.
    """

    def __init__(
        self,
        ladder: Ladder,
        clients: Mapping[str, Client],
        *,
        scorer: Scorer | None = None,
        policy: Policy | None = None,
        gates: Sequence[Gate] | None = None,
        on_all_rejected: OnAllRejected = "return",
        keep: Keep = "surest",
        sink: Sink | None = None,
        log_text: bool = False,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        missing = [
            Problem(
                path=f"ladder[{i}].provider",
                message=f"{rung.provider!r} has no client",
                allowed=", ".join(sorted(clients)) or "a client for each provider",
            )
            for i, rung in enumerate(ladder.rungs)
            if rung.provider not in clients
        ]
        if missing:
            raise LadderError(missing)
        self.ladder = ladder
        self._clients = dict(clients)
        self._rung_clients = [clients[rung.provider] for rung in ladder.rungs]
        self._scorer = scorer
        self._plan = Plan(
            ladder=ladder,
            policy=policy or Thresholds(),
            gates=tuple(make() for make in BUILT_IN_GATES.values())
            if gates is None
            else tuple(gates),
            on_all_rejected=on_all_rejected,
            keep=keep,
        )
        self._sink = sink
        self._log_text = log_text
        self._observers = tuple(observers)
        self._clock = clock or SystemClock()
        self._new_id = new_id or _new_id
        self._open = False
        self._in_flight = 0
        self._ladder_record = {
            "name": ladder.name,
            "version": ladder.version,
            "metadata": dict(ladder.metadata),
        }

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: Any) -> Cascade:
        """Return an engine as the ladder file describes it; see ``docs/configuration.md``.

        Args:
            path: The ladder file.
            **overrides: Any keyword of the constructor, to replace what the file says, and
                ``http``: an `httpx.AsyncClient` or transport to use for every provider.

        Raises:
            LadderError: The file has mistakes; all of them are in `.problems`.
        """
        from .build import engine_from_yaml  # the front door opens onto the composition root

        return engine_from_yaml(path, cls, **overrides)

    async def __aenter__(self) -> Self:
        if self._sink is not None:
            self._sink.start()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop taking asks, close the clients, and write all records to disk.

        Asks still in flight lose their connections and end with an error of their own.
        """
        self._open = False
        with anyio.CancelScope(shield=True):
            for client in self._clients.values():
                await client.aclose()
            # Their connections are gone, so what is in flight ends now; its records are still taken.
            with anyio.move_on_after(CLOSING_S):
                while self._in_flight:  # noqa: ASYNC110 - an event would cost every ask
                    await anyio.sleep(_CLOSING_POLL_S)
            if self._sink is not None:
                await anyio.to_thread.run_sync(self._sink.close)

    async def ask(
        self,
        prompt: Prompt,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        response_format: Mapping[str, Any] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        tenant: str | None = None,
        deadline_s: float | None = None,
        max_cost_usd: float | None = None,
        min_confidence: float | None = None,
        policy: Policy | None = None,
        **extra: Any,
    ) -> Result:
        """Return the best answer the ladder finds, with every step that led to it.

        Args:
            prompt: Text, or chat messages (dicts with `role` and `content`, or `Message`).
            tools: Tool definitions, passed on untouched.
            response_format: Structured output wanted, passed on; JSON is checked by the schema gate.
            temperature: Sampling temperature, >= 0.
            max_tokens: Most tokens of output a rung may produce; None: the rung's own limit, or none.
            stop: Stop sequences.
            seed: Sampling seed.
            metadata: Written to the decision record, never sent to a provider.
            tenant: Whose ask this is; written to the decision record.
            deadline_s: Seconds the whole ask may take; then the best answer so far is returned,
                marked as degraded, or `DeadlineExceeded` is raised.
            max_cost_usd: No call is started that is known to pass this total, US dollars.
            min_confidence: Accept nothing less sure than this, in [0, 1].
            policy: Replaces the engine's policy for this ask.
            **extra: Any further field of the provider's API, passed on untouched.

        Raises:
            RequestError: The prompt or an option cannot be sent; nothing was spent.
            EngineClosed: The engine is not open.
            AllRungsFailed: No rung gave an answer; a group of every cause. Like every `RunError` that
                ends an ask it holds `attempts`, `cost_usd` and `ask_id`.
            DeadlineExceeded: The time ran out before any rung had answered.
            BudgetExceeded: `max_cost_usd` allows no call.
        """
        if not self._open:
            raise EngineClosed("the engine is not open; use `async with Cascade(...) as ladder:`")
        check_labels(tenant, metadata)
        request = make_request(
            prompt,
            tools=tools,
            response_format=response_format,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=stop,
            seed=seed,
            extra=extra,
        )
        demand = make_demand(
            min_confidence=min_confidence, max_cost_usd=max_cost_usd, deadline_s=deadline_s
        )
        plan = self._plan if policy is None else _with_policy(self._plan, policy)
        ask = _Ask(
            id=self._new_id(),
            began_at=self._clock.monotonic(),
            began_iso=self._clock.now_iso(),
            request=request,
            digest=request_digest(request),
            tenant=tenant,
            metadata=dict(metadata or {}),  # as it is now, not as it is when it is written
            policy=plan.policy.version,
        )
        self._in_flight += 1
        try:
            ending = await self._drive(walk(plan, request, demand), request, demand, ask)
            await self._record_ending(ask, ending)
        except BaseException as exc:
            self._record_lost(ask, exc)
            raise
        finally:
            self._in_flight -= 1
        if ending.kept is None:
            error = ending.error
            assert error is not None
            error.ask_id, error.attempts, error.cost_usd = ask.id, ending.attempts, ending.cost_usd
            raise error
        kept = ending.attempts[ending.kept]
        assert kept.answer is not None
        return Result(
            id=ask.id,
            answer=kept.answer,
            rung=kept.rung,
            confidence=kept.confidence,
            attempts=ending.attempts,
            cost_usd=ending.cost_usd,
            saving_usd_estimate=ending.saving_usd_estimate,
            latency_s=self._clock.monotonic() - ask.began_at,
            degraded=ending.degraded,
        )

    async def _drive(
        self,
        steps: Generator[Effect, Outcome, Ending],
        request: Request,
        demand: Demand,
        ask: _Ask,
    ) -> Ending:
        """Run the walk to its end: perform each effect, send back its outcome."""
        try:
            effect = next(steps)
            while True:
                ask.attempts = effect.attempts
                outcome: Outcome
                if isinstance(effect, Call):
                    ask.calling = effect.rung
                    outcome = await self._call(effect, demand, ask)
                    ask.calling = None
                else:
                    outcome = await self._measure(request, effect.attempts, demand, ask)
                effect = steps.send(outcome)
        except StopIteration as end:
            ending: Ending = end.value
            return ending

    async def _call(self, effect: Call, demand: Demand, ask: _Ask) -> Answered | Failed:
        client = self._rung_clients[effect.rung]
        started = self._clock.monotonic()
        if not self._open:  # closed while this ask was running: open no new connection
            return Failed(error=EngineClosed("the engine was closed"), latency_s=0.0, cost_usd=0.0)
        try:
            if demand.deadline_s is None:
                answer: Answer = await client.complete(effect.call)
            else:
                left = ask.began_at + demand.deadline_s - started
                with anyio.move_on_after(left) as scope:
                    answer = await client.complete(effect.call)
                if scope.cancelled_caught:
                    return Failed(
                        error=DeadlineExceeded(f"deadline_s {demand.deadline_s:g} ran out"),
                        latency_s=self._clock.monotonic() - started,
                        cost_usd=None,
                    )
        except CascadeError as exc:
            # A client that cannot send this request (`ConfigError`) is one failed rung like any other:
            # what earlier rungs answered is paid for, and another rung may take it.
            return Failed(
                error=exc,
                latency_s=self._clock.monotonic() - started,
                cost_usd=cost_of_failure(exc),
            )
        return Answered(answer=answer, latency_s=self._clock.monotonic() - started)

    async def _measure(
        self, request: Request, attempts: tuple[Attempt, ...], demand: Demand, ask: _Ask
    ) -> Score:
        if self._scorer is None:
            return _UNSCORED
        try:
            if demand.deadline_s is None:
                return await self._scorer.score(request, attempts)
            left = ask.began_at + demand.deadline_s - self._clock.monotonic()
            with anyio.move_on_after(left):
                return await self._scorer.score(request, attempts)
            return Score(confidence=None, why_unknown="deadline_s ran out", cost_usd=None)
        except RunError as exc:
            # A judge that cannot be reached leaves the confidence unknown; the answer stands.
            _log.warning("scorer %s failed: %s", self._scorer.version, type(exc).__name__)
            return Score(
                confidence=None, why_unknown=f"scorer failed: {type(exc).__name__}", cost_usd=None
            )

    async def _record_ending(self, ask: _Ask, ending: Ending) -> None:
        if self._sink is None and not self._observers:
            return
        outcome: RecordOutcome = (
            "failed" if ending.kept is None else "degraded" if ending.degraded else "answered"
        )
        ask.recorded = True
        record = self._record(
            ask,
            outcome=outcome,
            attempts=ending.attempts,
            kept=ending.kept,
            degraded=ending.degraded,
            error=ending.error,
            cost_usd=ending.cost_usd,
            saving_usd_estimate=ending.saving_usd_estimate,
            opening=ending.opening,
        )
        if self._sink is not None:
            await self._sink.write(record)

    def _record_lost(self, ask: _Ask, error: BaseException) -> None:
        """Record an ask that a cancellation, a user's own code or a configuration error ended.

        The call in flight may have cost something that nobody reported: the total is then unknown.
        """
        if ask.recorded or (self._sink is None and not self._observers):
            return
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        known = [a.cost_usd for a in ask.attempts]
        record = self._record(
            ask,
            outcome="cancelled" if cancelled else "failed",
            attempts=ask.attempts,
            kept=None,
            degraded=None,
            error=error,
            cost_usd=None
            if ask.calling is not None
            else sum(cost for cost in known if cost is not None),
            saving_usd_estimate=None,
        )
        record["calling"] = ask.calling
        if self._sink is not None:
            self._sink.write_nowait(record)

    def _record(self, ask: _Ask, **fields: Any) -> dict[str, Any]:
        record = decision_record(
            id=ask.id,
            time=ask.began_iso,
            ladder=self._ladder_record,
            policy=ask.policy,
            scorer=None if self._scorer is None else self._scorer.version,
            request=ask.request,
            request_digest=ask.digest,
            tenant=ask.tenant,
            metadata=ask.metadata,
            latency_s=self._clock.monotonic() - ask.began_at,
            text=self._log_text,
            **fields,
        )
        for observer in self._observers:
            try:
                observer.on_record(record)
            except Exception as exc:  # noqa: BLE001 - an observer must not cost anybody an answer
                _log.error("observer %s raised %s", type(observer).__name__, type(exc).__name__)
        return record

    def __repr__(self) -> str:
        rungs = " → ".join(rung.model for rung in self.ladder.rungs)
        return f"<Cascade {self.ladder.name!r}: {rungs}>"


class _Ask:
    """What the driver knows of one ask while it runs."""

    __slots__ = (
        "attempts",
        "began_at",
        "began_iso",
        "calling",
        "digest",
        "id",
        "metadata",
        "policy",
        "recorded",
        "request",
        "tenant",
    )

    def __init__(
        self,
        *,
        id: str,
        began_at: float,
        began_iso: str,
        request: Request,
        digest: str,
        tenant: str | None,
        metadata: Mapping[str, Any],
        policy: str,
    ) -> None:
        self.id = id
        self.began_at = began_at
        self.began_iso = began_iso
        self.request = request
        self.digest = digest
        self.tenant = tenant
        self.metadata = metadata
        self.policy = policy
        self.attempts: tuple[Attempt, ...] = ()
        self.calling: int | None = None
        self.recorded = False


def _with_policy(plan: Plan, policy: Policy) -> Plan:
    if not callable(getattr(policy, "decide", None)):
        raise ConfigError(
            f"policy: {type(policy).__name__} given; allowed: an object with `decide`"
        )
    return replace(plan, policy=policy)


def _new_id() -> str:
    return uuid.uuid4().hex
