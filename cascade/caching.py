"""The cache in front of the rungs: finds answers that may be served, and keeps those that may be kept.

An exact hit is the same request of the same tenant on the same ladder. A near hit is another prompt
in otherwise the same request that has been verified to have the same answer.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

import anyio
from msgspec.structs import replace

from .cache.audit import Audit
from .cache.near import Near, NearHit, NearMiss
from .cache.single_flight import SingleFlight
from .cached import Keeping, may_share, shared, why_not_kept, why_not_served
from .ending import Ending
from .fingerprint import cache_key, cache_scope
from .ports import Cache, Clock
from .types import Answer, CacheEntry, CacheHit, CallContext, Demand, Request
from .walk import Found, Missed

__all__ = ["CacheSettings", "Caching", "expiry"]

_log = logging.getLogger("cascade")


SameAnswer = Callable[[Request | None, Answer, Answer], bool | None]


class Asked(Protocol):
    """What is looked at of an ask; see `driver.Ask`."""

    id: str
    request: Request
    digest: str
    demand: Demand
    context: CallContext


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """What a cache is made of.

    Attributes:
        store: Holds the entries; it is closed with the engine.
        keeping: Which answers are kept.
        ttl_s: Seconds an answer is kept; None: for good.
        near: Finds near-duplicates; None: only the same request is a hit.
        near_for_tools: Whether near-duplicates are looked for among requests with tools.
        audit_share: Share of near hits, in [0, 1], that are asked of the ladder all the same.
        false_hits: Share of near hits that may be false before the threshold rises.
        same_answer: Says whether two answers to a request are the same, None where it cannot tell;
            None: audits compare the texts.
    """

    store: Cache
    keeping: Keeping = Keeping()  # noqa: RUF009 - frozen
    ttl_s: float | None = 86_400.0
    near: Near | None = None
    near_for_tools: bool = False
    audit_share: float = 0.02
    false_hits: float = 0.01
    same_answer: SameAnswer | None = None


class _OwnAffair(Exception):
    """Carries an ending out of a flight that others must not share."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending


