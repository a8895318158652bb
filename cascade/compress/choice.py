"""Which pieces of a context are kept within a number of tokens: those that must be, then the best ranked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

from .anchors import anchor_pattern, anchors
from .draft import Draft, Slot
from .protected import overlapping
from .ranking import rank
from .rendering import MARK_TOKENS, with_cuts
from .units import Unit, cut_into_units

__all__ = ["Choice"]

RANKED_FIRST = 0.6
"""Share of the room that goes to the best ranked before sentences are completed that hold protected text."""

CUT, BARE, KEPT = 0, 1, 2
"""What becomes of a piece: left out; only what is protected in it is kept; kept."""


class Choice:
    """The pieces of some texts, and what it takes to keep them.

    Args:
        draft: Where the texts are from.
        slots: The texts that may be shortened.

    Attributes:
        tokens: Tokens of all these texts.
        least: About how many tokens must be kept, as far as is known: set by `fit`.
    """

    def __init__(self, draft: Draft, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self._units = [cut_into_units(slot.text, slot.layout.whole) for slot in slots]
        self._texts = [
            slot.text[unit.begin : unit.end]
            for slot, units in zip(slots, self._units, strict=True)
            for unit in units
        ]
        self._of = [unit for units in self._units for unit in units]
        self._owner = [slot for slot, units in zip(slots, self._units, strict=True) for _ in units]
        self.tokens = 0
        self._cost: list[float] = []
        for slot, units in zip(slots, self._units, strict=True):
            whole = draft.count(slot.text)
            self.tokens += whole
            a_char = whole / max(len(slot.text), 1)
            self._cost += [(unit.end - unit.begin) * a_char for unit in units]
        self._ends = self._first_and_last()
        self._anchored = (
            self._sharing(None if draft.question_is_guess else draft.question) - self._ends
        )
        self._headings = self._heading_of()
        self._order = rank(self._texts, draft.question).order
        self.least = 0.0

    def fit(self, room: float, *, closest: bool) -> list[int] | None:
        """Return what becomes of every piece so that about `room` tokens are kept at most.

        Args:
            room: Tokens there are for these texts.
            closest: Whether of the pieces that share something with the question those with the least
                to do with it may go, when they do not fit.

        Returns:
            `CUT`, `BARE` or `KEPT` for each piece; None when it cannot be.
        """
        state = [BARE if unit.locked else CUT for unit in self._of]
        must = self._ends if closest else self._ends | self._anchored
        for i in must:
            state[i] = KEPT
        used = self.least = self._used(state)
        if used > room:
            return None
        # What ranks best comes before whole sentences around what is protected, but leaves them room.
        used = self._fill(state, used, used + RANKED_FIRST * (room - used), self._order)
        used = self._fill(state, used, room, (i for i in self._order if state[i] == BARE))
        self._fill(state, used, room, self._order)
        return state

    def _fill(self, state: list[int], used: float, room: float, order: Iterable[int]) -> float:
        """Keep pieces in this order as far as there is room; return the tokens that are used then."""
        for i in order:
            if state[i] == KEPT:
                continue
            heading = self._headings[i]
            with_heading = heading >= 0 and state[heading] == CUT
            extra = self._cost[i] - (self._bare_cost(i) if state[i] == BARE else 0.0)
            extra += self._cost[heading] if with_heading else 0.0
            if used + extra <= room:
                used += extra
                state[i] = KEPT
                if with_heading:
                    state[heading] = KEPT
        return used

    def texts(self, state: Sequence[int]) -> list[str]:
        """Return the texts with what was left out marked."""
        found: list[str] = []
        at = 0
        for slot, units in zip(self._slots, self._units, strict=True):
            own = self._without_small_cuts(state, at, at + len(units))
            found.append(with_cuts(self._parts(slot, units, own)))
            at += len(units)
        return found

    def told(self, state: Sequence[int]) -> str:
        """Return what was left out and why the rest was not, in words."""
        cut, bare = state.count(CUT), state.count(BARE)
        held = f", {bare:,} more but for what is protected in them" if bare else ""
        shared = sum(state[i] == KEPT for i in self._anchored)
        return (
            f"{cut:,} of {len(state):,} sentences and blocks{held}; kept {shared:,} for a number, name "
            "or quotation of the question"
        )

    def _used(self, state: Sequence[int]) -> float:
        """Return about how many tokens are kept, marks included."""
        used = 0.0
        last = KEPT
        for i, s in enumerate(state):
            if s == KEPT:
                used += self._cost[i]
            elif s == BARE:
                used += self._bare_cost(i)
            elif last != CUT:
                used += MARK_TOKENS
            last = s
        return used

    def _bare_cost(self, i: int) -> float:
        slot, unit = self._owner[i], self._of[i]
        inside = list(overlapping(slot.layout.whole, unit.begin, unit.end))
        share = sum(end - begin for begin, end in inside) / max(unit.end - unit.begin, 1)
        return min(self._cost[i], self._cost[i] * share + MARK_TOKENS * len(inside))

    def _first_and_last(self) -> set[int]:
        found: set[int] = set()
        at = 0
        for units in self._units:
            filled = [at + i for i in range(len(units)) if self._texts[at + i].strip()]
            found.update(filled[:1] + filled[-1:])
            at += len(units)
        return found

    def _sharing(self, question: str | None) -> set[int]:
        """Return the pieces that share a number, a name or a quoted string with the question."""
        pattern = anchor_pattern(anchors(question)) if question else None
        found: set[int] = set()
        if pattern is None:
            return found
        at = 0
        for slot, units in zip(self._slots, self._units, strict=True):
            begins = [unit.begin for unit in units]
            for match in pattern.finditer(slot.text):
                first = bisect_right(begins, match.start()) - 1
                last = bisect_left(begins, match.end()) - 1
                found.update(range(at + first, at + last + 1))
            at += len(units)
        return found

    def _heading_of(self) -> list[int]:
        """Return for every piece the heading it stands under, or -1."""
        found: list[int] = []
        for units in self._units:
            at, last = len(found), -1
            for i, unit in enumerate(units):
                found.append(last)
                if unit.heading:
                    last = at + i
        return found

    def _without_small_cuts(self, state: Sequence[int], begin: int, end: int) -> list[int]:
        """Return states in which no cut saves less than its mark costs."""
        own = list(state[begin:end])
        i = 0
        while i < len(own):
            if own[i] != CUT:
                i += 1
                continue
            stop = i
            while stop < len(own) and own[stop] == CUT:
                stop += 1
            if sum(self._cost[begin + i : begin + stop]) <= MARK_TOKENS + 1:
                own[i:stop] = [KEPT] * (stop - i)
            i = stop
        return own

    @staticmethod
    def _parts(
        slot: Slot, units: Sequence[Unit], state: Sequence[int]
    ) -> Iterator[tuple[str, bool]]:
        text, whole = slot.text, slot.layout.whole
        for unit, s in zip(units, state, strict=True):
            if s != BARE:
                yield text[unit.begin : unit.end], s == KEPT
                continue
            at = unit.begin
            for begin, end in overlapping(whole, unit.begin, unit.end):
                if at < begin:
                    yield text[at:begin], False
                yield text[begin:end], True
                at = end
            if at < unit.end:
                yield text[at : unit.end], not text[at : unit.end].strip()
