"""The line of a cache to Redis: one thread, one connection, all that waits sent as one pipeline.

The synchronous client in a thread, because redis-py's asyncio client does not run under trio.
"""

from __future__ import annotations

from typing import Any

from ..redis_link import RedisLink
from .line import Job, Line

__all__ = ["Commands", "RedisLine"]

Commands = tuple[tuple[Any, ...], ...]
"""What is asked at once; the reply is a list with a reply or an exception for each."""

_PROBE: Commands = ()
"""Asks nothing, and has Redis tried again."""


class RedisLine:
    """Sends commands. While Redis cannot be asked it says so at once, and has it tried again.

    Args:
        url: Where Redis is.
        timeout_s: Longest an ask waits, seconds.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._link = RedisLink(
            url,
            user="cache",
            timeout_s=timeout_s,
            meanwhile="every lookup is a miss",
            probe=lambda client: client.ping(),
        )
        self._line: Line[Commands, list[Any]] = Line(
            "cascade-cache-redis", self._perform, self._link.close, timeout_s=timeout_s
        )

    @property
    def down(self) -> bool:
        """Whether Redis cannot be asked just now."""
        return self._link.down

    @property
    def attempts(self) -> int:
        """How often Redis was tried again."""
        return self._link.attempts

    @property
    def outages(self) -> int:
        """How often Redis could not be asked any more."""
        return self._link.outages

    def start(self) -> None:
        """Connect and start the thread.

        Raises:
            ConfigError: redis-py is missing, the address is none, or Redis refuses the password.
        """
        self._link.connect()
        self._line.start()

    async def ask(self, commands: Commands, *, weight: int, idle: bool) -> list[Any] | None:
        """Return a reply or an exception for each command; None when Redis does not answer in time.

        Args:
            commands: What to send.
            weight: Bytes it holds.
            idle: Whether it need not be sent any more once nobody waits for it.
        """
        if self.down:
            if not self._link.next_try_s:
                self._link.defer()
                self._line.tell(_PROBE)
            return None
        return await self._line.ask(commands, weight=weight, idle=idle)

    async def aclose(self) -> None:
        """Send what waits and disconnect."""
        await self._line.aclose()

    # From here on: the thread.

    def _perform(self, jobs: list[Job[Commands, list[Any]]]) -> list[list[Any] | None]:
        asks = [job.ask for job in jobs]
        link = self._link
        if link.down and _PROBE in asks:
            link.try_again()
        if link.down:
            return [None] * len(asks)
        try:
            pipe = link.client.pipeline(transaction=False)
            for commands in asks:
                for command in commands:
                    pipe.execute_command(*command)
            replies = pipe.execute(raise_on_error=False)
        except link.failures as exc:
            link.note_outage(exc)
            return [None] * len(asks)
        link.note_answer()
        shared = iter(replies)
        return [[next(shared) for _ in commands] for commands in asks]
