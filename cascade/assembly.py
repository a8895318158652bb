"""Puts an answer together from the chunks it came in. Pure."""

from __future__ import annotations

from typing import Any

from .types import Answer, Chunk, Request, TokenLogprobs, ToolCallDelta, Usage

__all__ = ["CHARACTERS_PER_TOKEN", "Assembly", "estimated_usage"]

CHARACTERS_PER_TOKEN = 4
"""Characters a token has on average where nobody has counted tokens."""


class Assembly:
    """An answer as far as it has come.

    Log-probabilities are all or nothing: once a chunk with text has none, the answer has none.

    Attributes:
        tokens: Tokens that have come, as far as can be told.
    """

    __slots__ = ("_calls", "_logprobs", "_measured", "_refusals", "_texts", "tokens")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[TokenLogprobs] = []
        self._measured = True
        self.tokens = 0

    def add(self, chunk: Chunk) -> None:
        """Take in a further chunk."""
        self.tokens += chunk.tokens
        if chunk.text:
            self._texts.append(chunk.text)
        if chunk.refusal:
            self._refusals.append(chunk.refusal)
        for piece in chunk.tool_calls:
            self._add_call(piece)
        if chunk.logprobs is not None:
            self._logprobs.append(chunk.logprobs)
        elif chunk.text:
            self._measured = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said yet."""
        return not (self._texts or self._calls or self._refusals)

    @property
    def estimated_tokens(self) -> int:
        """Tokens that have come: counted, or else reckoned from chunks and characters."""
        if self._measured and self._logprobs:
            return self.tokens
        said = sum(map(len, self._texts)) + sum(map(len, self._refusals))
        said += sum(len(call["function"]["arguments"]) for call in self._calls.values())
        return max(self.tokens, said // CHARACTERS_PER_TOKEN)

    @property
    def text(self) -> str:
        """All text that has come."""
        return "".join(self._texts)

    def answer(
        self, model: str, *, finish_reason: str | None = None, usage: Usage | None = None
    ) -> Answer:
        """Return what has come as an answer.

        Args:
            model: The model's name.
            finish_reason: Why it ended; None while it has not.
            usage: Tokens it used; None: not known.
        """
        return Answer(
            text="".join(self._texts) if self._texts or not self._calls else None,
            model=model,
            finish_reason=finish_reason,
            usage=Usage() if usage is None else usage,
            tool_calls=tuple(self._calls[index] for index in sorted(self._calls)),
            refusal="".join(self._refusals) or None,
            logprobs=_joined(self._logprobs) if self._measured else None,
        )

    def _add_call(self, piece: ToolCallDelta) -> None:
        call = self._calls.get(piece.index)
        if call is None:
            call = {
                "id": piece.id or "",
                "type": piece.kind or "function",
                "function": {"name": piece.name or "", "arguments": piece.arguments},
            }
            self._calls[piece.index] = call
            return
        function = call["function"]
        call["id"] = call["id"] or piece.id or ""
        function["name"] = function["name"] or piece.name or ""
        function["arguments"] += piece.arguments


def estimated_usage(request: Request, assembly: Assembly, known: Usage | None = None) -> Usage:
    """Return what a call used whose stream was ended before its provider told.

    The prompt's tokens are a quarter of its characters. Those that came are counted by their
    log-probabilities; without, they are a quarter of the characters, or the chunks if those are more.
    Hidden reasoning of which nothing came is not in it.

    Args:
        request: What was asked.
        assembly: What came.
        known: What the provider told before; its counts win, and those of output are the least.
    """
    known = known or Usage()
    prompt = known.prompt_tokens
    if prompt is None:
        texts = [m.content for m in request.messages if isinstance(m.content, str)]
        prompt = sum(map(len, texts)) // CHARACTERS_PER_TOKEN + 1
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=max(assembly.estimated_tokens, known.completion_tokens or 0),
        cached_tokens=known.cached_tokens,
        cache_write_tokens=known.cache_write_tokens,
        estimated=True,
    )


def _joined(parts: list[TokenLogprobs]) -> TokenLogprobs | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    tops = [part.top for part in parts]
    return TokenLogprobs(
        tokens=[token for part in parts for token in part.tokens],
        logprobs=[logprob for part in parts for logprob in part.logprobs],
        top=None if None in tops else [list(row) for top in tops for row in top or ()],
    )
