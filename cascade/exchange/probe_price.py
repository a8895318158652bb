"""What a probe is going to cost: input tokens counted, output tokens as the log has seen them, by rung."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from ..ladder import Rung
from ..pricing import cost_usd
from ..records import TrafficRow
from ..types import Usage
from .probe_plan import Asked, Purchase

__all__ = ["RungPrice", "mean_output", "price_of", "purchases_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RungPrice:
    """What the calls of one rung are going to cost.

    Attributes:
        rung: The rung.
        calls: Calls still to be made.
        bought: Calls that an earlier run has paid for.
        tokens_in: Input tokens of those still to be made.
        tokens_out: Output tokens expected of them.
        output: Where that expectation comes from, in words.
        expected_usd: What they are expected to cost, US dollars.
        most_usd: What they cost at most, output limits being used up; None without a limit.
    """

    rung: Rung
    calls: int
    bought: int
    tokens_in: int
    tokens_out: int
    output: str
    expected_usd: float
    most_usd: float | None


def purchases_of(sample: Iterable[Asked]) -> list[Purchase]:
    """Return the calls of a sample, each once, in its order."""
    return list({p.key: p for asked in sample for p in asked.purchases.values()}.values())


def mean_output(rows: Iterable[TrafficRow]) -> dict[str | None, float]:
    """Return the mean output tokens of each model in a log, and of all under None; known ones only."""
    tokens: Counter[str | None] = Counter()
    answers: Counter[str | None] = Counter()
    for row in rows:
        for response in row.responses:
            if response.completion_tokens is not None:
                for model in (response.model, None):
                    tokens[model] += response.completion_tokens
                    answers[model] += 1
    return {model: tokens[model] / count for model, count in answers.items()}


def price_of(
    purchases: Iterable[Purchase],
    rungs: Mapping[int, Rung],
    bought: Container[str],
    seen: Mapping[str | None, float],
) -> list[RungPrice]:
    """Return the price of the calls that are not bought yet, by rung.

    Raises:
        ConfigError: A rung has no price, or nothing says how long its answers may be; names the rung and
            what to write into the ladder file.
    """
    unknown = [rung.model for rung in rungs.values() if rung.price is None]
    if unknown:
        raise ConfigError(
            f"no price of {', '.join(unknown)} is known, so nobody can say what this costs; allowed: "
            "`price: {input: …, output: …}` at the rung, US dollars per million tokens"
        )
    told = []
    for index, rung in rungs.items():
        mine = [p for p in purchases if p.call.rung == index]
        left = [p for p in mine if p.key not in bought]
        each, words = _output(rung, seen)
        told.append(
            RungPrice(
                rung=rung,
                calls=len(left),
                bought=len(mine) - len(left),
                tokens_in=sum(p.tokens for p in left),
                tokens_out=round(each * len(left)),
                output=words,
                expected_usd=_usd(rung, sum(p.tokens for p in left), each * len(left)),
                most_usd=None
                if rung.max_tokens is None
                else _usd(rung, sum(p.tokens for p in left), rung.max_tokens * len(left)),
            )
        )
    return told


def _output(rung: Rung, seen: Mapping[str | None, float]) -> tuple[float, str]:
    for model, words in ((rung.model, "its mean in the log"), (None, "the log's mean")):
        if model in seen:
            mean = seen[model]
            if rung.max_tokens is not None and mean > rung.max_tokens:
                return rung.max_tokens, "its limit"
            return mean, words
    if rung.max_tokens is None:
        raise ConfigError(
            f"nothing says how long answers of {rung.model} are: the log counts no output tokens; "
            "allowed: `max_tokens: …` at the rung"
        )
    return rung.max_tokens, "its limit"


def _usd(rung: Rung, tokens_in: int, tokens_out: float) -> float:
    usage = Usage(prompt_tokens=tokens_in, completion_tokens=round(tokens_out))
    cost = cost_usd(usage, rung.price)
    assert cost is not None
    return cost
