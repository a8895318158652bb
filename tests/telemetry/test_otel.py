"""Spans as a real receiver of OTLP gets them."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace

from cascade import (
    AllRungsFailed,
    BadResponse,
    Cascade,
    ConfigError,
    Decision,
    Ladder,
    Rung,
    State,
)
from cascade.cache.memory import MemoryCache
from cascade.caching import CacheSettings
from cascade.compress import Dedupe, Minify, Pipeline
from cascade.compressing import RungCompression
from cascade.policy import Thresholds
from cascade.resilience.hedge import Hedge
from cascade.telemetry.otel import Destination, OtelTracer, RungPlace, export_to
from cascade.testing import ScriptedClient, reply
from tests.ladders import engine

from .otlp_receiver import OtlpReceiver, running_receiver

pytestmark = pytest.mark.anyio

ERROR = 2
INTERNAL, CLIENT = 1, 3
PLACES = [
    RungPlace(provider="openai", url="http://127.0.0.1:8080/v1"),
    RungPlace(provider="anthropic", url="https://api.anthropic.com/v1"),
]


PADDED = "one  two   three \n\n\n\n" * 60 + "Question: Which?" + " why" * 120


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """A receiver of the test's own."""
    with running_receiver() as running:
        yield running


def tracer(receiver: OtlpReceiver, **options: Any) -> OtelTracer:
    to = Destination(endpoint=receiver.endpoint, headers={"x-token": "t"}, service="shop")
    return OtelTracer(export_to(to), rungs=PLACES, **options)


async def test_a_call_tells_what_was_done_to_its_prompt(receiver: OtlpReceiver) -> None:
    """Tokens on the span of the call, failed or not, and an event at its beginning for each stage."""
    stages = Pipeline([Minify(), Dedupe()])
    ladder, _, sink = engine(
        BadResponse("no JSON", provider="p", model="small"),
        "4",
        tracer=tracer(receiver),
        compress={0: RungCompression(compressor=stages, min_saving_usd=0.0)},
    )
    async with ladder:
        await ladder.ask(PADDED)
    _, first, second = receiver.spans()
    told = sink.records[0]["attempts"][0]["compression"]
    names = [f"cascade.compression.tokens_{side}" for side in ("before", "after")]
    assert [first["attributes"][name] for name in names] == [
        told["tokens_before"],
        told["tokens_after"],
    ]
    assert [event["name"] for event in first["events"]] == ["cascade.compression"] * 2
    assert [event["attributes"]["cascade.compression.stage"] for event in first["events"]] == [
        "minify",
        "dedupe",
    ]
    assert first["began"] <= first["events"][0]["at"] <= first["ended"]
    assert names[0] not in second["attributes"]
    assert second["events"] == []


async def test_an_ask_is_a_span_and_its_calls_are_its_children(receiver: OtlpReceiver) -> None:
    """With the conventions' names, and what became of each; all is sent when the engine has closed."""
    ladder, _, _ = engine(
        reply("4?", confidence=0.3), reply("4", confidence=0.9), tracer=tracer(receiver)
    )
    async with ladder:
        result = await ladder.ask(
            "SECRET-WORDS", temperature=0.5, max_tokens=9, stop="x", tenant="acme", session="s1"
        )
    ask, first, second = receiver.spans()
    assert [ask["name"], first["name"], second["name"]] == [
        "invoke_workflow test",
        "chat small",
        "chat large",
    ]
    assert ask["parent"] == ""
    assert first["parent"] == second["parent"] == ask["id"]
    assert (ask["kind"], first["kind"]) == (INTERNAL, CLIENT)
    assert ask["began"] <= first["began"] <= first["ended"] <= second["began"]
    assert second["ended"] <= ask["ended"]
    assert ask["resource"]["service.name"] == "shop"
    assert ask["token"] == "t"
    assert ask["attributes"] == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "test",
        "gen_ai.conversation.id": "s1",
        "gen_ai.response.model": "large",
        "cascade.ask.id": result.id,
        "cascade.tenant": "acme",
        "cascade.outcome": "answered",
        "cascade.policy": ask["attributes"]["cascade.policy"],
        "cascade.scorer": "scripted",
        "cascade.rung": 1,
        "cascade.confidence": 0.9,
        "cascade.cost_usd": result.cost_usd,
        "cascade.saving_usd": result.saving_usd_estimate,
    }
    assert first["attributes"] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "server.address": "127.0.0.1",
        "server.port": 8080,
        "gen_ai.request.model": "small",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stop_sequences": ["x"],
        "gen_ai.conversation.id": "s1",
        "gen_ai.response.model": "scripted",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "cascade.rung": 0,
        "cascade.verdict": "escalated",
        "cascade.confidence": 0.3,
        "cascade.threshold": 0.8,
        "cascade.cost_usd": result.attempts[0].cost_usd,
    }
    assert second["attributes"]["server.port"] == 443
    decided = [event["attributes"] for event in ask["events"]]
    assert [event["name"] for event in ask["events"]] == ["cascade.decision"] * 2
    assert (decided[0]["cascade.action"], decided[0]["cascade.reason"]) == ("call:1", "unsure")
    assert (decided[1]["cascade.action"], decided[1]["cascade.verdict"]) == ("stop", "accepted")
    assert first["ended"] <= ask["events"][0]["at"] <= second["began"] + 1_000_000
    assert "SECRET" not in json.dumps(receiver.spans())


