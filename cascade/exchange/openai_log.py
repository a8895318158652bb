"""OpenAI-style logs of request and response bodies, one JSON object a line, as traffic rows.

Every answer becomes a row of its own; `merged` makes one row of those to the same request. The shapes
that are read stand in `SHAPES`; each may also be the rows of a Parquet file.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import BadResponse, LogError, ProviderError, RequestError
from ..intake import make_request
from ..log_lines import numbered_lines
from ..records import Response, TrafficRow, row_problems
from ..traffic_log import problem_kind
from ..types import Answer
from ..wire.openai import decode_response
from .batch import BatchRequests
from .skips import Skips, Unusable

__all__ = ["SHAPES", "read_openai_log"]

SHAPES = (
    'one JSON object a line: {"request": {…}, "response": {…}}; {"messages": […], "choices": […], …}; '
    '{"messages": […], "response": {…}}; or the lines of an OpenAI batch, input and output files together'
)

_EMPTY, _NULL = msgspec.Raw(), msgspec.Raw(b"null")


class _Line(msgspec.Struct, gc=False):
    """A line of any shape; bodies stay bytes until it is known what they are."""

    custom_id: Any = None
    id: Any = None
    request_id: Any = None
    request: msgspec.Raw = _EMPTY
    request_body: msgspec.Raw = _EMPTY
    response: msgspec.Raw = _EMPTY
    response_body: msgspec.Raw = _EMPTY
    body: msgspec.Raw = _EMPTY
    messages: msgspec.Raw = _EMPTY
    choices: msgspec.Raw = _EMPTY
    error: msgspec.Raw = _EMPTY
    model: Any = None
    score: Any = None
    task: Any = None
    split: Any = None
    reference: Any = None
    latency_s: Any = None
    latency_ms: Any = None
    cost_usd: Any = None


class _Request(msgspec.Struct, gc=False):
    messages: msgspec.Raw = _EMPTY
    model: Any = None
    body: msgspec.Raw = _EMPTY


class _Reply(msgspec.Struct, gc=False):
    choices: msgspec.Raw = _EMPTY
    body: msgspec.Raw = _EMPTY
    error: msgspec.Raw = _EMPTY
    status_code: Any = None
    status: Any = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_request = msgspec.json.Decoder(_Request).decode
_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_messages = msgspec.json.Decoder(list[dict[str, Any]]).decode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_openai_log(paths: Sequence[Path], skips: Skips) -> Iterator[tuple[str, TrafficRow]]:
    """Yield (``file:line``, row with one answer) of every answer; ids may be absent or repeated.

    A row is named by the line's `custom_id`, `id` or `request_id`. The model is the one the request
    names, as a ladder would; else the one that the answer names. Of several choices the first
    counts. Lines may also have `score`, `task`, `split`, `reference`, `latency_s` (or `latency_ms`)
    and `cost_usd` of their own.

    Answers that are errors, or cannot be read, are counted in `skips`. Memory: one line, and the
    requests of batches on disk (`BatchRequests`); the input files of batches are read twice.

    Raises:
        LogError: A file cannot be read, its first line has none of the shapes, or a line is no
            JSON object; names file and line.
    """
    try:
        with BatchRequests() as asked:
            for path in paths:
                if _begins_with_batch_input(path):
                    for place, _, line in _lines(path, Skips()):  # counted when read again
                        _keep_request(line, place, asked)
            for path in paths:
                yield from _answers(path, asked, skips)
            asked.count_unanswered(skips)
    except sqlite3.Error as exc:
        raise LogError(f"the temporary database of batch requests: {exc}") from exc


def _answers(path: Path, asked: BatchRequests, skips: Skips) -> Iterator[tuple[str, TrafficRow]]:
    empty = True
    for place, raw, line in _lines(path, skips):
        first, empty = empty, False
        if _keep_request(line, place, asked):
            continue
        try:
            row = _row(line, raw, asked)
        except Unusable as exc:
            if first and exc.reason == _OTHER_SHAPE:
                why = f"{place}: not an OpenAI log ({exc.what}); allowed: {SHAPES}"
                raise LogError(why) from exc
            skips.add_line(exc, place)
            continue
        yield place, row
    if empty:
        skips.add("an empty file", str(path))


def _begins_with_batch_input(path: Path) -> bool:
    raw = next((line for _, line in numbered_lines(path)), b"")
    try:
        return _is_batch_input(_decode_line(raw))
    except _UNREADABLE:
        return False


def _lines(path: Path, skips: Skips) -> Iterator[tuple[str, bytes, _Line]]:
    for number, raw in numbered_lines(path):
        place = f"{path}:{number}"
        try:
            line = _decode_line(raw)
        except _UNREADABLE as exc:
            try:
                raw = _strict_json(raw)
                line = _decode_line(raw)
            except (ValueError, RecursionError):
                if not raw.endswith(b"\n") and number > 1:
                    skips.add("a line that is cut off", place)  # by a writer that was killed
                    continue
                why = "nested too deep" if isinstance(exc, RecursionError) else str(exc)
                raise LogError(f"{place}: not an OpenAI log ({why}); allowed: {SHAPES}") from exc
        yield place, raw, line


def _strict_json(raw: bytes) -> bytes:
    """Return what Python's lenient writer made as JSON: without half characters, NaN as text.

    The text ``NaN`` is no number to anybody who reads on.

    Raises:
        ValueError: It is not what Python writes either.
    """
    found = json.loads(raw.decode("utf-8", "replace"), parse_constant=str)
    return json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")


def _is_batch_input(line: _Line) -> bool:
    return _given(line.body) and line.custom_id is not None and not _given(line.response)


def _keep_request(line: _Line, place: str, asked: BatchRequests) -> bool:
    """Keep the request of a batch's input line; return whether the line was one."""
    if not _is_batch_input(line) or _given(line.error):
        return False
    try:
        request = _decode_request(_inside(line.body))
    except _UNREADABLE:
        request = _Request()
    model = request.model if isinstance(request.model, str) else ""
    asked.add(str(line.custom_id), model, bytes(request.messages), place)
    return True


