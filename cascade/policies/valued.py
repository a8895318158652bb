"""Policies that weigh P(right) against money: what is the next call worth, and is stopping worth more?

One trade-off rules them: `tradeoff_usd`, the US dollars that one unit of quality is worth (one
more right answer). A call that costs c dollars must raise the expected quality by more than
c / `tradeoff_usd`. All three are argmax rules over the same forecasts, from the poorest to the
richest: `Routing` reads the prompt only, `CascadeRouting` looks one call ahead after every answer
(ETH, arXiv:2410.10347, without covariance), and `Induction` values what can still follow
(backward induction over states; methods page, section 11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..fingerprint import digest
from ..policy import Decision, State
from .view import NOTHING, View, blind, finish, look

__all__ = ["FEATURES", "CascadeRouting", "Induction", "Routing", "continuation"]

FEATURES = ("one", "best", "p_next", "max", "product", "other", "best_squared")
"""What the worth of a continuation is linear in: 1; P(right) of the surest answer at hand; of the next
model; the greater and the product of the two; the greatest of the models that neither answered nor
are next; the square of the second."""

_Weights = tuple[float, float, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Valued:
    """What the three have in common.

    Attributes:
        models: Names of the models, cheapest first; each must be a rung.
        cost_usd: Expected US dollars of one call of each, >= 0. Shape (n_models,).
        tradeoff_usd: US dollars that one unit of quality is worth, > 0.
        version: Name, version and digest of the content, as the decision log states it.
    """

    models: tuple[str, ...]
    cost_usd: tuple[float, ...]
    tradeoff_usd: float
    version: str = field(init=False)
    _price: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.models) != len(self.cost_usd) or not self.models:
            raise ValueError(f"{len(self.cost_usd)} costs for {len(self.models)} models")
        if not self.tradeoff_usd > 0 or not all(cost >= 0 for cost in self.cost_usd):
            raise ValueError("tradeoff_usd must be > 0 and every cost_usd >= 0")
        object.__setattr__(self, "_price", tuple(c / self.tradeoff_usd for c in self.cost_usd))
        content = [self.models, self.cost_usd, self.tradeoff_usd, self._further()]
        object.__setattr__(self, "version", f"{self._name()}/1-{digest(content)[:8]}")

    @property
    def needs_forecast(self) -> bool:
        """The first call is chosen from the prompt."""
        return True

    @property
    def price(self) -> tuple[float, ...]:
        """Cost of a call in units of quality: `cost_usd` / `tradeoff_usd`. Shape (n_models,)."""
        return self._price

    def _name(self) -> str:
        raise NotImplementedError

    def _further(self) -> object:
        return None

    def _dearest(self) -> int:
        return max(range(len(self.models)), key=lambda i: (self.cost_usd[i], i))


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing(_Valued):
    """One model, chosen from the prompt alone: argmax of P(right) less its price.

    The special case of `CascadeRouting` that never looks at an answer (RouteLLM, arXiv:2406.18665,
    with two models).
    """

    def _name(self) -> str:
        return "routing"

    def decide(self, state: State) -> Decision:
        """Ask the best-valued model; stop at its answer."""
        view = look(state, self.models)
        if view.seen:
            return finish(state, view, None, "the model that the prompt called for has answered")
        if view.p is None:
            return blind(state, view, self._dearest())
        worth = {i: view.p[i] - self._price[i] for i in view.open}
        return _argmax(state, view, worth, NOTHING, None, self.models)

    def is_last(self, state: State, rung: int) -> bool:
        """Return True: it stops at the first answer."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeRouting(_Valued):
    """Any model next, or stop: whichever has the best expected answer less what it still costs.

    A set of further calls is worth max P(right) less their prices; without covariance its best
    member alone is worth more, so that looking one call ahead is looking at all sets.
    """

    def _name(self) -> str:
        return "cascade_routing"

    def decide(self, state: State) -> Decision:
        """Stop, or call the model whose answer is worth most."""
        view = look(state, self.models)
        if view.p is None:
            return blind(state, view, self._dearest())
        best = _best(view.p, view.seen)
        worth = {i: max(best or 0.0, view.p[i]) - self._price[i] for i in view.open}
        return _argmax(state, view, worth, NOTHING if best is None else best, best, self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Induction(_Valued):
    """Any model next, or stop, with what may follow valued by regression, from the last call backwards.

    Attributes:
        weights: (bit mask of the models that answered, next model) → weights of `FEATURES`. A pair
            that is absent is never walked.
    """

    weights: Mapping[tuple[int, int], Sequence[float]]

    def _name(self) -> str:
        return "induction"

    def _further(self) -> object:
        return [[mask, j, list(w)] for (mask, j), w in sorted(self.weights.items())]

    def decide(self, state: State) -> Decision:
        """Stop, or call the model after which the rest is worth most."""
        view = look(state, self.models)
        if view.p is None:
            return blind(state, view, self._dearest())
        best = _best(view.p, view.seen)
        worth = {
            i: continuation(view.p, view.seen, i, self.weights[view.seen, i]) - self._price[i]
            for i in view.open
            if (view.seen, i) in self.weights
        }
        return _argmax(state, view, worth, NOTHING if best is None else best, best, self.models)


def continuation(p: Sequence[float], seen: int, following: int, weights: Sequence[float]) -> float:
    """Return what calling `following` in the state `seen` is worth before its price.

    Args:
        p: P(right) by model given what was seen, in [0, 1]. Shape (n_models,).
        seen: Bit mask of the models that have answered.
        following: The model to call.
        weights: Weights of `FEATURES`. Shape (7,).

    >>> continuation((0.5, 0.75), 0b01, 1, (0, 0, 0, 1, 0, 0, 0))
    0.75
    """
    b = _best(p, seen) or 0.0
    mine = p[following]
    other = max((p[i] for i in range(len(p)) if i != following and not seen >> i & 1), default=0.0)
    # Term by term in this order: the array twin adds in the same one, so that both agree to the bit.
    worth = weights[0] + weights[1] * b
    worth += weights[2] * mine
    worth += weights[3] * max(b, mine)
    worth += weights[4] * (b * mine)
    worth += weights[5] * other
    worth += weights[6] * (b * b)
    return worth


def _best(p: Sequence[float], seen: int) -> float | None:
    return max((p[i] for i in range(len(p)) if seen >> i & 1), default=None)


def _argmax(
    state: State,
    view: View,
    worth: Mapping[int, float],
    stopping: float,
    best: float | None,
    models: Sequence[str],
) -> Decision:
    """Stop unless a call is worth more; the cheaper of equal calls. A floor not reached rules out stopping."""
    floor = state.demand.min_confidence
    if floor is not None and best is not None and best < floor:
        stopping = NOTHING
    chosen, most = None, stopping
    for i in sorted(worth):
        if worth[i] > most:
            chosen, most = i, worth[i]
    sure = "" if best is None else f"P(right) {best:.2f} so far; "
    if chosen is not None:
        against = "" if stopping == NOTHING else f" > {stopping:.3f}"
        reason = f"{sure}asking {models[chosen]} is worth {most:.3f}{against}"
    else:
        rival = max(worth.values(), default=None)
        less = "nothing left to ask" if rival is None else f"asking on is worth {rival:.3f} only"
        reason = f"{sure}{less}"
    return finish(state, view, chosen, reason, best=best)
