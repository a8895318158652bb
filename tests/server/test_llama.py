"""From an SDK through the server to real models in llama.cpp's server, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import anyio.to_thread
import openai
import pydantic
import pytest

from cascade.build import cache_folder
from cascade.local.catalogue import MODELS, RUNTIME
from cascade.local.models import model_file
from cascade.local.packages import install, missing
from cascade.local.server import serve

from .serving import serving

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

LADDER = """
name: local
providers:
  small: {{kind: openai, base_url: "{small}"}}
  large: {{kind: openai, base_url: "{large}"}}
ladder:
  - {{model: {names[0]}, provider: small, accept: 0.9, max_tokens: 60, price: {{input: 1, output: 1}}}}
  - {{model: {names[1]}, provider: large, max_tokens: 60, price: {{input: 2, output: 2}}}}
scorer: {{kind: logprob, measure: mean}}
"""
QUESTION: list[Any] = [{"role": "user", "content": "Nora is 41. Her name and her age as JSON."}]


class Person(pydantic.BaseModel):
    """What is asked for."""

    name: str
    age: int


@pytest.mark.anyio
@pytest.mark.local_models
@pytest.mark.timeout(600)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_sdks_ask_real_models_through_the_ladder(tmp_path: Path) -> None:
    """Plain, streamed from either rung, structured, with log-probabilities; in both APIs."""
    small, large = MODELS[:2]
    await install(missing([RUNTIME]))
    files = [await model_file(model, cache_folder()) for model in (small, large)]
    async with (
        serve(files[0], name=small.name, threads=1) as first,
        serve(files[1], name=large.name, threads=1) as second,
    ):
        text = LADDER.format(
            small=first.base_url, large=second.base_url, names=(small.name, large.name)
        )
        await anyio.to_thread.run_sync(_ask, text, tmp_path, (small.name, large.name))


def _ask(text: str, folder: Path, names: tuple[str, str]) -> None:
    with (
        serving(folder, {"local": text}) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", timeout=200) as client,
        anthropic.Anthropic(base_url=server.url, api_key="unused", timeout=200) as claude,
    ):
        plain: Any = client.chat.completions.create(
            model="cascade/local", messages=QUESTION, temperature=0, logprobs=True, top_logprobs=2
        )
        assert plain.model in names
        assert plain.usage.completion_tokens > 0
        assert plain.choices[0].logprobs.content[0].logprob <= 0
        assert 0 <= plain.cascade["confidence"] <= 1
        # No confidence reaches 1: the first rung's draft is held back and left, the second streams.
        surest = {"cascade": {"min_confidence": 1.0}}
        chunks: list[Any] = list(
            client.chat.completions.create(
                model="cascade/local",
                messages=QUESTION,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=surest,
            )
        )
        said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        told = chunks[-1].cascade
        assert {chunk.model for chunk in chunks} == {names[told["rung"]]}
        assert [attempt["rung"] for attempt in told["attempts"]] == [0, 1]
        assert chunks[-1].usage.completion_tokens > 1
        assert said
        if told["rung"] == 1:
            assert len(chunks) > 5  # it came piece by piece
        parsed = client.chat.completions.parse(
            model="cascade/local", messages=QUESTION, temperature=0, response_format=Person
        )
        assert isinstance(parsed.choices[0].message.parsed, Person)
        with client.chat.completions.stream(
            model="cascade/local", messages=QUESTION, temperature=0, response_format=Person
        ) as stream:
            final = stream.get_final_completion()
        assert final.choices[0].message.parsed == parsed.choices[0].message.parsed
        with claude.messages.stream(
            model="cascade/local", max_tokens=40, messages=QUESTION
        ) as message:
            spoken = "".join(message.text_stream)
            assert message.get_final_message().usage.output_tokens > 0
        assert spoken
