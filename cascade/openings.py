"""Which rungs may still be called: those for which money, window and time suffice. Pure.

A rung that may not is noted as a skipped attempt with the reason, once, and never looked at again:
money and time only become less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from .budget import refusal_to_spend
from .errors import ContextTooLong
from .ladder import Ladder, Rung
from .types import Attempt, Demand

__all__ = ["Outlook", "open_rungs", "usable"]


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What time is left, and what the rungs take of it.

    Attributes:
        left_s: Seconds until the ask must end.
        expected_s: Seconds a call of a rung is expected to take, by rung index; a rung of which
            nothing is known is absent. Empty too when what is left is enough for any rung.
    """

    left_s: float
    expected_s: Mapping[int, float] = {}


def open_rungs(
    ladder: Ladder,
    attempts: tuple[Attempt, ...],
    demand: Demand,
    outlook: Outlook | None = None,
) -> tuple[tuple[Attempt, ...], tuple[int, ...]]:
    """Return the attempts with newly barred rungs noted before the newest, and the open rungs.

    A rung is barred when it is known to pass what the ask may spend, when its window is no larger
    than one for which the prompt was too long, and when it is expected to take longer than what is
    left. As long as there is no answer to fall back on, the quickest of those that only time bars
    stays open: trying is better than giving up.
    """
    if attempts:
        called = {attempt.rung for attempt in attempts}
        unseen = tuple([i for i in range(len(ladder.rungs)) if i not in called])
        too_long = isinstance(attempts[-1].error, ContextTooLong)
    else:
        unseen, too_long = tuple(range(len(ladder.rungs))), False
    if outlook is not None and outlook.left_s > 0.0 and not outlook.expected_s:
        outlook = None  # time enough for every rung
    bounded = demand.max_cost_usd is not None or demand.max_total_tokens is not None
    if not bounded and not too_long and outlook is None:  # the usual case
        return attempts, unseen
    overrun = _overrun_window(ladder, attempts)
    barred: dict[int, str] = {}
    late: dict[int, str] = {}
    for i in unseen:
        rung = ladder.rungs[i]
        why = refusal_to_spend(rung, attempts, demand) or _too_small(rung, overrun)
        if why is not None:
            barred[i] = why
        elif outlook is not None and (why := _too_slow(i, outlook)) is not None:
            late[i] = why
    if late and len(barred) + len(late) == len(unseen) and not any(map(usable, attempts)):
        expected_s = {} if outlook is None else outlook.expected_s
        del late[min(late, key=lambda i: expected_s.get(i, 0.0))]
    skipped = [_skipped(i, ladder.rungs[i], why) for i, why in sorted((barred | late).items())]
    # The newest attempt stays last: it is the one the policy decides about.
    attempts = (*attempts[:-1], *skipped, *attempts[-1:])
    return attempts, tuple(i for i in unseen if i not in barred and i not in late)


def usable(attempt: Attempt) -> bool:
    """Return whether the attempt has an answer that passed every gate."""
    return attempt.answer is not None and not attempt.failed_gates


def _overrun_window(ladder: Ladder, attempts: Sequence[Attempt]) -> int | None:
    """Return the largest known window for which the prompt was too long, tokens."""
    windows = [
        ladder.rungs[attempt.rung].context_window
        for attempt in attempts
        if isinstance(attempt.error, ContextTooLong)
    ]
    return max((window for window in windows if window is not None), default=None)


def _too_small(rung: Rung, overrun: int | None) -> str | None:
    window = rung.context_window
    if overrun is None or window is None or window > overrun:
        return None
    return f"its window of {window:,} tokens is no larger than one that was too small"


def _too_slow(index: int, outlook: Outlook) -> str | None:
    if outlook.left_s <= 0.0:
        return "no time is left"
    expected_s = outlook.expected_s.get(index)
    if expected_s is None or expected_s <= outlook.left_s:
        return None
    return f"it takes about {expected_s:.2g} s, and {outlook.left_s:.2g} s are left"


def _skipped(index: int, rung: Rung, why: str) -> Attempt:
    return Attempt(
        rung=index,
        model=rung.model,
        provider=rung.provider,
        verdict="skipped",
        reason=why,
        cost_usd=0.0,
    )
