"""How the model server of the tests streams: as a plan says that comes in the last message of a request.

A plan is a JSON object; `plan` makes one. Under the behaviours `stream` (OpenAI's chunks) and
`message-stream` (Anthropic's events) the server says `pieces` one after the other, and ends as `end` says.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["StreamBehaviours", "plan"]

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def plan(pieces: Sequence[str] = (), **further: Any) -> str:
    """Return a prompt that makes the server stream these pieces of text.

    Args:
        pieces: Pieces of text.
        **further: `logprobs`, one for each piece; `tool_calls`, deltas to send as they are; `delay_s` before
            each piece; `end`: done (as is right), open (no last event), cut, reset, hang, error (an
            error event), bad_json, bad_utf8, huge (an event of 10 MB); `finish_reason`; `usage`: false
            leaves it out; `crumbs`: true writes single bytes; `content_type`; `by_model`: a plan for each
            model that is asked.
    """
    return json.dumps({"pieces": list(pieces), **further})


class StreamBehaviours:
    """What `upstream_server` does under `stream` and `message-stream`."""

    wfile: Any
    close_connection: bool

    def behave_stream(self, body: Any, _: bool) -> None:
        """Stream OpenAI's chunks; a request that wants no stream is answered as a whole."""
        wanted = _plan_in(body)
        if not body.get("stream"):
            self._send(200, {}, _completion(wanted))  # type: ignore[attr-defined]
            return
        self._stream(wanted, _chunks(wanted, body), _ends(wanted, body))

    def behave_message_stream(self, body: Any, _: bool) -> None:
        """Stream Anthropic's events."""
        wanted = _plan_in(body)
        self._stream(wanted, _message_events(wanted), _message_ends(wanted))

    def behave_refuses_stream_options(self, body: Any, first: bool) -> None:
        """Refuse to tell the usage of a stream."""
        if "stream_options" in body:
            words = "Unrecognized request argument supplied: stream_options"
            self._send(400, {}, {"error": {"message": words}})  # type: ignore[attr-defined]
        else:
            self.behave_stream(body, first)

    def _stream(self, wanted: Any, events: Iterator[Any], ends: Iterator[Any]) -> None:
        kind = wanted.get("content_type", "text/event-stream; charset=utf-8")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with contextlib.suppress(OSError):  # whoever asked has gone
            self.wfile.write(head.encode())
            for event in events:
                if delay_s := wanted.get("delay_s"):
                    time.sleep(delay_s)
                self._write_event(event, crumbs=wanted.get("crumbs", False))
            self._end(wanted, ends)

    def _end(self, wanted: Any, ends: Iterator[Any]) -> None:
        end = wanted.get("end", "done")
        if end == "cut":
            self._cut()  # type: ignore[attr-defined]
        elif end == "reset":
            self._reset()  # type: ignore[attr-defined]
        elif end == "hang":
            self.behave_hang(None, False)  # type: ignore[attr-defined]
        else:
            if end == "bad_json":
                self._write_event(b'{"choices": [{"del')
            elif end == "bad_utf8":
                self._write_event(b'{"choices": [{"delta": {"content": "\xff\xfe"}}]}')
            elif end == "huge":
                self._write_event(b'{"x": "' + b"x" * 10_000_000 + b'"}')
            elif end == "error":
                kind = {"type": "overloaded_error", "code": 503, "message": "SECRET-WORDS"}
                self._write_event({"type": "error", "error": kind})
            elif end != "open":
                for event in ends:
                    self._write_event(event, crumbs=wanted.get("crumbs", False))
            self.wfile.write(b"0\r\n\r\n")

    def _write_event(self, event: Any, *, crumbs: bool = False) -> None:
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        named = isinstance(event, dict) and "type" in event
        name = f"event: {event['type']}\n".encode() if named else b""
        written = name + b"data: " + data + b"\n\n"
        step = 1 if crumbs else len(written)
        for i in range(0, len(written), step):
            piece = written[i : i + step]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            if crumbs:
                self.wfile.flush()


def _plan_in(body: Any) -> Any:
    try:
        found = json.loads(body["messages"][-1]["content"])
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, dict):
        return {"pieces": ["le", "ad"], "logprobs": [-0.1, -0.2]}
    return found.get("by_model", {}).get(body["model"], found)


def _completion(wanted: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(wanted["pieces"])}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
    if wanted.get("logprobs"):
        tokens = [_token(t, p) for t, p in zip(wanted["pieces"], wanted["logprobs"], strict=True)]
        choice["logprobs"] = {"content": tokens}
    usage = {"usage": _usage(wanted)} if wanted.get("usage", True) else {}
    return {"model": "served-model", "choices": [choice], **usage}


def _usage(wanted: Any) -> dict[str, int]:
    count = len(wanted["pieces"])
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def _token(token: str, logprob: float) -> dict[str, Any]:
    best = {"token": token, "logprob": logprob, "bytes": list(token.encode())}
    other = {"token": "x", "logprob": logprob - 2.0, "bytes": [120]}
    return {**best, "top_logprobs": [best, other]}


def _chunk(choice: dict[str, Any] | None, **further: Any) -> dict[str, Any]:
    choices = [] if choice is None else [{"index": 0, "finish_reason": None, **choice}]
    kind = "chat.completion.chunk"
    return {"id": "c", "object": kind, "model": "served-model", "choices": choices, **further}


def _chunks(wanted: Any, body: Any) -> Iterator[Any]:
    yield _chunk({"delta": {"role": "assistant", "content": ""}})
    for i, piece in enumerate(wanted["pieces"]):
        choice: dict[str, Any] = {"delta": {"content": piece}}
        if wanted.get("logprobs") and body.get("logprobs"):
            choice["logprobs"] = {
                "content": [_token(piece, wanted["logprobs"][i])],
                "refusal": None,
            }
        yield _chunk(choice)
    for call in wanted.get("tool_calls", ()):
        yield _chunk({"delta": {"tool_calls": [call]}})


def _ends(wanted: Any, body: Any) -> Iterator[Any]:
    yield _chunk({"delta": {}, "finish_reason": wanted.get("finish_reason", "stop")})
    if wanted.get("usage", True) and (body.get("stream_options") or {}).get("include_usage"):
        yield _chunk(None, usage=_usage(wanted))
    if wanted.get("end") != "no_done":
        yield b"[DONE]"


def _message_events(wanted: Any) -> Iterator[Any]:
    message = {"model": "claude-served", "usage": {"input_tokens": 7, "output_tokens": 1}}
    yield {"type": "message_start", "message": message}
    yield {"type": "ping"}
    text = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": text}
    for piece in wanted["pieces"]:
        delta = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    for index, call in enumerate(wanted.get("tool_calls", ()), start=1):
        block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for part in call["parts"]:
            delta = {"type": "input_json_delta", "partial_json": part}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}


def _message_ends(wanted: Any) -> Iterator[Any]:
    reason = {"stop_reason": wanted.get("finish_reason", "end_turn"), "stop_sequence": None}
    usage = {"output_tokens": len(wanted["pieces"])}
    yield {"type": "message_delta", "delta": reason, "usage": usage}
    yield {"type": "message_stop"}
