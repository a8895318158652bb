"""A ledger that several processes share: the same budgets, decided inside Redis.

One thread speaks to Redis over one connection with the synchronous client, and sends whatever waits as
one pipeline. redis-py's asyncio client does not run under trio. A worker thread for every call takes as
long for one, and three times as long for 1,000 at once, because nothing shares a round trip.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Any, Literal, get_args

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import EventLoopToken, current_token

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
from .redis_scripts import PROBE_S, RESERVE, RESERVE_SHA, SETTLE, SETTLE_SHA, keys_of

__all__ = ["OnOutage", "RedisLedger"]

_log = logging.getLogger("cascade")

OnOutage = Literal["open", "closed"]
"""While Redis cannot be asked: allow every call and tell Redis later what it cost, or allow none."""

_BATCH = 500
"""Most messages in one pipeline: some 10 ms of Redis's time."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
"""Pause before Redis is tried again, doubled after every failure up to the longest."""

_KEEP_S = 86_400
"""How long a period is kept after its end, seconds: for late costs and clocks that are behind."""

Periods = tuple[tuple[Per, str], ...]


class _Ask:
    """A reservation, or a look at the counts (`lease_ms` 0), that somebody waits for."""

    __slots__ = ("abandoned", "account", "args", "done", "name", "periods", "reply", "token")

    def __init__(self, name: str, account: str, periods: Periods, args: list[Any]) -> None:
        self.name = name
        self.account = account
        self.periods = periods
        self.args = args
        self.token: EventLoopToken = current_token()
        self.done = anyio.Event()
        self.reply: list[Any] | None = None
        self.abandoned = False

    @property
    def holds(self) -> bool:
        """Whether Redis may hold something for it."""
        refused = bool(self.reply) and self.reply is not None and self.reply[0] == 0
        return self.args[3] > 0 and not refused


