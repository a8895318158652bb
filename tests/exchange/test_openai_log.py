"""OpenAI-style logs as traffic rows: every shape, merging, and every way in which a line can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import LogError
from cascade.exchange.merged import merged
from cascade.exchange.openai_log import read_openai_log
from cascade.exchange.skips import Skips
from cascade.exchange.traffic_file import named
from cascade.records import TrafficRow
from tests.upstream_server import completion, without_logprobs


def chat(text: str = "hi") -> list[dict[str, Any]]:
    """One user message."""
    return [{"role": "user", "content": text}]


def pair(text: str = "hi", model: str = "small", said: str = "lead", **more: Any) -> dict[str, Any]:
    """A line with request and response."""
    request = {"model": model, "messages": chat(text)}
    return {"request": request, "response": completion(said), **more}


def asked(id: str, text: str, model: str = "small") -> dict[str, Any]:
    """A line of a batch's input file."""
    body = {"model": model, "messages": chat(text)}
    return {"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def answered(id: str, said: str, model: str = "small-2026-01-01", status: int = 200) -> Any:
    """A line of a batch's output file."""
    body = {**completion(said), "model": model}
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "batch_req_1", "custom_id": id, "response": response, "error": None}


def write(path: Path, *lines: Any) -> Path:
    """Write lines; text as it is."""
    written = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{line}\n" for line in written))
    return path


def read(*paths: Path, merge: bool = False) -> tuple[list[TrafficRow], Skips]:
    """Read logs as the command does."""
    skips = Skips()
    rows = read_openai_log(paths, skips)
    return [row for _, row in named(merged(rows, skips) if merge else rows)], skips


SHAPES = {
    "request and response": pair(),
    "bodies": {"request_body": pair()["request"], "response_body": completion()},
    "bodies as text": {
        "request": json.dumps(pair()["request"]),
        "response": {"status_code": 200, "body": json.dumps(completion())},
    },
    "HTTP messages": {
        "request": {"method": "POST", "url": "/v1/chat/completions", "body": pair()["request"]},
        "response": {"status": 200, "headers": {}, "body": completion()},
    },
    "flat": {"messages": chat(), **completion(), "model": "small"},
    "messages and response": {"messages": chat(), "model": "small", "response": completion()},
}


@pytest.mark.parametrize("line", SHAPES.values(), ids=SHAPES)
def test_every_shape_gives_the_same_row(tmp_path: Path, line: dict[str, Any]) -> None:
    """Text, usage, finish reason, log-probabilities and alternatives, and the model that was asked."""
    (row,), skips = read(write(tmp_path / "log.jsonl", line))
    assert (row.prompt, row.messages, skips.counts) == ("hi", None, {})
    (answer,) = row.responses
    assert (answer.model, answer.text, answer.finish_reason) == ("small", "lead", "stop")
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 2)
    assert answer.logprobs == [-0.1, -0.2]
    assert answer.top_logprobs == [[-0.1, -2.5], [-0.2, -1.75]]
    assert answer.score is None


def test_fields_of_ones_own_are_kept(tmp_path: Path) -> None:
    """Id, score, task, split, reference, seconds and cost; milliseconds become seconds."""
    more: dict[str, Any] = {"task": "metals", "split": "test", "reference": ["lead"], "score": 0.5}
    line = pair(id=17, latency_ms=250, cost_usd=0.001, **more)
    (row,), _ = read(write(tmp_path / "log.jsonl", line))
    assert (row.id, row.task, row.split, row.reference) == ("17", "metals", "test", ["lead"])
    answer = row.responses[0]
    assert (answer.score, answer.latency_s, answer.cost_usd) == (0.5, 0.25, 0.001)


def test_a_whole_chat_is_kept(tmp_path: Path) -> None:
    """The prompt is the last user message; null fields are none; parts stay parts."""
    messages = [
        {"role": "system", "content": "Be brief.", "name": None},
        {"role": "user", "content": [{"type": "text", "text": "Which?"}]},
    ]
    line = {"messages": messages, "model": "m", "response": completion()}
    (row,), _ = read(write(tmp_path / "log.jsonl", line))
    assert row.prompt == "Which?"
    assert row.messages == [{"role": "system", "content": "Be brief."}, messages[1]]


