"""OpenAI's chunks of a chat completion, out of the events of a stream. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..events import AnswerStarted, Done, Event, RefusalDelta, TextDelta, ToolCallDelta
from ..types import Result
from .asked import result_object
from .chat import shown_logprobs, usage_object
from .choices import AllDone, ChoiceEvent
from .streams import server_sent

__all__ = ["ChatChunks"]


_ROLE: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
"""What the first chunk of a choice says."""


class ChatChunks:
    """The chunks of one completion, of however many choices.

    The last one before ``[DONE]`` holds the object `cascade`. `model` is that of a chunk's own choice.
    Choices are opened in order, whichever says something first: OpenAI's SDK fails at the second one if
    it has not heard of the first.

    Args:
        created: The time, seconds since 1970.
        include_usage: Whether a chunk with the tokens is wanted, as `stream_options` says.
        top_logprobs: Alternatives a token to show; None: no log-probabilities.
    """

    def __init__(self, *, created: int, include_usage: bool, top_logprobs: int | None) -> None:
        self._created = created
        self._include_usage = include_usage
        self._top_logprobs = top_logprobs
        self._models: dict[int, str] = {}
        self._opened = 0

    def tell(self, event: Event | ChoiceEvent | AllDone, id: str) -> bytes:
        """Return an event as chunks."""
        if isinstance(event, ChoiceEvent):
            return self._tell_choice(event.event, event.index, id)
        if isinstance(event, AllDone):
            opened = self._open(event.last, event.results[event.last].model, id)
            return opened + self._end(event.results, event.last, id)
        if isinstance(event, Done):
            return self._end((event.result,), 0, id)
        return self._tell(event, 0, id)

    def ping(self) -> bytes:
        """Return a comment, which clients pass over."""
        return b": waiting\n\n"

    def _tell_choice(self, event: Event, index: int, id: str) -> bytes:
        if isinstance(event, Done):  # others are still coming
            finish_reason = event.result.answer.finish_reason
            opened = self._open(index, event.result.model, id)
            return opened + self._delta(id, index, {}, finish_reason)
        if isinstance(event, AnswerStarted):
            self._models[index] = event.model
            return self._open(index, event.model, id)
        return self._tell(event, index, id)

    def _open(self, index: int, model: str, id: str) -> bytes:
        """Return the first chunks of this choice and of those before it, where they have not been told."""
        told = b""
        for i in range(self._opened, index + 1):
            self._models.setdefault(i, model)
            told += self._delta(id, i, _ROLE)
        self._opened = max(self._opened, index + 1)
        return told

    def _tell(self, event: Event, index: int, id: str) -> bytes:
        if isinstance(event, TextDelta):
            logprobs = self._logprobs(event)
            return self._delta(id, index, {"content": event.text}, logprobs=logprobs)
        if isinstance(event, ToolCallDelta):
            return self._delta(id, index, {"tool_calls": [_tool_call(event)]})
        if isinstance(event, AnswerStarted):
            self._models[index] = event.model
            return self._delta(id, index, _ROLE)
        if isinstance(event, RefusalDelta):
            return self._delta(id, index, {"refusal": event.text})
        return b""

    def _end(self, results: Sequence[Result], last: int, id: str) -> bytes:
        finish_reason = results[last].answer.finish_reason
        told: dict[str, Any] = {"cascade": result_object(results)}
        end = b"data: [DONE]\n\n"
        if not self._include_usage:
            return self._delta(id, last, {}, finish_reason, more=told) + end
        usage = {"usage": usage_object([result.answer.usage for result in results]), **told}
        chunk = server_sent({**self._head(id, last), "choices": [], **usage})
        return self._delta(id, last, {}, finish_reason) + chunk + end

    def _delta(
        self,
        id: str,
        index: int,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        *,
        logprobs: dict[str, Any] | None = None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
        chunk = {**self._head(id, index), "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return server_sent(chunk | more if more else chunk)

    def _head(self, id: str, index: int) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{id}",
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._models.get(index, ""),
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