class Caching:
    """Looks requests up and keeps answers. Whatever goes wrong is a miss, counted and told.

    Args:
        settings: What it is made of.
        ladder: Version of the ladder.
        policy: Version of the policy, for provenance.
        scorer: Version of the scorer, or None.
        clock: Time source.
        rng: Draws the near hits that are audited.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        ladder: str,
        policy: str,
        scorer: str | None,
        clock: Clock,
        rng: Random | None = None,
    ) -> None:
        self.store = settings.store
        self._settings = settings
        self._ladder = ladder
        self._policy = policy
        self._scorer = scorer
        self._clock = clock
        self._near = settings.near
        self._audit = Audit(settings.false_hits)
        self._audited: dict[str, tuple[CacheEntry, float]] = {}
        self._rng = rng or Random()  # noqa: S311 - draws which hits are audited
        self._flights = SingleFlight[tuple[Ending, str]](private=(_OwnAffair,), clock=clock)
        self._counts = {
            "shared": 0,
            "exact_hits": 0,
            "near_hits": 0,
            "misses": 0,
            "kept": 0,
            "not_kept": 0,
        }

    async def start(self) -> None:
        """Open the store, and take in the prompts of what it holds.

        Raises:
            ConfigError: The store cannot be used.
        """
        self.store.start()
        if self._near is None:
            return
        async for entry in self.store.entries():
            if entry.text is not None and entry.ladder == self._ladder:
                self._near.add(entry.key, entry.scope, entry.text)

    async def aclose(self) -> None:
        """Close the store."""
        await self.store.aclose()

    def key(self, of_request: str, context: CallContext) -> str:
        """Return the key of a request, given its digest."""
        return cache_key(of_request, ladder=self._ladder, tenant=context.tenant)

    async def find(self, ask: Asked) -> Found | Missed:
        """Return an answer that may be served to this ask, or why there is none."""
        context, demand = ask.context, ask.demand
        key = self.key(ask.digest, context)
        entry = await self.store.get(key)
        now = self._clock.now_iso()
        reason = "it has not been asked"
        if entry is not None:
            why = _unfit(entry, key, context) or why_not_served(entry, demand, now)
            if why is None:
                self._counts["exact_hits"] += 1
                hit = CacheHit(
                    kind="exact", key=key, ask_id=entry.ask_id, stored_at=entry.stored_at
                )
                return Found(entry=entry, hit=hit)
            reason = f"there is an answer, but {why}"
        near = await self._find_near(ask.request, context, demand, now)
        if isinstance(near, Found):
            if self._rng.random() >= self._settings.audit_share:
                self._counts["near_hits"] += 1
                return near
            self._audited[ask.id] = (near.entry, near.hit.p_same or 0.0)
            near = "a near-duplicate was found, and is compared with the ladder's own answer"
        self._counts["misses"] += 1
        return Missed(reason=reason if near is None else f"{reason}; {near}")

    async def keep(self, ask: Asked, ending: Ending) -> None:
        """Keep the answer of an ask, if it may be kept."""
        request, context, demand = ask.request, ask.context, ask.demand
        self._compare(ask, ending)
        if why_not_kept(ending, request, demand, self._settings.keeping) is not None:
            self._counts["not_kept"] += 1
            return
        assert ending.kept is not None
        kept = ending.attempts[ending.kept]
        assert kept.answer is not None
        now = self._clock.now_iso()
        entry = CacheEntry(
            key=self.key(ask.digest, context),
            scope=cache_scope(request, ladder=self._ladder, tenant=context.tenant),
            tenant=context.tenant,
            text=_comparable(request),
            answer=replace(kept.answer, raw=None, logprobs=None, tries=(), cost_usd=None),
            rung=kept.rung,
            model=kept.model,
            confidence=kept.confidence,
            cost_usd=ending.cost_usd,
            ladder=self._ladder,
            policy=self._policy,
            scorer=self._scorer,
            ask_id=ask.id,
            stored_at=now,
            expires_at=expiry(now, self._settings.ttl_s),
            tags=demand.cache_tags,
        )
        if await self.store.put(entry):
            self._counts["kept"] += 1
            if self._near is not None and entry.text is not None:
                self._near.add(entry.key, entry.scope, entry.text)

    def _compare(self, ask: Asked, ending: Ending) -> None:
        """Compare the ladder's own answer with the near hit that was held back for it."""
        audited = self._audited.pop(ask.id, None)
        kept = None if ending.kept is None else ending.attempts[ending.kept].answer
        if audited is None or kept is None or ending.degraded is not None:
            return
        entry, p_same = audited
        told = self._settings.same_answer
        same: bool | None = _same_text(entry.answer, kept)
        if not same and told is not None:
            same = told(ask.request, entry.answer, kept)
        if same is None:  # open answers: nobody can tell
            self._counts["not_comparable"] += 1
            return
        threshold = self._audit.note(p_same, same)
        if threshold is not None and self._near is not None:
            self._near.threshold = max(self._near.threshold, threshold)
            _log.warning(
                "near-duplicate cache: more than %.3g of its hits are false; "
                "from now on P(same answer) must be above %.4f",
                self._settings.false_hits,
                threshold,
            )

    async def share(
        self, ask: Asked, run: Callable[[], Awaitable[Ending]], policy: str
    ) -> Ending | None:
        """Return what an ask comes to, by `run` or by that of an equal ask that is in flight.

        Args:
            ask: The ask.
            run: Brings it to its end.
            policy: Version of the policy it runs by.

        Returns:
            Its ending, or None when its time was over while it waited for another.
        """
        demand = ask.demand
        key = self.key(ask.digest, ask.context)
        asked = (key, demand.min_confidence, demand.max_cost_usd, demand.max_total_tokens, policy)
        flight = "|".join(map(str, asked))

        async def lead() -> tuple[Ending, str]:
            ending = await run()
            if not may_share(ending):
                raise _OwnAffair(ending)
            return ending, ask.id

        try:
            if ask.context.deadline is not None and flight in self._flights:
                left_s = ask.context.deadline - self._clock.monotonic()
                with anyio.move_on_after(left_s):
                    (ending, ask_id), led = await self._flights.run(flight, lead)
                    return ending if led else self._shared(ending, key, ask_id)
                return None
            (ending, ask_id), led = await self._flights.run(flight, lead)
            return ending if led else self._shared(ending, key, ask_id)
        except _OwnAffair as own:
            return own.ending

    def _shared(self, ending: Ending, key: str, ask_id: str) -> Ending:
        self._counts["shared"] += 1
        return shared(ending, key, ask_id)

    def stats(self) -> Mapping[str, int]:
        """Return counters by name: those of the store, and hits and misses as asks see them."""
        audits = {"audits": self._audit.total, "audits_false": self._audit.total_false}
        return {**self.store.stats(), **self._counts, **audits}

    async def _find_near(
        self, request: Request, context: CallContext, demand: Demand, now: str
    ) -> Found | str | None:
        """Return a verified near-duplicate, or why the nearest is none; None where none is looked for."""
        text = _comparable(request)
        if (
            self._near is None
            or text is None
            or (request.tools and not self._settings.near_for_tools)
        ):
            return None
        scope = cache_scope(request, ladder=self._ladder, tenant=context.tenant)
        match = await self._near.lookup(scope, text)
        if not isinstance(match, NearHit):
            return _why_not_near(match, self._near.threshold)
        entry = await self.store.get(match.key)
        if entry is None:  # evicted, or past its time
            self._near.discard(match.key)
            return "the nearest is no longer kept"
        why = _unfit(entry, match.key, context) or why_not_served(entry, demand, now)
        if why is not None:
            return f"the nearest has an answer, but {why}"
        hit = CacheHit(
            kind="near",
            key=entry.key,
            ask_id=entry.ask_id,
            stored_at=entry.stored_at,
            text=entry.text,
            similarity=match.similarity,
            p_same=match.p_same,
        )
        return Found(entry=entry, hit=hit)


