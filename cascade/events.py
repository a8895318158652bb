"""What a stream yields while an answer comes about: which rung is asked, what is said, and the result.

Only what belongs to the answer is ever told: a draft that is rejected leaves `RungLeft` and no text.
The order is any number of `RungStarted` and `RungLeft`, then `AnswerStarted`, deltas, and last `Done`.
"""

from __future__ import annotations

import msgspec

from .types import Result, TokenLogprobs, ToolCallDelta

__all__ = [
    "AnswerStarted",
    "Done",
    "Event",
    "RefusalDelta",
    "RungLeft",
    "RungStarted",
    "TextDelta",
    "ToolCallDelta",
]


class RungStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A rung is being called.

    Attributes:
        rung: Its index.
        model: Its model.
    """

    rung: int
    model: str


class RungLeft(msgspec.Struct, frozen=True, kw_only=True):
    """A rung was left: nothing it said is part of the answer.

    Attributes:
        rung: Its index.
        model: Its model.
        reason: Why, in words; it holds no part of the answer.
    """

    rung: int
    model: str
    reason: str


class AnswerStarted(msgspec.Struct, frozen=True, kw_only=True):
    """From here on what is told is the answer, and nobody else's.

    Attributes:
        rung: Index of the rung that gives it.
        model: Its model.
    """

    rung: int
    model: str


class TextDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A further piece of the answer's text.

    Attributes:
        text: The piece, never "".
        logprobs: Log-probabilities of its tokens, where the provider gives them piece by piece.
        raw_logprobs: The same as the provider wrote them (JSON), where the request asked for them by
            name; else None.
    """

    text: str
    logprobs: TokenLogprobs | None = None
    raw_logprobs: bytes | None = None


class RefusalDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A further piece of the provider's own refusal text."""

    text: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is complete; nothing follows.

    Attributes:
        result: What `ask` would have returned.
    """

    result: Result


Event = RungStarted | RungLeft | AnswerStarted | TextDelta | RefusalDelta | ToolCallDelta | Done
