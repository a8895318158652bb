"""A fast local model server for benchmarks: OpenAI-shaped answers, made beforehand, over keep-alive HTTP/1.1.

It runs in its own process, prints its port, and lives until its standard input closes, so that it
cannot outlive the benchmark that started it. What it answers stands in the path of the base URL:

    http://127.0.0.1:PORT/t20/v1          20 tokens with top-5 log-probabilities, 9 KB
    http://127.0.0.1:PORT/t200/v1         200 tokens with top-5, 87 KB
    http://127.0.0.1:PORT/t20-d2000/v1    the same as the first, 2,000 ms late
    http://127.0.0.1:PORT/t20-unsure/v1   log-probabilities that no threshold accepts
    http://127.0.0.1:PORT/t20-g100/v1     a request with `"stream": true`: a token every 100 ms
    http://127.0.0.1:PORT/t20-faults/v1   one in ten answers is a 500, a 429, or a cut connection

Try it: `python benchmarks/upstream.py`, then
`curl -d '{}' http://127.0.0.1:PORT/t20/v1/chat/completions`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Upstream", "answer_body", "running_upstream"]

_WORDS = ("the", " iron", " mole", " of", " is", " heavier", ",", " because", " lead", " 207", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A running upstream: where it listens."""

    port: int

    def base_url(
        self,
        tokens: int,
        *,
        delay_ms: int = 0,
        unsure: bool = False,
        gap_ms: int = 0,
        faults: bool = False,
    ) -> str:
        """Return the base URL under which answers of `tokens` tokens come after `delay_ms`."""
        name = f"t{tokens}" + (f"-d{delay_ms}" if delay_ms else "") + ("-unsure" if unsure else "")
        name += (f"-g{gap_ms}" if gap_ms else "") + ("-faults" if faults else "")
        return f"http://127.0.0.1:{self.port}/{name}/v1"


def answer_body(tokens: int, *, unsure: bool = False) -> bytes:
    """Return a chat completion of `tokens` tokens with top-5 log-probabilities, as OpenAI sends it.

    20 tokens are about 9 KB, 200 tokens about 87 KB; the same arguments give the same bytes.
    """
    rng = random.Random(tokens)
    top = 3.0 if unsure else 0.02
    content = []
    for i in range(tokens):
        logprob = -rng.random() * top
        chosen = _entry(_WORDS[i % len(_WORDS)], logprob)
        others = [
            _entry(_WORDS[(i + k) % len(_WORDS)], logprob - k - rng.random()) for k in range(1, 5)
        ]
        content.append({**chosen, "top_logprobs": [chosen, *others]})
    text = "".join(str(entry["token"]) for entry in content)
    body = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "bench-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": {"content": content, "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 24,
            "completion_tokens": tokens,
            "total_tokens": 24 + tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "system_fingerprint": "fp_benchmark",
    }
    return json.dumps(body, separators=(",", ":")).encode()


