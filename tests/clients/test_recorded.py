"""A traffic log served as models."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from cascade.clients import recorded
from cascade.clients.recorded import RecordedClient
from cascade.errors import LogError, NotRecorded
from cascade.ports import Client
from cascade.types import Answer, Message, ModelCall, Request, TokenLogprobs, Usage

pytestmark = pytest.mark.anyio

CHAT = [{"role": "system", "content": "Classify."}, {"role": "user", "content": "gold rises"}]


def row(prompt: str, *responses: dict[str, Any], messages: Any = None) -> dict[str, Any]:
    return {
        "id": prompt,
        "task": "t",
        "split": "test",
        "prompt": prompt,
        "messages": messages,
        "reference": "SECRET",
        "responses": list(responses),
    }


def response(model: str, text: str | None, **fields: Any) -> dict[str, Any]:
    return {"model": model, "text": text, "score": 1.0, "latency_s": None, **fields}


ROWS = [
    row(
        "two?",
        response(
            "small",
            "2",
            prompt_tokens=3,
            completion_tokens=1,
            logprobs=[-0.5],
            top_logprobs=[[-0.5, -1.5]],
            finish_reason="stop",
            cost_usd=0.25,
            p_true=0.75,
        ),
        response("large", "two"),
    ),
    row("gold rises", response("small", "up"), messages=CHAT),
    row("scored", response("small", None, logprobs=[-1.0, -2.0])),
    row("two?", response("small", "a later one"), response("late", "too")),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write the rows as a gzipped log."""
    file = tmp_path / "log.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(json.dumps(r) for r in ROWS).encode()))
    return file


def call(model: str, prompt: Any, *others: Message) -> ModelCall:
    messages = (*others, Message(role="user", content=prompt))
    return ModelCall(model=model, request=Request(messages=messages))


async def test_answers_with_everything_the_log_holds(path: Path) -> None:
    """Text, usage, log-probabilities, cost and p_true; the score stays hidden."""
    client = RecordedClient("rec", path)
    assert await client.complete(call("small", "two?")) == Answer(
        text="2",
        model="small",
        finish_reason="stop",
        usage=Usage(prompt_tokens=3, completion_tokens=1),
        logprobs=TokenLogprobs(tokens=[""], logprobs=[-0.5], top=[[-0.5, -1.5]]),
        cost_usd=0.25,
        p_true=0.75,
    )
    assert isinstance(client, Client)


async def test_what_the_log_leaves_out_is_unknown(path: Path) -> None:
    """Absent counts and costs are None."""
    answer = await RecordedClient("rec", path).complete(call("large", "two?"))
    assert answer == Answer(text="two", model="large")


async def test_finds_a_row_by_its_chat_and_by_its_prompt(path: Path) -> None:
    """The whole chat, or its prompt alone as one user message; not another chat that ends so."""
    client = RecordedClient("rec", path)
    system = Message(role="system", content="Classify.")
    assert (await client.complete(call("small", "gold rises", system))).text == "up"
    assert (await client.complete(call("small", "gold rises"))).text == "up"
    other = Message(role="system", content="Translate.")
    with pytest.raises(NotRecorded):
        await client.complete(call("small", "gold rises", other))


async def test_the_first_answer_of_each_model_counts(path: Path) -> None:
    """Rows may share a prompt; a model that only the later one has is found there."""
    client = RecordedClient("rec", path)
    assert (await client.complete(call("small", "two?"))).text == "2"
    assert (await client.complete(call("late", "two?"))).text == "too"


@pytest.mark.parametrize("asked", ["one\n", "one", " one ", "one\n\n"])
@pytest.mark.parametrize("held", ["one", "one\n", "\n one\t"])
async def test_white_space_around_a_prompt_does_not_matter(
    tmp_path: Path, asked: str, held: str
) -> None:
    """A shell's `$(…)` takes line ends off, and `echo` puts one on."""
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps(row(held, response("small", "1"))))
    assert (await RecordedClient("rec", file).complete(call("small", asked))).text == "1"