def _why_not_near(miss: NearMiss, threshold: float) -> str:
    if miss.best_key is None:
        return "nothing near it has been asked"
    if miss.refused_by:
        return f"the nearest differs in {', '.join(miss.refused_by).replace('_', ' ')}"
    return f"the nearest has P(same answer) {miss.p_same or 0.0:.3f}, below {threshold:.3f}"


def _unfit(entry: CacheEntry, key: str, context: CallContext) -> str | None:
    """Return why an entry is not what was looked for: a store that mixes things up must do no harm."""
    if entry.key != key or entry.tenant != context.tenant:
        return "it is of another key or tenant"
    return None


def _comparable(request: Request) -> str | None:
    """Return the text of the last message, if it is the user's and nothing but text."""
    last = request.messages[-1]
    return last.content if last.role == "user" and isinstance(last.content, str) else None


def _same_text(first: Answer, second: Answer) -> bool:
    texts = [" ".join((answer.text or "").casefold().split()) for answer in (first, second)]
    return texts[0] == texts[1]


def expiry(stored_at: str, ttl_s: float | None) -> str | None:
    """Return when an entry is no longer served, UTC, ISO 8601; None: never.

    >>> expiry("2026-01-31T12:00:00.000Z", 60), expiry("2026-01-31T12:00:00.000Z", None)
    ('2026-01-31T12:01:00.000Z', None)
    """
    if ttl_s is None:
        return None
    try:
        then = datetime.fromisoformat(stored_at) + timedelta(seconds=ttl_s)
    except OverflowError:
        return None
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
