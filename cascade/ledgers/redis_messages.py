"""What goes over the line to Redis: questions that somebody waits for, and costs that nobody waits for."""

from __future__ import annotations

from typing import Any

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from .budgets import Per

__all__ = ["Ask", "Periods", "Post"]

Periods = tuple[tuple[Per, str], ...]


class Ask:
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


class Post:
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
