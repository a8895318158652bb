"""Several answers to one request (`n`): as many walks, told in order, all of them or none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest

from cascade.clock import SystemClock
from cascade.errors import ConnectFailed, RequestError
from cascade.events import AnswerStarted, TextDelta
from cascade.server.app import make_app
from cascade.server.bodies import BodyLimits
from cascade.server.chat_stream import ChatChunks
from cascade.server.choices import ChoiceEvent, each_choice
from cascade.server.endpoint import Gate
from cascade.server.served import Ladders
from cascade.testing import ScriptedScorer
from cascade.types import Answer, Chunk, ModelCall, Usage
from tests.upstream_server import UpstreamServer

from .serving import Serving, chat

CHAT = "/v1/chat/completions"
LADDER = """
name: app
providers: {p: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
ladder: [{model: small, provider: p, price: {input: 1, output: 1}}]
"""
QUESTION: list[Any] = [{"role": "user", "content": "Which is heavier?"}]


class BySeed:
    """A client that answers by the seed of a call: with words, or with an error once another waits."""

    def __init__(self, says: Mapping[int, list[str] | Exception]) -> None:
        self._says = says
        self.waiting = anyio.Event()
        self.cancelled: list[int] = []

    async def complete(self, call: ModelCall) -> Answer:
        """Say it, word by word; an empty list stands for silence."""
        seed = call.request.seed
        assert seed is not None
        said = self._says[seed]
        if isinstance(said, Exception):
            await self.waiting.wait()
            raise said
        if not said:
            await self._be_silent(seed)
        for word in said:
            await anyio.lowlevel.checkpoint()
            if call.listener is not None:
                if word is said[0]:
                    call.listener.begin()
                await call.listener.take(Chunk(text=word))
        return Answer(
            text="".join(said),
            model=call.model,
            finish_reason="stop",
            usage=Usage(prompt_tokens=5, completion_tokens=len(said)),
        )

    async def _be_silent(self, seed: int) -> None:
        self.waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.append(seed)

    async def aclose(self) -> None:
        """Nothing is open."""


class Records:
    """An observer that keeps decision records."""

    def __init__(self) -> None:
        self.all: list[Mapping[str, Any]] = []

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Keep it."""
        self.all.append(record)


@asynccontextmanager
async def app_of(
    folder: Path, client: BySeed, records: Records | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of an application whose only rung is answered by `client`."""
    file = folder / "app.yaml"
    file.write_text(LADDER)
    parts: dict[str, Any] = {"clients": {"p": client}, "scorer": ScriptedScorer()}
    if records is not None:
        parts["observers"] = [records]
    ladders = Ladders([file], overrides=parts)
    await ladders.open()
    app = make_app(ladders, Gate(None, BodyLimits(1_000_000, 5), SystemClock()))
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield http
    finally:
        await ladders.aclose(0.0)


def asked(n: int, **fields: Any) -> dict[str, Any]:
    return chat("cascade/app", n=n, seed=7, **fields)


@pytest.mark.anyio
async def test_choices_come_in_order_with_what_each_has_cost(tmp_path: Path) -> None:
    """Each from a walk of its own; tokens and costs are those of all together."""
    client = BySeed({7: ["lead"], 8: ["iron", " too"], 9: ["neither"]})
    records = Records()
    async with app_of(tmp_path, client, records) as http:
        answer = await http.post(CHAT, json=asked(3))
    found = answer.json()
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
    texts = [choice["message"]["content"] for choice in found["choices"]]
    assert texts == ["lead", "iron too", "neither"]
    assert found["usage"] == {"prompt_tokens": 15, "completion_tokens": 4, "total_tokens": 19}
    told = found["cascade"]
    assert found["id"] == f"chatcmpl-{told['id']}"
    assert told["id"] == told["choices"][0]["id"]
    assert [choice["rung"] for choice in told["choices"]] == [0, 0, 0]
    assert [choice["model"] for choice in told["choices"]] == ["small"] * 3
    costs = [choice["cost_usd"] for choice in told["choices"]]
    assert costs == pytest.approx([6e-6, 7e-6, 6e-6])
    assert told["cost_usd"] == pytest.approx(19e-6)
    assert float(answer.headers["x-cascade-cost-usd"]) == pytest.approx(19e-6)
    assert len(told["attempts"]) == int(answer.headers["x-cascade-attempts"]) == 3
    assert {r["id"] for r in records.all} == {choice["id"] for choice in told["choices"]}


@pytest.mark.anyio
async def test_chunks_of_choices_come_as_they_are_said(tmp_path: Path) -> None:
    """Not one choice after the other; each ends once, and the last chunk tells of all."""
    client = BySeed({7: ["a", "b", "c"], 8: ["d", "e", "f"]})
    body = asked(2, stream=True, stream_options={"include_usage": True})
    async with app_of(tmp_path, client) as http:
        answer = await http.post(CHAT, json=body)
    *blocks, end = answer.text.removesuffix("\n\n").split("\n\n")
    assert end == "data: [DONE]"
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks]
    assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{answer.headers['x-cascade-id']}"}
    *parts, usage = chunks
    said = [(part["choices"][0]["index"], part["choices"][0]) for part in parts]
    for index, text in enumerate(("abc", "def")):
        own = [choice for i, choice in said if i == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == text
        assert [choice["finish_reason"] for choice in own] == [None] * (len(own) - 1) + ["stop"]
    order = [index for index, _ in said]
    assert order != sorted(order)
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 6)
    assert [choice["rung"] for choice in usage["cascade"]["choices"]] == [0, 0]


def test_choices_are_opened_in_order_whichever_speaks_first() -> None:
    """OpenAI's SDK fails at the second one if it has not heard of the first."""
    chunks = ChatChunks(created=5, include_usage=False, top_logprobs=None)
    events = [
        ChoiceEvent(index=1, event=AnswerStarted(rung=0, model="small")),
        ChoiceEvent(index=1, event=TextDelta(text="b")),
        ChoiceEvent(index=0, event=AnswerStarted(rung=1, model="large")),
        ChoiceEvent(index=0, event=TextDelta(text="a")),
    ]
    blocks = b"".join(chunks.tell(event, "a1") for event in events).decode().split("\n\n")
    told = [json.loads(block.removeprefix("data: ")) for block in blocks if block]
    heard = [(chunk["choices"][0]["index"], chunk["model"]) for chunk in told]
    assert heard == [(0, "small"), (1, "small"), (1, "small"), (0, "large")]
    said = [chunk["choices"][0]["delta"] for chunk in told]
    assert [delta.get("role") for delta in said] == ["assistant", "assistant", None, None]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_one_choice_that_fails_fails_the_request(stream: bool, tmp_path: Path) -> None:
    """With its own error; the others are cancelled, and their records say so."""
    client = BySeed({7: [], 8: ConnectFailed("connection lost", provider="p", model="small")})
    records = Records()
    async with app_of(tmp_path, client, records) as http:
        answer = await http.post(CHAT, json=asked(2, stream=stream))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert client.cancelled == [7]
    outcomes = {record["id"]: record["outcome"] for record in records.all}
    assert sorted(outcomes.values()) == ["cancelled", "failed"]
    assert outcomes[answer.headers["x-cascade-id"]] == "failed"


def test_each_choice_has_its_own_sampling_and_its_share_of_the_bounds() -> None:
    """Without a seed the options are the same; what bounds the request is divided."""
    options = {"seed": 7, "max_cost_usd": 0.3, "max_total_tokens": 100, "deadline_s": 9.0}
    found = each_choice(options, 3)
    assert [choice["seed"] for choice in found] == [7, 8, 9]
    assert all(choice["max_cost_usd"] == pytest.approx(0.1) for choice in found)
    assert all(choice["max_total_tokens"] == 33 for choice in found)
    assert all((c["deadline_s"], c["cache"]) == (9.0, "off") for c in found)
    assert each_choice({"temperature": 1.0}, 2) == [{"temperature": 1.0, "cache": "off"}] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache": "use"}, "cascade.cache: 'use' given with n: 3; allowed: 'off'"),
        ({"max_total_tokens": 2}, "cascade.max_total_tokens: 2 given with n: 3; allowed: >= 3"),
    ],
)
def test_options_that_choices_cannot_keep_are_refused(options: Any, words: str) -> None:
    """Named, with what is allowed."""
    with pytest.raises(RequestError, match=words):
        each_choice(options, 3)


