"""Metrics out of decision records, read back with prometheus_client's own parser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_open_metrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families

from cascade import AllRungsFailed, BadResponse, Cascade, ConfigError, Ladder, Price, Rung, errors
from cascade.cache.memory import MemoryCache
from cascade.caching import CacheSettings
from cascade.compress import Minify, Pipeline
from cascade.compress.draft import Draft
from cascade.compressing import RungCompression
from cascade.resilience.breaker import BreakerSettings, Breaking
from cascade.resilience.retry import Retrying, RetryPolicy
from cascade.rules import CallableGate
from cascade.telemetry import words
from cascade.telemetry.prometheus import PrometheusMetrics
from cascade.telemetry.prometheus_http import http_meters
from cascade.testing import ScriptedClient, reply
from tests.ladders import engine

pytestmark = pytest.mark.anyio

DOWN = BadResponse("no JSON", provider="p", model="small")


def read(registry: CollectorRegistry) -> dict[str, dict[tuple[str, ...], float]]:
    """Return each sample by its name, and by the values of its labels in the order of their names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of the test's own."""
    return CollectorRegistry()


async def test_an_escalated_ask_is_counted_with_what_it_cost(registry: CollectorRegistry) -> None:
    """Who answered, why the first was left, how sure both were."""
    ladder, _, _ = engine(
        reply("4?", confidence=0.3),
        reply("4", confidence=0.95),
        observers=[PrometheusMetrics(registry)],
    )
    async with ladder:
        result = await ladder.ask("2 + 2?")
    found = read(registry)
    name = ladder.ladder.name
    assert found["cascade_asks_total"] == {("", name, "answered"): 1}
    assert found["cascade_answers_total"][(name, "large", "1")] == 1
    assert found["cascade_answers_total"][(name, "small", "0")] == 0
    assert found["cascade_attempts_total"] == {
        (name, "large", "1", "accepted"): 1,
        (name, "small", "0", "escalated"): 1,
    }
    assert found["cascade_escalations_total"] == {(name, "small", "unsure", "0"): 1}
    assert found["cascade_confidence_bucket"][(name, "0.3", "small", "0")] == 1
    assert found["cascade_confidence_bucket"][(name, "0.2", "small", "0")] == 0
    assert found["cascade_cost_usd_total"][(name,)] == pytest.approx(result.cost_usd)
    calls = found["cascade_call_cost_usd_total"]
    assert sum(calls.values()) == pytest.approx(result.cost_usd)
    assert found["cascade_tokens_total"][("completion", name, "large", "1")] == 5
    saving = result.saving_usd_estimate
    assert saving is not None
    assert saving < 0
    assert found["cascade_overspent_usd_total"][(name,)] == pytest.approx(-saving)
    assert found["cascade_saved_usd_total"][(name,)] == 0
    assert found["cascade_ask_seconds_count"][(name,)] == 1


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (reply("?", confidence=0.2), "unsure"),
        (reply("?"), "unmeasured"),
        (reply(""), "gate"),
        (DOWN, "bad_response"),
    ],
    ids=["unsure", "unmeasured", "gate", "error"],
)
async def test_the_reason_of_an_escalation_is_one_word(
    registry: CollectorRegistry, first: Any, reason: str
) -> None:
    """Out of a short list, whatever the error or the gate says."""
    ladder, _, _ = engine(
        first, reply("4", confidence=0.9), observers=[PrometheusMetrics(registry)]
    )
    async with ladder:
        await ladder.ask("2 + 2?")
    left = read(registry)["cascade_escalations_total"]
    assert {labels[2] for labels in left} == {reason}


class Ours:
    """A stage that a package might offer, with a name that says anything."""

    name, lossy, version = "cut-out-SECRET", True, "1"

    def apply(self, draft: Draft) -> str:
        """Take the last full stop away."""
        draft.slots[0].text = draft.slots[0].text.replace(". . .", ".")
        return "dots"


