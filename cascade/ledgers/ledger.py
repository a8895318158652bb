"""The books of a ledger: what each account has spent in this period and what is held for its calls.

A plain state machine on integers, without a lock, a store or an await. It decides for the stores in
this process, and the Lua scripts of the shared one are tested to decide the same.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ..ports import Clock
from .budgets import (
    LENGTH,
    NANO,
    Budget,
    Left,
    Per,
    Refusal,
    Reservation,
    Spend,
    Why,
    period_end,
    period_start,
    seconds_until_end,
)

__all__ = ["Books", "Count", "Row", "Watch", "left_of", "refusal"]

Row = tuple[str, Per, str, int, int]
"""Account, per, name of the period, nano-dollars spent, tokens spent."""

_SWEEP_EVERY = 1024
"""New rows after which ended periods are forgotten."""

_AHEAD = timedelta(days=1)
"""How far ahead a stored period may be for its name to be believed."""


class Count:
    """What was spent in one period of one account, and what is held in it.

    Attributes:
        period: Name of the period.
        usd: Nano-dollars spent.
        tokens: Tokens spent.
        held_usd: Nano-dollars held for calls in flight.
        held_tokens: Tokens held for calls in flight.
    """

    __slots__ = ("held_tokens", "held_usd", "period", "tokens", "usd")

    def __init__(self, period: str, usd: int = 0, tokens: int = 0) -> None:
        self.period = period
        self.usd = usd
        self.tokens = tokens
        self.held_usd = 0
        self.held_tokens = 0


class _Page:
    """The budgets of one account with what counts in them, as long as none of their periods has ended.

    Attributes:
        limits: The budgets it was made for.
        lines: For each of them the count, and the most nano-dollars and tokens; None: any.
        counts: Those counts, each once.
        periods: Their periods, as in a reservation.
        until: When the first of them ends, as ISO 8601.
    """

    __slots__ = ("counts", "limits", "lines", "periods", "until")

    def __init__(self, limits: Sequence[Budget], counts: Mapping[Per, Count]) -> None:
        self.limits = limits
        self.lines = tuple((counts[b.per], b.nano_usd, b.tokens) for b in limits)
        self.counts = tuple(counts.values())
        self.periods = tuple((per, count.period) for per, count in counts.items())
        self.until = min((_iso(period_end(*period)) for period in self.periods), default=_NEVER)


_NEVER = "~"
"""After every ISO 8601 time."""


FRESH_S = 0.005
"""Seconds for which a reading of the wall clock is used again: making one takes 3 µs, and periods are
minutes long."""


class Watch:
    """A wall clock that never goes back: when the real one is set back, it goes on from where it was.

    A period that has ended would otherwise begin again, with nothing spent in it. Standing still
    instead would hold everybody in one minute's budget until the real clock has caught up.

    Attributes:
        ahead: Whether it is ahead of the real clock just now.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic = clock.monotonic
        self._latest = ""
        self._read_at = -math.inf
        self.ahead = False

    def now(self) -> str:
        """Return the time, UTC as ISO 8601; at most `FRESH_S` old."""
        if 0.0 <= self._monotonic() - self._read_at < FRESH_S and not self.ahead:
            return self._latest
        now = self._clock.now_iso()
        if self.ahead or now < self._latest:
            passed = timedelta(seconds=self._clock.monotonic() - self._read_at)
            went_on = datetime.fromisoformat(self._latest) + passed
            shown = _iso(went_on)
            self.ahead = now < shown
            if self.ahead:
                return shown
        self._latest = now
        self._read_at = self._clock.monotonic()
        return now


