"""Policies in words, for people who choose one."""

from __future__ import annotations

from ..explain import format_usd
from ..policies import Agreement, CascadeRouting, Chain, Fixed, Induction, RandomShare, Routing
from ..policies import Weighted as WeightedSplit
from ..policy import Policy, Thresholds

__all__ = ["in_words", "name_of", "setting_of"]


def name_of(policy: Policy) -> str:
    """Return a policy's name in a few words.

    >>> name_of(Fixed(model="small"))
    'always small'
    """
    if isinstance(policy, Fixed):
        return f"always {policy.model}"
    if isinstance(policy, Chain):
        steps = [f"{m} ≥{t:g}" for m, t in zip(policy.models[:-1], policy.accept, strict=True)]
        return " → ".join([*steps, policy.models[-1]])
    if isinstance(policy, Agreement):
        return f"{policy.models[0]} = {policy.models[1]}, else {policy.models[2]}"
    kinds = {Routing: "prompt-only routing", CascadeRouting: "cascade routing"}
    if isinstance(policy, (Routing, CascadeRouting, Induction)):
        kind = kinds.get(type(policy), "backward induction")
        return f"{kind}, {format_usd(policy.tradeoff_usd)} a right answer"
    return policy.version


def setting_of(policy: Policy) -> str | None:
    """Return the thresholds or the trade-off that rule a policy; None when it has neither."""
    if isinstance(policy, Chain):
        return "thresholds " + ", ".join(f"{t:g}" for t in policy.accept)
    if isinstance(policy, Thresholds):
        return "thresholds " + ", ".join(f"{t:g}" for t in policy.accept.values())
    if isinstance(policy, (Routing, CascadeRouting, Induction)):
        return f"trade-off {format_usd(policy.tradeoff_usd)} for one more right answer"
    return None


def in_words(policy: Policy) -> list[str]:
    """Return what a policy does, one step a sentence.

    >>> in_words(Chain(models=("small", "large"), accept=(0.8,)))
    ['Ask small; keep its answer when P(right) is at least 0.8.', 'Else ask large, and keep the surest answer of all.']
    """
    if isinstance(policy, Fixed):
        return [f"Ask {policy.model}, whatever the question, and keep its answer."]
    if isinstance(policy, Chain):
        return _chain(policy)
    if isinstance(policy, Agreement):
        first, second, last = policy.models
        return [
            f"Ask {first} and {second}.",
            "If both claim the same, keep that.",
            f"Else ask {last}, and keep the surest answer of the three; without a scorer, {last}'s.",
        ]
    if isinstance(policy, Routing):
        return [
            "Read the question only, and ask the one model whose P(right) less its price is greatest.",
            _prices(policy),
        ]
    if isinstance(policy, CascadeRouting):
        return [
            "Before every call, compare: the surest answer at hand, against what one further model "
            "would probably bring less its price.",
            "Ask the model that is worth most, or stop when none is; keep the surest answer.",
            _prices(policy),
        ]
    if isinstance(policy, Induction):
        return [
            "Before every call, compare: the surest answer at hand, against what each further model, "
            "and all that may follow it, was worth on the tuning rows, less its price.",
            "Ask the model that is worth most, or stop when none is; keep the surest answer.",
            _prices(policy),
        ]
    if isinstance(policy, (RandomShare, WeightedSplit)):
        shares = zip(policy.models, policy.weights, strict=True)
        told = ", ".join(f"{model} for {weight:.0%}" for model, weight in shares)
        return [f"Draw one model a request: {told}."]
    return [policy.version]


def _chain(policy: Chain) -> list[str]:
    steps = []
    for i, (model, threshold) in enumerate(zip(policy.models[:-1], policy.accept, strict=True)):
        if i == 0:
            steps.append(f"Ask {model}; keep its answer when P(right) is at least {threshold:g}.")
        else:
            steps.append(
                f"Else ask {model}; keep the surest answer so far when P(right) is at least "
                f"{threshold:g}."
            )
    return [*steps, f"Else ask {policy.models[-1]}, and keep the surest answer of all."]


def _prices(policy: Routing | CascadeRouting | Induction) -> str:
    prices = ", ".join(
        f"{model} {_points(price)}"
        for model, price in zip(policy.models, policy.price, strict=True)
    )
    return f"A call must be worth its price in points of P(right): {prices}."


def _points(price: float) -> str:
    """Return a price in points of quality, two significant digits and no exponent.

    >>> _points(0.053), _points(1.4), _points(12.36), _points(0.00001), _points(0.0)
    ('5.3', '140', '1,236', '<0.01', '0')
    """
    points = 100 * price
    if 0 < points < 0.01:
        return "<0.01"
    return f"{points:,.0f}" if points >= 10 or points == 0 else f"{points:.2g}"
