"""The line on which processes share limits and verdicts: one thread, one connection to Redis.

Whatever waits goes out as one pipeline. What is due now and then (leases, verdicts of others) goes
along with it, or on its own when nothing waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..cache.line import Job, Line
from ..redis_link import RedisLink
from .shared_scripts import ENTER, LEAVE, OPENED, RENEW, VERDICTS, digest

__all__ = ["Script", "SharedLine"]

POLL_S = 0.2
"""How often verdicts of other processes are looked up, seconds."""

Script = tuple[str, Sequence[str], Sequence[Any]]
"""A script, its keys and its arguments."""

_ALL = (ENTER, LEAVE, RENEW, OPENED, VERDICTS)
_DIGESTS = {script: digest(script) for script in _ALL}


class SharedLine:
    """Runs scripts in Redis. While it cannot be asked, says so at once, and tries again itself.

    Args:
        url: Where Redis is.
        timeout_s: Longest an ask waits, seconds.
        due: Called in the thread about every `POLL_S`; returns scripts to run.
        learn: Called in the thread with their replies.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        due: Callable[[], list[Script]],
        learn: Callable[[list[Any]], None],
    ) -> None:
        self._due = due
        self._learn = learn
        self._next_due = 0.0
        self._link = RedisLink(
            url,
            user="shared",
            timeout_s=timeout_s,
            meanwhile="each process keeps limits and breakers by itself",
            probe=lambda client: client.ping(),
        )
        self._line: Line[Script, Any] = Line(
            "cascade-shared", self._perform, self._link.close, timeout_s=timeout_s, tick_s=POLL_S
        )

    @property
    def down(self) -> bool:
        """Whether Redis cannot be asked just now."""
        return self._link.down

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

    async def ask(self, script: Script) -> Any:
        """Return a script's reply; None when Redis does not give one in time."""
        return None if self.down else await self._line.ask(script)

    def tell(self, script: Script) -> None:
        """Run a script that nobody waits for."""
        if not self.down:
            self._line.tell(script)

    async def aclose(self) -> None:
        """Send what waits and disconnect."""
        await self._line.aclose()

    # From here on: the thread.

    def _perform(self, jobs: list[Job[Script, Any]]) -> list[Any]:
        link = self._link
        if link.down and not link.next_try_s:
            link.try_again()
        if link.down:
            return [None] * len(jobs)
        due: list[Script] = []
        if time.monotonic() >= self._next_due:
            self._next_due = time.monotonic() + POLL_S
            due = self._due()
        try:
            replies = self._run([*due, *(job.ask for job in jobs)])
        except link.failures as exc:
            link.note_outage(exc)
            return [None] * len(jobs)
        refused = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if refused is None:
            link.note_answer()
        else:  # it is full, or only a replica: it answers, and does not do what it is asked
            link.note_outage(refused)
        good = [None if isinstance(reply, Exception) else reply for reply in replies]
        self._learn(good[: len(due)])
        return good[len(due) :]

    def _run(self, scripts: list[Script]) -> list[Any]:
        pipe = self._link.client.pipeline(transaction=False)
        used = dict.fromkeys(script for script, _, _ in scripts)
        for script in used:  # each time: Redis may have been started anew since
            pipe.script_load(script)
        for script, keys, arguments in scripts:
            pipe.evalsha(_DIGESTS[script], len(keys), *keys, *arguments)
        replies: list[Any] = pipe.execute(raise_on_error=False)
        return replies[len(used) :]
