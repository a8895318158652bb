"""Metrics for Prometheus, out of decision records. Needs the extra `prometheus`.

Every label is bounded: names of ladders and models come from ladder files, all other words from short
lists; tenants have labels only when they are asked for, and only so many of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from .prometheus_live import Live, PublishedLive, Watched, adds_up_workers
from .words import OTHER, compressed_stages, error_word, escalations, gate_word, reason_left

__all__ = ["MOST_MODELS", "PrometheusMetrics", "publish_live"]

MOST_MODELS = 500
"""Most rungs, over all ladders and their reloads, that get labels of their own; then they are ``other``."""

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
"""Upper bounds of the histograms of whole asks and of calls, seconds."""

OVERHEAD_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1, 5, 30)
"""Upper bounds of the histogram of what is left of an ask when its calls are taken off, seconds."""

CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0)
"""Upper bounds of the histogram of confidences."""

_TOKENS = {
    "prompt_tokens": "prompt",
    "completion_tokens": "completion",
    "cached_tokens": "cached",
    "reasoning_tokens": "reasoning",
}
_LADDER = ("ladder",)
_RUNG = ("ladder", "rung", "model")


class PrometheusMetrics:
    """An observer of asks that keeps metrics in a registry of prometheus_client.

    Several of them, one for each engine, may share a registry::

        metrics = PrometheusMetrics()
        async with Cascade.from_yaml("ladder.yaml", observers=[metrics]) as ladder:
            metrics.watch(ladder)
            prometheus_client.start_http_server(9464)

    Args:
        registry: Where the metrics are; None: prometheus_client's own, which exporters show by default.
        tenants: Most tenants that get a label of their own, the first to come; the others together are
            ``other``. 0: there are no metrics by tenant.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, tenants: int = 0) -> None:
        self._meters = _meters_of(REGISTRY if registry is None else registry)
        self._tenants = tenants

    def watch(self, engine: Watched) -> None:
        """Show what this engine is doing whenever the registry is read, as long as it lives."""
        self._meters.live.engines.add(engine)
        name = engine.ladder.name
        self._meters.ladder(name)
        for i, rung in enumerate(engine.ladder.rungs):
            self._meters.rung(name, i, rung.model)

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Count an ask."""
        meters = self._meters
        name = record["ladder"]["name"]
        attempts: Sequence[Mapping[str, Any]] = record["attempts"]
        ladder = meters.ladder(name)
        ladder.count(record)
        for attempt in attempts:
            meters.rung(name, attempt["rung"], attempt["model"]).count(attempt)
            for gate in attempt["failed_gates"]:
                meters.gates.labels(name, gate_word(gate)).inc()
        for attempt in escalations(attempts):
            meters.rung(name, attempt["rung"], attempt["model"]).count_left(attempt)
        if record["rung"] is not None:
            meters.rung(name, record["rung"], record["model"]).answers.inc()
        if self._tenants and record["tenant"] is not None:
            meters.count_tenant(name, record, self._tenants)


class _Meters:
    """All metrics of one registry, and the series in use."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, told: str, labels: Sequence[str]) -> Counter:
            return Counter(name, told, labels, registry=registry)

        def histogram(
            name: str, told: str, labels: Sequence[str], buckets: Sequence[float]
        ) -> Histogram:
            return Histogram(name, told, labels, buckets=buckets, registry=registry)

        self.asks = counter(
            "cascade_asks", "Asks that have ended, by how.", ("ladder", "outcome", "error")
        )
        self.ask_seconds = histogram(
            "cascade_ask_seconds", "Wall seconds of whole asks.", _LADDER, SECONDS
        )
        self.overhead_seconds = histogram(
            "cascade_overhead_seconds",
            "Wall seconds of asks beside their calls: scoring, cache, budgets, the engine itself.",
            _LADDER,
            OVERHEAD_SECONDS,
        )
        self.cost = counter(
            "cascade_cost_usd", "US dollars spent, rejected answers included.", _LADDER
        )
        self.unpriced = counter(
            "cascade_asks_of_unknown_cost", "Asks whose cost is not known.", _LADDER
        )
        self.saved = counter(
            "cascade_saved_usd",
            "US dollars by which asks were cheaper than the top rung alone (estimate).",
            _LADDER,
        )
        self.overspent = counter(
            "cascade_overspent_usd",
            "US dollars by which asks were dearer than the top rung alone (estimate).",
            _LADDER,
        )
        self.lookups = counter(
            "cascade_cache_lookups", "Asks of the cache, by what it gave.", ("ladder", "result")
        )
        self.answers = counter("cascade_answers", "Answers returned, by whose they are.", _RUNG)
        self.calls = counter(
            "cascade_attempts", "Rungs tried, by what became of them.", (*_RUNG, "verdict")
        )
        self.left = counter(
            "cascade_escalations",
            "Answers and failures after which another rung was asked, by why.",
            (*_RUNG, "reason"),
        )
        self.gates = counter("cascade_gate_failures", "Gates failed.", ("ladder", "gate"))
        self.confidence = histogram(
            "cascade_confidence", "Confidences of the answers scored.", _RUNG, CONFIDENCE
        )
        self.call_seconds = histogram(
            "cascade_call_seconds", "Wall seconds of calls, repetitions included.", _RUNG, SECONDS
        )
        self.first_seconds = histogram(
            "cascade_first_chunk_seconds",
            "Wall seconds until the first piece of a streamed answer.",
            _RUNG,
            SECONDS,
        )
        self.streamed = counter(
            "cascade_streamed", "Answers of streams, by what was done with them.", (*_RUNG, "mode")
        )
        self.call_cost = counter(
            "cascade_call_cost_usd", "US dollars spent on calls and their scoring.", _RUNG
        )
        self.tokens = counter("cascade_tokens", "Tokens used.", (*_RUNG, "kind"))
        self.prompts = counter(
            "cascade_compression_prompts",
            "Prompts of rungs with prompt compression, by whether they were sent shorter.",
            (*_RUNG, "result"),
        )
        self.before_stage = counter(
            "cascade_compression_tokens_before",
            "Tokens of prompts before a stage of compression.",
            (*_RUNG, "stage"),
        )
        self.after_stage = counter(
            "cascade_compression_tokens_after",
            "Tokens of prompts after a stage of compression.",
            (*_RUNG, "stage"),
        )
        self.tenant_asks = counter("cascade_tenant_asks", "Asks by tenant.", ("ladder", "tenant"))
        self.tenant_cost = counter(
            "cascade_tenant_cost_usd", "US dollars spent by tenant.", ("ladder", "tenant")
        )
        if adds_up_workers():
            self.live: Live = PublishedLive(registry)
        else:
            self.live = Live()
            registry.register(self.live)
        self._ladders: dict[str, _LadderMeters] = {}
        self._rungs: dict[tuple[str, int, str], _RungMeters] = {}
        self._tenants: dict[str, set[str]] = {}

    def ladder(self, name: str) -> _LadderMeters:
        """Return the series of a ladder."""
        found = self._ladders.get(name)
        if found is None:
            if len(self._ladders) >= MOST_MODELS:
                name = OTHER
            found = self._ladders[name] = _LadderMeters(self, name)
        return found

    def rung(self, ladder: str, rung: int, model: str) -> _RungMeters:
        """Return the series of a rung."""
        key = (ladder, rung, model)
        found = self._rungs.get(key)
        if found is None:
            if len(self._rungs) >= MOST_MODELS:
                key = (OTHER, 0, OTHER)
            found = self._rungs.setdefault(key, _RungMeters(self, key))
        return found

    def count_tenant(self, ladder: str, record: Mapping[str, Any], most: int) -> None:
        """Count an ask for its tenant."""
        known = self._tenants.setdefault(ladder, set())
        tenant = record["tenant"]
        if tenant not in known:
            if len(known) < most:
                known.add(tenant)
            else:
                tenant = OTHER
        self.tenant_asks.labels(ladder, tenant).inc()
        self.tenant_cost.labels(ladder, tenant).inc(record["cost_usd"] or 0.0)


