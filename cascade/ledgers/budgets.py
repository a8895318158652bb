"""The words of a ledger: budgets, what a call may cost or has cost, and what a ledger replies.

Money is kept in whole nano-dollars, so that what is taken back is exactly what was held: floats added
and subtracted in another order leave a rest, and a rest is a leak. One call is off by half a
nano-dollar at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, get_args, runtime_checkable

import msgspec

from ..errors import ConfigError

__all__ = ["Budget", "Ledger", "Left", "Per", "Refusal", "Reservation", "Spend", "Why"]

Per = Literal["minute", "day", "month"]
"""A calendar period in UTC."""

Why = Literal["spent", "held", "too_large", "unknown", "outage"]
"""Why a ledger refuses: the period's budget is spent; what is left of it is held by calls in flight;
the call may cost more than a whole period's budget; nobody knows what the call may cost, in the unit
that is limited; the store cannot be asked and is set to be closed then."""

NANO = 1_000_000_000
MOST_USD_A_BUDGET = 1e9
MOST_USD_A_CALL = 1e6
MOST_TOKENS = 10**15
"""No budget and no call is larger: sums stay far inside 64 bits."""

LENGTH: dict[str, int] = {"minute": 16, "day": 10, "month": 7}
"""Characters of an ISO 8601 time that name its period: ``2026-01-31T12:00``, ``2026-01-31``, ``2026-01``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one account may spend in one calendar period.

    Attributes:
        usd: US dollars, > 0, or None for no limit on money.
        tokens: Tokens, prompt and completion together, > 0, or None for no limit on tokens.
        per: The period: a minute, a day or a month of the calendar in UTC.

    Raises:
        ConfigError: A number is not positive and finite, both are None, or the period is unknown.

    >>> Budget(usd=5, per="day")
    Budget(usd=5, tokens=None, per='day')
    """

    usd: float | None = None
    tokens: int | None = None
    per: Per
    nano_usd: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.per not in get_args(Per):
            raise ConfigError(f"budget: per {self.per!r} is not one of {', '.join(get_args(Per))}")
        if self.usd is None and self.tokens is None:
            raise ConfigError("budget: neither usd nor tokens is given; at least one is needed")
        if self.usd is not None and not _is_number(self.usd, 1 / NANO, MOST_USD_A_BUDGET):
            raise ConfigError(
                f"budget: usd {self.usd!r} is not a number of dollars above 0 (at most 1e9)"
            )
        if self.tokens is not None and not (
            isinstance(self.tokens, int) and _is_number(self.tokens, 1, MOST_TOKENS)
        ):
            raise ConfigError(
                f"budget: tokens {self.tokens!r} is not a whole number above 0 (at most 10^15)"
            )
        nano = None if self.usd is None else round(self.usd * NANO)
        object.__setattr__(self, "nano_usd", nano)

    def __str__(self) -> str:
        parts = []
        if self.usd is not None:
            parts.append(f"{self.usd:g} USD")
        if self.tokens is not None:
            parts.append(f"{self.tokens} tokens")
        return f"{' and '.join(parts)} a {self.per}"


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """What a call may cost, or has cost. None is unknown, never zero.

    Attributes:
        usd: US dollars in [0, 1e6], or None.
        tokens: Tokens in [0, 10^15], prompt and completion together, or None.

    Raises:
        ConfigError: A number is negative, not finite, or larger than any call's.
    """

    usd: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        # Two comparisons each: this is made twice for every call.
        if self.usd is not None and not 0 <= self.usd <= MOST_USD_A_CALL:
            raise ConfigError(f"spend: usd {self.usd!r} is not in [0, {MOST_USD_A_CALL:g}]")
        if self.tokens is not None and not (
            isinstance(self.tokens, int) and 0 <= self.tokens <= MOST_TOKENS
        ):
            raise ConfigError(f"spend: tokens {self.tokens!r} is not a whole number in [0, 10^15]")

    @property
    def nano_usd(self) -> int | None:
        """Whole nano-dollars, or None."""
        return None if self.usd is None else round(self.usd * NANO)


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger holds for one call until it is settled or released.

    Attributes:
        id: Unique among all ledgers.
        account: Whose it is.
        amount: What the call may cost.
        periods: The periods it counts in, as (per, name): those in which the call was begun.
        unsettled: Whether the store could not be asked: the call is allowed unseen, and what it costs
            is told to the store when that is back.
    """

    id: str
    account: str
    amount: Spend
    periods: tuple[tuple[Per, str], ...]
    unsettled: bool = False


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call must not be made; nothing is held for it.

    Attributes:
        why: The kind of reason.
        account: Whose budget it is.
        budget: The budget that does not allow it, or None when the store cannot be asked. Of several
            the one whose period ends last.
        usd_left: US dollars left of it, reservations taken off, >= 0; None if it does not limit them.
        tokens_left: Tokens left of it, in the same way.
        retry_after_s: Seconds until another try may succeed at the latest: until the period ends, or
            until the store is tried again. None when waiting does not help.
    """

    why: Why
    account: str
    budget: Budget | None
    retry_after_s: float | None
    usd_left: float | None = None
    tokens_left: int | None = None

    def __str__(self) -> str:
        if self.budget is None:
            return "the budget ledger cannot be asked, and is set to allow nothing unseen"
        units = ((self.usd_left, "USD"), (self.tokens_left, "tokens"))
        left = " and ".join(f"{number:g} {unit}" for number, unit in units if number is not None)
        said = {
            "spent": f"is spent ({left} left)",
            "held": f"is held by calls in flight ({left} left)",
            "too_large": "is smaller than what this one call may cost",
            "unknown": "cannot be kept: nobody knows what this call may cost",
        }[self.why]
        return f"the budget of {self.budget} {said}"


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of one budget just now.

    Attributes:
        budget: The budget.
        usd_left: US dollars left, reservations taken off, >= 0; None if the budget does not limit them.
        tokens_left: Tokens left, in the same way.
        usd_spent: US dollars spent in this period, those held not counted.
        tokens_spent: Tokens spent in this period.
        ends_in_s: Seconds until the period ends.
    """

    budget: Budget
    usd_left: float | None
    tokens_left: int | None
    usd_spent: float
    tokens_spent: int
    ends_in_s: float