class Books:
    """Reserves, settles and releases. Every method does all of its work or none.

    Args:
        clock: Time source; only its wall clock is read.

    Attributes:
        changed: Accounts and pers whose spending has changed and is not stored yet; filled only while
            it is a set.
    """

    def __init__(self, clock: Clock) -> None:
        self.watch = Watch(clock)
        self.changed: set[tuple[str, Per]] | None = None
        self._counts: dict[tuple[str, Per], Count] = {}
        self._pages: dict[str, _Page] = {}
        self._open: dict[str, tuple[tuple[Count, ...], int, int]] = {}
        self._ids = ids()
        self._new_rows = 0

    @property
    def open_reservations(self) -> int:
        """Reservations neither settled nor released."""
        return len(self._open)

    def reserve(
        self, account: str, amount: Spend, limits: Sequence[Budget]
    ) -> Reservation | Refusal:
        """Hold an amount in every budget, or say which of them does not allow it."""
        now = self.watch.now()
        page = self._pages.get(account)
        if page is None or page.limits is not limits or now >= page.until:
            page = self._open_page(account, limits, now)
        usd, tokens = amount.nano_usd, amount.tokens
        for count, most_usd, most_tokens in page.lines:
            if most_usd is not None:
                used = count.usd + count.held_usd
                if usd is None or used >= most_usd or used + usd > most_usd:
                    return self._refusal(account, amount, page, now)
            if most_tokens is not None:
                used = count.tokens + count.held_tokens
                if tokens is None or used >= most_tokens or used + tokens > most_tokens:
                    return self._refusal(account, amount, page, now)
        held_usd, held_tokens = usd or 0, tokens or 0
        for count in page.counts:
            count.held_usd += held_usd
            count.held_tokens += held_tokens
        name = next(self._ids)
        self._open[name] = (page.counts, held_usd, held_tokens)
        return Reservation(id=name, account=account, amount=amount, periods=page.periods)

    def settle(self, reservation: Reservation, spent: Spend) -> bool:
        """Count what a call has cost; return whether the reservation was still open."""
        entry = self._open.pop(reservation.id, None)
        if entry is None:
            return False
        counts, held_usd, held_tokens = entry
        usd = held_usd if spent.usd is None else round(spent.usd * NANO)
        tokens = held_tokens if spent.tokens is None else spent.tokens
        for count in counts:
            # One of a period that has ended is in no table any more: adding to it does no harm.
            count.held_usd -= held_usd
            count.held_tokens -= held_tokens
            count.usd += usd
            count.tokens += tokens
        if self.changed is not None and (usd or tokens):
            for per, _ in reservation.periods:
                self.changed.add((reservation.account, per))
        return True

    def release(self, reservation: Reservation) -> bool:
        """Hold nothing for a call any more; return whether the reservation was still open."""
        return self.settle(reservation, _NOTHING)

    def left(self, account: str, limits: Sequence[Budget]) -> tuple[Left, ...]:
        """Return what is left of each budget."""
        now = self.watch.now()
        return tuple(left_of(b, self._seen(account, b.per, now), now) for b in limits)

    def load(self, rows: Iterable[Row]) -> None:
        """Add what was spent before.

        A period that has not begun yet was counted by a clock that was ahead. Within a day of its
        beginning it holds until its end; a later one would hold for years, so what was spent in it
        counts in the present one.
        """
        self._pages.clear()
        now = self.watch.now()
        soon = datetime.fromisoformat(now) + _AHEAD
        for account, per, period, usd, tokens in rows:
            far = period_start(per, period) > soon
            name = now[: LENGTH[per]] if far else period
            count = self._counts.get((account, per))
            if count is None or count.period < name:
                self._counts[account, per] = Count(name, usd, tokens)
            elif count.period == name:
                count.usd += usd
                count.tokens += tokens

    def rows(self, keys: set[tuple[str, Per]] | None = None) -> list[Row]:
        """Return what was spent, of some accounts and pers or of all."""
        wanted = self._counts.keys() if keys is None else keys & self._counts.keys()
        found = ((account, per, self._counts[account, per]) for account, per in wanted)
        return [(account, per, c.period, c.usd, c.tokens) for account, per, c in found]

    def _open_page(self, account: str, limits: Sequence[Budget], now: str) -> _Page:
        counts = {budget.per: self._count(account, budget.per, now) for budget in limits}
        page = self._pages[account] = _Page(limits, counts)
        return page

    def _refusal(self, account: str, amount: Spend, page: _Page, now: str) -> Refusal:
        counts = dict(zip((per for per, _ in page.periods), page.counts, strict=True))
        refused = refusal(account, amount, page.limits, counts, now)
        assert refused is not None
        return refused

    def _count(self, account: str, per: Per, now: str) -> Count:
        key = (account, per)
        count = self._counts.get(key)
        period = now[: LENGTH[per]]
        # A later period than the present one was stored by a clock that was ahead: it goes on.
        if count is None or count.period < period:
            if count is None:
                self._new_rows += 1
                if self._new_rows % _SWEEP_EVERY == 0:
                    self._sweep(now)
            count = self._counts[key] = Count(period)
        return count

    def _seen(self, account: str, per: Per, now: str) -> Count:
        """The count of an account as `_count` gives it, but none is made."""
        count = self._counts.get((account, per))
        period = now[: LENGTH[per]]
        return Count(period) if count is None or count.period < period else count

    def _sweep(self, now: str) -> None:
        """Forget periods that have ended, lest tenants that never return stay for ever."""
        ended = [k for k, count in self._counts.items() if count.period < now[: LENGTH[k[1]]]]
        for key in ended:
            del self._counts[key]
        for account in [a for a, page in self._pages.items() if page.until <= now]:
            del self._pages[account]


