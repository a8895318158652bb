"""Anthropic's Messages: a body to what is asked, a result to a body. Pure.

Where every rung speaks Anthropic's language, messages, tools and all other fields are passed on as they
came. Elsewhere they are put into OpenAI's words first: marks for prompt caching, thinking and the
caller's metadata are left out, and what has no counterpart is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..errors import RequestError
from ..types import Answer, Result, Usage
from .asked import Asked, refuse_keywords, result_object
from .options import read_options

__all__ = ["message_body", "message_usage", "read_message", "stop_reason"]

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""OpenAI's finish reasons in Anthropic's words; any other is passed on as it is."""

_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_THINKING = ("thinking", "redacted_thinking")
_NO_COUNTERPART = ("container", "mcp_servers", "output_format")
_PASSED_ON = ("temperature", "top_p", "top_k", "service_tier")


def read_message(fields: dict[str, Any], headers: Mapping[bytes, bytes], *, native: bool) -> Asked:
    """Return what a Messages body asks for.

    Args:
        fields: The body as `fields.MessageFields` allows it, without its model; what is read is taken
            out.
        headers: All headers, names in lower case.
        native: Whether every rung speaks Anthropic's language.

    Raises:
        RequestError: A field is wrong or has no counterpart; the message names it.
    """
    options = read_options(fields.pop("cascade", None), headers)
    stream = bool(fields.pop("stream", None))
    messages: list[dict[str, Any]] = fields.pop("messages")
    for i, message in enumerate(messages):
        if "tool_calls" in message:
            raise RequestError(
                f"messages[{i}].tool_calls: not a field of this API; give tool_use blocks"
            )
    system = fields.pop("system", None)
    options["max_tokens"] = fields.pop("max_tokens", None)
    options["stop"] = fields.pop("stop_sequences", None)
    metadata = fields.pop("metadata", None)
    if metadata is not None:
        options["metadata"] = metadata
    if native:
        head = [] if system is None else [{"role": "system", "content": system}]
        refuse_keywords(fields)
        options |= _output(fields.get("output_config") or {})
        return Asked(prompt=[*head, *messages], options=fields | options, stream=stream)
    options |= {name: fields[name] for name in _PASSED_ON if fields.get(name) is not None}
    for name in _NO_COUNTERPART:
        if fields.get(name):
            raise RequestError(f"{name}: cannot be sent to this ladder's models")
    options |= _output(fields.get("output_config") or {})
    options |= _tools(fields.get("tools"), fields.get("tool_choice"))
    prompt = [] if system is None else [{"role": "system", "content": _system(system)}]
    for i, message in enumerate(messages):
        prompt += _in_openai_words(message, f"messages[{i}]")
    return Asked(prompt=prompt, options=options, stream=stream)


def message_body(result: Result) -> bytes:
    """Return a message."""
    answer = result.answer
    content: list[dict[str, Any]] = []
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    elif answer.refusal:
        content.append({"type": "text", "text": answer.refusal})
    content += [_tool_use(call) for call in answer.tool_calls]
    return msgspec.json.encode(
        {
            "id": f"msg_{result.id}",
            "type": "message",
            "role": "assistant",
            "model": result.model,
            "content": content,
            "stop_reason": stop_reason(answer),
            "stop_sequence": None,
            "usage": message_usage(answer.usage),
            "cascade": result_object((result,)),
        }
    )


def stop_reason(answer: Answer) -> str | None:
    """Return why an answer ended, in Anthropic's words."""
    reason = answer.finish_reason
    return _STOP_REASONS.get(reason or "", reason)


def message_usage(usage: Usage) -> dict[str, Any]:
    """Return the tokens as Anthropic counts them: those read from or written to a cache apart."""
    apart: Sequence[int | None] = (usage.cached_tokens, usage.cache_write_tokens)
    prompt = usage.prompt_tokens
    return {
        "input_tokens": None if prompt is None else prompt - sum(n or 0 for n in apart),
        "output_tokens": usage.completion_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
    }


def _check_blocks(given: Any, place: str) -> None:
    if not isinstance(given, list):
        raise RequestError(
            f"{place}: {type(given).__name__} given; allowed: text or a list of blocks"
        )
    for i, block in enumerate(given):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise RequestError(f"{place}[{i}]: allowed: a block (an object with `type`)")


def _system(given: Any) -> str:
    return _text(given, "system")