@runtime_checkable
class Ledger(Protocol):
    """Counts what accounts spend, and says before a call whether it may be made.

    Reserve, then settle: a call is allowed only if all that was spent, all that is held for calls in
    flight, and what it may cost itself fit every budget. So any number of concurrent calls can pass a
    budget only by what each of them costs beyond what was reserved for it.
    """

    def start(self) -> None:
        """Open the store.

        Raises:
            ConfigError: It cannot be opened; the message says what to change.
        """

    async def reserve(
        self, account: str, amount: Spend, limits: Sequence[Budget]
    ) -> Reservation | Refusal:
        """Hold `amount` in every budget of `limits`, or say which of them does not allow it.

        An account never heard of has spent nothing. An amount that is unknown in a unit that a budget
        limits is refused: nobody could say whether the budget holds.
        """

    async def settle(self, reservation: Reservation, spent: Spend) -> None:
        """Count what the call has cost, which may be more than was held, and hold nothing for it.

        Counts in the periods in which the call was begun. What is unknown counts as the amount that
        was reserved. Only the first `settle` or `release` of a reservation does anything.
        """

    async def release(self, reservation: Reservation) -> None:
        """Hold nothing for the call any more: it has cost nothing."""

    async def left(self, account: str, limits: Sequence[Budget]) -> tuple[Left, ...] | None:
        """Return what is left of each budget, in order; None when the store cannot be asked."""

    async def aclose(self) -> None:
        """Store all that was settled, and release the store. Calling it twice is harmless."""


def seconds_until_end(per: Per, period: str, now: str) -> float:
    """Return the seconds from `now` (ISO 8601) until the named period ends, >= 0."""
    return max(0.0, (period_end(per, period) - datetime.fromisoformat(now)).total_seconds())


def period_start(per: Per, period: str) -> datetime:
    """Return the instant at which a period begins.

    Raises:
        ValueError: `period` does not name one of that kind.
    """
    if len(period) != LENGTH[per]:
        raise ValueError(period)
    start = datetime.fromisoformat(period + "-01" if per == "month" else period)
    return start.replace(tzinfo=UTC)


def period_end(per: Per, period: str) -> datetime:
    """Return the instant at which a period ends."""
    start = period_start(per, period)
    if per == "month":
        return (start + timedelta(days=31)).replace(day=1)
    return start + (timedelta(days=1) if per == "day" else timedelta(minutes=1))


def _is_number(value: float, least: float, most: float) -> bool:
    """Whether a value out of a configuration is a number in a range; True and NaN are none."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and least <= value <= most
    )