def test_a_refusal_is_the_answer(tmp_path: Path) -> None:
    """It is what the user was shown; tool calls alone have no text."""
    refused, called = completion(None, refusal="I cannot."), completion(None, tool_calls=[{}])
    lines = [{"messages": chat(x), "model": "m", "response": r} for x, r in
             (("a", refused), ("b", called))]  # fmt: skip
    rows, _ = read(write(tmp_path / "log.jsonl", *lines))
    assert [row.responses[0].text for row in rows] == ["I cannot.", None]


def test_answers_to_the_same_messages_become_one_row(tmp_path: Path) -> None:
    """Over several files, in the order first met; the second answer of a model is counted."""
    first = write(tmp_path / "a.jsonl", pair("x", "small"), pair("y", "small", id="own"))
    second = write(
        tmp_path / "b.jsonl", pair("y", "large", task="t"), pair("x", "large"), pair("x", "small")
    )
    rows, skips = read(first, second, merge=True)
    assert [row.prompt for row in rows] == ["x", "y"]
    assert [[r.model for r in row.responses] for row in rows] == [["small", "large"]] * 2
    assert (rows[1].id, rows[1].task) == ("own", "t")
    assert skips.counts == {"a model twice for one request": 1}
    assert skips.first == {"a model twice for one request": f"{second}:3"}


def test_without_merging_every_answer_is_a_row_with_its_own_id(tmp_path: Path) -> None:
    """Ids that are absent come from the digest; ids that repeat get a number."""
    path = write(tmp_path / "log.jsonl", pair(), pair(), pair(id="a"), pair(id="a"), pair(id="a-2"))
    rows, skips = read(path)
    ids = [row.id for row in rows]
    assert len(set(ids)) == 5
    assert ids[1] == f"{ids[0]}-2"
    assert ids[2:4] == ["a", "a-2"]
    assert skips.counts == {}


@pytest.mark.parametrize("backwards", [False, True])
def test_a_batch_is_joined_with_its_requests(tmp_path: Path, backwards: bool) -> None:
    """By custom_id, whichever file comes first and whatever the order of the answers."""
    requests = write(tmp_path / "in.jsonl", asked("1", "x"), asked("2", "y"), asked("3", "z"))
    answers = write(tmp_path / "out.jsonl", answered("2", "Y"), answered("1", "X"))
    files = [answers, requests] if backwards else [requests, answers]
    rows, skips = read(*files)
    assert [(row.id, row.prompt, row.responses[0].text) for row in rows] == [
        ("2", "y", "Y"),
        ("1", "x", "X"),
    ]
    assert rows[0].responses[0].model == "small"
    assert skips.counts == {"a batch request without an answer": 1}
    assert skips.first["a batch request without an answer"] == f"{requests}:3"


def test_batches_of_two_models_may_share_their_ids(tmp_path: Path) -> None:
    """The model that answered tells which request was meant: mini is not its elder brother."""
    files = [
        write(tmp_path / "in1.jsonl", asked("1", "x", "gpt-4o"), asked("2", "y", "gpt-4o")),
        write(tmp_path / "in2.jsonl", asked("1", "x", "gpt-4o-mini"), asked("2", "z", "gpt-4o-mini")),
        write(tmp_path / "out1.jsonl", answered("1", "A", "gpt-4o-2024-08-06")),
        write(tmp_path / "out2.jsonl", answered("1", "B", "gpt-4o-mini-2024-07-18"),
              answered("2", "C", "gpt-4o-mini-2024-07-18"), answered("2", "D", "other")),
    ]  # fmt: skip
    rows, skips = read(*files, merge=True)
    assert [(row.prompt, [r.model for r in row.responses]) for row in rows] == [
        ("x", ["gpt-4o", "gpt-4o-mini"]),
        ("z", ["gpt-4o-mini"]),
    ]
    several = "a batch answer: several requests have this custom_id; import one batch at a time"
    assert skips.counts[several] == 1


