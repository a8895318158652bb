"""Keeps of a long context what has to do with the question, up to a budget of tokens.

Kept at any rate are what must not change, the first and the last piece of every text, and what shares a
number, a name or a quoted string with the question. The rest is ranked (`cascade.compress.ranking`) and
kept as far as the budget goes, in the order of the text; each cut is marked.
"""

from __future__ import annotations

from typing import Literal

from ..errors import PromptOverBudget
from .choice import Choice
from .draft import Draft

__all__ = ["Extract", "WhenOver"]

WhenOver = Literal["pass", "refuse", "closest"]
"""When what must be kept is over the budget: leave the prompt as it is; refuse it; or keep of what
shares something with the question only the most relevant, and of what holds protected text nothing else."""

_CONTEXT_ROLES = ("user", "tool", "function")

_ROUNDS = 8
"""Times that the choice is made again with less room when the tokens turn out to be more than thought."""


class Extract:
    """The lossy stage that chooses by the question.

    Args:
        budget: Most tokens that all texts of the prompt may have; None: only with a caller's own.
        when_over: What to do when what must be kept is over the budget.
        place: Where this is set, for the message of the error.

    Raises:
        ValueError: `budget` is not positive.
    """

    name = "extract"
    lossy = True

    def __init__(
        self, budget: int | None = None, *, when_over: WhenOver = "pass", place: str = "extract"
    ) -> None:
        if budget is not None and budget < 1:
            raise ValueError(f"budget: {budget!r} given; allowed: a number of tokens >= 1")
        self._budget = budget
        self._when_over = when_over
        self._place = place
        self.version = f"extract:1:{budget}:{when_over}"

    def apply(self, draft: Draft) -> str:
        """Leave out what has least to do with the question until the draft is within its budget.

        Raises:
            PromptOverBudget: It cannot be, and that is set to be refused.
        """
        budget = draft.budget if draft.budget is not None else self._budget
        if budget is None or draft.surely_within(budget):
            return ""
        slots = [s for s in draft.open_slots() if s.role in _CONTEXT_ROLES and s.text.strip()]
        total = draft.tokens()
        if total <= budget:
            return ""
        choice = Choice(draft, slots)
        elsewhere = total - choice.tokens
        room = float(budget - elsewhere)
        for _ in range(_ROUNDS):
            kept = choice.fit(room, closest=self._when_over == "closest")
            if kept is None:
                break
            texts = choice.texts(kept)
            over = elsewhere + sum(draft.count(text) for text in texts) - budget
            if over <= 0:
                for slot, text in zip(slots, texts, strict=True):
                    slot.text = text
                if draft.question is None:
                    draft.say("no question was found: what is closest to the whole was kept")
                return choice.told(kept)
            room -= over * 1.1 + 2
        least = round(elsewhere + choice.least)
        if self._when_over == "refuse":
            raise PromptOverBudget(
                budget=budget,
                least_tokens=least,
                protected_tokens=round(elsewhere + choice.protected),
                place=self._place,
                mostly=_mostly(draft, choice),
            )
        draft.say(
            f"what must be kept is about {least:,} tokens, over the budget of {budget:,}: "
            "the prompt is left as it was"
        )
        return ""


def _mostly(draft: Draft, choice: Choice) -> str | None:
    """Return the message that has the most of what must be kept."""
    open_slots = {id(slot): tokens for slot, tokens in choice.least_by_slot()}
    found: dict[int, float] = {}
    for slot in draft.kept_slots():
        tokens = open_slots.get(id(slot), draft.count(slot.text))
        found[slot.message] = found.get(slot.message, 0.0) + tokens
    most = max(found, key=lambda message: found[message], default=None)
    return None if most is None else f"messages[{most}]"