def _row(line: _Line, raw: bytes, asked: BatchRequests) -> TrafficRow:
    messages, model, reply = _parts(line, raw, asked)
    answer = _answer(reply, model)
    chat, prompt = _chat(messages)
    response = Response(
        model=model or answer.model,
        text=answer.refusal if answer.text is None else answer.text,
        score=_number(line.score, "score"),
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        latency_s=_latency_s(line),
        finish_reason=answer.finish_reason,
        cost_usd=_number(line.cost_usd, "cost_usd"),
    )
    if not response.model:
        raise Unusable("no model is named")
    if answer.logprobs is not None:
        response.logprobs = list(answer.logprobs.logprobs)
        top = answer.logprobs.top
        response.top_logprobs = None if top is None else [list(row) for row in top]
    row = TrafficRow(
        id=_id(line),
        task=line.task if isinstance(line.task, str) else "",
        split=line.split if isinstance(line.split, str) else "",
        reference=line.reference,
        prompt=prompt,
        messages=None if _is_plain(chat) else chat,
        responses=[response],
    )
    problems = row_problems(row)
    if problems:
        raise Unusable(problem_kind(problems[0]), "; ".join(problems[:3]))
    return row


def _parts(line: _Line, raw: bytes, asked: BatchRequests) -> tuple[bytes, str, bytes]:
    """Return the messages as JSON, the model that was asked ("" unknown) and the response's body."""
    model = line.model if isinstance(line.model, str) else ""
    request = next((r for r in (line.request, line.request_body) if _given(r)), None)
    response = next((r for r in (line.response, line.response_body) if _given(r)), None)
    failed = _given(line.error)
    if request is not None and (response is not None or line.response == _NULL or failed):
        if response is None:
            raise Unusable(_ERROR if failed else "a request without a response")
        messages, named = _asked(request)
        return messages, named or model, _body(response)
    if _given(line.messages) and response is not None:
        return bytes(line.messages), model, _body(response)
    if _given(line.messages) and _given(line.choices):
        return bytes(line.messages), model, raw
    if line.custom_id is not None and (response is not None or failed):
        try:
            if response is None:
                raise Unusable(_ERROR)
            body = _body(response)
            answered_by = _answer(body, "").model
        except Unusable:
            asked.mark(str(line.custom_id))
            raise
        found = asked.find(str(line.custom_id), answered_by)
        if isinstance(found, str):
            raise Unusable(f"a batch answer: {found}")
        return found.messages, found.model or answered_by, body
    if _given(line.messages) and failed:
        raise Unusable(_ERROR)
    names = [n for n in _SHOWN if _given(getattr(line, n))]
    has = f"it has {', '.join(names)}" if names else "it has neither request nor response"
    raise Unusable(_OTHER_SHAPE, has)


