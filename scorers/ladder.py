"""The fitted scorer of a ladder: P(model j is right) in every state, a state being who has answered.

Up to two models: one judge for every (state, target), which were better there than anything shared.
From three on: judges of the prompt and of each model's own answer, and one learner a target over
all states on top of them (methods page, section 11, point 2). `ladder_fit` fits it, over two seeds
whose probabilities are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cascade.errors import ScorerError

from .batch import Batch
from .calibrate import Calibration
from .compiled import Compiled
from .dataset import Dataset
from .heads import Blocks
from .judges import Judge
from .states import StateModel

__all__ = ["MAX_MODELS", "LadderModel", "Member"]

MAX_MODELS = 6
"""A ladder of m models has 2^m states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What was fitted with one seed.

    Attributes:
        judges: (target, answered models…) → P(target right | prompt, those answers).
        states: The learner over all states of each target; empty for up to two models.
    """

    judges: Mapping[tuple[int, ...], Judge]
    states: tuple[StateModel, ...]

    def calibration(self, j: int, readable: bool) -> Calibration:
        """Return what P(j right | prompt, own answer) was calibrated by."""
        if self.states and readable:
            return self.states[j].calibration[1]
        return self.judges[(j, j) if readable else (j,)].stack.calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderModel:
    """Scores of every state of a ladder. A state is a bit mask: bit j says that model j has answered.

    Attributes:
        models: The models, cheapest first. Length m.
        readable: Whether the log held the texts of model j; without them its answer says nothing.
        strength: Share of right answers of each model in training. Shape (m,).
        trust: How much of P(next right)'s variation to believe, in [0.25, 1]; see `gain_trust`.
        n: Rows it was fitted on, each with a label of some model.
        members: One a seed; their probabilities are averaged.
        compiled: What scoring has made of them; not part of the model.
    """

    models: tuple[str, ...]
    readable: tuple[bool, ...]
    strength: np.ndarray
    trust: float
    n: int
    members: tuple[Member, ...]
    compiled: Compiled = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", Compiled(self.members))

    def probabilities(
        self,
        dataset: Dataset | Blocks,
        rows: np.ndarray,
        states: Sequence[int] | None = None,
        read: dict[Any, Any] | None = None,
    ) -> np.ndarray:
        """Return P(model j is right | state) for these rows.

        Args:
            dataset: Whose models are `self.models`, in this order, or the blocks of one.
            rows: Row numbers. Shape (n,).
            states: The states to fill in; None for all. The others stay NaN.
            read: Keeps what was read of the rows' texts, for later calls with the same rows; None
                to keep nothing.

        Returns:
            Shape (2^m, n, m), in [0, 1].

        Raises:
            ScorerError: The dataset has other models.
        """
        if isinstance(dataset, Dataset) and dataset.models != self.models:
            raise ScorerError(
                f"the scorer is for {', '.join(self.models)}; given: {', '.join(dataset.models)}"
            )
        b = dataset.blocks if isinstance(dataset, Dataset) else dataset
        m = len(self.models)
        q = np.full((1 << m, len(rows), m), np.nan)
        wanted = range(1 << m) if states is None else states
        batch = Batch(self, b, rows, {} if read is None else read)
        for state in wanted:
            q[state] = batch.at(state).mean(axis=0)
        return q

    def own_scores(
        self, dataset: Dataset | Blocks, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return P(model j is right | prompt, own answer), and before calibration; each (n, m)."""
        b = dataset.blocks if isinstance(dataset, Dataset) else dataset
        batch = Batch(self, b, rows, {})
        own, raw = np.empty((2, len(rows), len(self.models)))
        for j in range(len(self.models)):
            each = batch.at(1 << j)[:, :, j]
            own[:, j] = each.mean(axis=0)
            before = [
                member.calibration(j, self.readable[j]).inverse(p)
                for member, p in zip(self.members, each, strict=True)
            ]
            raw[:, j] = np.mean(before, axis=0)
        return own, raw

    def value_of_escalating(self, q: np.ndarray, weak: int, strong: int) -> np.ndarray:
        """Return the expected gain of asking `strong` once `weak` has answered. Shape (n,)."""
        known = q[1 << weak]
        return np.asarray(self.trust * known[:, strong] - known[:, weak])

    def keep_weak(self, q: np.ndarray, weak: int, strong: int) -> np.ndarray:
        """Return whether `weak`'s answer is the better of two that were given. Shape (n,), bool.

        While labels are few the strong answer is preferred by up to 0.1.
        """
        both = q[1 << weak | 1 << strong]
        return np.asarray(both[:, weak] > both[:, strong] + 0.1 * (1.0 - self.trust))

    def as_value(self) -> dict[str, Any]:
        """Return it in the words of `codec.save_fitted`."""
        return {
            "models": list(self.models),
            "readable": list(self.readable),
            "strength": self.strength,
            "trust": self.trust,
            "n": self.n,
            "members": [{"judges": dict(x.judges), "states": list(x.states)} for x in self.members],
        }

    @staticmethod
    def from_value(value: Any) -> LadderModel:
        """Return what `as_value` gave.

        Raises:
            ValueError: It does not hold together.
        """
        return _checked(value)


def _checked(value: Any) -> LadderModel:
    try:
        models = tuple(value["models"])
        readable = tuple(value["readable"])
        strength = np.asarray(value["strength"], float)
        members = tuple(
            Member(judges=dict(x["judges"]), states=tuple(x["states"])) for x in value["members"]
        )
        trust, n = float(value["trust"]), int(value["n"])
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"a part of the model is missing or of another kind ({exc})") from exc
    m = len(models)
    sound = (
        1 <= m <= MAX_MODELS
        and all(isinstance(x, str) for x in models)
        and len(set(models)) == m
        and len(readable) == m
        and strength.shape == (m,)
        and members
        and 0.0 <= trust <= 1.0
    )
    if not sound:
        raise ValueError("models, strengths and members do not fit together")
    for member in members:
        _check_member(member, readable)
    return LadderModel(
        models=models,
        readable=tuple(bool(r) for r in readable),
        strength=strength,
        trust=trust,
        n=n,
        members=members,
    )


def _check_member(member: Member, readable: Sequence[bool]) -> None:
    m = len(readable)
    needed: set[tuple[int, ...]] = {(j,) for j in range(m)}
    if member.states:
        needed |= {(j, j) for j in range(m) if readable[j]}
    else:
        for state in range(1 << m):
            answered = tuple(j for j in range(m) if state >> j & 1 and readable[j])
            needed |= {(j, *answered) for j in range(m)}
    if set(member.judges) != needed or len(member.states) not in (0, m):
        raise ValueError("judges or states are missing")
    for key, judge in member.judges.items():
        if not isinstance(judge, Judge):
            raise ValueError(f"judge {key} is a {type(judge).__name__}")
        target, answered = key[0], key[1:]
        # Its own, or that of the target's answer or the prompt alone, which stands in for it.
        first = (target,) if target in answered else ()
        if judge.heads.target != target or tuple(judge.heads.answered) not in (answered, first):
            raise ValueError(f"judge {key} is for another question")
    for j, learner in enumerate(member.states):
        if not isinstance(learner, StateModel) or learner.target != j:
            raise ValueError(f"the learner of model {j} is for another")