async def test_compression_is_counted_by_stage(registry: CollectorRegistry) -> None:
    """Tokens before and after each; a prompt that stays as it is; and the prompt of a call that fails."""
    stages = [Minify(), Ours()]
    compress = {
        0: RungCompression(compressor=Pipeline(stages), min_saving_usd=0.0),
        1: RungCompression(compressor=Pipeline([Minify()]), min_saving_usd=0.0),
    }
    ladder, _, sink = engine(
        [DOWN, DOWN], ["4", "4"], compress=compress, observers=[PrometheusMetrics(registry)]
    )
    padded = (
        "one  two   three \n\n\n\n" * 40 + "It is done. . . .\n\nQuestion: Which?" + " why" * 120
    )
    async with ladder:
        await ladder.ask(padded)
        await ladder.ask("2 + 2?")
    found = read(registry)
    name = ladder.ladder.name
    assert found["cascade_compression_prompts_total"] == {
        (name, "small", "compressed", "0"): 1,
        (name, "small", "unchanged", "0"): 1,
        (name, "large", "unchanged", "1"): 2,
    }
    before, after = (
        found[f"cascade_compression_tokens_{side}_total"] for side in ("before", "after")
    )
    told = sink.records[0]["attempts"][0]["compression"]
    assert before == {
        (name, "small", "0", "minify"): told["tokens_before"],
        (name, "small", "0", "plugin"): told["stages"][0]["tokens_after"],
    }
    assert after[(name, "small", "0", "plugin")] == told["tokens_after"]
    assert after[(name, "small", "0", "minify")] < told["tokens_before"]
    assert "SECRET" not in generate_latest(registry).decode()


async def test_a_stream_is_counted_with_what_was_done_with_it(
    registry: CollectorRegistry,
) -> None:
    """And with the time to its first piece."""
    client = ScriptedClient({"m": ["one two"]}, chunk_chars=4)
    ladder = Cascade(
        Ladder(name="l", rungs=(Rung(model="m", provider="p"),)),
        {"p": client},
        observers=[PrometheusMetrics(registry)],
    )
    async with ladder, ladder.stream("?") as events:
        assert "".join([text async for text in events.texts()]) == "one two"
    found = read(registry)
    assert found["cascade_streamed_total"] == {("l", "through", "m", "0"): 1}
    assert found["cascade_first_chunk_seconds_count"] == {("l", "m", "0"): 1}


async def test_an_ask_that_fails_is_counted_with_its_error(registry: CollectorRegistry) -> None:
    """And the failed calls with theirs."""
    ladder, _, _ = engine(DOWN, DOWN, observers=[PrometheusMetrics(registry)])
    async with ladder:
        with pytest.raises(AllRungsFailed):
            await ladder.ask("2 + 2?")
    found = read(registry)
    assert list(found["cascade_asks_total"]) == [("other", ladder.ladder.name, "failed")]
    assert sum(found["cascade_answers_total"].values()) == 0


async def test_a_gate_of_ones_own_says_nothing_through_its_name(
    registry: CollectorRegistry,
) -> None:
    """It may hold anything."""
    gate = CallableGate(function=lambda request, answer: "SECRET", name="SECRET")
    ladder, _, _ = engine(
        reply("a"), reply("b"), observers=[PrometheusMetrics(registry)], gates=[gate]
    )
    async with ladder:
        await ladder.ask("2 + 2?")
    assert "SECRET" not in generate_latest(registry).decode()
    assert read(registry)["cascade_gate_failures_total"] == {("other", ladder.ladder.name): 2}


async def test_what_the_cache_gave_is_counted(registry: CollectorRegistry) -> None:
    """Hits and misses; a hit is no call, and its tokens are another ask's."""
    metrics = PrometheusMetrics(registry)
    cache = CacheSettings(store=MemoryCache(max_mb=1))
    ladder, _, _ = engine(reply("4", confidence=0.9), reply("4"), observers=[metrics], cache=cache)
    async with ladder:
        metrics.watch(ladder)
        for _ in range(3):
            await ladder.ask("2 + 2?")
        found = read(registry)
    name = ladder.ladder.name
    assert found["cascade_cache_lookups_total"] == {(name, "exact"): 2, (name, "miss"): 1}
    assert found["cascade_call_seconds_count"][(name, "small", "0")] == 1
    assert found["cascade_tokens_total"][("prompt", name, "small", "0")] == 10
    assert found["cascade_cache_entries"] == {(name,): 1}