def test_equal_asks_are_not_answered_by_the_cache(
    server: Serving, upstream: UpstreamServer
) -> None:
    """Nor by each other: as many calls are made as choices are wanted."""
    assert server.post(CHAT, chat("cascade/cached", "Which of five?")).status_code == 200
    before = len(upstream.seen("ok"))
    found = server.post(CHAT, chat("cascade/cached", "Which of five?", n=5)).json()
    assert len(found["choices"]) == 5
    assert len(upstream.seen("ok")) == before + 5
    assert all("n" not in request["body"] for request in upstream.seen("ok")[before:])


def test_openai_sdk_reads_choices(server: Serving) -> None:
    """Whole and streamed, as its own helper puts them together."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        answer = client.chat.completions.create(model="cascade/ok", messages=QUESTION, n=3)
        assert [choice.message.content for choice in answer.choices] == ["lead"] * 3
        assert answer.usage is not None
        assert answer.usage.total_tokens == 27
        said = ["", ""]
        for chunk in client.chat.completions.create(
            model="cascade/ok", messages=QUESTION, n=2, stream=True
        ):
            for choice in chunk.choices:
                said[choice.index] += choice.delta.content or ""
        assert said == ["lead", "lead"]
        assert chunk.model_extra is not None
        assert len(chunk.model_extra["cascade"]["choices"]) == 2
        with client.chat.completions.stream(model="cascade/ok", messages=QUESTION, n=2) as stream:
            final = stream.get_final_completion()
        assert [choice.message.content for choice in final.choices] == ["lead", "lead"]
        with pytest.raises(openai.BadRequestError, match="n: allowed: a whole number <= 16"):
            client.chat.completions.create(model="cascade/ok", messages=QUESTION, n=17)
