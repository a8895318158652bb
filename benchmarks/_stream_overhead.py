"""What a streamed last rung adds: first byte and every chunk, against a bare socket that reads the same."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import anyio
import numpy as np

from cascade import Cascade, Ladder, Price, Rung, TextDelta
from cascade.clients.openai import OpenAIClient
from scorers import LogprobScorer
from tests.upstream_server import running_server
from tests.upstream_streams import plan

__all__ = ["CHUNKS", "measure_overhead"]

CHUNKS = 200
_PROMPT = plan([f"word{i} " for i in range(CHUNKS)], logprobs=[-0.1] * CHUNKS)

Timed = tuple[float, float]
"""Seconds to the first text and to the end."""


async def measure_overhead(rounds: int) -> dict[str, np.ndarray]:
    """Return the times of each way, in turn within each round. Shape (rounds, 2)."""
    with running_server() as server:
        url = server.url("stream")
        client = OpenAIClient("p", url)
        rung = Rung(model="m", provider="p", price=Price(input=1.0, output=1.0))
        ladder = Cascade(
            Ladder(name="one", rungs=(rung,)), {"p": client}, scorer=LogprobScorer(), gates=()
        )
        async with ladder:
            ways: dict[str, Callable[[], Awaitable[Timed]]] = {
                "bare socket": lambda: _by_socket(url),
                "Cascade.stream": lambda: _by_engine(ladder),
            }
            found: dict[str, list[Timed]] = {name: [] for name in ways}
            for i in range(rounds + 5):
                for name, way in ways.items():
                    timed = await way()
                    if i >= 5:  # connections are open by then
                        found[name].append(timed)
    return {name: np.array(times) for name, times in found.items()}


async def _by_engine(ladder: Cascade) -> Timed:
    began, first, text = time.perf_counter(), 0.0, ""
    async with ladder.stream(_PROMPT) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                first = first or time.perf_counter() - began
                text += event.text
    assert text.count("word") == CHUNKS
    return first, time.perf_counter() - began


async def _by_socket(url: str) -> Timed:
    """Send the same request by hand, and look for the first text and for the end."""
    parts = urlsplit(url)
    body = json.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": _PROMPT}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "logprobs": True,
            "top_logprobs": 5,
        }
    ).encode()
    head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
    stream = await anyio.connect_tcp(parts.hostname or "", parts.port or 80)
    async with stream:
        began, first, received = time.perf_counter(), 0.0, b""
        await stream.send(head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + body)
        while b"[DONE]" not in received[-64:]:
            received += await stream.receive()
            if not first and b"word0" in received:
                first = time.perf_counter() - began
        return first, time.perf_counter() - began