def _text(given: Any, place: str) -> str:
    """Return the text of a string or of text blocks."""
    if isinstance(given, str):
        return given
    _check_blocks(given, place)
    texts = []
    for i, block in enumerate(given):
        text = block.get("text")
        if block["type"] != "text" or not isinstance(text, str):
            raise RequestError(f"{place}[{i}]: {block['type']!r:.40} given; allowed: text blocks")
        texts.append(text)
    return "\n".join(texts)


def _in_openai_words(message: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    """Return a message as OpenAI has it: results of tools are messages of their own, and come first."""
    content = message["content"]
    if isinstance(content, str):
        return [dict(message, content=content)]
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for i, block in enumerate(content):
        where = f"{place}.content[{i}]"
        kind = block["type"]
        if kind == "text":
            parts.append({"type": "text", "text": _field(block, "text", str, where)})
        elif kind == "image":
            parts.append({"type": "image_url", "image_url": {"url": _image_url(block, where)}})
        elif kind == "tool_use":
            calls.append(_call(block, where))
        elif kind == "tool_result":
            said = block.get("content")
            results.append(
                {
                    "role": "tool",
                    "tool_call_id": _field(block, "tool_use_id", str, where),
                    "content": "" if said is None else _text(said, f"{where}.content"),
                }
            )
        elif kind not in _THINKING:
            raise RequestError(f"{where}.type: {kind!r:.40} cannot be sent to this ladder's models")
    if message["role"] == "assistant":
        text = "".join(part["text"] for part in parts if part["type"] == "text") or None
        spoken = {"role": "assistant", "content": text}
        return [*results, spoken | ({"tool_calls": calls} if calls else {})]
    if not parts and results:
        return results
    plain = len(parts) == 1 and parts[0]["type"] == "text"
    return [*results, {"role": "user", "content": parts[0]["text"] if plain else parts}]


def _image_url(block: Mapping[str, Any], place: str) -> str:
    source: Mapping[str, Any] = _field(block, "source", dict, place)
    where = f"{place}.source"
    if source.get("type") == "base64":
        media_type = _field(source, "media_type", str, where)
        return f"data:{media_type};base64,{_field(source, 'data', str, where)}"
    if source.get("type") == "url":
        return str(_field(source, "url", str, where))
    raise RequestError(f"{where}.type: {source.get('type')!r:.40} given; allowed: base64, url")


def _call(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    arguments = msgspec.json.encode(_field(block, "input", dict, place)).decode()
    function = {"name": _field(block, "name", str, place), "arguments": arguments}
    return {"id": _field(block, "id", str, place), "type": "function", "function": function}


def _output(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a structured answer as OpenAI has it, which the schema gate checks too."""
    wanted = config.get("format")
    if wanted is None:
        return {}
    schema = {"name": "answer", "schema": wanted["schema"], "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _tools(tools: Any, choice: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if tools is not None:
        found["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
    if choice is not None:
        kind = choice["type"]
        if kind == "tool":
            name = _field(choice, "name", str, "tool_choice")
            found["tool_choice"] = {"type": "function", "function": {"name": name}}
        elif kind in _TOOL_CHOICES:
            found["tool_choice"] = _TOOL_CHOICES[kind]
        else:
            raise RequestError(
                f"tool_choice.type: {kind!r:.40} given; allowed: auto, any, tool, none"
            )
        if choice.get("disable_parallel_tool_use") is True:
            found["parallel_tool_calls"] = False
    return found


def _tool(tool: Any, place: str) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        raise RequestError(
            f"{place}.type: {tool['type']!r:.40} is Anthropic's own; allowed: custom"
        )
    function: dict[str, Any] = {"name": _field(tool, "name", str, place)}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = _field(tool, "input_schema", dict, place)
    return {"type": "function", "function": function}


def _field(block: Mapping[str, Any], name: str, kind: type, place: str) -> Any:
    value = block.get(name)
    if not isinstance(value, kind):
        wanted = "text" if kind is str else "an object"
        raise RequestError(f"{place}.{name}: {type(value).__name__} given; allowed: {wanted}")
    return value


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = function.get("arguments") or "{}"
    given: Any = {"arguments": arguments}
    if isinstance(arguments, str):
        try:
            msgspec.json.decode(arguments, type=dict[str, Any])
            given = msgspec.Raw(arguments.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            pass  # no object, and a block must hold one: it is shown as the text it is
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given}