_ERROR = "an error instead of an answer"
_SHOWN = ("request", "response", "messages", "choices", "body", "error")
_OTHER_SHAPE = "a line of another shape"


def _asked(request: msgspec.Raw) -> tuple[bytes, str]:
    try:
        found = _decode_request(_inside(request))
        if _given(found.body) and not _given(found.messages):
            found = _decode_request(_inside(found.body))
    except _UNREADABLE as exc:
        raise Unusable("a request that is no JSON object") from exc
    return bytes(found.messages), found.model if isinstance(found.model, str) else ""


def _body(response: msgspec.Raw) -> bytes:
    """Return the body of a response; where it stands inside an HTTP response, of a good one."""
    body = _inside(response)
    try:
        reply = _decode_reply(body)
        while _given(reply.body) and not _given(reply.choices):
            _check_status(reply.status_code, reply.status)
            body = _inside(reply.body)
            reply = _decode_reply(body)
    except _UNREADABLE as exc:
        raise Unusable("a response that is no JSON object") from exc
    _check_status(reply.status_code, reply.status)
    if _given(reply.error) and not _given(reply.choices):
        raise Unusable(_ERROR)
    return body


def _check_status(*statuses: object) -> None:
    for status in statuses:
        if isinstance(status, int) and status >= 400:
            raise Unusable(_ERROR, f"status {status}")


def _answer(body: bytes, model: str) -> Answer:
    try:
        return decode_response(body, provider="log", model=model)
    except BadResponse as exc:
        raise Unusable("a response without a chat completion", exc.message) from exc
    except ProviderError as exc:
        raise Unusable(_ERROR, f"status {exc.status}") from exc


def _chat(messages: bytes) -> tuple[list[dict[str, Any]], str]:
    """Return the chat without the fields that are null, and its prompt, checked as `ask` would."""
    if not messages:
        raise Unusable("a request without messages")
    try:
        found = _decode_messages(messages)
        prompt = make_request(found).prompt
    except _UNREADABLE as exc:
        raise Unusable("messages that cannot be read") from exc
    except RequestError as exc:
        raise Unusable("messages that cannot be sent", str(exc)) from exc
    return [{k: v for k, v in m.items() if v is not None or k == "content"} for m in found], prompt


def _is_plain(chat: list[dict[str, Any]]) -> bool:
    """Whether the prompt says all there is."""
    first = chat[0]
    alone = len(chat) == 1 and first["role"] == "user"
    return alone and isinstance(first["content"], str) and set(first) == {"role", "content"}


def _id(line: _Line) -> str:
    for value in (line.custom_id, line.id, line.request_id):
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def _latency_s(line: _Line) -> float | None:
    if line.latency_s is None and line.latency_ms is not None:
        milliseconds = _number(line.latency_ms, "latency_ms")
        return None if milliseconds is None else milliseconds / 1000.0
    return _number(line.latency_s, "latency_s")


def _number(value: object, name: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise Unusable(f"{name} is not a number", f"{value!r:.20} given")
    return number


def _inside(raw: msgspec.Raw) -> bytes:
    """Return the JSON of a field; a body that was logged as text is that text."""
    data = bytes(raw)
    return msgspec.json.decode(data, type=str).encode() if data.startswith(b'"') else data


def _given(raw: msgspec.Raw) -> bool:
    return len(raw) > 0 and raw != _NULL