class _LadderMeters:
    """The series of one ladder: found once, as finding one costs as much as counting."""

    def __init__(self, meters: _Meters, name: str) -> None:
        self._name = name
        self._meters = meters
        self._seconds = meters.ask_seconds.labels(name)
        self._overhead = meters.overhead_seconds.labels(name)
        self._cost = meters.cost.labels(name)
        self._unpriced = meters.unpriced.labels(name)
        self._saved = meters.saved.labels(name)
        self._overspent = meters.overspent.labels(name)
        self._asks: dict[tuple[str, str], Counter] = {}
        self._lookups: dict[str, Counter] = {}

    def count(self, record: Mapping[str, Any]) -> None:
        """Count an ask."""
        outcome = (record["outcome"], error_word(record["error"]) or "")
        asks = self._asks.get(outcome)
        if asks is None:
            asks = self._asks[outcome] = self._meters.asks.labels(self._name, *outcome)
        asks.inc()
        self._seconds.observe(record["latency_s"])
        attempts = record["attempts"]
        if all(attempt["verdict"] not in ("hedged", "cached") for attempt in attempts):
            calls_s = sum(attempt["latency_s"] for attempt in attempts)
            self._overhead.observe(max(0.0, record["latency_s"] - calls_s))
        cost, saving = record["cost_usd"], record["saving_usd_estimate"]
        if cost is None:
            self._unpriced.inc()
        else:
            self._cost.inc(max(0.0, cost))
        if saving is not None:
            (self._saved if saving >= 0.0 else self._overspent).inc(abs(saving))
        hit = record["cache"]
        if hit is not None:
            self._count_lookup(hit["kind"])
        elif record["cache_miss"] is not None:
            self._count_lookup("miss")

    def _count_lookup(self, result: str) -> None:
        lookups = self._lookups.get(result)
        if lookups is None:
            lookups = self._lookups[result] = self._meters.lookups.labels(self._name, result)
        lookups.inc()


