"""Which pieces of a context are kept within a number of tokens: those that must be, then the best ranked."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

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

_CUTS = re.compile(rb"\x00+")
_RUNS = re.compile(rb"\x00+|\x01|\x02+")
"""Runs of pieces that are cut, or kept, in states that are written as bytes; one with a bare rest is by itself."""


class Choice:
    """The pieces of some texts, and what it takes to keep them.

    Args:
        draft: Where the texts are from.
        slots: The texts that may be shortened.

    Attributes:
        tokens: Tokens of all these texts.
        least: About how many tokens must be kept, as far as is known: set by `fit`.
        protected: About how many tokens of these texts must not change.
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
        self._bare = [0.0 if not u.locked else self._bare_cost(i) for i, u in enumerate(self._of)]
        self.protected = sum(self._bare)
        self._ends = self._first_and_last()
        self._anchored = (
            self._sharing(None if draft.question_is_guess else draft.question) - self._ends
        )
        self._headings = self._heading_of()
        self._order = rank(self._texts, draft.question).order
        self.least = 0.0
        self._least_kept: dict[bool, tuple[list[int], float]] = {}

    def fit(self, room: float, *, closest: bool) -> list[int] | None:
        """Return what becomes of every piece so that about `room` tokens are kept at most.

        Args:
            room: Tokens there are for these texts.
            closest: Whether of the pieces that share something with the question those with the least
                to do with it may go, when they do not fit.

        Returns:
            `CUT`, `BARE` or `KEPT` for each piece; None when it cannot be.
        """
        state, used = self._start(closest=closest)
        self.least = used
        if used > room:
            return None
        # What ranks best comes before whole sentences around what is protected, but leaves them room.
        used = self._fill(state, used, used + RANKED_FIRST * (room - used), self._order)
        used = self._fill(state, used, room, (i for i in self._order if state[i] == BARE))
        self._fill(state, used, room, self._order)
        return state

    def least_by_slot(self) -> Iterator[tuple[Slot, float]]:
        """Yield each text with about how many of its tokens must be kept."""
        state, _ = self._start(closest=False)
        cost = {CUT: [0.0] * len(state), BARE: self._bare, KEPT: self._cost}
        at = 0
        for slot, units in zip(self._slots, self._units, strict=True):
            yield slot, sum(cost[state[i]][i] for i in range(at, at + len(units)))
            at += len(units)

    def _start(self, *, closest: bool) -> tuple[list[int], float]:
        """Return what becomes of every piece when only what must be kept is, and about how many tokens it is."""
        if closest not in self._least_kept:
            state = [BARE if unit.locked else CUT for unit in self._of]
            for i in self._ends if closest else self._ends | self._anchored:
                state[i] = KEPT
            self._least_kept[closest] = (state, self._used(state))
        state, used = self._least_kept[closest]
        return list(state), used

    def _fill(self, state: list[int], used: float, room: float, order: Iterable[int]) -> float:
        """Keep pieces in this order as far as there is room; return the tokens that are used then."""
        costs, headings, bare = self._cost, self._headings, self._bare
        for i in order:
            is_now = state[i]
            if is_now == KEPT:
                continue
            extra = costs[i] if is_now == CUT else costs[i] - bare[i]
            heading = headings[i]
            if heading >= 0 and state[heading] == CUT:
                extra += costs[heading]
            else:
                heading = i
            if used + extra <= room:
                used += extra
                state[i] = state[heading] = KEPT
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
        for i, is_now in enumerate(state):
            if is_now == KEPT:
                used += self._cost[i]
            elif is_now == BARE:
                used += self._bare[i]
            elif last != CUT:
                used += MARK_TOKENS
            last = is_now
        return used

    def _bare_cost(self, i: int) -> float:
        """Return about how many tokens of a locked piece are kept when only what is protected is."""
        slot, unit = self._owner[i], self._of[i]
        inside = list(overlapping(slot.layout.whole, unit.begin, unit.end))
        share = sum(end - begin for begin, end in inside) / max(unit.end - unit.begin, 1)
        return min(self._cost[i], self._cost[i] * share + MARK_TOKENS * len(inside))

    def _first_and_last(self) -> set[int]:
        found: set[int] = set()
        at = 0
        for units in self._units:
            own = range(at, at + len(units))
            for order in (own, reversed(own)):
                found.update(islice((i for i in order if self._texts[i].strip()), 1))
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
        for run in _CUTS.finditer(bytes(own)):
            i, stop = run.span()
            if sum(self._cost[begin + i : begin + stop]) <= MARK_TOKENS + 1:
                own[i:stop] = [KEPT] * (stop - i)
        return own

    @staticmethod
    def _parts(
        slot: Slot, units: Sequence[Unit], state: Sequence[int]
    ) -> Iterator[tuple[str, bool]]:
        """Yield the parts of a text with whether they are kept; of a cut its first and its last piece will do."""
        text, whole = slot.text, slot.layout.whole
        for run in _RUNS.finditer(bytes(state)):
            first, stop = run.span()
            begin, end = units[first].begin, units[stop - 1].end
            if state[first] == KEPT:
                yield text[begin:end], True
                continue
            if state[first] == CUT:
                yield text[begin : units[first].end], False
                if stop - first > 1:
                    yield text[units[stop - 1].begin : end], False
                continue
            at = begin
            for begins, ends in overlapping(whole, begin, end):
                if at < begins:
                    yield text[at:begins], False
                yield text[begins:ends], True
                at = ends
            if at < end:
                yield text[at:end], not text[at:end].strip()
