"""The real clock. Every other module takes a `Clock` as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import anyio

__all__ = ["SystemClock"]


class SystemClock:
    """The machine's clocks: monotonic for durations, UTC for records."""

    def __init__(self) -> None:
        self._second = (0, "")  # one tuple: threads see a second with its own words

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.perf_counter()

    def now_iso(self) -> str:
        """UTC as ISO 8601 with milliseconds, such as ``2026-01-31T12:00:00.000Z``."""
        seconds = time.time()  # noqa: TID251 - the one place that reads the wall clock
        whole = int(seconds)
        known, words = self._second
        if known != whole:  # writing out a date costs four times as much as the rest of this
            words = datetime.fromtimestamp(whole, UTC).isoformat()[:-6]
            self._second = (whole, words)
        return f"{words}.{int((seconds - whole) * 1000):03d}Z"

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` without blocking other tasks."""
        await anyio.sleep(seconds)