_NOTHING = Spend(usd=0.0, tokens=0)


def _iso(instant: datetime) -> str:
    """Return an instant in UTC as clocks write it."""
    return instant.isoformat(timespec="milliseconds")[:-6] + "Z"


def ids() -> Iterator[str]:
    """Yield names that no other process and no other ledger gives."""
    prefix = os.urandom(6).hex()
    return (f"{prefix}-{number}" for number in itertools.count())


def left_of(budget: Budget, count: Count, now: str) -> Left:
    """Return what is left of a budget."""
    usd_left, tokens_left = _left(budget, count)
    return Left(
        budget=budget,
        usd_left=usd_left,
        tokens_left=tokens_left,
        usd_spent=count.usd / NANO,
        tokens_spent=count.tokens,
        ends_in_s=seconds_until_end(budget.per, count.period, now),
    )


def refusal(
    account: str, amount: Spend, limits: Sequence[Budget], counts: Mapping[Per, Count], now: str
) -> Refusal | None:
    """Return which budget does not allow an amount, or None when all of them do.

    Of several, one that no waiting helps goes first, then the one whose period ends last: whoever
    waits as long as is said is not refused by another one then.
    """
    worst: tuple[float, Refusal] | None = None
    for budget in limits:
        count = counts[budget.per]
        pairs = (
            (budget.nano_usd, amount.nano_usd, count.usd, count.held_usd),
            (budget.tokens, amount.tokens, count.tokens, count.held_tokens),
        )
        reasons = {_why(*pair) for pair in pairs} - {None}
        if not reasons:
            continue
        why = next(w for w in _GRAVEST_FIRST if w in reasons)
        wait = seconds_until_end(budget.per, count.period, now)
        retry = None if why in ("unknown", "too_large") else wait
        rank = float("inf") if retry is None else retry
        if worst is None or rank > worst[0]:
            usd_left, tokens_left = _left(budget, count)
            refused = Refusal(
                why=why,
                account=account,
                budget=budget,
                retry_after_s=retry,
                usd_left=usd_left,
                tokens_left=tokens_left,
            )
            worst = (rank, refused)
    return None if worst is None else worst[1]


_GRAVEST_FIRST: tuple[Why, ...] = ("unknown", "too_large", "spent", "held")


def _why(limit: int | None, amount: int | None, spent: int, held: int) -> Why | None:
    if limit is None:
        return None
    if amount is None:
        return "unknown"
    if amount > limit:
        return "too_large"
    if spent >= limit or spent + amount > limit:
        return "spent"
    if spent + held >= limit or spent + held + amount > limit:
        return "held"
    return None


def _left(budget: Budget, count: Count) -> tuple[float | None, int | None]:
    usd, tokens = budget.nano_usd, budget.tokens
    return (
        None if usd is None else max(0, usd - count.usd - count.held_usd) / NANO,
        None if tokens is None else max(0, tokens - count.tokens - count.held_tokens),
    )
