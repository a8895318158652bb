"""Breakers' verdicts that processes share: one that opens in one of them opens in all.

Nothing of it is on the way of a call but a look into a dict. Verdicts are sent as they are passed and
looked up every `shared_line.POLL_S`, so that within half a second all know.
"""

from __future__ import annotations

import time
from typing import Any

from .shared_line import Script, SharedLine
from .shared_scripts import OPENED, VERDICTS, quoted

__all__ = ["SharedVerdicts"]


class SharedVerdicts:
    """What breakers of other processes have found.

    Args:
        prefix: What the names of the keys begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._key = f"{prefix}verdicts"
        self._line: SharedLine | None = None
        self._until: dict[str, float] = {}

    def connect(self, line: SharedLine) -> None:
        """Send verdicts along this line from now on."""
        self._line = line

    def open_for_s(self, provider: str, model: str) -> float:
        """Return the seconds for which a breaker is open somewhere; <= 0: it is not."""
        if not self._until:
            return 0.0
        until = self._until.get(_name(provider, model))
        return 0.0 if until is None else until - time.monotonic()

    def opened(self, provider: str, model: str, seconds: float) -> None:
        """Tell the others that a breaker has opened, and for how long."""
        if self._line is not None:
            whose = _name(provider, model)
            self._line.tell((OPENED, [self._key], [whose, round(seconds * 1000)]))

    def question(self) -> Script:
        """Return the script that asks for all verdicts."""
        return (VERDICTS, [self._key], [])

    def learn(self, reply: Any) -> None:
        """Take in its reply."""
        now = time.monotonic()
        pairs = zip(reply[::2], reply[1::2], strict=True)
        self._until = {whose.decode(): now + left_ms / 1000 for whose, left_ms in pairs}


def _name(provider: str, model: str) -> str:
    return f"{quoted(provider)}/{quoted(model)}"
