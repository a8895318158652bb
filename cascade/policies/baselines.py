"""Policies that look at nothing: one model always, or a random split. What every clever policy must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..fingerprint import digest, request_digest
from ..policy import Decision, State
from .view import finish, look

__all__ = ["Fixed", "RandomShare", "Weighted", "pick", "uniform"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One model for everything.

    Attributes:
        model: Its name.
        version: Name, version and digest of the content.
    """

    model: str
    version: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", f"fixed/1-{digest(self.model)[:8]}")

    @property
    def models(self) -> tuple[str]:
        """The one model."""
        return (self.model,)

    @property
    def needs_forecast(self) -> bool:
        """Nothing is forecast."""
        return False

    def decide(self, state: State) -> Decision:
        """Ask the one model, then stop."""
        view = look(state, self.models)
        if view.seen:
            return finish(state, view, None, "the only model has answered")
        return finish(state, view, next(iter(view.open), None), "the only model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """One model a request, drawn with fixed weights.

    The draw depends on the request and the seed alone, so the same request always goes the same
    way; every probability is logged.

    Attributes:
        models: Names.
        weights: Probabilities, >= 0, summing to 1. Shape (n_models,).
        seed: Another seed is another split.
        version: Name, version and digest of the content.
    """

    models: tuple[str, ...]
    weights: tuple[float, ...]
    seed: int = 0
    version: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.models) != len(self.weights) or not self.models:
            raise ValueError(f"{len(self.weights)} weights for {len(self.models)} models")
        if not all(w >= 0 for w in self.weights) or abs(sum(self.weights) - 1.0) > 1e-9:
            raise ValueError("weights must be >= 0 and sum to 1")
        content = [self.models, self.weights, self.seed]
        object.__setattr__(self, "version", f"weighted/1-{digest(content)[:8]}")

    @property
    def needs_forecast(self) -> bool:
        """Nothing is forecast."""
        return False

    def decide(self, state: State) -> Decision:
        """Draw a model, ask it, stop."""
        return _drawn(state, self.models, self.weights, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomShare:
    """The strong model for a random share of requests, the weak one for the rest.

    Attributes:
        weak: Name of the cheap model.
        strong: Name of the dear one.
        share: Probability of the dear one, in [0, 1].
        seed: Another seed is another split.
        version: Name, version and digest of the content.
    """

    weak: str
    strong: str
    share: float
    seed: int = 0
    version: str = field(init=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share: {self.share!r} is not in [0, 1]")
        content = [self.weak, self.strong, self.share, self.seed]
        object.__setattr__(self, "version", f"random_share/1-{digest(content)[:8]}")

    @property
    def models(self) -> tuple[str, str]:
        """The two models."""
        return (self.weak, self.strong)

    @property
    def weights(self) -> tuple[float, float]:
        """Probability of each of the two."""
        return (1.0 - self.share, self.share)

    @property
    def needs_forecast(self) -> bool:
        """Nothing is forecast."""
        return False

    def decide(self, state: State) -> Decision:
        """Draw one of the two, ask it, stop."""
        return _drawn(state, self.models, self.weights, self.seed)


def uniform(key: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on `key` and `seed` alone.

    >>> uniform("a request", 0) == uniform("a request", 0) != uniform("a request", 1)
    True
    """
    return int(digest([seed, key])[:13], 16) / 16**13


def pick(weights: Sequence[float], u: float) -> int:
    """Return the index that `u` in [0, 1) falls on when the weights are laid end to end.

    >>> pick((0.25, 0.75), 0.2), pick((0.25, 0.75), 0.25)
    (0, 1)
    """
    edge = 0.0
    for i, weight in enumerate(weights[:-1]):
        edge += weight
        if u < edge:
            return i
    return len(weights) - 1


def _drawn(state: State, models: Sequence[str], weights: Sequence[float], seed: int) -> Decision:
    view = look(state, models)
    if view.seen:
        return finish(state, view, None, "the model drawn has answered")
    if state.attempts or len(view.open) < len(models):
        likely = max(view.open, key=lambda i: weights[i], default=None)
        return finish(state, view, likely, "the model drawn is not to be had")
    key = "" if state.request is None else request_digest(state.request)
    i = pick(weights, uniform(key, seed))
    return Decision(
        rung=view.rungs[i],
        reason=f"drawn with probability {weights[i]:.2f}",
        probabilities={f"call:{r}": w for r, w in zip(view.rungs, weights, strict=True)},
    )