async def test_the_present_state_is_read_from_the_engine(registry: CollectorRegistry) -> None:
    """Breakers, through repetition and all, and asks under way; a closed engine has no breakers."""
    metrics = PrometheusMetrics(registry)
    client = Retrying(
        Breaking(
            ScriptedClient({"m": [DOWN]}), BreakerSettings(consecutive=1), provider="deployment"
        ),
        RetryPolicy(attempts=1),
        rng=Random(0),
    )
    ladder = Cascade(
        Ladder(name="l", rungs=(Rung(model="m", provider="p"),)),
        {"p": client},
        observers=[metrics],
    )
    async with ladder:
        metrics.watch(ladder)
        assert read(registry)["cascade_asks_in_flight"] == {("l",): 0}
        with pytest.raises(AllRungsFailed):
            await ladder.ask("?")
        states = read(registry)["cascade_breaker_state"]
    assert states == {
        ("l", "m", "deployment", "closed"): 0,
        ("l", "m", "deployment", "half_open"): 0,
        ("l", "m", "deployment", "open"): 1,
    }
    assert "cascade_breaker_state" not in read(registry)


async def test_asks_under_way_are_counted(registry: CollectorRegistry) -> None:
    """While they are."""
    metrics = PrometheusMetrics(registry)
    client = ScriptedClient({"m": ["x"]}, delay_s=0.05)
    ladder = Cascade(Ladder(name="l", rungs=(Rung(model="m", provider="p"),)), {"p": client})
    async with ladder, anyio.create_task_group() as tasks:
        metrics.watch(ladder)
        tasks.start_soon(ladder.ask, "?")
        tasks.start_soon(ladder.ask, "?")
        await anyio.wait_all_tasks_blocked()
        assert read(registry)["cascade_asks_in_flight"] == {("l",): 2}


async def test_an_unknown_cost_is_no_zero(registry: CollectorRegistry) -> None:
    """It is counted as unknown."""
    client = ScriptedClient({"m": ["x"]})
    ladder = Cascade(
        Ladder(name="l", rungs=(Rung(model="m", provider="p"),)),
        {"p": client},
        observers=[PrometheusMetrics(registry)],
    )
    async with ladder:
        await ladder.ask("?")
    found = read(registry)
    assert found["cascade_asks_of_unknown_cost_total"] == {("l",): 1}
    assert found["cascade_cost_usd_total"] == {("l",): 0}


async def test_tenants_are_few(registry: CollectorRegistry) -> None:
    """As many as were allowed, then they are `other`; without being asked for there are none."""
    free = Price(input=0, output=0)
    ladder = Ladder(name="l", rungs=(Rung(model="m", provider="p", price=free),))

    async def ask(metrics: PrometheusMetrics) -> Mapping[str, Any]:
        client = ScriptedClient({"m": ["x"]})
        async with Cascade(ladder, {"p": client}, observers=[metrics]) as asked:
            for i in range(10):
                await asked.ask("?", tenant=f"t{i}")
        return read(registry)

    assert "cascade_tenant_asks_total" not in await ask(PrometheusMetrics(registry))
    found = await ask(PrometheusMetrics(registry, tenants=2))
    assert found["cascade_tenant_asks_total"] == {("l", "t0"): 1, ("l", "t1"): 1, ("l", "other"): 8}


