"""Identical requests that are under way at once share one call."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

import anyio

from ..clock import SystemClock
from ..errors import ConfigError
from ..ports import Clock

__all__ = ["SingleFlight"]

T = TypeVar("T")

_MOST_ERRORS = 1_000
"""Most errors remembered at once; the oldest is forgotten."""


class _Error:
    """An error as it was when it came: raising it again would make its traceback longer every time."""

    __slots__ = ("_raised", "_trace", "until")

    def __init__(self, raised: Exception, until: float) -> None:
        self._raised = raised
        self._trace = raised.__traceback__
        self.until = until

    def again(self) -> Exception:
        return self._raised.with_traceback(self._trace)


class _Flight(Generic[T]):
    """A call under way. It has landed when it has a value or an error, and is lost when it has neither."""

    __slots__ = ("done", "error", "value", "waiting")

    def __init__(self) -> None:
        self.done: anyio.Event | None = (
            None  # made by the first who waits: it costs more than the rest
        )
        self.value: tuple[T] | None = None
        self.error: _Error | None = None
        self.waiting = 0


class SingleFlight(Generic[T]):
    """Lets the first who asks make the call, and gives what comes of it to all who ask meanwhile.

    The call runs in the task of the first, the leader. When the leader is cancelled, so is its call, and
    the next of those who wait leads with a call of its own. Its error is raised to all who waited, and
    the next to ask calls again. It serves one event loop.

    Args:
        error_s: Seconds for which an error is raised again, without a call, to those who ask later; 0:
            not at all.
        private: Errors that are the leader's own affair, such as its deadline: those who wait are not
            told, one of them leads instead.
        clock: Time source of `error_s`.

    Raises:
        ConfigError: `error_s` is negative or not finite.
    """

    def __init__(
        self,
        *,
        error_s: float = 0.0,
        private: tuple[type[Exception], ...] = (),
        clock: Clock | None = None,
    ) -> None:
        if not 0 <= error_s < math.inf:
            raise ConfigError(f"cache: error_s {error_s!r} is not a number of seconds from 0")
        self._error_s = error_s
        self._private = private
        self._clock = clock or SystemClock()
        self._flights: dict[str, _Flight[T]] = {}
        self._errors: dict[str, _Error] = {}
        self._led = self._shared = self._errors_shared = self._handed_over = self._refused = 0

    def __contains__(self, key: str) -> bool:
        """Return whether a call with this key is under way: whoever joins it now waits for it."""
        return key in self._flights

    async def run(self, key: str, make: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Return what `make` returns, here or in another task, and whether it was called here.

        Raises:
            Exception: What `make` has raised: here, or in the task of the leader (the same object), or
                less than `error_s` ago.
        """
        while True:
            if self._errors:
                self._raise_again(key)
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(key, make), True
            if flight.done is None:
                flight.done = anyio.Event()
            flight.waiting += 1
            try:
                await flight.done.wait()
            finally:
                flight.waiting -= 1
            if flight.value is not None:
                self._shared += 1
                return flight.value[0], False
            if flight.error is not None:
                self._errors_shared += 1
                try:
                    raise flight.error.again()
                finally:
                    del flight  # the error knows this frame, and this frame the error

    def stats(self) -> Mapping[str, int]:
        """Return counters by name.

        `led` calls made, `shared` results and `errors_shared` errors had from another's call, `handed_over`
        calls that had to be made again because their leader was gone, `errors_repeated` errors raised
        without a call, and `in_flight` and `waiting` as they are now.
        """
        return {
            "led": self._led,
            "shared": self._shared,
            "errors_shared": self._errors_shared,
            "handed_over": self._handed_over,
            "errors_repeated": self._refused,
            "in_flight": len(self._flights),
            "waiting": sum(flight.waiting for flight in self._flights.values()),
        }

    async def _lead(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = _Flight[T]()
        self._led += 1
        try:
            value = await make()
            flight.value = (value,)
            return value
        except Exception as exc:
            if not isinstance(exc, self._private):
                flight.error = _Error(exc, self._clock.monotonic() + self._error_s)
                if self._error_s:
                    self._remember(key, flight.error)
            raise
        finally:
            del self._flights[key]
            if flight.done is not None:
                if flight.waiting and flight.value is None and flight.error is None:
                    self._handed_over += 1
                flight.done.set()
            del flight

    def _remember(self, key: str, error: _Error) -> None:
        self._errors.pop(key, None)
        while len(self._errors) >= _MOST_ERRORS:
            del self._errors[next(iter(self._errors))]
        self._errors[key] = error  # the oldest first, which is the first to go

    def _raise_again(self, key: str) -> None:
        now = self._clock.monotonic()
        while self._errors and (oldest := next(iter(self._errors.items())))[1].until <= now:
            del self._errors[oldest[0]]
        if key in self._errors:
            self._refused += 1
            raise self._errors[key].again()
