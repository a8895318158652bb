"""Streams of whole ladders: what a file says, over a real server, and from a log."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cascade import Cascade, StreamBroken, TextDelta
from cascade.testing import ListSink
from scorers.dataset import collect
from scorers.training import train

from . import traffic
from .upstream_server import UpstreamServer, running_server
from .upstream_streams import plan

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[UpstreamServer]:
    """Run the scriptable server in a process of its own."""
    with running_server() as running:
        yield running


def file(folder: Path, server: UpstreamServer, **further: str) -> Path:
    path = folder / "ladder.yaml"
    lines = [f"{key}: {value}" for key, value in further.items()]
    path.write_text(
        f"""
providers:
  p: {{kind: openai, base_url: "{server.url("stream")}", retry: {{attempts: 2, backoff_s: 0}}}}
ladder:
  - {{model: small, provider: p, accept: 0.8, price: {{input: 1, output: 1}}}}
  - {{model: large, provider: p, price: {{input: 10, output: 10}}}}
"""
        + "\n".join(lines)
    )
    return path


def ask_of(small: dict[str, Any], large: dict[str, Any]) -> str:
    return plan(by_model={"small": small, "large": large})


def said(pieces: str, logprob: float, **further: Any) -> dict[str, Any]:
    split = [f"{piece} " for piece in pieces.split()]
    return {"pieces": split, "logprobs": [logprob] * len(split), **further}


async def texts(ladder: Cascade, prompt: str) -> tuple[list[str], Any]:
    async with ladder.stream(prompt) as events:
        told = [event.text async for event in events if isinstance(event, TextDelta)]
    return told, events.result


async def test_a_ladder_that_decides_early_passes_on_what_its_tokens_are_sure_of(
    tmp_path: Path, server: UpstreamServer
) -> None:
    """Without a trained scorer the tokens' own probabilities judge the beginning."""
    path = file(tmp_path, server, stream="{mode: early, checkpoints: [2, 4]}")
    sink = ListSink()
    async with Cascade.from_yaml(path, sink=sink) as ladder:
        sure = said("as sure as can be", -0.01)
        told, result = await texts(ladder, ask_of(sure, said("dear", -0.1)))
    assert told == ["as ", "sure ", "as ", "can ", "be "]
    assert result.model == "small"
    streaming = sink.records[0]["attempts"][0]["streaming"]
    assert (streaming["mode"], streaming["released_at_tokens"]) == ("early_accept", 2)


async def test_an_unsure_draft_is_ended_at_the_server_too(
    tmp_path: Path, server: UpstreamServer
) -> None:
    """Its connection is closed while the model is still talking, and what came is estimated and paid."""
    path = file(tmp_path, server, stream="{mode: early, reject: 0.3, checkpoints: [2]}")
    sink = ListSink()
    async with Cascade.from_yaml(path, sink=sink) as ladder:
        unsure = said("who knows what this is", -3.0, end="hang")
        told, result = await texts(ladder, ask_of(unsure, said("dear one", -0.1)))
    assert ("".join(told), result.model) == ("dear one ", "large")
    first = sink.records[0]["attempts"][0]
    assert first["streaming"]["mode"] == "early_reject"
    assert first["completion_tokens"] == first["streaming"]["stopped_at_tokens"]
    assert first["tokens_estimated"]
    assert await anyio.to_thread.run_sync(server.wait_until_closed, "stream")


async def test_a_held_draft_that_is_cut_is_repeated_and_one_passed_on_is_not(
    tmp_path: Path, server: UpstreamServer
) -> None:
    """Repetition is invisible before the first byte; after it the stream is broken."""
    path = file(tmp_path, server)
    async with Cascade.from_yaml(path) as ladder:
        before = len(server.seen("stream"))
        told, result = await texts(ladder, ask_of(said("a b", -0.1, end="cut"), said("c d", -0.1)))
        assert "".join(told) == "c d "
        assert len(result.attempts[0].tries) == 1
        assert len(server.seen("stream")) - before == 3
        with pytest.raises(StreamBroken) as caught:
            await texts(ladder, ask_of(said("a b", -3.0), said("c d", -0.1, end="cut")))
        assert len(server.seen("stream")) - before == 5
    assert caught.value.cost_usd is not None
    assert caught.value.attempts[1].streamed is not None


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made-up log and a scorer that was trained on it with a checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    made = traffic.rows(210, ("small", "large"))
    found = collect([traffic.as_read(row) for row in made], checkpoints=(2,))
    fitted = train(found, ("small", "large"), seeds=1, checkpoints=(2,))
    fitted.save(folder / "scorer", created="2026-01-01T00:00:00Z")
    with gzip.open(folder / "log.jsonl.gz", "wb") as log:
        log.writelines(msgspec.json.encode(row) + b"\n" for row in made)
    return folder


async def test_a_trained_scorer_judges_beginnings_of_a_recorded_log(trained: Path) -> None:
    """`cascade train --prefixes` and `stream` in the file are all it takes."""
    made = traffic.rows(210, ("small", "large"))
    path = trained / "ladder.yaml"
    path.write_text(
        """
providers: {log: {kind: recorded, path: log.jsonl.gz}}
ladder:
  - {model: small, provider: log, accept: 0.8}
  - {model: large, provider: log}
scorer: {kind: trained, path: scorer}
stream: {mode: early, reject: 0.3, checkpoints: [2]}
"""
    )
    sink = ListSink()
    async with Cascade.from_yaml(path, sink=sink) as ladder:
        for row in made[:40]:
            told, result = await texts(ladder, row.prompt)
            answers = {response.model: response.text for response in row.responses}
            assert "".join(told) == answers[result.model]
    modes = [record["attempts"][0]["streaming"]["mode"] for record in sink.records]
    assert {"early_accept", "early_reject"} <= set(modes)
    assert all(record["attempts"][0]["streaming"]["judged"] for record in sink.records)
