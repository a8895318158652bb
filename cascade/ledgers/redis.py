"""A ledger that several processes share: the same budgets, decided inside Redis.

Works under asyncio and trio; redis-py is imported when the ledger is started.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from ..clock import SystemClock
from ..errors import ConfigError
from ..ports import Clock
from .budgets import (
    LENGTH,
    Budget,
    Left,
    Per,
    Refusal,
    Reservation,
    Spend,
    seconds_until_end,
)
from .ledger import Count, Watch, ids, left_of, refusal
from .redis_line import Line
from .redis_messages import Ask, Periods, Post

__all__ = ["OnOutage", "RedisLedger"]

OnOutage = Literal["open", "closed"]
"""While Redis cannot be asked: allow every call and tell Redis later what it cost, or allow none."""

_MEANWHILE: dict[str, str] = {
    "open": "calls are allowed, and their costs are sent then",
    "closed": "no call is allowed",
}


class RedisLedger:
    """Keeps budgets in Redis (5 or newer, or what speaks like it), shared by all who use the same one.

    A reservation is a lease: when its process is killed, what it held is free again after `lease_s`. A
    call that takes longer than that is counted all the same. Costs are sent in the background, so a
    process that is killed can lose those of its last milliseconds; what Redis itself loses is lost.

    While Redis cannot be asked (unreachable, out of memory, a read-only replica) nobody waits for it:
    `on_outage` decides. It is tried again by one thread a process, after 0.1 s and then ever more
    rarely, up to 5 s. Costs of calls allowed unseen are added when it is back; they are lost if the
    process ends before.

    Args:
        url: Where it is: ``redis://host:6379/0``, ``rediss://…`` or ``unix://…``.
        on_outage: ``open`` or ``closed``.
        timeout_s: Longest a call waits for Redis, seconds, > 0.
        lease_s: Longest a reservation holds its amount, seconds, > 0.
        prefix: What the names of all keys begin with.
        clock: Time source of the budgets' periods. Leases go by the clock of Redis.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        on_outage: OnOutage = "open",
        timeout_s: float = 0.25,
        lease_s: float = 600.0,
        prefix: str = "cascade:ledger",
        clock: Clock | None = None,
    ) -> None:
        if on_outage not in get_args(OnOutage):
            raise ConfigError(f"ledger: on_outage {on_outage!r} is not one of open, closed")
        for name, seconds in (("timeout_s", timeout_s), ("lease_s", lease_s)):
            if not 0.001 <= seconds <= 1e6:
                raise ConfigError(f"ledger: {name} {seconds!r} is not in [0.001, 1e6] seconds")
        if "{" in prefix or "}" in prefix:
            raise ConfigError(f"ledger: prefix {prefix!r} may not hold a brace")
        self._on_outage = on_outage
        self._lease_s = lease_s
        self._watch = Watch(clock or SystemClock())
        self._line = Line(
            url,
            timeout_s=timeout_s,
            lease_s=lease_s,
            prefix=prefix,
            meanwhile=_MEANWHILE[on_outage],
            clock=clock or SystemClock(),
        )
        self._ids = ids()
        self._open: set[str] = set()

    @property
    def open_reservations(self) -> int:
        """Reservations of this process that are neither settled nor released."""
        return len(self._open)

    @property
    def down(self) -> bool:
        """Whether Redis cannot be asked just now."""
        return self._line.down

    @property
    def outages(self) -> int:
        """How often Redis could not be asked any more."""
        return self._line.outages

    @property
    def attempts(self) -> int:
        """How often Redis was tried again."""
        return self._line.attempts

    @property
    def lost(self) -> int:
        """Costs that Redis refused although it works, such as those for a key somebody else uses."""
        return self._line.lost

    def start(self) -> None:
        """Connect, and start the thread that speaks to Redis. Waits `timeout_s` or two at most.

        A Redis that is away just now is an outage like any other.

        Raises:
            ConfigError: redis-py is missing, the address is none, or Redis refuses the password.
        """
        self._line.start()

    async def reserve(
        self, account: str, amount: Spend, limits: Sequence[Budget]
    ) -> Reservation | Refusal:
        """Hold an amount in every budget, or say which of them does not allow it."""
        now = self._watch.now()
        periods = _periods(limits, now)
        name = next(self._ids)
        if periods and not self._line.down:
            reply = await self._asked(account, amount, limits, periods, name, now, self._lease_s)
            if reply is not None and reply[0] == 0:
                counts = _counts(periods, reply)
                refused = refusal(account, amount, limits, counts, now)
                if refused is not None:
                    return refused
                # In sums above 2^53 the two may differ by some nano-dollars; Redis decides.
                end = seconds_until_end(*periods[0], now)
                return Refusal(why="held", account=account, budget=limits[0], retry_after_s=end)
            if reply is not None:
                self._open.add(name)
                return Reservation(id=name, account=account, amount=amount, periods=periods)
            name = next(self._ids)  # the other one may be held there
        if periods and self._on_outage == "closed":
            wait = self._line.next_try_s
            return Refusal(why="outage", account=account, budget=None, retry_after_s=wait)
        self._open.add(name)
        return Reservation(
            id=name, account=account, amount=amount, periods=periods, unsettled=bool(periods)
        )

    async def settle(self, reservation: Reservation, spent: Spend) -> None:
        """Count what a call has cost. Does not wait for Redis."""
        amount = reservation.amount
        usd = amount.nano_usd if spent.usd is None else spent.nano_usd
        tokens = amount.tokens if spent.tokens is None else spent.tokens
        self._close(reservation, usd or 0, tokens or 0, anyway=True)

    async def release(self, reservation: Reservation) -> None:
        """Hold nothing for a call any more. Does not wait for Redis."""
        self._close(reservation, 0, 0, anyway=False)

    async def left(self, account: str, limits: Sequence[Budget]) -> tuple[Left, ...] | None:
        """Return what is left of each budget; None when Redis cannot be asked."""
        now = self._watch.now()
        periods = _periods(limits, now)
        if not periods:
            return ()
        reply = None
        if not self._line.down:
            name = next(self._ids)
            reply = await self._asked(account, Spend(), limits, periods, name, now, 0)
        if reply is None:
            return None
        counts = _counts(periods, reply)
        return tuple(left_of(budget, counts[budget.per], now) for budget in limits)

    async def aclose(self) -> None:
        """Send all costs and disconnect; waits for Redis a few times `timeout_s` at most."""
        await self._line.aclose()

    def _close(self, reservation: Reservation, usd: int, tokens: int, *, anyway: bool) -> None:
        if reservation.id not in self._open:
            return
        self._open.remove(reservation.id)
        account, periods = reservation.account, reservation.periods
        if not periods or (reservation.unsettled and not (usd or tokens)):
            return
        if reservation.unsettled:
            self._line.tell_unseen(account, periods, usd, tokens)
        else:
            self._line.tell(Post(reservation.id, account, periods, usd, tokens, anyway=anyway))

    async def _asked(
        self,
        account: str,
        amount: Spend,
        limits: Sequence[Budget],
        periods: Periods,
        name: str,
        now: str,
        lease_s: float,
    ) -> list[Any] | None:
        """Return what Redis replies, or None when it does not within `timeout_s`."""
        usd, tokens = amount.nano_usd, amount.tokens
        args: list[Any] = [
            name,
            "" if usd is None else usd,
            "" if tokens is None else tokens,
            round(lease_s * 1000),
        ]
        for per, period in periods:
            here = [budget for budget in limits if budget.per == per]
            args.append(min((b.nano_usd for b in here if b.nano_usd is not None), default=""))
            args.append(min((b.tokens for b in here if b.tokens is not None), default=""))
            args.append(self._line.keep_s(per, period, now))
        return await self._line.ask(Ask(name, account, periods, args))


def _periods(limits: Sequence[Budget], now: str) -> Periods:
    """Return the present periods of all limits, each once."""
    return tuple((per, now[: LENGTH[per]]) for per in dict.fromkeys(b.per for b in limits))


def _counts(periods: Periods, reply: list[Any]) -> dict[Per, Count]:
    """Return the counts in a reply, four numbers a period."""
    counts: dict[Per, Count] = {}
    for i, (per, period) in enumerate(periods):
        usd, tokens, held_usd, held_tokens = map(int, reply[1 + 4 * i : 5 + 4 * i])
        counts[per] = count = Count(period, usd, tokens)
        count.held_usd, count.held_tokens = held_usd, held_tokens
    return counts