def stream_chunks(tokens: int, *, unsure: bool = False) -> list[bytes]:
    """Return the same answer as a stream: one HTTP chunk a token, then usage and the end."""
    whole = json.loads(answer_body(tokens, unsure=unsure))
    base = {key: whole[key] for key in ("id", "created", "model", "system_fingerprint")}
    base["object"] = "chat.completion.chunk"
    choice = whole["choices"][0]
    events = [
        base
        | {
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": entry["token"]},
                    "logprobs": {"content": [entry], "refusal": None},
                    "finish_reason": None,
                }
            ]
        }
        for entry in choice["logprobs"]["content"]
    ]
    events.append(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append(base | {"choices": [], "usage": whole["usage"]})
    lines = [f"data: {json.dumps(event, separators=(',', ':'))}\n\n" for event in events]
    return [_chunk(line.encode()) for line in lines] + [_chunk(b"data: [DONE]\n\n") + _chunk(b"")]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _entry(token: str, logprob: float) -> dict[str, object]:
    return {"token": token, "logprob": round(logprob, 8), "bytes": list(token.encode())}


@contextlib.contextmanager
def running_upstream(core: int | None = None) -> Iterator[Upstream]:
    """Run the upstream in a process of its own, pinned to `core`, and stop it at the end."""
    command = [sys.executable, str(Path(__file__).resolve())]
    if core is not None:
        command += ["--core", str(core)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Upstream(port=int(process.stdout.readline().rsplit(" ", 1)[-1]))
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_FAILED = b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}"
_BUSY = b"HTTP/1.1 429 Slow\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\n{}"


class _Answers:
    """Whole HTTP responses by the first segment of the path, made once each."""

    def __init__(self) -> None:
        self._made: dict[bytes, tuple[bytes, float]] = {}
        self._streams: dict[bytes, tuple[list[bytes], float]] = {}
        self._asked = 0

    def fault(self, name: bytes) -> bytes | None:
        """Return what comes instead of an answer, empty for a cut connection; None: the answer."""
        if not name.endswith(b"-faults"):
            return None
        self._asked += 1
        return {3: _FAILED, 7: b"", 13: _BUSY}.get(self._asked % 30)

    def stream(self, name: bytes) -> tuple[list[bytes], float]:
        """Return the pieces to send and the seconds between them."""
        found = self._streams.get(name)
        if found is None:
            parts = name.decode().split("-")
            gap_ms = next((int(p[1:]) for p in parts if p[:1] == "g"), 0)
            chunks = stream_chunks(int(parts[0][1:]), unsure="unsure" in parts)
            chunks[0] = _STREAM_HEAD + chunks[0]
            found = self._streams[name] = (chunks, gap_ms / 1000)
        return found

    def get(self, name: bytes) -> tuple[bytes, float]:
        """Return the bytes to send and the delay in seconds."""
        found = self._made.get(name)
        if found is None:
            parts = name.decode().split("-")
            delay_ms = next((int(p[1:]) for p in parts if p[:1] == "d"), 0)
            body = answer_body(int(parts[0][1:]), unsure="unsure" in parts)
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            found = self._made[name] = (head.encode() + body, delay_ms / 1000)
        return found


class _Protocol(asyncio.Protocol):
    """One connection: reads whole requests, writes prepared answers, keeps the connection open."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._pending = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._pending[:end])
            mark = head.lower().find(b"content-length:")
            size = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self._pending) < end + 4 + size:
                return
            body = bytes(self._pending[end + 4 : end + 4 + size])
            del self._pending[: end + 4 + size]
            name = head.split(b"/", 2)[1].split(b" ", 1)[0]
            fault = self._answers.fault(name)
            if fault is not None:
                self._transport.write(fault) if fault else self._transport.abort()
                continue
            if b'"stream":true' in body.replace(b" ", b""):
                self._send_stream(*self._answers.stream(name))
                continue
            answer, delay_s = self._answers.get(name)
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._transport.write, answer)
            else:
                self._transport.write(answer)

    def _send_stream(self, chunks: list[bytes], gap_s: float) -> None:
        if not gap_s:
            self._transport.write(b"".join(chunks))
            return
        self._send_next(chunks, 0, gap_s)

    def _send_next(self, chunks: list[bytes], i: int, gap_s: float) -> None:
        if i < len(chunks) and not self._transport.is_closing():
            self._transport.write(chunks[i])
            loop = asyncio.get_running_loop()
            loop.call_later(gap_s, self._send_next, chunks, i + 1, gap_s)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    answers = _Answers()
    server = await loop.create_server(lambda: _Protocol(answers), "127.0.0.1", port, backlog=20_000)
    print(f"listening on port {server.sockets[0].getsockname()[1]}", flush=True)
    stopped = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.read1() or stopped.set())
    await stopped.wait()


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one and prints it")
    parser.add_argument("--core", type=int, help="pin the process to this core")
    args = parser.parse_args()
    if args.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {args.core})
    asyncio.run(_serve(args.port))


if __name__ == "__main__":
    main()
