"""Limits that several processes keep together: each call asks Redis for room, in one round trip.

What a process keeps for itself (queue, order, pauses, adaptive concurrency) stands before it, so that only
calls ask that the process alone would let through. Those for which there is no room in all wait in one
row a key, and only the first of them asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import anyio

from ..ports import Clock
from .limiter import BURST_S, CallLimits
from .shared_line import Script, SharedLine
from .shared_scripts import ENTER, LEAVE, RENEW, keys_of

__all__ = ["LEASE_S", "Full", "Grant", "Leases", "SharedLimits"]

LEASE_S = 30.0
"""How long a call counts as in flight whose process says nothing any more, seconds."""

_ASK_AGAIN_S = 0.05
"""How soon the first of a row asks again when others must end first, seconds."""

_KEEP_MS = 120_000
"""How long levels are kept: by then the buckets, which hold ten seconds' worth, are full."""

_WHY = {1: "calls in flight", 2: "requests_per_min", 3: "tokens_per_min"}


@dataclass(frozen=True, slots=True)
class Grant:
    """A call that may go.

    Attributes:
        id: Of its lease; None: Redis could not be asked, and the process has decided alone.
        key: Whose limits.
        tokens: What it was reckoned to use.
    """

    id: str | None
    key: str
    tokens: float


@dataclass(frozen=True, slots=True)
class Full:
    """There is no room.

    Attributes:
        why: What there is no room in.
        wait_s: Seconds until there may be; 0: others must end first.
    """

    why: str
    wait_s: float


class Leases:
    """The calls of this process that are in flight, whose leases are renewed."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._ids = count()
        self._process = uuid4().hex

    def new_id(self) -> str:
        """Return an id that no process has given."""
        return f"{self._process}:{next(self._ids)}"

    def hold(self, lease: str, at: str) -> None:
        """Renew a lease from now on.

        Args:
            lease: Its id.
            at: Name of the sorted set that it is in.
        """
        self._open[lease] = at

    def release(self, lease: str) -> None:
        """Renew it no more."""
        self._open.pop(lease, None)

    def renewals(self) -> list[Script]:
        """Return the scripts that renew all."""
        by_key: dict[str, list[str]] = {}
        for lease, at in list(self._open.items()):
            by_key.setdefault(at, []).append(lease)
        return [(RENEW, [at], [round(LEASE_S * 1000), *ids]) for at, ids in by_key.items()]


class SharedLimits:
    """The limits on the calls to the models of one deployment, or of a tenant, in all processes together.

    Args:
        line: To Redis.
        leases: Of this process.
        limits: What is allowed in all.
        prefix: What the names of the keys begin with.
        scope: What the limits are of.
        clock: Time source.
        alone: Called for each call that is let through without Redis.
    """

    def __init__(
        self,
        line: SharedLine,
        leases: Leases,
        limits: CallLimits,
        *,
        prefix: str,
        scope: str,
        clock: Clock,
        alone: Callable[[], object],
    ) -> None:
        self._line = line
        self._leases = leases
        self._limits = limits
        self._prefix = prefix
        self._scope = scope
        self._clock = clock
        self._alone = alone
        self._rows: dict[str, _Row] = {}
        requests, tokens = limits.requests_per_min, limits.tokens_per_min
        self._requests_burst = "" if requests is None else max(1.0, requests / 60 * BURST_S)
        self._tokens_burst = "" if tokens is None else tokens / 60 * BURST_S
        self._arguments = [
            "" if limits.concurrent is None else limits.concurrent,
            "" if requests is None else requests / 60,
            self._requests_burst,
            "" if tokens is None else tokens / 60,
            self._tokens_burst,
        ]

    async def enter(self, key: str, tokens: float, give_up_at: float | None) -> Grant | Full:
        """Return whether a call may go, once it may.

        Args:
            key: Whose limits: a model, or a tenant.
            tokens: What it is reckoned to use.
            give_up_at: Until when it waits for room, a reading of the clock; None: not at all.
        """
        row = self._rows.get(key)
        if row is None:
            said = await self._ask(key, tokens)
            if isinstance(said, Grant) or give_up_at is None:
                return said
            row = self._rows.setdefault(key, _Row(said))
        elif give_up_at is None:
            return row.full
        return await self._wait(row, key, tokens, give_up_at)

    def leave(self, grant: Grant, tokens: float | None, *, made: bool = True) -> None:
        """Note that a call is over. Waits for nothing.

        Args:
            grant: Its.
            tokens: What it has used; None: nobody knows, so as reckoned.
            made: Whether the deployment has seen it.
        """
        if grant.id is None:
            return
        self._leases.release(grant.id)
        back = 0.0 if made else grant.tokens
        if made and tokens is not None:
            back = grant.tokens - tokens
        names = keys_of(self._prefix, self._scope, grant.key)
        requests = 0 if made else 1
        arguments = [grant.id, requests, self._requests_burst, back, self._tokens_burst]
        self._line.tell((LEAVE, names, arguments))

    async def _ask(self, key: str, tokens: float) -> Grant | Full:
        names = keys_of(self._prefix, self._scope, key)
        grant = Grant(self._leases.new_id(), key, tokens)
        assert grant.id is not None
        arguments = [grant.id, round(LEASE_S * 1000), *self._arguments, tokens, _KEEP_MS]
        try:
            reply: Any = await self._line.ask((ENTER, names, arguments))
        except BaseException:  # nobody makes the call: whatever was granted is given back
            self.leave(grant, None, made=False)
            raise
        if reply is None:
            self.leave(grant, None, made=False)  # should it arrive there late
            self._alone()
            return Grant(None, key, tokens)
        if reply[0] == 1:
            if self._limits.concurrent is not None:
                self._leases.hold(grant.id, names[1])
            return grant
        return Full(why=_WHY[reply[2]], wait_s=reply[1] / 1000)

    async def _wait(self, row: _Row, key: str, tokens: float, give_up_at: float) -> Grant | Full:
        """Wait in a row; its first asks, again and again."""
        if row.length >= self._limits.queue:
            return row.full
        row.length += 1
        try:
            with anyio.move_on_after(max(0.0, give_up_at - self._clock.monotonic())):
                async with row.first:
                    while True:
                        said = await self._ask(key, tokens)
                        if isinstance(said, Grant):
                            return said
                        row.full = said
                        if self._clock.monotonic() + said.wait_s > give_up_at:
                            return said  # it would wait in vain
                        await self._clock.sleep(said.wait_s or _ASK_AGAIN_S)
            return row.full
        finally:
            row.length -= 1
            if not row.length:
                self._rows.pop(key, None)


class _Row:
    """Those that wait for room under one key.

    Attributes:
        length: How many.
        first: Held by the one that asks.
        full: Why there was no room the last time.
    """

    def __init__(self, full: Full) -> None:
        self.length = 0
        self.first = anyio.Lock()
        self.full = full
