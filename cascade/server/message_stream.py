"""Anthropic's events of a message, out of the events of a stream. Pure.

There, one block of content ends before the next begins; in a stream, pieces of several tool calls may
come in turns. The block that has begun is passed on as it comes, those after it as wholes at the end.
"""

from __future__ import annotations

from typing import Any

from ..events import AnswerStarted, Done, Event, RefusalDelta, TextDelta, ToolCallDelta
from .asked import result_object
from .messages import message_usage, stop_reason
from .streams import server_sent

__all__ = ["MessageEvents"]

_TEXT = -1
"""Stands for text where tool calls have their index."""


class _Block:
    """A block of content as far as it has come: text, or a tool call."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.id = self.name = ""
        self.pieces: list[str] = []

    def add(self, delta: ToolCallDelta) -> None:
        """Take in a piece of a tool call."""
        self.id = self.id or delta.id or ""
        self.name = self.name or delta.name or ""
        if delta.arguments:
            self.pieces.append(delta.arguments)

    @property
    def may_begin(self) -> bool:
        """Whether all is known that its beginning tells."""
        return self.key == _TEXT or bool(self.id and self.name)


class MessageEvents:
    """The events of one message. `message_delta`, the last but one, holds the object `cascade`."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._open: int | None = None
        self._index = -1

    def tell(self, event: Event, id: str) -> bytes:
        """Return an event as Anthropic's."""
        if isinstance(event, TextDelta | RefusalDelta):
            return self._tell_text(event.text)
        if isinstance(event, ToolCallDelta):
            return self._tell_call(event)
        if isinstance(event, AnswerStarted):
            return _start(event.model, id)
        if isinstance(event, Done):
            return self._end(event)
        return b""

    def ping(self) -> bytes:
        """Return their own sign of life."""
        return server_sent({"type": "ping"}, b"ping")

    def _tell_text(self, text: str) -> bytes:
        block = self._blocks.setdefault(_TEXT, _Block(_TEXT))
        block.pieces.append(text)
        return self._advance(block)

    def _tell_call(self, delta: ToolCallDelta) -> bytes:
        block = self._blocks.setdefault(delta.index, _Block(delta.index))
        block.add(delta)
        told = b""
        if self._open == _TEXT:  # no text is awaited once a tool is called
            told = self._close()
        return told + self._advance(block)

    def _advance(self, block: _Block) -> bytes:
        """Pass on what there is of a block, if it is its turn."""
        told = b""
        if self._open is None and block.may_begin:
            told = self._begin(block)
        if self._open != block.key:
            return told
        pieces, block.pieces = block.pieces, []
        return told + b"".join(self._delta(block.key, piece) for piece in pieces)

    def _begin(self, block: _Block) -> bytes:
        self._open = block.key
        self._index += 1
        content: dict[str, Any] = {"type": "text", "text": ""}
        if block.key != _TEXT:
            content = {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
        start = {"type": "content_block_start", "index": self._index, "content_block": content}
        return server_sent(start, b"content_block_start")

    def _delta(self, key: int, piece: str) -> bytes:
        delta = {"type": "text_delta", "text": piece}
        if key != _TEXT:
            delta = {"type": "input_json_delta", "partial_json": piece}
        told = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return server_sent(told, b"content_block_delta")

    def _close(self) -> bytes:
        """End the block that is open."""
        if self._open is not None:
            del self._blocks[self._open]
            self._open = None
        return server_sent(
            {"type": "content_block_stop", "index": self._index}, b"content_block_stop"
        )

    def _end(self, done: Done) -> bytes:
        told = b"" if self._open is None else self._close()
        for block in list(self._blocks.values()):  # those whose turn never came
            told += self._begin(block) + b"".join(self._delta(block.key, p) for p in block.pieces)
            told += self._close()
        answer = done.result.answer
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason(answer), "stop_sequence": None},
            "usage": message_usage(answer.usage),
            "cascade": result_object((done.result,)),
        }
        end = server_sent({"type": "message_stop"}, b"message_stop")
        return told + server_sent(delta, b"message_delta") + end


def _start(model: str, id: str) -> bytes:
    message: dict[str, Any] = {
        "id": f"msg_{id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        # Running counts, of which none has come yet; `message_delta` has the final ones.
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    return server_sent({"type": "message_start", "message": message}, b"message_start")
