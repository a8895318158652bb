"""A real `cascade serve` in a process of its own, as tests use it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.upstream_server import UpstreamServer

__all__ = ["Serving", "chat", "ladder", "serving", "until"]

PATIENCE_S = 30.0
"""How long is waited for what should come soon: only a failing test waits so long, however busy the
machine."""

STARTING_S = 120.0
"""The same for the start of a server, all its processes included."""


@dataclass(slots=True, kw_only=True)
class Serving:
    """A running server.

    Attributes:
        url: Where it listens.
        process: It.
        folder: Where its files are.
        log: The lines it has written, decoded.
    """

    url: str
    process: subprocess.Popen[str]
    folder: Path
    log: list[dict[str, Any]] = field(default_factory=list)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Return the answer to a POST of JSON, or of bytes as they are."""
        if isinstance(body, bytes):
            options["content"] = body
        elif body is not None:
            options["json"] = body
        return httpx.post(f"{self.url}{path}", timeout=PATIENCE_S, trust_env=False, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Return the answer to a GET."""
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S, trust_env=False, **options)

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one event."""
        return [line for line in list(self.log) if line["event"] == event]

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Tell the process to end; return its exit code."""
        self.process.send_signal(with_signal)
        return self.process.wait(timeout=PATIENCE_S)


def until(true: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Return what a function returns once that is true."""
    end = time.monotonic() + timeout_s
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < end, "it has not become true in time"
        time.sleep(0.02)


def ladder(
    upstream: UpstreamServer,
    name: str,
    *behaviours: str,
    kind: str = "openai",
    rung: str = "",
    more: str = "",
) -> str:
    """Return a ladder file with one rung for each behaviour of the test upstream."""
    lines = [f"name: {name}", "providers:"]
    for i, behaviour in enumerate(behaviours):
        lines.append(
            f'  p{i}: {{kind: {kind}, base_url: "{upstream.url(behaviour)}", api_key: SECRET-KEY, '
            "retry: null, breaker: null}"
        )
    lines.append("ladder:")
    for i in range(len(behaviours)):
        accept = "accept: 0.5, " if i < len(behaviours) - 1 else ""
        lines.append(
            f"  - {{model: {name}-{i}, provider: p{i}, {accept}{rung}"
            "price: {input: 1000, output: 1000}}"
        )
    return "\n".join([*lines, more, ""])


@contextlib.contextmanager
def serving(
    folder: Path, ladders: Mapping[str, str], *options: str, environment: Any = None
) -> Iterator[Serving]:
    """Run a server over these ladder files until the end of the block."""
    arguments = [sys.executable, "-X", "dev", "-m", "cascade", "serve", "--port", "0", *options]
    for name, text in ladders.items():
        path = folder / f"{name}.yaml"
        path.write_text(text)
        arguments += ["-c", str(path)]
    process = subprocess.Popen(
        arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=folder
    )
    server = Serving(url="", process=process, folder=folder)
    raw: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            raw.append(line)
            with contextlib.suppress(json.JSONDecodeError):
                server.log.append(json.loads(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        until(lambda: server.events("listening") or process.poll() is not None, STARTING_S)
        assert server.events("listening"), "".join(raw)
        server.url = server.events("listening")[0]["url"]
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=PATIENCE_S)
        reader.join(timeout=PATIENCE_S)
        assert process.stderr is not None
        process.stderr.close()
        strange = [line for line in raw if not line.startswith("{")]
        assert not strange, "".join(strange)


def chat(model: str, text: str = "Which is heavier?", **fields: Any) -> dict[str, Any]:
    """Return a chat-completions body."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}
