"""OpenAI's chunks of a chat completion, out of the events of a stream. Pure."""

from __future__ import annotations

from typing import Any

from ..events import AnswerStarted, Done, Event, RefusalDelta, TextDelta, ToolCallDelta
from .asked import result_object
from .chat import shown_logprobs, usage_object
from .streams import server_sent

__all__ = ["ChatChunks"]


class ChatChunks:
    """The chunks of one completion.

    The last one before ``[DONE]`` holds the object `cascade`.

    Args:
        created: The time, seconds since 1970.
        include_usage: Whether a chunk with the tokens is wanted, as `stream_options` says.
        top_logprobs: Alternatives a token to show; None: no log-probabilities.
    """

    def __init__(self, *, created: int, include_usage: bool, top_logprobs: int | None) -> None:
        self._created = created
        self._include_usage = include_usage
        self._top_logprobs = top_logprobs
        self._model = ""

    def tell(self, event: Event, id: str) -> bytes:
        """Return an event as chunks."""
        if isinstance(event, TextDelta):
            return self._delta(id, {"content": event.text}, logprobs=self._logprobs(event))
        if isinstance(event, ToolCallDelta):
            return self._delta(id, {"tool_calls": [_tool_call(event)]})
        if isinstance(event, AnswerStarted):
            self._model = event.model
            return self._delta(id, {"role": "assistant", "content": "", "refusal": None})
        if isinstance(event, RefusalDelta):
            return self._delta(id, {"refusal": event.text})
        if isinstance(event, Done):
            return self._end(event, id)
        return b""

    def ping(self) -> bytes:
        """Return a comment, which clients pass over."""
        return b": waiting\n\n"

    def _end(self, done: Done, id: str) -> bytes:
        answer = done.result.answer
        told: dict[str, Any] = {"cascade": result_object(done.result)}
        end = b"data: [DONE]\n\n"
        if not self._include_usage:
            return self._delta(id, {}, answer.finish_reason, more=told) + end
        usage = {"usage": usage_object(answer.usage), **told}
        last = server_sent({**self._head(id), "choices": [], **usage})
        return self._delta(id, {}, answer.finish_reason) + last + end

    def _delta(
        self,
        id: str,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        *,
        logprobs: dict[str, Any] | None = None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
        chunk = {**self._head(id), "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return server_sent(chunk | more if more else chunk)

    def _head(self, id: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{id}",
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _logprobs(self, event: TextDelta) -> dict[str, Any] | None:
        if self._top_logprobs is None:
            return None
        return shown_logprobs(event.raw_logprobs, event.logprobs, self._top_logprobs)


def _tool_call(delta: ToolCallDelta) -> dict[str, Any]:
    told: dict[str, Any] = {"index": delta.index}
    function: dict[str, Any] = {"arguments": delta.arguments}
    if delta.id is not None:
        told["id"] = delta.id
    if delta.kind is not None:
        told["type"] = delta.kind
    if delta.name is not None:
        function["name"] = delta.name
    return {**told, "function": function}
