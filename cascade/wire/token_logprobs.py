"""Token log-probabilities as OpenAI's API writes them, turned into `TokenLogprobs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import msgspec

from ..types import TokenLogprobs

__all__ = ["Alternatives", "ChoiceLogprobs", "flat_logprobs"]

_ROUNDING = 1e-4
"""Log-probabilities up to this far above 0 are float noise of the upstream and count as 0."""


class _Alternative(msgspec.Struct, gc=False):
    logprob: float


class _Token(msgspec.Struct, gc=False):
    token: str
    logprob: float
    top_logprobs: list[_Alternative] | None = None


class ChoiceLogprobs(msgspec.Struct, gc=False):
    content: list[_Token] | None = None


def flat_logprobs(content: list[_Token]) -> TokenLogprobs | None:
    """Return the log-probabilities of an answer's tokens; None when one of them cannot be one.

    Args:
        content: At least one token.
    """
    logprobs = [token.logprob for token in content]
    if max(logprobs) > 0.0:
        if max(logprobs) > _ROUNDING:
            return None
        logprobs = [min(value, 0.0) for value in logprobs]
    given = [token.top_logprobs for token in content]
    best = max([other.logprob for row in given if row for other in row[:1]], default=None)
    return TokenLogprobs(
        tokens=[token.token for token in content],
        logprobs=logprobs,
        top=None if best is None or best > _ROUNDING else Alternatives(given),
    )


class Alternatives(Sequence[list[float]]):
    """`TokenLogprobs.top` of a response, put in order when it is first looked at.

    200 tokens with five alternatives take 60 µs, and an ask that reads the chosen tokens alone
    never needs them. Who can do without lists asks for them `flat`, a third of that.
    """

    __slots__ = ("_given", "_lengths", "_rows", "_values")

    def __init__(self, given: list[list[_Alternative] | None]) -> None:
        self._given: list[list[_Alternative] | None] | None = given
        self._values: list[float] = []
        self._lengths: list[int] = []
        self._rows: list[list[float]] | None = None

    def flat(self) -> tuple[list[float], int] | None:
        """Return all values, one token's after another's, and how many a token has.

        They are as the provider wrote them. Where every token's descend they are those of the
        lists, but for values up to 0.0001 that count there as 0; where not, they may be others.

        Returns:
            None where tokens have different numbers of alternatives, or none.
        """
        self._look()
        widths = set(self._lengths)
        return (self._values, widths.pop()) if self._values and len(widths) == 1 else None

    def _look(self) -> None:
        """Let go of what was decoded, for the numbers alone."""
        given = self._given
        if given is not None:
            try:
                self._lengths = list(map(len, given))  # type: ignore[arg-type]
            except TypeError:
                self._lengths = [len(row or ()) for row in given]
            self._values = [other.logprob for row in given for other in row or ()]
            self._given = None

    def _ordered(self) -> list[list[float]]:
        if self._rows is None:
            self._look()
            values, start = self._values, 0
            best = max(values, default=0.0)
            if best > _ROUNDING:
                values = []  # one that is no log-probability: none is believed
            elif best > 0.0:
                values = [min(value, 0.0) for value in values]
            rows = []
            for length in self._lengths:
                row = values[start : start + length]
                row.sort(reverse=True)
                rows.append(row)
                start += length
            self._rows = rows
        return self._rows

    def __len__(self) -> int:
        return len(self._lengths if self._given is None else self._given)

    @overload
    def __getitem__(self, index: int) -> list[float]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[float]]: ...
    def __getitem__(self, index: int | slice) -> list[float] | list[list[float]]:
        return self._ordered()[index]

    def __iter__(self) -> Iterator[list[float]]:
        return iter(self._ordered())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._ordered() == [list(row) for row in other]

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self._ordered(),)
