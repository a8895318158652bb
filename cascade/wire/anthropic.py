"""The Anthropic Messages format: a call to bytes, bytes to an answer in OpenAI's words.

Requests come in OpenAI's shape, or with parts already in Anthropic's shape, which are passed on
untouched. Anthropic gives no log-probabilities, so answers from here never have any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from ..errors import BadResponse, RequestError
from ..types import Answer, Message, ModelCall, Usage
from .openai import encode_json
from .status import body_text, error_words

__all__ = [
    "FINISH_REASONS",
    "MessageUsage",
    "decode_response",
    "encode_request",
    "flat_usage",
    "format_of",
    "refuses_format",
]

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's stop reasons in OpenAI's words; any other is passed on as it is."""

_TOOL_CHOICES = {"auto": "auto", "required": "any", "none": "none"}

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class MessageUsage(msgspec.Struct, gc=False):
    """Token counts as Anthropic writes them."""

    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None


class _Reply(msgspec.Struct, gc=False):
    content: list[_Block]
    model: str = ""
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_reply_decoder = msgspec.json.Decoder(_Reply)
_usage_decoder = msgspec.json.Decoder(MessageUsage | None)


_OPENAI_ONLY = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "modalities", "n", "prediction"),
        *("presence_penalty", "prompt_cache_key", "reasoning_effort", "safety_identifier", "store"),
        *("stream_options", "top_logprobs", "user", "verbosity", "web_search_options"),
    }
)
"""Fields of OpenAI's API that Anthropic's refuses: a ladder of both is asked in either's words."""


_FORMAT_STATUSES = frozenset({400, 422})
"""Statuses with which servers refuse a request's own words."""

_FORMAT_WORDS = (
    "output_config",
    "output_format",
    "structured output",
    "json schema",
    "json_schema",
)
"""What a refusal speaks of when it is about the schema of a structured answer."""


