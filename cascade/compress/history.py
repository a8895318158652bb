"""Leaves out the oldest turns of a long conversation. Instructions and the last turns stay whole.

A turn is a user message with all that follows it up to the next. What is protected in a turn that goes
stays all the same: its messages are cut down to that, and only turns without any are gone altogether.
"""

from __future__ import annotations

from ..types import Message
from .draft import UNTOUCHED_ROLES, Draft, Slot
from .rendering import MARK, with_cuts
from .units import cut_into_units

__all__ = ["History"]

TURNS = 6


class History:
    """The lossy stage for conversations.

    Args:
        turns: Turns at the end that stay whole, >= 1.
        budget: Turns go, the oldest first, only while the prompt has more tokens; None: all but the last go.

    Raises:
        ValueError: A number is not positive.
    """

    name = "history"
    lossy = True

    def __init__(self, *, turns: int = TURNS, budget: int | None = None) -> None:
        for name, value in (("turns", turns), ("budget", budget)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: {value!r} given; allowed: a number >= 1")
        self._turns = turns
        self._budget = budget
        self.version = f"history:1:{turns}:{budget}"

    def apply(self, draft: Draft) -> str:
        """Cut the oldest turns; return what was removed, in words."""
        old = _turns(draft)[: -self._turns]
        budget = self._budget if draft.budget is None else draft.budget
        if not old or (budget is not None and draft.surely_within(budget)):
            return ""
        gone = shortened = 0
        tokens = draft.tokens() if budget is not None else 0
        for turn in old:
            if budget is not None and tokens <= budget:
                break
            before = _tokens(draft, turn)
            if _holds_nothing(draft, turn):
                draft.dropped.update(turn)
                gone += 1
            elif _shorten(draft, turn):
                shortened += 1
            tokens -= before - _tokens(draft, turn)
        if gone:
            draft.mark_dropped(
                f"[{gone:,} earlier turns left out]" if gone > 1 else "[1 earlier turn left out]"
            )
        said = [f"{gone:,} of the oldest turns"] if gone else []
        if shortened:
            said.append(f"{shortened:,} turns but for what is protected in them")
        return ", ".join(said)


def _turns(draft: Draft) -> list[list[int]]:
    """Return the messages of each turn that may change at all, instructions aside, oldest first."""
    turns: list[list[int]] = []
    for i, message in enumerate(draft.request.messages):
        if message.role in UNTOUCHED_ROLES or i in draft.dropped or i < draft.first_open:
            continue
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(i)
    return turns


def _slots(draft: Draft, turn: list[int]) -> list[Slot]:
    return [slot for slot in draft.slots if slot.message in turn]


def _tokens(draft: Draft, turn: list[int]) -> int:
    return sum(draft.count(s.text) for s in _slots(draft, turn) if s.message not in draft.dropped)


def _holds_nothing(draft: Draft, turn: list[int]) -> bool:
    """Return whether a turn is plain text without anything protected."""
    for i in turn:
        message = draft.request.messages[i]
        if not isinstance(message.content, str) or type(message) is not Message:
            return False
    return not any(slot.frozen or slot.layout.whole for slot in _slots(draft, turn))


def _shorten(draft: Draft, turn: list[int]) -> bool:
    """Cut the messages of a turn down to the sentences and blocks that hold something protected."""
    changed = False
    for slot in _slots(draft, turn):
        if slot.frozen:
            continue
        units = cut_into_units(slot.text, slot.layout.whole)
        shorter = with_cuts((slot.text[u.begin : u.end], u.locked) for u in units) or MARK
        if len(shorter) < len(slot.text):
            slot.text = shorter
            changed = True
    return changed
