"""Prompts and answers as OpenTelemetry's conventions for generative AI have them: JSON in attributes. Pure.

Source: the schemas `gen-ai-input-messages.json` and `gen-ai-output-messages.json` of the semantic
conventions, version 1.41.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..types import Answer, Message, Request

__all__ = ["input_messages", "output_messages"]


def input_messages(request: Request) -> str:
    """Return what was asked."""
    return _json([_message(message) for message in request.messages])


def output_messages(answer: Answer) -> str:
    """Return what was answered."""
    parts: list[dict[str, Any]] = []
    text = answer.text or answer.refusal
    if text:
        parts.append({"type": "text", "content": text})
    parts += [_tool_call(call) for call in answer.tool_calls]
    return _json(
        [{"role": "assistant", "parts": parts, "finish_reason": answer.finish_reason or ""}]
    )


def _message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    content = message.content
    if message.role == "tool":
        said = {"type": "tool_call_response", "id": message.extra.get("tool_call_id")}
        return {"role": "tool", "parts": [{**said, "response": content}]}
    if isinstance(content, str):
        parts.append({"type": "text", "content": content})
    else:
        parts += [_part(part) for part in content or ()]
    calls = message.extra.get("tool_calls")
    if isinstance(calls, Sequence):
        parts += [_tool_call(call) for call in calls if isinstance(call, Mapping)]
    return {"role": message.role, "parts": parts}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "text", "content": part.get("text")}
    return dict(part)  # the schema takes parts of other types as they are


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    return {
        "type": "tool_call",
        "id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments"),
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8")