async def test_a_stream_is_followed_to_its_end(receiver: OtlpReceiver) -> None:
    """Its call too, though it runs in a task of its own."""
    client = ScriptedClient({"m": ["one two"]}, chunk_chars=4)
    rung = Rung(model="m", provider="p")
    made = tracer(receiver)
    ladder = Cascade(Ladder(name="l", rungs=(rung,)), {"p": client}, tracer=made)
    with made.parent({b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}):
        async with ladder, ladder.stream("?") as events:
            assert "".join([text async for text in events.texts()]) == "one two"
    ask, call = receiver.spans()
    assert (ask["parent"], call["parent"]) == ("b7ad6b7169203331", ask["id"])
    assert call["attributes"]["gen_ai.request.stream"] is True
    assert 0 <= call["attributes"]["gen_ai.response.time_to_first_chunk"] < 5


async def test_texts_are_written_only_when_they_are_wanted(receiver: OtlpReceiver) -> None:
    """As JSON, in the conventions' shape."""
    call = {"id": "c1", "type": "function", "function": {"name": "weigh", "arguments": "{}"}}
    ladder, _, _ = engine(
        reply("Lead.", confidence=0.9, tool_calls=[call]), tracer=tracer(receiver, content=True)
    )
    prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Which?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "11 g", "tool_call_id": "c1"},
    ]
    async with ladder:
        await ladder.ask(prompt)
    asked = receiver.spans()[1]["attributes"]
    called = {"type": "tool_call", "id": "c1", "name": "weigh", "arguments": "{}"}
    response = {"type": "tool_call_response", "id": "c1", "response": "11 g"}
    assert json.loads(asked["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Which?"}]},
        {"role": "assistant", "parts": [called]},
        {"role": "tool", "parts": [response]},
    ]
    said = [{"type": "text", "content": "Lead."}, called]
    assert json.loads(asked["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": said, "finish_reason": "stop"}
    ]


