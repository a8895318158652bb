"""Signals to end that come before the server's own handlers stand: noted, and heeded as soon as they do.

Until then Python would end the process at once, or uvicorn's first moments would lose the signal.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["noting"]


@contextmanager
def noting(*wanted: signal.Signals) -> Iterator[Sequence[int]]:
    """Note these signals instead of dying of them; yield those that have come. Of the main thread.

    Whoever handles them meanwhile, and puts back what was there, may raise them again: nothing happens.
    """
    came: list[int] = []
    before = {one: signal.signal(one, lambda number, _: came.append(number)) for one in wanted}
    try:
        yield came
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
