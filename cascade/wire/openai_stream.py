"""OpenAI's chat-completion chunks: the data of an event to what was said. Pure.

Like whole completions they are decoded straight into typed structs; a chunk that does not fit is read
once more, field by field, and what is odd counts as absent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import BadResponse, ProviderError
from ..types import Chunk, ToolCallDelta, Usage
from .loose import or_none, read_json, valid_text
from .openai import error_in_disguise, json_words
from .openai_usage import WireUsage, flat_usage
from .status import body_text
from .token_logprobs import ChoiceLogprobs, flat_logprobs

__all__ = ["ChunkReader"]

DONE = b"[DONE]"
"""The data of the last event."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"")


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    model: str = ""
    usage: WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class _LooseChunk(msgspec.Struct):
    choices: Any = None
    model: Any = ""
    usage: Any = None
    error: Any = None


_chunk_decoder = msgspec.json.Decoder(_Chunk)
_logprobs_decoder = msgspec.json.Decoder(ChoiceLogprobs | None)
_NOTHING = (b"", b"null")


class ChunkReader:
    """Reads the events of one stream, and keeps what they say beside the text.

    Only the first choice is read.

    Args:
        provider: Provider asked, for errors.
        model: Model asked, for errors, and the answer's model until the stream names one.
        keep_logprobs: Whether chunks keep log-probabilities as they are written too.

    Attributes:
        model: The answer's model.
        finish_reason: Why the answer ended; None before.
        usage: Tokens used as the provider counts them; None before it says.
        ended: Whether the provider has said that nothing more comes.
    """

    def __init__(self, provider: str, model: str, *, keep_logprobs: bool = False) -> None:
        self._provider = provider
        self._asked = model
        self._keep_logprobs = keep_logprobs
        self.model = model
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.ended = False

    def read(self, data: bytes) -> Chunk | None:
        """Return what an event says, or None when it is nothing of the answer's.

        Raises:
            BadResponse: It is no chunk.
            ProviderError: It is an error, sent in the middle of an answer.
        """
        if data == DONE:
            self.ended = True
            return None
        try:
            chunk = _chunk_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            chunk = self._read_loosely(data, exc)
        if bytes(chunk.error) not in _NOTHING:
            raise self._error(data)
        if chunk.usage is not None:
            self.usage = flat_usage(chunk.usage)
        if chunk.model:
            self.model = chunk.model
        choice = next((c for c in chunk.choices or () if c.index == 0), None)
        if choice is None:
            return None
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        return self._said(choice)

    def _said(self, choice: _Choice) -> Chunk | None:
        delta = choice.delta
        text = "" if delta is None else delta.content or ""
        refusal = "" if delta is None else delta.refusal or ""
        calls = (
            () if delta is None or delta.tool_calls is None else tuple(map(_call, delta.tool_calls))
        )
        logprobs, raw, tokens = None, None, 1
        if bytes(choice.logprobs) not in _NOTHING:
            found = self._logprobs(choice.logprobs)
            if found is not None and found.content:
                logprobs, tokens = flat_logprobs(found.content), len(found.content)
                raw = bytes(choice.logprobs) if self._keep_logprobs else None
        if not (text or refusal or calls or logprobs):
            return None
        return Chunk(
            text=text,
            refusal=refusal,
            tool_calls=calls,
            logprobs=logprobs,
            raw_logprobs=raw,
            tokens=tokens,
        )

    def _logprobs(self, raw: msgspec.Raw) -> ChoiceLogprobs | None:
        try:
            found: ChoiceLogprobs | None = _logprobs_decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return found

    def _read_loosely(self, data: bytes, cause: Exception) -> _Chunk:
        """Read a chunk that the typed decoder refused: NaN, or fields of the wrong kind."""
        try:
            loose = msgspec.convert(valid_text(read_json(data)), _LooseChunk)
        except (ValueError, RecursionError):
            # What is raised may hold the whole text, so that only the first cause is chained.
            raise self._bad(f"an event that is no chunk: {json_words(cause)}", data) from cause
        if loose.error:
            raise self._error(data)
        choices = []
        for choice in loose.choices if isinstance(loose.choices, list) else []:
            known = choice if isinstance(choice, dict) else {}
            logprobs = known.pop("logprobs", None)
            read = or_none(known, _Choice) or _Choice(
                delta=or_none(known.get("delta"), _Delta),
                finish_reason=or_none(known.get("finish_reason"), str),
            )
            read.logprobs = msgspec.Raw(msgspec.json.encode(logprobs))
            choices.append(read)
        return _Chunk(
            choices=choices,
            model=or_none(loose.model, str) or "",
            usage=or_none(loose.usage, WireUsage),
        )

    def _error(self, data: bytes) -> ProviderError:
        error = valid_text(read_json(data))["error"]
        return error_in_disguise(error, data, self._provider, self._asked)

    def _bad(self, message: str, data: bytes) -> BadResponse:
        return BadResponse(
            message, provider=self._provider, model=self._asked, body=body_text(data)
        )


def _call(call: _ToolCall) -> ToolCallDelta:
    function = call.function or _Function()
    return ToolCallDelta(
        index=call.index,
        id=call.id,
        name=function.name,
        arguments=function.arguments or "",
        kind=call.type,
    )