async def test_white_space_decides_between_prompts_that_differ_in_nothing_else(
    tmp_path: Path,
) -> None:
    """The exact prompt is found; any other of that text might be either."""
    file = tmp_path / "log.jsonl"
    rows = [row("one", response("small", "bare")), row("one\n", response("small", "line"))]
    file.write_text("\n".join(json.dumps(r) for r in rows))
    client = RecordedClient("rec", file)
    assert (await client.complete(call("small", "one"))).text == "bare"
    assert (await client.complete(call("small", "one\n"))).text == "line"
    with pytest.raises(NotRecorded):
        await client.complete(call("small", " one"))


async def test_a_text_the_log_does_not_keep_is_none(path: Path) -> None:
    """Some sources publish scores and log-probabilities only: the gates decide what that is worth."""
    answer = await RecordedClient("rec", path).complete(call("small", "scored"))
    assert answer.text is None
    assert answer.logprobs == TokenLogprobs(tokens=["", ""], logprobs=[-1.0, -2.0])


@pytest.mark.parametrize(
    ("model", "prompt", "words"),
    [
        ("none", "two?", "log.jsonl.gz holds no answers of none; it holds large, late, small"),
        ("small", "SECRET", "this prompt is not among the 4 of log.jsonl.gz"),
        ("large", "scored", "log.jsonl.gz has this prompt answered by small only"),
        ("small", [{"type": "text", "text": "SECRET\ud800"}], "not among"),
    ],
)
async def test_says_what_is_missing(path: Path, model: str, prompt: Any, words: str) -> None:
    """Which of model, prompt and answer; never the prompt itself."""
    with pytest.raises(NotRecorded, match=words) as caught:
        await RecordedClient("rec", path).complete(call(model, prompt))
    assert "SECRET" not in str(caught.value)


async def test_lists_its_models(path: Path) -> None:
    """In the order they appear."""
    assert await RecordedClient("rec", path).models() == ("small", "large", "late")


async def test_reads_the_log_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd of first calls waits for one reading, in a worker thread."""
    read: list[Path] = []
    real = recorded._read_log

    def counted(given: Path) -> Any:
        read.append(given)
        return real(given)

    monkeypatch.setattr(recorded, "_read_log", counted)
    client = RecordedClient("rec", path)
    assert read == []
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(client.complete, call("small", "two?"))
    assert read == [path]
    await client.aclose()
    await client.aclose()


async def test_reads_plain_json_lines(tmp_path: Path) -> None:
    """Blank lines and a last line without its end are no mistake."""
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps(ROWS[0]) + "\n\n" + json.dumps(ROWS[1]))
    assert (await RecordedClient("rec", file).complete(call("small", "gold rises"))).text == "up"


def _damaged() -> dict[str, tuple[bytes, str]]:
    good = (json.dumps(ROWS[0]) + "\n").encode()
    packed = gzip.compress(good * 2000)
    wrong = row("x", response("m", "t", logprobs=[0.5]))
    return {
        "torn-line": (good + good[:40], r":2: not a row of a traffic log: "),
        "no-json": (good * 2 + b"SECRET\n", r":3: not a row"),
        "no-row": (b'{"a": "SECRET"}\n', r":1: .*missing required field `prompt`"),
        "positive-logprob": (json.dumps(wrong).encode(), r":1: .*logprobs"),
        "bad-utf8": (b'{"prompt": "\xff", "responses": []}', r":1: "),
        "torn-gzip": (packed[:-20], r":\d+: gzip data is cut short or damaged"),
        "bad-gzip": (packed[:20] + b"xxxxx" + packed[25:], r":\d+: "),
        "empty": (b"", "empty"),
        "parquet": (b"PAR1....", "Parquet"),
    }


@pytest.mark.parametrize(("content", "words"), _damaged().values(), ids=_damaged().keys())
async def test_a_damaged_log_is_named_with_its_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """File and line, and nothing of what stands there."""
    file = tmp_path / "log.jsonl"
    file.write_bytes(content)
    with pytest.raises(LogError, match=rf"log\.jsonl.*{words}|log\.jsonl{words}") as caught:
        await RecordedClient("rec", file).models()
    assert "SECRET" not in str(caught.value)


async def test_a_missing_log_is_told(tmp_path: Path) -> None:
    """With the system's words."""
    with pytest.raises(LogError, match="No such file"):
        await RecordedClient("rec", tmp_path / "none.jsonl").models()
