"""LiteLLM as a client, in a process of its own: its import takes seconds and warns of much."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest

from .serving import Serving

PROGRAM = """
import asyncio, json, sys
import litellm

url = sys.argv[1]
question = [{"role": "user", "content": "Which is heavier?"}]
tool = {"type": "function", "function": {"name": "weigh", "parameters": {"type": "object"}}}
openai = {"api_base": f"{url}/v1", "api_key": "unused", "max_retries": 0, "messages": question}
claude = {"api_base": url, "api_key": "unused", "max_retries": 0, "messages": question}
told = {}
answer = litellm.completion(model="openai/cascade/ok", **openai)
told["text"] = answer.choices[0].message.content
told["tokens"] = answer.usage.total_tokens
answer = litellm.completion(model="openai/cascade/tools", tools=[tool], **openai)
told["tool"] = answer.choices[0].message.tool_calls[0].function.arguments
chunks = litellm.completion(
    model="openai/cascade/streams", stream=True, stream_options={"include_usage": True}, **openai
)
chunks = list(chunks)
told["streamed"] = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
told["streamed_tokens"] = [c.usage.total_tokens for c in chunks if getattr(c, "usage", None)]
answer = asyncio.run(litellm.acompletion(model="openai/cascade/ok", **openai))
told["async"] = answer.choices[0].message.content
answer = litellm.completion(model="anthropic/cascade/ok", max_tokens=50, **claude)
told["claude"] = answer.choices[0].message.content
chunks = litellm.completion(model="anthropic/cascade/streams", max_tokens=50, stream=True, **claude)
told["claude_streamed"] = "".join(c.choices[0].delta.content or "" for c in chunks)
for name in ("nothing", "refusing", "broken", "busy"):
    try:
        litellm.completion(model=f"openai/cascade/{name}", **openai)
    except Exception as exc:
        told[name] = type(exc).__name__
print("TOLD", json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(server: Serving) -> dict[str, Any]:
    """What the program has found."""
    if importlib.util.find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # else it asks GitHub for its prices
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    return dict(json.loads(line.removeprefix("TOLD ")))


@pytest.mark.timeout(300)
def test_litellm_answers_streams_and_calls_tools(told: dict[str, Any]) -> None:
    """In OpenAI's words, and in Anthropic's."""
    assert (told["text"], told["tokens"]) == ("lead", 9)
    assert told["tool"] == '{"metal": "lead"}'
    assert (told["streamed"], told["streamed_tokens"][-1]) == ("lead", 9)
    assert told["async"] == told["claude"] == told["claude_streamed"] == "lead"


@pytest.mark.timeout(300)
def test_litellm_raises_its_own_errors(told: dict[str, Any]) -> None:
    """By the status."""
    errors = {name: told[name] for name in ("nothing", "refusing", "broken", "busy")}
    assert errors == {
        "nothing": "NotFoundError",
        "refusing": "BadRequestError",
        "broken": "BadGatewayError",
        "busy": "RateLimitError",  # a 503; it goes by what the message says of the rungs
    }
