"""What the upstream does with a request, by the name of the fault: bytes of its answer, and how they go."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from .plan import FILLER, answer_text, is_sure, usage

if TYPE_CHECKING:
    from .upstream import Connection, Served

__all__ = ["PERFORM", "head"]

_FILLER = FILLER.encode()

_SKEW = timedelta(hours=1)
"""How far the clock of a skewed answer is behind."""

_HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


def head(status: int, size: int, **headers: str) -> bytes:
    """Return the head of an answer whose body has `size` bytes."""
    fields = {"content-type": "application/json", "date": _http_date(), "content-length": str(size)}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode()


def _http_date(later: timedelta = timedelta(0)) -> str:
    return format_datetime(datetime.now(UTC) + later, usegmt=True)  # noqa: TID251 - a server's Date


def _completion(made: Served, tail: str = "") -> bytes:
    prompt_tokens, completion_tokens = usage(made.model, made.ask)
    logprob = -0.05 if is_sure(made.model, made.ask) else -1.2
    token = {"token": "so", "logprob": logprob, "top_logprobs": []}
    text = answer_text(made.model, made.ask) + tail
    choice = {
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "logprobs": {"content": [token, token]},
    }
    tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return json.dumps({"model": made.model, "choices": [choice], "usage": tokens}).encode()


def _answer(made: Served, **headers: str) -> bytes:
    body = _completion(made)
    return head(200, len(body), **headers) + body


def _error(status: int, kind: str, **headers: str) -> bytes:
    body = json.dumps({"error": {"type": kind, "message": "no"}}).encode()
    return head(status, len(body), **headers) + body


def _healthy(at: Connection, made: Served) -> None:
    at.send(made, "served", _answer(made))


def _wrong_type(at: Connection, made: Served) -> None:
    at.send(made, "served", _answer(made, content_type="text/html; charset=latin-1"))


def _ten_megabytes(at: Connection, made: Served) -> None:
    before, after = _completion(made, "…").split(b"\\u2026")
    at.pour(head(200, len(before) + len(_FILLER) + len(after)) + before, _FILLER, after)


def _refusing(status: int, kind: str) -> Callable[[Connection, Served], None]:
    def refuse(at: Connection, made: Served) -> None:
        at.send(made, "refused", _error(status, kind))

    return refuse


def _html(at: Connection, made: Served) -> None:
    at.send(made, "refused", head(502, len(_HTML), content_type="text/html") + _HTML)


def _limited_for_seconds(at: Connection, made: Served) -> None:
    seconds = f"{at.account.plan.retry_after_s:g}"
    at.send(made, "refused", _error(429, "rate_limit_exceeded", retry_after=seconds))


def _limited_until(at: Connection, made: Served) -> None:
    until = _http_date(timedelta(seconds=at.account.plan.retry_after_s))
    at.send(made, "refused", _error(429, "rate_limit_exceeded", retry_after=until))


def _limited_by_a_wrong_clock(at: Connection, made: Served) -> None:
    until = _http_date(timedelta(seconds=at.account.plan.retry_after_s) - _SKEW)
    said = _error(429, "rate_limit_exceeded", retry_after=until, date=_http_date(-_SKEW))
    at.send(made, "refused", said)


def _reset(at: Connection, made: Served) -> None:
    at.reset(made)


def _cut_in_body(at: Connection, made: Served) -> None:
    whole = _answer(made)
    at.cut(made, whole[:-100])


def _cut_in_stream(at: Connection, made: Served) -> None:
    begin = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    event = 'data: {"choices":[{"delta":{"content":"so"}}]}\n\n'
    at.cut(made, f"{begin}{len(event):x}\r\n{event}\r\n{len(event):x}\r\n{event}\r\n".encode())


def _truncated_chunks(at: Connection, made: Served) -> None:
    body = _completion(made)
    begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    at.cut(made, b"%b%x\r\n%b" % (begin, len(body), body[:-100]))


def _hang(at: Connection, made: Served) -> None:
    """Do nothing: the request stays working until the client goes away."""


def _hang_in_body(at: Connection, made: Served) -> None:
    at.transport.write(_answer(made)[:-100])


def _byte_a_second(at: Connection, made: Served) -> None:
    at.crawl(_answer(made))


def _bad_json(at: Connection, made: Served) -> None:
    body = _completion(made)[:-40]
    at.send(made, "garbled", head(200, len(body)) + body)


def _bad_utf8(at: Connection, made: Served) -> None:
    body = _completion(made).replace(b" says ", b" \xff\xfe\xc3 ")
    at.send(made, "garbled", head(200, len(body)) + body)


PERFORM: Mapping[str | None, Callable[[Connection, Served], None]] = {
    None: _healthy,
    "500": _refusing(500, "server_error"),
    "502-html": _html,
    "429": _refusing(429, "rate_limit_exceeded"),
    "429-seconds": _limited_for_seconds,
    "429-date": _limited_until,
    "skewed-dates": _limited_by_a_wrong_clock,
    "401": _refusing(401, "invalid_api_key"),
    "400": _refusing(400, "invalid_request_error"),
    "reset": _reset,
    "cut-in-body": _cut_in_body,
    "cut-in-stream": _cut_in_stream,
    "truncated-chunks": _truncated_chunks,
    "hang": _hang,
    "hang-in-body": _hang_in_body,
    "byte-a-second": _byte_a_second,
    "bad-json": _bad_json,
    "bad-utf8": _bad_utf8,
    "wrong-type": _wrong_type,
    "10-mb": _ten_megabytes,
}
"""Fault → what answers a request; None: the right answer."""