async def test_the_callers_span_is_the_parent(receiver: OtlpReceiver) -> None:
    """The current one, or the one that the headers of a request name."""
    made = tracer(receiver)
    provider = made._provider
    assert provider is not None
    ladder, _, _ = engine(reply("4", confidence=0.9), tracer=made)
    headers = {b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    async with ladder:
        with trace.get_tracer("app", tracer_provider=provider).start_as_current_span("app"):
            await ladder.ask("?")
            await ladder.ask("?")
        with made.parent(headers):
            await ladder.ask("?")
        with made.parent({b"traceparent": b"nonsense"}), made.parent({}):
            await ladder.ask("?")
        assert not trace.get_current_span().get_span_context().is_valid
    asks = [span for span in receiver.spans() if span["name"] == "invoke_workflow test"]
    app = next(span for span in receiver.spans() if span["name"] == "app")
    assert [span["parent"] for span in asks] == [app["id"], app["id"], "b7ad6b7169203331", ""]
    assert asks[2]["trace"] == "0af7651916cd43dd8448eb211c80319c"


async def test_a_failure_is_marked_by_its_class_alone(receiver: OtlpReceiver) -> None:
    """What an upstream or a scorer of one's own says stays out of it."""
    down = BadResponse("SECRET", provider="p", model="small")
    ladder, _, _ = engine(down, down, tracer=tracer(receiver))
    async with ladder:
        with pytest.raises(AllRungsFailed):
            await ladder.ask("?")
    ask, first, _ = receiver.spans()
    assert (ask["status"], first["status"]) == (ERROR, ERROR)
    assert ask["attributes"]["error.type"] == "AllRungsFailed"
    assert first["attributes"]["error.type"] == "BadResponse"
    assert ask["events"][0]["attributes"]["cascade.reason"] == "bad_response"
    assert "SECRET" not in json.dumps(receiver.spans())


async def test_an_ask_that_raises_leaves_no_span_open(receiver: OtlpReceiver) -> None:
    """A policy that breaks, and a cancellation in the middle of a call."""

    class Breaks(Thresholds):
        def decide(self, state: State) -> Decision:
            if state.attempts:
                raise ZeroDivisionError("SECRET")
            return super().decide(state)

    ladder, _, _ = engine(reply("x"), tracer=tracer(receiver), policy=Breaks())
    async with ladder:
        with pytest.raises(ZeroDivisionError):
            await ladder.ask("?")
    slow = ScriptedClient({"m": ["x"]}, delay_s=30)
    rung = Rung(model="m", provider="p")
    waiting = Cascade(Ladder(name="slow", rungs=(rung,)), {"p": slow}, tracer=tracer(receiver))
    async with waiting:
        with anyio.move_on_after(0.05):
            await waiting.ask("?")
    spans = receiver.spans()
    names = ["invoke_workflow test", "chat small", "invoke_workflow slow", "chat m"]
    assert [span["name"] for span in spans] == names
    assert [span["status"] for span in spans] == [ERROR, 0, ERROR, ERROR]
    assert spans[0]["attributes"]["error.type"] == "ZeroDivisionError"
    assert "SECRET" not in json.dumps(spans)


async def test_hedged_calls_and_hits_of_the_cache_have_their_place(
    receiver: OtlpReceiver,
) -> None:
    """A call beside another is a child too; an answer from the cache has no call."""
    fast = ScriptedClient({"large": ["fast"]})
    slow = ScriptedClient({"small": ["slow"]}, delay_s=30)
    rungs = (Rung(model="small", provider="slow", accept=0.5), Rung(model="large", provider="fast"))
    ladder = Cascade(
        Ladder(name="hedged", rungs=rungs),
        {"slow": slow, "fast": fast},
        hedge=Hedge(after_s=0.02, share=1.0),
        tracer=tracer(receiver),
    )
    async with ladder:
        result = await ladder.ask("?")
    assert [attempt.verdict for attempt in result.attempts] == ["accepted", "hedged"]
    ask, *calls = receiver.spans()
    assert {call["name"] for call in calls} == {"chat small", "chat large"}
    assert {call["parent"] for call in calls} == {ask["id"]}
    told = {call["name"]: call["attributes"]["cascade.verdict"] for call in calls}
    assert told == {"chat large": "accepted", "chat small": "hedged"}
    cached, _, _ = engine(
        reply("4", confidence=0.9),
        tracer=tracer(receiver),
        cache=CacheSettings(store=MemoryCache(max_mb=1)),
    )
    async with cached:
        await cached.ask("?")
        await cached.ask("?")
    asks = [span for span in receiver.spans() if span["name"] == "invoke_workflow test"]
    assert [ask["attributes"]["cascade.cache"] for ask in asks] == ["miss", "exact"]
    assert len([span for span in receiver.spans() if span["parent"] == asks[1]["id"]]) == 0


async def test_a_share_of_asks_is_traced(receiver: OtlpReceiver) -> None:
    """None here; those whose caller is traced follow it."""
    to = Destination(endpoint=receiver.endpoint, share=0.0)
    made = OtelTracer(export_to(to))
    headers = {b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    ladder, _, _ = engine(reply("4", confidence=0.9), tracer=made)
    async with ladder:
        await ladder.ask("?")
        with made.parent(headers):
            await ladder.ask("?")
    assert [span["parent"] for span in receiver.spans() if "invoke" in span["name"]] == [
        "b7ad6b7169203331"
    ]


async def test_a_receiver_that_is_away_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Neither an ask nor much of the time that closing takes."""
    caplog.set_level(logging.CRITICAL, logger="opentelemetry")
    to = Destination(endpoint="http://127.0.0.1:9/v1/traces", timeout_s=0.5)
    ladder, _, _ = engine(reply("4", confidence=0.9), tracer=OtelTracer(export_to(to)))
    async with ladder:
        assert (await ladder.ask("?")).text == "4"
        began = time.monotonic()
    assert time.monotonic() - began < 60


LADDER = """
name: written
providers: {p: {kind: recorded, path: log.jsonl}}
ladder: [{model: m, provider: p, accept: 0.5}]
telemetry: {otel: {endpoint: "ENDPOINT", service: shop, headers: {x-token: t}}}
"""
ROW = (
    '{"id": "1", "prompt": "Hi", "responses": [{"model": "m", "text": "x", "logprobs": [-0.1]}]}\n'
)


async def test_a_ladder_file_switches_it_on(receiver: OtlpReceiver, tmp_path: Path) -> None:
    """As docs/observability.md says."""
    file = tmp_path / "ladder.yaml"
    file.write_text(LADDER.replace("ENDPOINT", receiver.endpoint))
    (tmp_path / "log.jsonl").write_text(ROW)
    async with Cascade.from_yaml(file) as ladder:
        await ladder.ask("Hi")
    ask, call = receiver.spans()
    assert (ask["resource"]["service.name"], ask["token"]) == ("shop", "t")
    assert call["attributes"]["gen_ai.provider.name"] == "recorded"
    assert "server.address" not in call["attributes"]


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what brings it."""
    file = tmp_path / "ladder.yaml"
    file.write_text(LADDER.replace("ENDPOINT", "http://127.0.0.1:9/v1/traces"))
    (tmp_path / "log.jsonl").write_text(ROW)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "cascade.telemetry.otel")
    with pytest.raises(ConfigError, match=r"cascade-ask\[otel\]"):
        Cascade.from_yaml(file)