async def test_models_are_few(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a ladder file is changed."""
    monkeypatch.setattr("cascade.telemetry.prometheus.MOST_MODELS", 3)
    metrics = PrometheusMetrics(registry)
    for i in range(6):
        client = ScriptedClient({f"m{i}": ["x"]})
        ladder = Ladder(name=f"l{i}", rungs=(Rung(model=f"m{i}", provider="p"),))
        async with Cascade(ladder, {"p": client}, observers=[metrics]) as asked:
            await asked.ask("?")
    found = read(registry)["cascade_answers_total"]
    assert len(found) == 4
    assert found[("other", "other", "0")] == 3


async def test_the_text_is_open_metrics_too(registry: CollectorRegistry) -> None:
    """As newer scrapers ask for it; the parser is strict."""
    metrics = PrometheusMetrics(registry)
    ladder, _, _ = engine(reply("4", confidence=0.9), reply("4"), observers=[metrics])
    async with ladder:
        metrics.watch(ladder)
        await ladder.ask("2 + 2?")
        families = list(parse_open_metrics(generate_open_metrics(registry).decode()))
    assert {"cascade_asks", "cascade_asks_in_flight"} <= {family.name for family in families}
    assert all(family.documentation for family in families)


def test_every_error_has_a_word() -> None:
    """Each class that ends a call; groups and what never reaches an attempt aside."""
    elsewhere = {
        *("CascadeError", "RunError", "ProviderError", "AllRungsFailed"),  # never raised by a call
        *("LadderError", "ScorerError", "LogError", "Problem"),  # of files, before any call
    }
    named = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert named - elsewhere - set(words.ERRORS) == set()
    assert set(words.ERRORS) <= named


LADDER = """
name: written
providers: {p: {kind: recorded, path: log.jsonl}}
ladder: [{model: m, provider: p, accept: 0.5}]
telemetry: {prometheus: true}
"""
ROW = (
    '{"id": "1", "prompt": "Hi", "responses": [{"model": "m", "text": "x", "logprobs": [-0.1]}]}\n'
)
PROGRAM = """
import sys, anyio, cascade
async def main():
    async with cascade.Cascade.from_yaml(sys.argv[1]) as ladder:
        await ladder.ask("Hi")
        names = [m for m in ("prometheus_client", "opentelemetry") if m in sys.modules]
        if "prometheus_client" not in names:
            return print(names)
        import prometheus_client
        text = prometheus_client.generate_latest().decode()
        told = ("cascade_asks_total", "cascade_asks_in_flight")
        print([line for line in text.splitlines() if line.startswith(told)])
anyio.run(main)
"""


@pytest.mark.parametrize(
    ("switch", "told"),
    [
        (
            "true",
            '[\'cascade_asks_total{error="",ladder="written",outcome="answered"} 1.0\', '
            "'cascade_asks_in_flight{ladder=\"written\"} 0.0']",
        ),
        ("false", "[]"),
    ],
)
def test_a_ladder_file_switches_it_on(tmp_path: Path, switch: str, told: str) -> None:
    """In the registry that every exporter shows; switched off, nothing of it is imported."""
    file = tmp_path / "ladder.yaml"
    file.write_text(LADDER.replace("true", switch))
    (tmp_path / "log.jsonl").write_text(ROW)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{told}\n"


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what brings it."""
    file = tmp_path / "ladder.yaml"
    (tmp_path / "log.jsonl").write_text(ROW)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "cascade.telemetry.prometheus")
    file.write_text(LADDER)
    with pytest.raises(ConfigError, match=r"cascade-ask\[prometheus\]"):
        Cascade.from_yaml(file)


def test_every_metric_is_on_the_page() -> None:
    """And the page names no other."""
    registry = CollectorRegistry()
    PrometheusMetrics(registry)
    http_meters(registry)
    families = [
        family for collector in registry._collector_to_names for family in collector.describe()
    ]
    there = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert len(there) > 20
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `cascade_")]
    named = {name for row in rows for name in re.findall(r"`(cascade_\w+)`", row.split("|")[1])}
    assert named == there
    assert [word for word in set(words.ERRORS.values()) if f"`{word}`" not in page] == []
