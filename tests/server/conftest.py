"""One server over many small ladders, whose rungs are real HTTP upstreams that behave as named."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.upstream_server import UpstreamServer, running_server

from .serving import Serving, ladder, serving

TOOLS = "gates: [schema]"
RECORDED = {
    "id": "1",
    "prompt": "Weigh it.",
    "responses": [
        {
            "model": "small",
            "text": '{"metal": "lead", "grams": 11.3}',
            "prompt_tokens": 5,
            "completion_tokens": 9,
            "logprobs": [-0.1],
            "finish_reason": "stop",
        }
    ],
}
"""A row of a traffic log with a structured answer."""


@pytest.fixture(scope="session")
def upstream() -> Iterator[UpstreamServer]:
    """The test upstream."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def server(upstream: UpstreamServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server without keys."""
    logged = "log: {path: logs, text: true}"
    cached = "cache: {kind: memory, max_mb: 8}"
    spent = "budgets: [{usd: 0.02, per: day}]\nledger: {kind: memory}"
    ladders = {
        "ok": ladder(upstream, "ok", "ok", "no-logprobs", more=logged),
        "cached": ladder(upstream, "cached", "ok", more=cached),
        "tools": ladder(upstream, "tools", "tool-calls", more=TOOLS),
        "claude": ladder(
            upstream, "claude", "anthropic", kind="anthropic", rung="max_tokens: 99, "
        ),
        "claude-structured": ladder(
            upstream,
            "claude-structured",
            "anthropic-structured",
            kind="anthropic",
            rung="max_tokens: 99, ",
        ),
        "streams": ladder(upstream, "streams", "stream"),
        "drafts": ladder(upstream, "drafts", "stream", "stream"),
        "claude-streams": ladder(
            upstream, "claude-streams", "message-stream", kind="anthropic", rung="max_tokens: 99, "
        ),
        "broken": ladder(upstream, "broken", "server-error", "html"),
        "refusing": ladder(upstream, "refusing", "bad-request"),
        "busy": ladder(upstream, "busy", "rate-limit"),
        "hanging": ladder(upstream, "hanging", "hang", more="deadline_s: 0.3"),
        "waiting": ladder(upstream, "waiting", "hang"),
        "spent": ladder(upstream, "spent", "ok", more=spent),
        "recorded": (
            "name: recorded\nproviders: {log: {kind: recorded, path: log.jsonl}}\n"
            "ladder: [{model: small, provider: log, accept: 0.5}]\n"
        ),
    }
    folder = tmp_path_factory.mktemp("server")
    (folder / "log.jsonl").write_text(json.dumps(RECORDED) + "\n")
    limits = ("--max-body-mb", "1", "--head-timeout-s", "1", "--body-timeout-s", "1")
    with serving(folder, ladders, "--rungs", *limits) as running:
        yield running