class _Post:
    """What a call has cost, on its way to Redis. Sent again until it has arrived.

    Attributes:
        anyway: Whether it counts even if Redis knows no reservation of that name (it has lost it).
        unseen: Whether there never was one; Redis then marks the name.
    """

    __slots__ = ("account", "anyway", "name", "periods", "tokens", "unseen", "usd")

    def __init__(
        self,
        name: str,
        account: str,
        periods: Periods,
        usd: int,
        tokens: int,
        *,
        anyway: bool,
        unseen: bool = False,
    ) -> None:
        self.name = name
        self.account = account
        self.periods = periods
        self.usd = usd
        self.tokens = tokens
        self.anyway = anyway
        self.unseen = unseen

    def may_have_arrived(self) -> None:
        """Note that a copy is on its way: without its reservation it has been counted already."""
        self.anyway = self.unseen


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

    Attributes:
        down: Whether Redis cannot be asked just now.
        outages: How often it became so.
        attempts: How often it was tried again.
        lost: Costs that Redis refused although it works, such as those for a key somebody else uses.

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
        self.down = True
        self.outages = 0
        self.attempts = 0
        self.lost = 0
        self._url = url
        self._on_outage = on_outage
        self._timeout_s = timeout_s
        self._lease_s = lease_s
        self._prefix = prefix
        self._clock = clock or SystemClock()
        self._watch = Watch(self._clock)
        self._random = random.Random()  # noqa: S311 - spreads processes in time, keeps no secret
        self._ids = ids()
        self._wake = threading.Condition()
        self._asks: dict[str, _Ask] = {}
        self._posts: list[_Post] = []
        self._unseen: dict[tuple[str, Periods], list[int]] = {}
        self._open: set[str] = set()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._redis: Any = None
        self._failures: tuple[type[Exception], ...] = ()
        self._place = ""
        self._pause_s = _FIRST_PAUSE_S
        self._next_try = 0.0

    @property
    def open_reservations(self) -> int:
        """Reservations of this process that are neither settled nor released."""
        return len(self._open)

    def start(self) -> None:
        """Connect, and start the thread that speaks to Redis. Waits `timeout_s` or two at most.

        A Redis that is away just now is an outage like any other.

        Raises:
            ConfigError: redis-py is missing, the address is none, or Redis refuses the password.
        """
        if self._thread is not None:
            return
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as exc:
            raise ConfigError(
                "a Redis ledger needs redis-py: pip install 'cascade-ask[redis]'"
            ) from exc
        self._failures = (redis.RedisError, OSError)
        try:
            self._redis = redis.Redis.from_url(
                self._url,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),  # this module tries again itself, and counts once
            )
        except ValueError as exc:  # its message may quote the address, which may hold a password
            raise ConfigError(
                "ledger: url is not redis://host:port/db, rediss://… or unix://path"
            ) from exc
        where = self._redis.connection_pool.connection_kwargs
        self._place = where.get("path") or f"{where.get('host')}:{where.get('port', 6379)}"
        self._closing = False
        self.down = False
        try:
            self._redis.set(f"{self._prefix}:probe", 1, ex=PROBE_S)
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as exc:
            raise ConfigError(f"ledger: Redis at {self._place} refuses: {exc}") from exc
        except self._failures as exc:
            if str(exc).startswith(("NOAUTH", "Authentication required")):
                raise ConfigError(f"ledger: Redis at {self._place} wants a password") from exc
            self._note_outage(exc)
        self._thread = threading.Thread(target=self._run, name="cascade-ledger", daemon=True)
        self._thread.start()

    async def reserve(
        self, account: str, amount: Spend, limits: Sequence[Budget]
    ) -> Reservation | Refusal:
        """Hold an amount in every budget, or say which of them does not allow it."""
        now = self._watch.now()
        periods = _periods(limits, now)
        name = next(self._ids)
        if periods and not self.down:
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
            wait = max(0.0, self._next_try - time.monotonic())
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
        if not self.down:
            name = next(self._ids)
            reply = await self._asked(account, Spend(), limits, periods, name, now, 0)
        if reply is None:
            return None
        counts = _counts(periods, reply)
        return tuple(left_of(budget, counts[budget.per], now) for budget in limits)

    async def aclose(self) -> None:
        """Send all costs and disconnect; waits for Redis a few times `timeout_s` at most."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            await anyio.to_thread.run_sync(self._thread.join)
            self._thread = None
            self.down = True
            self._redis.close()

    def _close(self, reservation: Reservation, usd: int, tokens: int, *, anyway: bool) -> None:
        if reservation.id not in self._open:
            return
        self._open.remove(reservation.id)
        account, periods = reservation.account, reservation.periods
        if not periods or (reservation.unsettled and not (usd or tokens)):
            return
        with self._wake:
            if reservation.unsettled:
                total = self._unseen.setdefault((account, periods), [0, 0])
                total[0] += usd
                total[1] += tokens
            else:
                self._posts.append(
                    _Post(reservation.id, account, periods, usd, tokens, anyway=anyway)
                )
            self._wake.notify()

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
            args.append(self._keep_s(per, period, now))
        ask = _Ask(name, account, periods, args)
        with self._wake:
            self._asks[name] = ask
            self._wake.notify()
        try:
            with anyio.move_on_after(self._timeout_s):
                await ask.done.wait()
        except BaseException:
            self._abandon(ask)
            raise
        if ask.reply is None:
            self._abandon(ask)
        return ask.reply or None

    def _abandon(self, ask: _Ask) -> None:
        """Nobody wants it any more: it is not sent, or given back when it has been."""
        with self._wake:
            ask.abandoned = True
            if self._asks.pop(ask.name, None) is None and ask.reply is not None:
                self._give_back(ask)

    def _give_back(self, ask: _Ask) -> None:
        """Release what may be held for a call that is not made."""
        if ask.holds:
            self._posts.append(_Post(ask.name, ask.account, ask.periods, 0, 0, anyway=False))
            self._wake.notify()

    def _keep_s(self, per: Per, period: str, now: str) -> int:
        return int(seconds_until_end(per, period, now) + self._lease_s) + _KEEP_S

    # From here on: the thread.

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wait_for_work()
                closing = self._closing
            if self.down:
                self._try_again()
            asks, posts = self._take()
            if asks or posts:
                self._exchange(asks, posts)
            with self._wake:
                rest = len(self._posts) + len(self._unseen)
            if closing and (self.down or not (rest or self._asks)):
                break
        if rest:
            _log.error("ledger in Redis at %s: %d costs lost at closing", self._place, rest)

    def _wait_for_work(self) -> None:
        while not self._closing:
            if self.down:
                wait = self._next_try - time.monotonic()
                if wait <= 0:
                    return
                self._wake.wait(wait)
            elif self._asks or self._posts or self._unseen:
                return
            else:
                self._wake.wait()

    def _take(self) -> tuple[list[_Ask], list[_Post]]:
        """Take what may be sent now. Nothing while Redis is down; then nobody is left waiting."""
        with self._wake:
            asks = list(self._asks.values())
            if not self.down:
                asks = asks[:_BATCH]
                for (account, periods), (usd, tokens) in self._unseen.items():
                    name = next(self._ids)
                    self._posts.append(
                        _Post(name, account, periods, usd, tokens, anyway=True, unseen=True)
                    )
                self._unseen = {}
            for ask in asks:
                del self._asks[ask.name]
            posts: list[_Post] = []
            if not self.down:
                posts, self._posts = self._posts[:_BATCH], self._posts[_BATCH:]
        if self.down:
            self._deliver(asks, [[]] * len(asks))
            return [], []
        return asks, posts

    def _exchange(self, asks: list[_Ask], posts: list[_Post]) -> None:
        try:
            replies = self._send(asks, posts)
        except self._failures as exc:
            replies = [exc] * (len(asks) + len(posts))
            self._note_outage(exc)
        refused = next((r for r in replies if isinstance(r, Exception)), None)
        if refused is None:
            self._pause_s = _FIRST_PAUSE_S
        elif not self.down and not self._takes_writes():
            self._note_outage(refused)
        failed = [
            post
            for post, reply in zip(posts, replies[: len(posts)], strict=True)
            if isinstance(reply, Exception)
        ]
        if self.down:
            for post in failed:
                post.may_have_arrived()
            with self._wake:
                self._posts[:0] = failed
        elif failed:  # Redis works: waiting will not help them
            self.lost += len(failed)
            _log.error(
                "ledger in Redis at %s: %d costs lost (%s)", self._place, len(failed), refused
            )
        self._deliver(asks, [[] if isinstance(r, Exception) else r for r in replies[len(posts) :]])

    def _send(self, asks: list[_Ask], posts: list[_Post]) -> list[Any]:
        """Send all in one pipeline; return a reply or an exception for each, those of posts first."""
        pipe = self._redis.pipeline(transaction=False)
        # The scripts go along every time: Redis may have been started anew since.
        if asks:
            pipe.script_load(RESERVE)
        if posts:
            pipe.script_load(SETTLE)
        # Costs first: whoever asks sees what was settled before.
        now = self._clock.now_iso()
        for post in posts:
            keys = self._keys(post.account, post.periods)
            keep = [self._keep_s(per, period, now) for per, period in post.periods]
            args = (post.name, post.usd, post.tokens, int(post.anyway), *keep)
            pipe.evalsha(SETTLE_SHA, len(keys), *keys, *args)
        for ask in asks:
            keys = self._keys(ask.account, ask.periods)
            pipe.evalsha(RESERVE_SHA, len(keys), *keys, *ask.args)
        replies: list[Any] = pipe.execute(raise_on_error=False)
        return replies[bool(asks) + bool(posts) :]

    def _keys(self, account: str, periods: Periods) -> list[str]:
        pairs = (keys_of(self._prefix, account, per, period) for per, period in periods)
        return [key for pair in pairs for key in pair]

    def _deliver(self, asks: list[_Ask], replies: list[list[Any]]) -> None:
        """Give every ask its reply (an empty one: none could be had) and wake who waits for it."""
        waiting: dict[EventLoopToken, list[_Ask]] = {}
        with self._wake:
            for ask, reply in zip(asks, replies, strict=True):
                ask.reply = reply
                if ask.abandoned or not reply:
                    self._give_back(ask)
                if not ask.abandoned:
                    waiting.setdefault(ask.token, []).append(ask)
        for token, group in waiting.items():
            try:
                anyio.from_thread.run_sync(_wake_all, group, token=token)
            except RuntimeError:  # its loop has ended
                with self._wake:
                    for ask in group:
                        self._give_back(ask)

    def _takes_writes(self) -> bool:
        """Return whether Redis answers and stores: a full one answers, and stores nothing."""
        try:
            self._redis.set(f"{self._prefix}:probe", 1, ex=PROBE_S)
        except self._failures:
            return False
        return True

    def _try_again(self) -> None:
        self.attempts += 1
        if self._takes_writes():
            self.down = False
            _log.warning("ledger in Redis at %s: back", self._place)
        else:
            self._pause()

    def _note_outage(self, exc: Exception) -> None:
        self.down = True
        self.outages += 1
        self._pause()
        _log.error(
            "ledger in Redis at %s: cannot be asked (%s: %s); until it is back %s",
            self._place,
            type(exc).__name__,
            exc,
            "calls are allowed, and their costs are sent then"
            if self._on_outage == "open"
            else "no call is allowed",
        )

    def _pause(self) -> None:
        pause = self._random.uniform(0.5, 1.0) * self._pause_s
        self._next_try = time.monotonic() + pause
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def _wake_all(asks: list[_Ask]) -> None:
    for ask in asks:
        ask.done.set()


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
