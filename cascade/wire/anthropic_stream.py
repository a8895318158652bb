"""Anthropic's message events: the data of an event to what was said. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ..errors import BadResponse, ProviderError
from ..types import Chunk, ToolCallDelta, Usage
from .anthropic import FINISH_REASONS, MessageUsage, flat_usage
from .openai import json_words
from .status import body_text, error_from_status

__all__ = ["MessageReader"]

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status that stands for a type of error, where it comes in the middle of an answer."""


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Message(msgspec.Struct, gc=False):
    model: str = ""
    usage: MessageUsage | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: MessageUsage | None = None
    error: dict[str, Any] | None = None


_event_decoder = msgspec.json.Decoder(_Event)


class MessageReader:
    """Reads the events of one stream, and keeps what they say beside the text.

    Thinking is left out, as it is of whole answers.

    Args:
        provider: Provider asked, for errors.
        model: Model asked, for errors, and the answer's model until the stream names one.

    Attributes:
        model: The answer's model.
        finish_reason: Why the answer ended, in OpenAI's words; None before.
        usage: Tokens used as the provider counts them: those of the prompt from the first event on.
        ended: Whether the provider has said that nothing more comes.
    """

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._asked = model
        self._counted = MessageUsage()
        self._tools: dict[int, int] = {}
        self._begun: set[int] = set()
        self.model = model
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.ended = False

    def read(self, data: bytes) -> Chunk | None:
        """Return what an event says, or None when it is nothing of the answer's.

        Raises:
            BadResponse: It is no event.
            ProviderError: It is an error, sent in the middle of an answer.
        """
        try:
            event = _event_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise self._bad(f"an event that is none: {json_words(exc)}", data) from exc
        kind = event.type
        if kind == "content_block_delta" and event.delta is not None:
            return self._said(event.index, event.delta)
        if kind == "content_block_start" and event.content_block is not None:
            return self._begin(event.index, event.content_block)
        if kind == "content_block_stop":
            return self._end(event.index)
        if kind == "message_start" and event.message is not None:
            self.model = event.message.model or self.model
            self._count(event.message.usage)
        elif kind == "message_delta":
            reason = None if event.delta is None else event.delta.stop_reason
            self.finish_reason = FINISH_REASONS.get(reason or "", reason)
            self._count(event.usage)
        elif kind == "message_stop":
            self.ended = True
        elif kind == "error":
            raise self._error(event.error or {}, data)
        return None

    def _said(self, index: int, delta: _Delta) -> Chunk | None:
        if delta.text:
            return Chunk(text=delta.text)
        if delta.partial_json and index in self._tools:
            self._begun.add(index)
            call = ToolCallDelta(index=self._tools[index], arguments=delta.partial_json)
            return Chunk(tool_calls=(call,))
        return None

    def _begin(self, index: int, block: _Block) -> Chunk | None:
        if block.type == "tool_use":
            number = self._tools[index] = len(self._tools)
            call = ToolCallDelta(index=number, id=block.id, name=block.name, kind="function")
            return Chunk(tool_calls=(call,), tokens=0)
        return Chunk(text=block.text) if block.type == "text" and block.text else None

    def _end(self, index: int) -> Chunk | None:
        """Give a tool call without arguments the empty object that it has in a whole answer."""
        if index not in self._tools or index in self._begun:
            return None
        call = ToolCallDelta(index=self._tools[index], arguments="{}")
        return Chunk(tool_calls=(call,), tokens=0)

    def _count(self, usage: MessageUsage | None) -> None:
        """Take in counts: later ones replace those before, and leave what they do not name."""
        if usage is None:
            return
        for name in MessageUsage.__struct_fields__:
            if (count := getattr(usage, name)) is not None:
                setattr(self._counted, name, count)
        self.usage = flat_usage(self._counted)

    def _error(self, error: dict[str, Any], data: bytes) -> ProviderError:
        status = _STATUSES.get(str(error.get("type")))
        if status is None:
            return self._bad("an error in the middle of the answer", data)
        # There are no headers to read a waiting time from, so the moment does not matter.
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return error_from_status(
            status, {}, data, provider=self._provider, model=self._asked, now=epoch
        )

    def _bad(self, message: str, data: bytes) -> BadResponse:
        return BadResponse(
            message, provider=self._provider, model=self._asked, body=body_text(data)
        )
