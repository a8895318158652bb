"""What answers look like, as the OpenAPI document states it. The object `cascade` is built of these too."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..types import Verdict

__all__ = [
    "AnthropicError",
    "CascadeObject",
    "ChatCompletion",
    "FeedbackTaken",
    "Health",
    "Message",
    "Model",
    "ModelList",
    "OpenAIError",
    "Readiness",
    "ToldAttempt",
    "ToldChoice",
    "ToldHit",
]

_Object = dict[str, Any]


class ToldHit(msgspec.Struct, frozen=True, kw_only=True):
    """Where an answer from the cache came from."""

    kind: Literal["exact", "near", "shared"]
    id: str
    stored_at: str | None
    similarity: float | None
    p_same: float | None


class ToldAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One rung that was tried, and why it was kept or left."""

    rung: int
    model: str
    verdict: Verdict
    reason: str
    confidence: float | None
    cost_usd: float | None
    latency_s: float


class ToldChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One of several answers: the ask it comes from, and what that has cost."""

    id: str
    rung: int
    model: str
    confidence: float | None
    cost_usd: float | None


class CascadeObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an answer came about; unknown numbers are null.

    Of several answers (`n`): id, rung and confidence are the first one's; costs, savings and attempts
    are those of all of them together, and `choices` tells them apart.
    """

    id: str
    rung: int
    confidence: float | None
    cost_usd: float | None
    saving_usd: float | None
    cache: ToldHit | None
    attempts: list[ToldAttempt]
    degraded: str | None = None
    choices: list[ToldChoice] | None = None


class Choice(msgspec.Struct, kw_only=True):
    index: int
    message: _Object
    logprobs: _Object | None
    finish_reason: str | None


class ChatCompletion(msgspec.Struct, kw_only=True):
    """A chat completion in OpenAI's shape."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: _Object | None
    cascade: CascadeObject


class Message(msgspec.Struct, kw_only=True):
    """A message in Anthropic's shape."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[_Object]
    stop_reason: str | None
    stop_sequence: None
    usage: _Object
    cascade: CascadeObject


class Model(msgspec.Struct, kw_only=True):
    """What may be asked: a ladder, or a rung of one."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: str


class ModelList(msgspec.Struct, kw_only=True):
    """All that may be asked."""

    object: Literal["list"]
    data: list[Model]
    has_more: bool
    first_id: str | None
    last_id: str | None


class FeedbackTaken(msgspec.Struct, kw_only=True):
    """The label as it was written."""

    id: str
    score: float


class Health(msgspec.Struct, kw_only=True):
    """The process is alive."""

    status: Literal["ok"]


class Readiness(msgspec.Struct, kw_only=True):
    """Whether asks are taken; details only to those with a key."""

    status: str


class OpenAIErrorFields(msgspec.Struct, kw_only=True):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(msgspec.Struct, kw_only=True):
    """An error in OpenAI's shape; that of an ask says what it has cost."""

    error: OpenAIErrorFields
    cascade: _Object | msgspec.UnsetType = msgspec.UNSET


class AnthropicErrorFields(msgspec.Struct, kw_only=True):
    type: str
    message: str


class AnthropicError(msgspec.Struct, kw_only=True):
    """An error in Anthropic's shape; that of an ask says what it has cost."""

    type: Literal["error"]
    error: AnthropicErrorFields
    request_id: str
    cascade: _Object | msgspec.UnsetType = msgspec.UNSET