class _RungMeters:
    """The series of one rung."""

    def __init__(self, meters: _Meters, key: tuple[str, int, str]) -> None:
        self._key = key
        self._meters = meters
        self.answers = meters.answers.labels(*key)
        self._confidence = meters.confidence.labels(*key)
        self._seconds = meters.call_seconds.labels(*key)
        self._cost = meters.call_cost.labels(*key)
        self._tokens = {
            name: meters.tokens.labels(*key, kind) for name, kind in list(_TOKENS.items())[:2]
        }
        self._calls: dict[str, Counter] = {}
        self._left: dict[str, Counter] = {}

    def count(self, attempt: Mapping[str, Any]) -> None:
        """Count an attempt."""
        verdict = attempt["verdict"]
        calls = self._calls.get(verdict)
        if calls is None:
            calls = self._calls[verdict] = self._meters.calls.labels(*self._key, verdict)
        calls.inc()
        if verdict in ("skipped", "cached"):  # no call was made, and its tokens are another ask's
            return
        self._seconds.observe(attempt["latency_s"])
        streaming = attempt.get("streaming")
        if streaming is not None:
            self._count_streamed(streaming)
        if attempt["confidence"] is not None:
            self._confidence.observe(attempt["confidence"])
        if attempt["cost_usd"]:
            self._cost.inc(attempt["cost_usd"])
        if "compression" in attempt:
            self._count_compression(attempt)
        for name, kind in _TOKENS.items():
            count = attempt.get(name)
            if count:
                tokens = self._tokens.get(name)
                if tokens is None:
                    tokens = self._meters.tokens.labels(*self._key, kind)
                    self._tokens[name] = tokens
                tokens.inc(count)

    def _count_compression(self, attempt: Mapping[str, Any]) -> None:
        meters, key = self._meters, self._key
        stages = compressed_stages(attempt)
        shorter = bool(stages) and stages[-1][2] < stages[0][1]
        meters.prompts.labels(*key, "compressed" if shorter else "unchanged").inc()
        for stage, before, after in stages:
            meters.before_stage.labels(*key, stage).inc(before)
            meters.after_stage.labels(*key, stage).inc(after)

    def _count_streamed(self, streaming: Mapping[str, Any]) -> None:
        self._meters.streamed.labels(*self._key, streaming["mode"]).inc()
        if streaming["first_s"] is not None:
            self._meters.first_seconds.labels(*self._key).observe(streaming["first_s"])

    def count_left(self, attempt: Mapping[str, Any]) -> None:
        """Count an attempt after which another rung was asked."""
        reason = reason_left(attempt)
        left = self._left.get(reason)
        if left is None:
            left = self._left[reason] = self._meters.left.labels(*self._key, reason)
        left.inc()


_BY_REGISTRY: WeakKeyDictionary[CollectorRegistry, _Meters] = WeakKeyDictionary()
"""A registry takes each name once, whoever asks: the only state of this module, as long as its registry's."""


def _meters_of(registry: CollectorRegistry) -> _Meters:
    found = _BY_REGISTRY.get(registry)
    if found is None:
        found = _BY_REGISTRY[registry] = _Meters(registry)
    return found


def publish_live() -> None:
    """Write what engines are doing where other workers can read it; nothing where they need not."""
    meters = _BY_REGISTRY.get(REGISTRY)
    if meters is not None and isinstance(meters.live, PublishedLive):
        meters.live.publish()
