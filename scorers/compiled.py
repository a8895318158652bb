"""A fitted ladder laid out for scoring: made of the model when it is first needed, and kept with it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .bank import Bank
from .blend import Blend
from .plain_trees import PlainModels
from .states import standing, state_size
from .text_bank import TextBank, TextReader

if TYPE_CHECKING:
    from .ladder import Member

__all__ = ["Compiled", "Question"]

Question = tuple[tuple[int, ...], tuple[int, ...]]
"""Which models have answered, and of which P(right) is wanted."""


class Compiled:
    """The parts of a ladder's members as scoring wants them; safe to be shared by threads.

    Args:
        members: What was fitted with each seed.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._plain = PlainModels()
        self._banks: dict[tuple[Question, ...], Bank] = {}
        self._states: dict[tuple[int, ...], Blend] = {}
        self._learners: dict[tuple[int, int, int], Blend] = {}

    @cached_property
    def texts(self) -> TextBank:
        """The text heads of all judges."""
        return TextBank(j.heads for member in self._members for j in member.judges.values())

    @cached_property
    def reader(self) -> TextReader:
        """What reads one text at a time."""
        return self.texts.reader()

    def has(self, questions: tuple[Question, ...]) -> bool:
        """Return whether there is a bank for exactly these questions."""
        return questions in self._banks

    def bank(self, questions: tuple[Question, ...]) -> Bank:
        """Return the bank of some questions: each one's results by member, then by target."""
        bank = self._banks.get(questions)
        if bank is None:
            judges = [
                member.judges[(target, *answered)]
                for answered, targets in questions
                for member in self._members
                for target in targets
            ]
            bank = self._banks[questions] = Bank(judges, self.texts, self._plain)
        return bank

    def state(self, answered: tuple[int, ...]) -> Blend:
        """Return all learners in one state: by member, then by target; so are their inputs."""
        blend = self._states.get(answered)
        if blend is None:
            learners = [s for member in self._members for s in member.states]
            size = state_size(len(self._members[0].states))
            state = sum(1 << j for j in answered)
            judgements = [
                learner.judgement(state, np.arange(at * size, (at + 1) * size))
                for at, learner in enumerate(learners)
            ]
            width = size * len(learners)
            # The trees are the same in every state.
            forest = next((one.forest for one in self._states.values()), None)
            blend = Blend(judgements, width, self._plain, forest=forest)
            self._states[answered] = blend
        return blend

    def learner(self, member: int, target: int, state: int) -> Blend:
        """Return one learner, in states in which its target stands as in this one."""
        key = member, target, standing(state, target)
        blend = self._learners.get(key)
        if blend is None:
            size = state_size(len(self._members[0].states))
            judgement = self._members[member].states[target].judgement(state, np.arange(size))
            others = (self._learners.get((member, target, kind)) for kind in range(3))
            # The trees are the same in every state.
            forest = next((one.forest for one in others if one is not None), None)
            blend = Blend([judgement], size, self._plain, forest=forest)
            self._learners[key] = blend
        return blend