UNUSABLE: dict[str, tuple[Any, str]] = {
    "status": (pair() | {"response": {"status_code": 500, "body": {}}}, "an error instead"),
    "error body": (pair() | {"response": {"error": {"message": "no"}}}, "an error instead"),
    "no response": (pair() | {"response": None}, "a request without a response"),
    "error, no response": (pair() | {"response": None, "error": {"code": 1}}, "an error instead"),
    "batch error": (answered("1", "x", status=429), "an error instead of an answer"),
    "expired batch": ({"custom_id": "1", "response": None, "error": {"code": "x"}}, "an error"),
    "no input file": (answered("1", "x"), "a batch answer: the request is in none of the files"),
    "no choices": (pair() | {"response": {"choices": []}}, "a response without a chat completion"),
    "embeddings": (pair() | {"response": {"data": []}}, "a response without a chat completion"),
    "text response": (pair() | {"response": "plain words"}, "a response that is no JSON object"),
    "no messages": (pair() | {"request": {"input": "x"}}, "a request without messages"),
    "odd messages": (pair() | {"request": {"messages": ["x"]}}, "messages that cannot be read"),
    "empty prompt": (pair(" "), "messages that cannot be sent"),
    "no model": (
        {"messages": chat(), "response": {"choices": completion()["choices"]}},
        "no model is named",
    ),
    "score above 1": (pair(score=1.5), "score out of range"),
    "NaN score": (pair(score=float("nan")), "score is not a number"),
    "score in words": (pair(score="good"), "score is not a number"),
    "negative cost": (pair(cost_usd=-1), "cost_usd out of range"),
    "another shape": ({"event": "started"}, "a line of another shape"),
}


@pytest.mark.parametrize(("line", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_line_that_cannot_be_used_is_counted(tmp_path: Path, line: Any, reason: str) -> None:
    """With file and line of the first; the others are read."""
    path = write(tmp_path / "log.jsonl", pair("a"), line, pair("b"))
    rows, skips = read(path)
    assert [row.prompt for row in rows] == ["a", "b"]
    ((told, count),) = skips.counts.items()
    assert told.startswith(reason)
    assert count == 1
    assert skips.first[told].startswith(f"{path}:2")


def test_python_wrote_nan_into_the_log_probabilities(tmp_path: Path) -> None:
    """They are all or nothing; the answer itself is read, half characters and all."""
    line = pair(said="odd \ud800")
    line["response"]["choices"][0]["logprobs"]["content"][0]["logprob"] = float("nan")
    (row,), _ = read(write(tmp_path / "log.jsonl", line))
    assert (row.responses[0].text, row.responses[0].logprobs) == ("odd ?", None)


@pytest.mark.parametrize(
    "line", ["{", "[]", "hello", '{"event": "x"}', "null", '{"prompt": "x", "responses": []}']
)
def test_a_file_that_is_no_such_log_is_refused(tmp_path: Path, line: str) -> None:
    """File, line and what is allowed."""
    path = write(tmp_path / "log.jsonl", line)
    with pytest.raises(LogError, match=r"log.jsonl:1: not an OpenAI log .*allowed: one JSON"):
        read(path)


def test_broken_json_inside_a_log_is_refused_and_a_torn_end_is_not(tmp_path: Path) -> None:
    """A killed writer leaves half a last line; anything else is not what it was taken for."""
    path = write(tmp_path / "log.jsonl", pair("a"), '{"request": {', pair("b"))
    with pytest.raises(LogError, match=r"log.jsonl:2: not an OpenAI log"):
        read(path)
    path.write_text(json.dumps(pair("a")) + '\n{"request": {')
    rows, skips = read(path)
    assert len(rows) == 1
    assert skips.first == {"a line that is cut off": f"{path}:2"}


def test_damaged_empty_and_absent_files_are_named(tmp_path: Path) -> None:
    """Half-written gzip with its line; an empty file is counted."""
    packed = gzip.compress(b"".join(json.dumps(pair(f"{i}")).encode() + b"\n" for i in range(500)))
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(LogError, match=r"cut.jsonl.gz:\d+: gzip data is cut short"):
        read(cut)
    rows, skips = read(write(tmp_path / "empty.jsonl"))
    assert (rows, skips.counts) == ([], {"an empty file": 1})
    with pytest.raises(LogError, match=r"absent.jsonl: No such file"):
        read(tmp_path / "absent.jsonl")


def test_parquet_rows_are_lines_too(tmp_path: Path) -> None:
    """With the columns of a line."""
    arrow = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = [{"messages": chat(), "model": "m", "response": without_logprobs()}] * 2
    parquet.write_table(arrow.Table.from_pylist(lines), tmp_path / "log.parquet")
    rows, _ = read(tmp_path / "log.parquet")
    assert [row.responses[0].text for row in rows] == ["lead", "lead"]
