"""The OpenAI chat-completions format: a call to bytes, bytes to an answer.

Only the fields we use are decoded, straight into typed structs: parsing log-probabilities is the
engine's largest cost (200 tokens with top-5 are 87 KB; `json.loads` takes ten times as long). A
body that does not fit the structs is read once more, field by field: what is odd counts as absent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..errors import BadResponse, ProviderError, RequestError
from ..types import Answer, Message, ModelCall, Usage
from .loose import or_none, read_json, valid_text
from .openai_usage import WireUsage, flat_usage
from .status import body_text, error_from_status, error_words
from .token_logprobs import ChoiceLogprobs, flat_logprobs

__all__ = [
    "allowed_top_logprobs",
    "decode_response",
    "encode_json",
    "encode_request",
    "error_in_disguise",
    "json_words",
    "refuses_stream_options",
]


_LOGPROB_STATUSES = frozenset({400, 403, 422, 501})
"""Statuses with which servers refuse log-probabilities."""

_WHOLE_NUMBER = re.compile(r"(?<![\w.-])\d{1,3}(?![\w-]|\.\d)")


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice]
    model: str = ""
    usage: WireUsage | None = None


class _LooseMessage(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: Any = None
    tool_calls: Any = None


class _LooseChoice(msgspec.Struct):
    message: _LooseMessage
    finish_reason: Any = None
    logprobs: Any = None


class _LooseCompletion(msgspec.Struct):
    choices: list[_LooseChoice]
    model: Any = ""
    usage: Any = None


_completion_decoder = msgspec.json.Decoder(_Completion)


def encode_request(
    call: ModelCall,
    *,
    logprobs: bool,
    top_logprobs: int | None = None,
    stream: bool = False,
    stream_usage: bool = True,
) -> bytes:
    """Return the body of a chat-completions request.

    The request's own fields win over the rung's extra fields. No output limit is sent unless the
    request or the rung sets one; where an extra field is named `max_completion_tokens`, the
    limit goes under that name, which some models insist on.

    Args:
        call: What to ask.
        logprobs: False leaves log-probabilities out although the call wants them.
        top_logprobs: Alternatives to ask for instead of the call's own number, >= 0.
        stream: Whether the answer is to come in chunks.
        stream_usage: Whether the last of them is to tell the tokens used.

    Raises:
        RequestError: Something cannot be sent as JSON; names the place, never the text.
    """
    request = call.request
    body: dict[str, Any] = {
        "model": call.model,
        "messages": [_message_fields(message) for message in request.messages],
        **call.extra,
        **request.extra,
    }
    body["model"] = call.model
    limit = call.max_tokens if request.max_tokens is None else request.max_tokens
    if "max_completion_tokens" in body:
        if request.max_tokens is not None:
            body["max_completion_tokens"] = request.max_tokens
    elif limit is not None and (request.max_tokens is not None or "max_tokens" not in body):
        body["max_tokens"] = limit
    for name in ("tools", "response_format", "temperature", "stop", "seed"):
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if logprobs and call.logprobs and "logprobs" not in body:
        body["logprobs"] = True
        wanted = call.top_logprobs if top_logprobs is None else top_logprobs
        if wanted > 0:
            body.setdefault("top_logprobs", wanted)
    if stream:
        _ask_for_chunks(body, usage=stream_usage)
    elif body.get("stream"):
        raise RequestError("stream: True cannot be asked for here; an ask returns a whole answer")
    else:
        body.pop("stream_options", None)
    return encode_json(body)


def _ask_for_chunks(body: dict[str, Any], *, usage: bool) -> None:
    if body.get("n") not in (None, 1):
        raise RequestError(f"n: {body['n']!r:.40} given; allowed: 1: a stream tells one answer")
    body["stream"] = True
    given = body.pop("stream_options", None)
    options = dict(given) if isinstance(given, Mapping) else {}
    if usage:
        options["include_usage"] = True
    if options:
        body["stream_options"] = options


def encode_json(body: dict[str, Any]) -> bytes:
    """Return a request body as JSON; mappings and sequences of any class are taken.

    Raises:
        RequestError: A lone surrogate, a number that is not finite or a value of another kind;
            names the place (`messages[0].content`), never the text.
    """
    for name, value in body.items():
        if name != "messages" and (strange := _not_finite(value, name)) is not None:
            raise RequestError(f"{strange} cannot be sent; give a finite number")
    try:
        return msgspec.json.encode(body, enc_hook=_plain)
    except UnicodeEncodeError as exc:
        # The text is in the exception: it must not be chained into what the user may log.
        place, position = _surrogate_place(body, "") or ("request", exc.start)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise RequestError(f"request: {type(exc).__name__} while encoding it as JSON") from exc
    raise RequestError(
        f"{place}: a lone surrogate at character {position} cannot be sent; give valid Unicode text"
    )


def decode_response(body: bytes, *, provider: str, model: str, keep_raw: bool = False) -> Answer:
    """Return the answer in a chat-completions response; the first choice when there are several.

    * Text given as content parts is joined; `content: null` with tool calls is `text=None`.
    * Where the total exceeds prompt + completion, the provider counts hidden reasoning outside
      `completion_tokens` (Gemini, xAI): the difference is billed as output and is added.
    * Log-probabilities are all or nothing: when a token lacks its own, or one is not a number or
      is above 0 (beyond rounding), there are none. Sentinels for "very unlikely" (OpenAI's
      -9999.0) are kept as they are: what floor to use is for those who measure.
    * A field of the wrong kind counts as absent, except the text itself.

    Args:
        body: The response's body.
        provider: Provider asked, for errors.
        model: Model asked, for errors, and the answer's model when the body names none.
        keep_raw: Whether the answer keeps `body`.

    Raises:
        BadResponse: No completion: not JSON, no choices, no text that can be read.
        ProviderError: The body is an error in spite of its status (OpenRouter does so).
    """
    usage: WireUsage | None
    choice: _Choice
    try:
        completion = _completion_decoder.decode(body)
        named, choices, usage = completion.model, completion.choices, completion.usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        named, choices, usage = _decode_loosely(body, exc, provider, model)
    if not choices:
        raise _bad("choices is empty", body, provider, model)
    choice = choices[0]
    message = choice.message
    content = message.content
    if content is not None and not isinstance(content, str):
        content = "".join(p.text for p in content if p.text and p.type in ("text", "output_text"))
    logprobs = choice.logprobs.content if choice.logprobs is not None else None
    return Answer(
        text=content,
        model=named or model,
        finish_reason=choice.finish_reason,
        usage=flat_usage(usage) if usage is not None else Usage(),
        tool_calls=message.tool_calls or (),
        refusal=message.refusal,
        logprobs=flat_logprobs(logprobs) if logprobs else None,
        raw=body if keep_raw else None,
    )


def allowed_top_logprobs(status: int, body: bytes, asked: int) -> int | None:
    """Return how to ask again after a server refused log-probabilities.

    Args:
        status: HTTP status of the refusal.
        body: Its body.
        asked: Alternatives per token that were asked for, >= 0.

    Returns:
        The alternatives to ask for next, below `asked`; -1 for no log-probabilities at all; None
        when the refusal is about something else.

    >>> allowed_top_logprobs(400, b'{"error": "top_logprobs must be <= 5"}', 20)
    5
    >>> allowed_top_logprobs(400, b'{"error": "top_logprobs is not supported"}', 20)
    0
    >>> allowed_top_logprobs(400, b'{"error": "logprobs is not supported"}', 20)
    -1
    """
    if status not in _LOGPROB_STATUSES:
        return None
    words = " ".join(error_words(body))
    if "logprob" not in words:
        return None
    smaller = [n for n in map(int, _WHOLE_NUMBER.findall(words)) if n < asked]
    if smaller:
        return max(smaller)
    return 0 if asked > 0 and "top_logprobs" in words else -1


def refuses_stream_options(status: int, body: bytes) -> bool:
    """Return whether a server refused a request because of its `stream_options`."""
    return status in _LOGPROB_STATUSES and "stream_options" in " ".join(error_words(body))


def _message_fields(message: Message) -> dict[str, Any]:
    if message.extra:
        return {**message.extra, "role": message.role, "content": message.content}
    return {"role": message.role, "content": message.content}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(type(value).__name__)


def _not_finite(value: Any, place: str) -> str | None:
    """Return ``place: value`` of the first number in a value that JSON cannot carry, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{place}: {value!r}"
    items: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = ((f"{place}.{key}", item) for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        items = ((f"{place}[{i}]", item) for i, item in enumerate(value))
    for inner, item in items:
        if (found := _not_finite(item, inner)) is not None:
            return found
    return None


def _surrogate_place(value: Any, place: str) -> tuple[str, int] | None:
    """Return the key path of the first string that is not Unicode text, and the position in it."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            return place, exc.start
        return None
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = str(key)
            if (found := _surrogate_place(name, f"a key of {place or 'the request'}")) is not None:
                return found
            if (found := _surrogate_place(item, f"{place}.{name}" if place else name)) is not None:
                return found
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for i, item in enumerate(value):
            if (found := _surrogate_place(item, f"{place}[{i}]")) is not None:
                return found
    return None


def _decode_loosely(
    body: bytes, cause: Exception, provider: str, model: str
) -> tuple[str, list[_Choice], WireUsage | None]:
    """Read a body that the typed decoder refused: NaN, bad UTF-8, or fields of the wrong kind."""
    try:
        found = read_json(body)
    except (ValueError, RecursionError):
        # What json.loads raises holds the whole text, so that only the first cause is chained.
        raise _bad(f"not JSON: {json_words(cause)}", body, provider, model) from cause
    if isinstance(found, dict) and found.get("error") and not found.get("choices"):
        raise error_in_disguise(found["error"], body, provider, model) from cause
    try:
        loose = msgspec.convert(valid_text(found), _LooseCompletion)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise _bad(f"not a completion: {exc}", body, provider, model) from exc
    choices = [
        _Choice(
            message=_Message(
                content=choice.message.content,
                refusal=or_none(choice.message.refusal, str),
                tool_calls=or_none(choice.message.tool_calls, list[dict[str, Any]]),
            ),
            finish_reason=or_none(choice.finish_reason, str),
            logprobs=or_none(choice.logprobs, ChoiceLogprobs),
        )
        for choice in loose.choices[:1]
    ]
    return or_none(loose.model, str) or "", choices, or_none(loose.usage, WireUsage)


def error_in_disguise(error: Any, body: bytes, provider: str, model: str) -> ProviderError:
    """Return the error that a body or an event holds where an answer was to be expected."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 600:
        # There are no headers to read a waiting time from, so the moment does not matter.
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return error_from_status(code, {}, body, provider=provider, model=model, now=epoch)
    return _bad("an error instead of choices", body, provider, model)


def json_words(cause: Exception) -> str:
    """Return msgspec's own words, which name a byte or a key path and quote nothing."""
    return "nested too deep" if isinstance(cause, RecursionError) else str(cause)


def _bad(message: str, body: bytes, provider: str, model: str) -> BadResponse:
    return BadResponse(message, provider=provider, model=model, body=body_text(body))
