"""The engine: drives the walk, performing what it asks for.

`Cascade` owns the clients, the scorer and the sink from `async with` to its end. Every ask is
independent; nothing about one is kept on the engine.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from .by_part import ByPart, FirstAnswer
from .caching import CacheSettings, Caching
from .clock import SystemClock
from .compressing import CompressingClient, RungCompression, compressed_ladder
from .drafts import Outlet
from .driver import Ask, Driver
from .ending import Ending, ended_by
from .errors import ConfigError, EngineClosed, LadderError, Problem
from .events import Done
from .fingerprint import request_digest
from .intake import Prompt, check_labels, make_context, make_demand, make_request
from .ladder import Ladder
from .many import Parts, ask_many
from .policy import Policy, Thresholds
from .ports import Client, Clock, Observer, PrefixScorer, Scorer, Sink, Tracer
from .recording import Recorder
from .resilience.breaker import BreakerState, breaker_states
from .resilience.hedge import Hedge
from .resilience.limits import CallLimits
from .resilience.shared_state import SharedState, SharedStatistics
from .rules import BUILT_IN_GATES, Gate
from .spending import Spending
from .stream_rules import StreamRule
from .streaming import AnswerStream
from .tenants import Rungs, TenantLimits
from .together import Together
from .types import CacheUse, OneOfMany, Result
from .walk import Keep, OnAllRejected, Plan, walk

__all__ = ["Cascade"]

GRACE_S = 10.0
"""Seconds that closing lets asks in flight finish by themselves."""

CLOSING_S = 5.0
"""Seconds that closing then waits for the asks it has cut to end."""
_CLOSING_POLL_S = 0.002
_NOT_FOLLOWED = nullcontext()


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
        tracer: Follows asks while they run, and is closed with the engine; None: nobody does.
        cache: Keeps answers and gives them back; None: no cache.
        deadline_s: Seconds an ask may take that names no deadline of its own; None: as long as the
            providers' timeouts let it.
        grace_s: Seconds that closing lets asks in flight finish before they are cut.
        hedge: When the next rung is asked beside a slow one; None: never.
        spending: Keeps calls within the budgets of the ladder and of tenants; None: there are none.
        compress: How prompts are made shorter, by index of the rung; None: they are sent as they are.
        tenant_limits: Calls at once and a minute by tenant, over all rungs; under ``"*"`` for each
            that is not named, on its own.
        stream_rules: How streams handle what a rung says before it is complete, one a rung; None: it is
            held until it is accepted, and the last rung streams straight through.
        shared: What limits and breakers keep together with other processes, started and closed with
            the engine; None: they are this process's own.
        prefix_scorer: Judges beginnings of answers in streams; None: nobody does.
        per_call: Questions that `ask_many` puts into one call where it is not told.
        clock: Time source.
        new_id: Makes the id of an ask.

    Raises:
        LadderError: A rung names a provider without a client.
        ConfigError: `deadline_s` or `grace_s` is not a time.
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
        tracer: Tracer | None = None,
        cache: CacheSettings | None = None,
        deadline_s: float | None = None,
        grace_s: float = GRACE_S,
        hedge: Hedge | None = None,
        spending: Spending | None = None,
        tenant_limits: Mapping[str, CallLimits] | None = None,
        shared: SharedState | None = None,
        compress: Mapping[int, RungCompression] | None = None,
        stream_rules: Sequence[StreamRule] | None = None,
        prefix_scorer: PrefixScorer | None = None,
        per_call: int = 1,
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
        if compress:
            ladder = compressed_ladder(ladder, compress)
        self.ladder = ladder
        self._deadline_s = _time("deadline_s", deadline_s, least=1e-9)
        self._grace_s = _time("grace_s", grace_s, least=0.0) or 0.0
        self._clients = dict(clients)
        self._plan = Plan(
            ladder=ladder,
            policy=policy or Thresholds(),
            gates=tuple(make() for make in BUILT_IN_GATES.values())
            if gates is None
            else tuple(gates),
            on_all_rejected=on_all_rejected,
            keep=keep,
            backups=hedge is not None,
            cached=cache is not None,
        )
        self._sink = sink
        self._clock = clock or SystemClock()
        self._new_id = new_id or _new_id
        self._spending = spending
        self._shared = shared
        self._caching = None
        if cache is not None:
            self._caching = Caching(
                cache,
                ladder=ladder.version,
                policy=self._plan.policy.version,
                scorer=None if scorer is None else scorer.version,
                clock=self._clock,
            )
        self._stream_rules = _rules(self._plan, stream_rules)
        self._prefix_scorer = prefix_scorer
        client: Client = Rungs([clients[rung.provider] for rung in ladder.rungs])
        if compress:
            client = CompressingClient(client, compress)
        if tenant_limits:
            client = TenantLimits(client, tenant_limits, self._clock, shared)
        self.tracer = tracer
        if tracer is not None:
            client = tracer.around(client)
            observers = (*observers, tracer)
        self._client = client
        self._per_call = per_call
        self._driver = Driver(
            ladder,
            client,
            None if scorer is None else ByPart(scorer, self._plan.gates),
            self._clock,
            spending=spending,
            hedge=hedge,
            caching=self._caching,
            compresses=bool(compress),
        )
        self._recorder = Recorder(
            ladder,
            None if scorer is None else scorer.version,
            sink,
            text=log_text,
            observers=observers,
            clock=self._clock,
        )
        self._open = False
        self._in_flight = 0

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
        if self._spending is not None:
            self._spending.start()
        if self._shared is not None:
            self._shared.start()
        if self._caching is not None:
            await self._caching.start()
        self._driver.open()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whoever leaves with an error waits for nobody.
        await self.aclose(grace_s=None if kind is None else 0.0)

    async def aclose(self, *, grace_s: float | None = None) -> None:
        """Stop taking asks, let those in flight finish, close the clients, write all records to disk.

        Args:
            grace_s: Seconds to wait for asks in flight; None: the engine's own. Those that are not
                done by then are cut: their calls are cancelled, each ends with the best answer it
                has or with `EngineClosed`, and its record says ``cut``.
        """
        self._open = False
        with anyio.CancelScope(shield=True):
            await self._wait_for_asks(self._grace_s if grace_s is None else grace_s)
            self._driver.cut()
            await self._client.aclose()
            for client in self._clients.values():
                await client.aclose()
            await self._wait_for_asks(CLOSING_S)  # what was cut still has its records to write
            if self._caching is not None:
                await self._caching.aclose()
            if self._spending is not None:
                await self._spending.aclose()
            if self._shared is not None:
                await self._shared.aclose()
            if self._sink is not None:
                await anyio.to_thread.run_sync(self._sink.close)
            if self.tracer is not None:
                await anyio.to_thread.run_sync(self.tracer.close)

    def cache_stats(self) -> Mapping[str, int]:
        """Return the cache's counters since the engine was made, by name; empty without a cache.

        `exact_hits`, `near_hits`, `shared` (waited for an equal ask), `misses`, `kept`, `not_kept`,
        `audits` and `audits_false` (near hits that were compared), and those of the store.
        """
        return {} if self._caching is None else self._caching.stats()

    async def problems(self) -> Mapping[str, str]:
        """Return what of the engine's parts cannot be used just now, and why: `cache`, `ledger`, `log`."""
        found: dict[str, str] = {}
        if self._caching is not None and getattr(self._caching.store, "down", False):
            await self._caching.store.get(_NO_KEY)  # else it is only tried again by asks
            if getattr(self._caching.store, "down", False):
                found["cache"] = "cannot be reached; every lookup is a miss"
        if self._spending is not None and self._spending.down:
            found["ledger"] = "cannot be reached"
        problem = getattr(self._sink, "problem", None)
        if problem is not None:
            found["log"] = f"cannot be written ({problem})"
        return found

    def shared_statistics(self) -> SharedStatistics | None:
        """Return how well sharing limits and breakers goes; None where nothing is shared."""
        return None if self._shared is None else self._shared.statistics()

    def breaker_states(self) -> Mapping[str, Mapping[str, BreakerState]]:
        """Return the state of every breaker, by provider (or member of a pool) and model."""
        return breaker_states(*self._clients.values())

    @property
    def in_flight(self) -> int:
        """Asks that have begun and not ended."""
        return self._in_flight

    @property
    def is_open(self) -> bool:
        """Whether it takes asks."""
        return self._open

    async def _wait_for_asks(self, most_s: float) -> None:
        with anyio.move_on_after(most_s):
            while self._in_flight:  # noqa: ASYNC110 - an event would cost every ask
                await anyio.sleep(_CLOSING_POLL_S)

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
        session: str | None = None,
        idempotent: bool = True,
        deadline_s: float | None = None,
        max_cost_usd: float | None = None,
        max_total_tokens: int | None = None,
        cache: CacheUse = "use",
        max_age_s: float | None = None,
        cache_tags: Sequence[str] = (),
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
            session: The conversation it belongs to; a pool that is sticky by session keeps it on one
                deployment.
            idempotent: False: never ask two models or deployments at once (hedging) for it.
            deadline_s: Seconds the whole ask may take; then the best answer so far is returned,
                marked as degraded, or `DeadlineExceeded` is raised. None: the engine's own.
            max_cost_usd: No call is started that is known to pass this total, US dollars.
            max_total_tokens: No call is started once this many tokens are used.
            cache: ``use`` the cache, leave it ``off``, only ``read`` it, or ``refresh`` what it holds.
                Without a cache it means nothing.
            max_age_s: Oldest cached answer to take, seconds.
            cache_tags: What the answer may be invalidated by, should it be kept.
            min_confidence: Accept nothing less sure than this, in [0, 1].
            policy: Replaces the engine's policy for this ask.
            **extra: Any further field of the provider's API, passed on untouched.

        Raises:
            RequestError: The prompt or an option cannot be sent; nothing was spent.
            EngineClosed: The engine is not open.
            AllRungsFailed: No rung gave an answer; a group of every cause. Like every `RunError` that
                ends an ask it holds `attempts`, `cost_usd` and `ask_id`.
            DeadlineExceeded: The time ran out before any rung had answered.
            BudgetExceeded: `max_cost_usd`, or a budget of the tenant or the ladder, allows no call.
        """
        plan, ask = self._take(
            prompt,
            tools=tools,
            response_format=response_format,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=stop,
            seed=seed,
            metadata=metadata,
            tenant=tenant,
            session=session,
            idempotent=idempotent,
            deadline_s=deadline_s,
            max_cost_usd=max_cost_usd,
            max_total_tokens=max_total_tokens,
            cache=cache,
            max_age_s=max_age_s,
            cache_tags=cache_tags,
            min_confidence=min_confidence,
            policy=policy,
            **extra,
        )
        return await self._answer(plan, ask)

    @asynccontextmanager
    async def stream(self, prompt: Prompt, **options: Any) -> AsyncIterator[AnswerStream]:
        """Ask, and read the answer while it comes about::

            async with ladder.stream("Which is heavier?") as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        print(event.text, end="", flush=True)
            print(events.result.cost_usd)

        The walk is that of `ask`, save that an answer of which a part has been passed on is final. No
        part of any other is ever passed on. Leaving early cancels the call in flight at once.

        Args:
            prompt: As for `ask`.
            **options: As for `ask`.

        Yields:
            The events, in the order they are told in `cascade.events`; `Done` is the last.

        Raises:
            RequestError: The prompt or an option cannot be sent; nothing was spent.
            EngineClosed: The engine is not open.
            StreamBroken: Raised to the reader of the events: it failed after a part of the answer had
                been passed on. What else `ask` raises, the reader is raised too.
        """
        plan, ask = self._take(prompt, **options)
        events = AnswerStream(ask.id)
        ask.outlet = Outlet(
            events,
            self._stream_rules,
            gates=plan.gates,
            scorer=self._prefix_scorer,
            clock=self._clock,
        )
        raised: BaseException | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_stream, plan, ask, events)
            try:
                yield events
            except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - raised again, out of the task group's own wrapping
                raised = exc
            if not events.ended:
                group.cancel_scope.cancel()
        if raised is not None:
            raise raised

    async def _run_stream(self, plan: Plan, ask: Ask, events: AnswerStream) -> None:
        try:
            events.put_nowait(Done(result=await self._answer(plan, ask)))
        except Exception as exc:  # noqa: BLE001 - raised to the reader
            events.end(exc)
        else:
            events.end()

    def _take(
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
        session: str | None = None,
        idempotent: bool = True,
        deadline_s: float | None = None,
        max_cost_usd: float | None = None,
        max_total_tokens: int | None = None,
        cache: CacheUse = "use",
        max_age_s: float | None = None,
        cache_tags: Sequence[str] = (),
        min_confidence: float | None = None,
        policy: Policy | None = None,
        **extra: Any,
    ) -> tuple[Plan, Ask]:
        """Check what is asked; return it as an ask, and the plan it runs by."""
        if not self._open:
            raise EngineClosed("the engine is not open; use `async with Cascade(...) as ladder:`")
        check_labels(tenant, metadata)
        if self._spending is not None:
            self._spending.check_tenant(tenant)
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
            min_confidence=min_confidence,
            max_cost_usd=max_cost_usd,
            max_total_tokens=max_total_tokens,
            deadline_s=self._deadline_s if deadline_s is None else deadline_s,
            cache=cache,
            max_age_s=max_age_s,
            cache_tags=cache_tags,
        )
        plan = self._plan if policy is None else _with_policy(self._plan, policy)
        if isinstance(request.messages[-1], Together):
            plan = replace(plan, policy=FirstAnswer(inner=plan.policy), gates=())
        began_at = self._clock.monotonic()
        return plan, Ask(
            id=self._new_id(),
            began_at=began_at,
            began_iso=self._clock.now_iso(),
            request=request,
            digest=request_digest(request),
            demand=demand,
            context=make_context(
                deadline=None if demand.deadline_s is None else began_at + demand.deadline_s,
                tenant=tenant,
                session=session,
                idempotent=idempotent,
            ),
            metadata=dict(metadata or {}),  # as it is now, not as it is when it is written
            policy=plan.policy.version,
        )

    async def _answer(self, plan: Plan, ask: Ask) -> Result:
        """Bring an ask to its end, record it, and return or raise what it has come to."""
        self._in_flight += 1
        try:
            with self._followed(ask):
                try:
                    ending = await self._come_to_an_end(plan, ask)
                    await self._recorder.record(ask, ending)
                except BaseException as exc:
                    self._recorder.record_lost(ask, exc)
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
            cache=ending.cache,
            cache_miss=ending.cache_miss,
        )

    async def ask_many(
        self,
        questions: Sequence[str],
        *,
        preamble: Prompt | None = None,
        per_call: int | None = None,
        at_once: int = 8,
        structured: bool = False,
        **options: Any,
    ) -> list[OneOfMany]:
        """Return one result a question, in their order; several questions may share a call.

        What does not come back readable and sure enough is asked alone; see docs/ask-many.md. A
        question that fails has its error in its result, and costs the others nothing.

        Args:
            questions: Short questions that have nothing to do with each other.
            preamble: What stands before each of them: text for the system message, or messages.
            per_call: Most questions in one call, 1 to 64; None: the engine's own, which is 1.
            at_once: Most calls in flight, >= 1. With `max_cost_usd` or `max_total_tokens` it is 1,
                as only then it is known before a call what is left.
            structured: Whether a joint call demands JSON of the provider (`response_format`), which
                most can do and some refuse.
            **options: Those of `ask`, except that `tools` and `stop` go with ``per_call=1`` only.
                `max_tokens` is for one answer; `deadline_s`, `max_cost_usd` and `max_total_tokens`
                for all together. The cache serves and keeps only what is asked alone.

        Raises:
            RequestError: An option, or every question, cannot be sent; nothing was spent.
            EngineClosed: The engine is not open.
        """
        if not self._open:
            raise EngineClosed("the engine is not open; use `async with Cascade(...) as ladder:`")
        plan = self._plan
        return await ask_many(
            self.ask,
            Parts(
                ladder=plan.ladder,
                policy=plan.policy,
                gates=plan.gates,
                clock=self._clock,
                new_id=self._new_id,
            ),
            questions,
            preamble=preamble,
            per_call=self._per_call if per_call is None else per_call,
            at_once=at_once,
            structured=structured,
            options=options,
        )

    def _followed(self, ask: Ask) -> AbstractContextManager[None]:
        """Return what surrounds an ask from its beginning to its end."""
        if self.tracer is None:
            return _NOT_FOLLOWED
        return self.tracer.ask(ask.id, self.ladder.name, ask.request, ask.context)

    async def _come_to_an_end(self, plan: Plan, ask: Ask) -> Ending:
        """Run the walk of an ask, or wait for that of an equal one; keep its answer if there is a cache."""
        caching = self._caching
        if self._spending is not None:
            refusal = await self._spending.refusal(ask.context.tenant)
            if refusal is not None:
                return ended_by(refusal)

        async def run() -> Ending:
            streamed = ask.outlet is not None
            steps = walk(plan, ask.request, ask.demand, ask.context, streamed=streamed)
            ending = await self._driver.run(steps, ask)
            if ask.outlet is not None:
                ask.outlet.finish(ending)
            if caching is not None and ending.cache is None:
                await caching.keep(ask, ending)
            return ending

        # Nobody waits for a stream that another reads: who reads it slowly would keep all waiting.
        if caching is None or ask.demand.cache != "use" or ask.outlet is not None:
            return await run()
        shared = await caching.share(ask, run, plan.policy.version)
        return self._driver.out_of_time(ask) if shared is None else shared

    def __repr__(self) -> str:
        rungs = " → ".join(rung.model for rung in self.ladder.rungs)
        return f"<Cascade {self.ladder.name!r}: {rungs}>"


def _rules(plan: Plan, given: Sequence[StreamRule] | None) -> tuple[StreamRule, ...]:
    """Return the rule of each rung.

    Where an answer that fails a gate must not be returned, none is passed on before the gates have
    seen the whole of it.
    """
    rungs = plan.ladder.rungs
    rules = tuple(StreamRule() for _ in rungs) if given is None else tuple(given)
    if len(rules) != len(rungs):
        raise ConfigError(f"stream_rules: {len(rules)} given; allowed: one a rung, {len(rungs)}")
    if plan.on_all_rejected == "raise" and plan.gates:
        return tuple(replace(rule, mode="hold", last="as_mode") for rule in rules)
    return rules


def _with_policy(plan: Plan, policy: Policy) -> Plan:
    if not callable(getattr(policy, "decide", None)):
        raise ConfigError(
            f"policy: {type(policy).__name__} given; allowed: an object with `decide`"
        )
    return replace(plan, policy=policy)


def _time(name: str, seconds: float | None, *, least: float) -> float | None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is None or (is_number and least <= seconds < math.inf):
        return seconds
    allowed = "seconds > 0, or None" if least else "seconds >= 0"
    raise ConfigError(f"{name}: {seconds!r:.40} given; allowed: {allowed}")


_NO_KEY = "0" * 64
"""A key of the cache that no request has."""


def _new_id() -> str:
    return uuid.uuid4().hex