def encode_request(call: ModelCall, *, stream: bool = False, structured: bool = True) -> bytes:
    """Return the body of a Messages request.

    System and developer messages become `system`; OpenAI tools, tool choice, tool calls, tool
    results and `image_url` parts are converted, and the schema of a `response_format` becomes
    `output_config.format`, as it is. `seed`, a `response_format` without a schema, and what else
    only OpenAI's API knows (`_OPENAI_ONLY`) have no counterpart and are not sent: a ladder's `schema`
    gate still checks the answer.

    Args:
        call: What is asked.
        stream: Whether the answer is to come in events.
        structured: Whether the schema of a structured answer is sent.

    Raises:
        RequestError: No output limit, which Anthropic requires, or something that has no
            counterpart; names the place, never the text.
    """
    request = call.request
    body: dict[str, Any] = {**call.extra, **request.extra}
    wanted = body.get("max_completion_tokens")
    for name in _OPENAI_ONLY & body.keys():
        del body[name]
    if wanted is not None:
        body.setdefault("max_tokens", wanted)
    system: list[Any] = []
    messages: list[dict[str, Any]] = []
    for i, message in enumerate(request.messages):
        place = f"messages[{i}]"
        if message.role in ("system", "developer"):
            system.extend(_blocks(message.content, place))
        elif message.role == "tool":
            _add_tool_result(messages, message, place)
        elif message.role in ("user", "assistant"):
            messages.append({"role": message.role, "content": _content(message, place)})
        else:
            raise RequestError(
                f"{place}.role: {message.role!r} cannot be sent to Anthropic; "
                "allowed: system, developer, user, assistant, tool"
            )
    body |= {"model": call.model, "messages": messages}
    if system:
        body["system"] = system[0]["text"] if _is_plain_text(system) else system
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    elif call.max_tokens is not None:
        body.setdefault("max_tokens", call.max_tokens)
    if body.get("max_tokens") is None:
        raise RequestError(
            "max_tokens: Anthropic requires an output limit; set `max_tokens` on the rung of "
            f"{call.model} or in the request"
        )
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.stop is not None:
        stop = request.stop
        body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if request.tools is not None:
        body["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(request.tools)]
    _convert_tool_choice(body)
    wanted_format = format_of(call) if structured else None
    if wanted_format is not None:
        body["output_config"] = {**(body.get("output_config") or {}), "format": wanted_format}
    if stream:
        body["stream"] = True
    elif body.get("stream"):
        raise RequestError("stream: True cannot be asked for here; an ask returns a whole answer")
    return encode_json(body)


def format_of(call: ModelCall) -> dict[str, Any] | None:
    """Return the `output_config.format` that is made of a call's `response_format`.

    None without a schema, and where the call has a format in Anthropic's own words.
    """
    described = (call.request.response_format or {}).get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if schema is None:
        return None
    own = call.request.extra.get("output_config", call.extra.get("output_config")) or {}
    if not isinstance(own, Mapping) or own.get("format") is not None:
        return None
    return {"type": "json_schema", "schema": schema}


def refuses_format(status: int, body: bytes) -> bool:
    """Return whether a server refused a request because of the schema of its structured answer.

    Older models know none, and newer ones do not know all of JSON Schema.

    >>> refuses_format(400, b'{"error": {"message": "output_config.format: not supported"}}')
    True
    """
    if status not in _FORMAT_STATUSES:
        return False
    words = " ".join(error_words(body)).lower()
    return any(word in words for word in _FORMAT_WORDS)


def decode_response(body: bytes, *, provider: str, model: str, keep_raw: bool = False) -> Answer:
    """Return the answer in a Messages response.

    Text blocks are joined (none at all is `text=None`); `tool_use` blocks come in OpenAI's shape,
    their input as the JSON text the model wrote; thinking blocks are left out. Prompt tokens are
    those read from and written to the cache as well, as OpenAI counts them.

    Raises:
        BadResponse: Not a message: not JSON, no list of content blocks.
    """
    try:
        reply = _reply_decoder.decode(body)
        texts = [block.text for block in reply.content if block.type == "text"]
        return Answer(
            text="".join(texts) if texts else None,
            model=reply.model or model,
            finish_reason=FINISH_REASONS.get(reply.stop_reason or "", reply.stop_reason),
            usage=_read_usage(reply.usage),
            tool_calls=tuple(_tool_call(b) for b in reply.content if b.type == "tool_use"),
            raw=body if keep_raw else None,
        )
    except msgspec.ValidationError as exc:
        words = f"not a message: {exc}"
        raise BadResponse(words, provider=provider, model=model, body=body_text(body)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        words = f"not JSON: {exc if isinstance(exc, msgspec.DecodeError) else type(exc).__name__}"
        raise BadResponse(words, provider=provider, model=model, body=body_text(body)) from exc


def _content(message: Message, place: str) -> Any:
    calls = message.extra.get("tool_calls") if message.role == "assistant" else None
    if isinstance(message.content, str) and not calls:
        return message.content
    blocks = _blocks(message.content, place)
    for i, call in enumerate(calls or ()):
        blocks.append(_tool_use(call, f"{place}.tool_calls[{i}]"))
    return blocks


def _blocks(content: str | Sequence[Mapping[str, Any]] | None, place: str) -> list[Any]:
    if isinstance(content, str):
        # Anthropic refuses empty text blocks.
        return [{"type": "text", "text": content}] if content else []
    return [_part(part, f"{place}.content[{i}]") for i, part in enumerate(content or ())]


def _part(part: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    kind = part.get("type")
    if kind in ("input_audio", "file"):
        raise RequestError(f"{place}.type: {kind!r} cannot be sent to Anthropic")
    if kind != "image_url":
        return part
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, str):
        raise RequestError(f"{place}.image_url: no URL")
    if url.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    head = _DATA_URL.match(url)
    if head is None:
        raise RequestError(
            f"{place}.image_url: neither an http URL nor `data:<type>/<subtype>;base64,<data>`"
        )
    source = {"type": "base64", "media_type": head.group(1), "data": url[head.end() :]}
    return {"type": "image", "source": source}


def _tool_use(call: Any, place: str) -> dict[str, Any]:
    try:
        function = call["function"]
        arguments = function.get("arguments") or "{}"
        msgspec.json.decode(arguments, type=dict[str, Any])
        return {
            "type": "tool_use",
            "id": call["id"],
            "name": function["name"],
            "input": msgspec.Raw(arguments.encode()),
        }
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError, msgspec.DecodeError):
        pass  # the cause may quote the arguments
    raise RequestError(
        f"{place}: not a tool call; give `id` and `function` with `name` and `arguments`, "
        "a JSON object as text"
    )


def _add_tool_result(messages: list[dict[str, Any]], message: Message, place: str) -> None:
    """Append a tool's result; Anthropic wants the results of one turn in one user message."""
    name = message.extra.get("tool_call_id")
    if not isinstance(name, str):
        raise RequestError(f"{place}.tool_call_id: missing; name the call this result is for")
    content = message.content
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": name}
    result["content"] = content if isinstance(content, str) else _blocks(content, place)
    if messages and _is_tool_results(messages[-1]):
        messages[-1]["content"].append(result)
    else:
        messages.append({"role": "user", "content": [result]})


def _is_tool_results(message: Mapping[str, Any]) -> bool:
    content = message["content"]
    return (
        message["role"] == "user"
        and isinstance(content, list)
        and bool(content)
        and all(block.get("type") == "tool_result" for block in content)
    )


def _is_plain_text(blocks: list[Any]) -> bool:
    return len(blocks) == 1 and set(blocks[0]) == {"type", "text"}


def _tool(tool: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        return tool  # already in Anthropic's shape
    if not isinstance(function.get("name"), str):
        raise RequestError(f"{place}.function.name: missing")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    converted = {"name": function["name"], "input_schema": schema}
    if function.get("description") is not None:
        converted["description"] = function["description"]
    return converted


def _convert_tool_choice(body: dict[str, Any]) -> None:
    choice = body.get("tool_choice")
    parallel = body.pop("parallel_tool_calls", None)
    if isinstance(choice, str):
        if choice not in _TOOL_CHOICES:
            raise RequestError(
                f"tool_choice: {choice!r} is unknown; allowed: {', '.join(_TOOL_CHOICES)}"
            )
        choice = {"type": _TOOL_CHOICES[choice]}
    elif isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        choice = {"type": "tool", "name": choice["function"].get("name")}
    if parallel is False and body.get("tools"):
        choice = {**(choice or {"type": "auto"})}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice is not None:
        body["tool_choice"] = choice


def _tool_call(block: _Block) -> dict[str, Any]:
    function = {"name": block.name, "arguments": bytes(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}


def _read_usage(raw: msgspec.Raw) -> Usage:
    try:
        usage = _usage_decoder.decode(raw)
    except msgspec.DecodeError:
        return Usage()  # counts of the wrong kind are absent; the answer stands
    return Usage() if usage is None else flat_usage(usage)


def flat_usage(usage: MessageUsage) -> Usage:
    """Return the counts in our words: prompt tokens are those from and to the cache as well."""
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    fresh = usage.input_tokens
    return Usage(
        prompt_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        completion_tokens=usage.output_tokens,
        cached_tokens=read,
        cache_write_tokens=written,
    )
