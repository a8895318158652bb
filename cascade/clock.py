"""The real clock. Every other module takes a `Clock` as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import anyio

__all__ = ["SystemClock"]


class SystemClock:
    """The machine's clocks: monotonic for durations, UTC for records."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.perf_counter()

    def now_iso(self) -> str:
        """UTC as ISO 8601 with milliseconds, such as ``2026-01-31T12:00:00.000Z``."""
        seconds = time.time()  # noqa: TID251 - the one place that reads the wall clock
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` without blocking other tasks."""
        await anyio.sleep(seconds)
