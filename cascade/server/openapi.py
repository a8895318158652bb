"""The OpenAPI document of the server, made of the tables that bodies and options are checked by. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from .fields import ChatFields, FeedbackFields, MessageFields
from .options import Options
from .shapes import (
    AnthropicError,
    ChatCompletion,
    FeedbackTaken,
    Health,
    Message,
    Model,
    ModelList,
    OpenAIError,
    Readiness,
)

__all__ = ["openapi_document"]

_REF = "#/components/schemas/{name}"
_TAKEN_IN = (ChatFields, MessageFields, FeedbackFields, Options)
_GIVEN = (
    *(ChatCompletion, Message, Model, ModelList, FeedbackTaken, Health, Readiness),
    *(OpenAIError, AnthropicError),
)
_BODY_ERRORS = (400, 401, 403, 404, 408, 413, 415)
_ASK_ERRORS = (*_BODY_ERRORS, 429, 502, 503, 504)
_ERRORS = {
    400: "The request is wrong, or was refused by every rung.",
    401: "There is no key, or not a good one.",
    403: "Not for this caller.",
    404: "There is no such model, or not for this key.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is compressed.",
    429: "A budget or a limit is reached.",
    502: "No rung gave an answer.",
    503: "All rungs are paused or full, or the server is closing.",
    504: "The time ran out.",
}


@cache
def openapi_document() -> bytes:
    """Return the document as JSON."""
    kinds = (*_TAKEN_IN, *_GIVEN)
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    schemas[ChatFields.__name__]["oneOf"] = [
        {"required": ["messages"]},
        {"required": ["prompt"]},
    ]
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "cascade serve",
            "version": "1",
            "description": "Ladders of models behind OpenAI's and Anthropic's APIs.",
        },
        "paths": _paths(schemas),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{"bearer": []}, {"x-api-key": []}, {}],
    }
    return msgspec.json.encode(document)


def _paths(schemas: dict[str, Any]) -> dict[str, Any]:
    options = _option_headers(schemas[Options.__name__])
    event = {
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
        "required": ["data"],
    }
    stream = {"text/event-stream": {"schema": event}}
    named = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    text = {"schema": {"type": "string"}}
    scraped = {"text/plain": text, "application/openmetrics-text": text}
    return {
        "/v1/chat/completions": {
            "post": _asking("Ask a ladder in OpenAI's words.", ChatFields, options)
            | _answers(ChatCompletion, _ASK_ERRORS, stream)
        },
        "/v1/messages": {
            "post": _asking("Ask a ladder in Anthropic's words.", MessageFields, options)
            | _answers(Message, _ASK_ERRORS, stream, error=AnthropicError)
        },
        "/v1/feedback": {
            "post": _asking("Label an answer.", FeedbackFields)
            | _answers(FeedbackTaken, _BODY_ERRORS)
        },
        "/v1/models": {"get": {"summary": "What may be asked."} | _answers(ModelList, (401, 403))},
        "/v1/models/{id}": {
            "get": {"summary": "One of them.", "parameters": [named]}
            | _answers(Model, (401, 403, 404))
        },
        "/metrics": {
            "get": {"summary": "Metrics for Prometheus."} | _answers(None, (401, 403, 404), scraped)
        },
        "/healthz": {"get": {"summary": "Whether the process is alive."} | _answers(Health, ())},
        "/readyz": {
            "get": {"summary": "Whether asks are taken."}
            | _answers(Readiness, (), also={503: Readiness})
        },
        "/openapi.json": {
            "get": {"summary": "This document."}
            | _answers(None, (), {"application/json": {"schema": {"type": "object"}}})
        },
    }


def _asking(
    summary: str, body: type[msgspec.Struct], parameters: Sequence[Any] = ()
) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=body.__name__)}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }


def _answers(
    good: type[msgspec.Struct] | None,
    errors: Sequence[int],
    content: dict[str, Any] | None = None,
    *,
    error: type[msgspec.Struct] = OpenAIError,
    also: dict[int, type[msgspec.Struct]] | None = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {
            "description": "As asked.",
            "content": (_json(good) if good else {}) | (content or {}),
        }
    }
    for status in errors:
        responses[str(status)] = {"description": _ERRORS[status], "content": _json(error)}
    for status, kind in (also or {}).items():
        responses[str(status)] = {"description": _ERRORS[status], "content": _json(kind)}
    return {"responses": responses}


def _json(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(name=kind.__name__)}}}


def _option_headers(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the options as headers; null, which no header can say, is left out."""
    headers = []
    for name, field in schema["properties"].items():
        kinds = [kind for kind in field["anyOf"] if kind != {"type": "null"}]
        if kinds[0].get("type") == "array":
            kinds = [{"type": "string"}]  # separated by commas
        header = f"x-cascade-{name.replace('_', '-')}"
        headers.append({"name": header, "in": "header", "required": False, "schema": kinds[0]})
    return headers
