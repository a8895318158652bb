"""A wall clock for tests of calendar periods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio.lowlevel


class Calendar:
    """A clock whose wall time and monotonic time are moved by hand.

    Attributes:
        wall: What the wall clock says.
        seconds: What `monotonic` says.
    """

    def __init__(self, start: str = "2026-01-31T12:00:30Z") -> None:
        self.wall = datetime.fromisoformat(start)
        self.seconds = 0.0

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds

    def set_wall(self, time: str) -> None:
        """Set the wall clock, as an administrator or NTP does; it takes a moment."""
        self.wall = datetime.fromisoformat(time)
        self.seconds += 0.01

    def monotonic(self) -> float:
        return self.seconds

    def now_iso(self) -> str:
        return self.wall.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

    async def sleep(self, seconds: float) -> None:
        self.move(seconds)
        await anyio.lowlevel.checkpoint()
