"""Token log-probabilities → measures of how sure a model was, and the untrained map to a confidence.

Measures follow section 4 of Gupta et al. 2024 ("Language Model Cascades: Token-level uncertainty and
beyond", arXiv:2404.10136): mean, minimum and quantiles of the chosen tokens' log-probabilities, and
the margin to the second-best token. Absent stays absent: NaN, never zero.

Plain Python on purpose: on the 20 to 200 tokens of one answer it is faster than numpy's calls.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cascade.types import TokenLogprobs

__all__ = ["MAPS", "Measures", "answer_span", "confidence_from", "measure", "quantile"]

NAN = math.nan

FLOOR = -20.0
"""Log-probabilities below this count as this: some providers write -9999 for "very unlikely"."""

_MARKER = re.compile(
    r"(?:####|\\boxed\{|\b(?:final\s+answer|answer|result|output|label)\b\s*(?:is|:|=)+|\bis\s*:)\s*",
    re.IGNORECASE,
)

MAPS: Mapping[str, str] = MappingProxyType(
    {
        "mean": "exp(mean log-probability): the geometric mean of the token probabilities",
        "min": "exp(smallest log-probability): the probability of the least likely token",
        "quantile_10": "exp(10 % quantile of the log-probabilities)",
        "answer": "exp(mean log-probability of the answer's own tokens), or of all when none stand out",
        "margin": "mean difference in probability between a token and its best alternative",
    }
)
"""Measure → the monotone map from it to a confidence in [0, 1]. Not calibrated: a ranking with the
shape of a probability. `cascade train` fits a real one."""


def measure(logprobs: TokenLogprobs | None) -> dict[str, float]:
    """Return every measure of one answer; all NaN when there is nothing to measure.

    Returns:
        ``n_tokens``; ``mean``, ``min``, ``sum``, ``first``, ``last`` and ``quantile_5`` to
        ``quantile_50`` in nats, <= 0; ``below_half``: share of tokens less likely than 1/2;
        ``answer``: mean over the answer's own tokens; ``margin`` and ``margin_min``: difference in
        probability between a chosen token and the best other one, in [-1, 1].
    """
    values = [] if logprobs is None else list(logprobs.logprobs)
    if not values:
        return dict.fromkeys(_NAMES, NAN)
    assert logprobs is not None
    ordered = sorted(values)
    if ordered[0] < FLOOR:
        values = [max(value, FLOOR) for value in values]
        ordered = sorted(values)
    total = math.fsum(values)
    start, stop = answer_span(logprobs.tokens)
    own = values[start:stop] or values
    margins = _margins(values, logprobs.top)
    return {
        "n_tokens": float(len(values)),
        "mean": total / len(values),
        "min": ordered[0],
        "sum": total,
        "first": values[0],
        "last": values[-1],
        "quantile_5": quantile(ordered, 0.05),
        "quantile_10": quantile(ordered, 0.10),
        "quantile_25": quantile(ordered, 0.25),
        "quantile_50": quantile(ordered, 0.50),
        "below_half": bisect_left(ordered, _LN_HALF) / len(values),
        "answer": math.fsum(own) / len(own),
        "margin": math.fsum(margins) / len(margins) if margins else NAN,
        "margin_min": min(margins) if margins else NAN,
    }


class Measures(Mapping[str, float]):
    """What `measure` returns, worked out when it is first looked at.

    An answer of 200 tokens takes 100 µs, most of it for the margins, while the mean alone takes 5: the
    rest is worked out where nobody waits for it, when the decision log is written.
    """

    __slots__ = ("_known", "_logprobs")

    def __init__(self, logprobs: TokenLogprobs | None) -> None:
        self._logprobs: TokenLogprobs | None = logprobs
        self._known: dict[str, float] | None = None

    def _all(self) -> dict[str, float]:
        if self._known is None:
            self._known, self._logprobs = measure(self._logprobs), None
        return self._known

    def mean(self) -> float:
        """Return the measure ``mean`` without the others."""
        if self._known is not None or self._logprobs is None or not self._logprobs.logprobs:
            return self._all()["mean"]
        values = self._logprobs.logprobs
        if min(values) < FLOOR:
            values = [max(value, FLOOR) for value in values]
        return math.fsum(values) / len(values)

    def __getitem__(self, name: str) -> float:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._all(),)


_LN_HALF = math.log(0.5)
_NAMES = (
    "n_tokens",
    "mean",
    "min",
    "sum",
    "first",
    "last",
    "quantile_5",
    "quantile_10",
    "quantile_25",
    "quantile_50",
    "below_half",
    "answer",
    "margin",
    "margin_min",
)


def confidence_from(measures: Mapping[str, float], name: str) -> float | None:
    """Return the confidence in [0, 1] that measure `name` stands for (see `MAPS`), or None if absent.

    >>> confidence_from({"mean": 0.0}, "mean"), confidence_from({"mean": float("nan")}, "mean")
    (1.0, None)
    """
    value = measures.mean() if name == "mean" and isinstance(measures, Measures) else measures[name]
    if math.isnan(value):
        return None
    return min(max(value, 0.0), 1.0) if name == "margin" else math.exp(min(value, 0.0))


def answer_span(tokens: Sequence[str]) -> tuple[int, int]:
    """Return the half-open range of the tokens that hold the answer itself.

    That is what follows the last marker such as "the answer is" or "####", up to the end of its line;
    the whole answer when there is no marker, or when the tokens' text is not known.

    >>> answer_span(["The", " answer", " is", " 4", "2", "."])
    (3, 6)
    """
    text = "".join(tokens)
    last = None
    for last in _MARKER.finditer(text):  # noqa: B007 - the last match is what is wanted
        pass
    if last is None or not text[last.end() :].strip():
        return 0, len(tokens)
    newline = text.find("\n", last.end())
    stop_at = len(text) if newline < 0 else newline
    start = stop = position = 0
    for i, token in enumerate(tokens):
        if position + len(token) <= last.end():
            start = i + 1
        if position < stop_at:
            stop = i + 1
        position += len(token)
    return start, stop


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return the q-quantile of sorted values, interpolating linearly (numpy's default).

    >>> quantile([0.0, 1.0, 2.0], 0.25)
    0.5
    """
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _margins(values: Sequence[float], top: Sequence[Sequence[float]] | None) -> list[float]:
    """Return, per token with alternatives, p(chosen) − p(best other).

    Providers list the chosen token among its alternatives when it is one of the best; the best other
    is then the second. A chosen token below the best has a negative margin.
    """
    if top is None:
        return []
    exp = math.exp
    return [
        exp(value) - exp(others[1] if value >= others[0] - 1e-6 else others[0])
        for value, others in zip(values, top, strict=False)
        if len(others) > 1
    ]
