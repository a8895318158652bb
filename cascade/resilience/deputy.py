"""A task beside the caller's, begun only once what the caller waits for has taken long.

Nearly every call that may be hedged is answered before the delay is over. So the call runs in the
caller's own task, and all it costs beside that is a timer and a cancel scope: some 5 µs, where a
task a call would cost 120. anyio has no timer without a task; on asyncio it is the event loop's.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - for its timers, which trio does not have
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

__all__ = ["Deputy"]

_T = TypeVar("_T")


class Deputy:
    """Does its work beside one call of the caller, if that takes long; both have ended when it returns.

    Args:
        work: What to do, given this; it may call `stop_waiting`.

    Attributes:
        begun: Whether the work was begun.
    """

    __slots__ = ("_call", "_error", "_own", "_task", "_timer", "_work", "begun")

    def __init__(self, work: Callable[[Deputy], Awaitable[None]]) -> None:
        self.begun = False
        self._work = work
        self._call = anyio.CancelScope()
        self._own: anyio.CancelScope | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    async def wait_for(self, call: Awaitable[_T], delay_s: float) -> _T | None:
        """Return what `call` returns, or None when the work has stopped it.

        Args:
            call: What to wait for, in the caller's own task.
            delay_s: Seconds after which the work is begun.

        Raises:
            Exception: Of the call (the work is then stopped), or of the work.
        """
        if not _on_asyncio():
            return await self._wait_in_a_group(call, delay_s)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay_s, self._begin, loop)
        result: _T | None = None
        try:
            with self._call:
                result = await call
        except BaseException:
            self.dismiss()
            raise
        finally:
            self._timer.cancel()
            if self._task is not None:
                await self._join(self._task)
        if self._error is not None:
            raise self._error
        return result

    def stop_waiting(self) -> None:
        """Cancel the call."""
        self._call.cancel()

    def dismiss(self) -> None:
        """Cancel the work, or never begin it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._own is not None:
            self._own.cancel()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._own = anyio.CancelScope()
        self._task = loop.create_task(self._do_work(self._own, 0.0))

    async def _do_work(self, own: anyio.CancelScope, delay_s: float) -> None:
        with own:
            if delay_s > 0.0:
                await anyio.sleep(delay_s)
            if own.cancel_called:
                return
            self.begun = True
            try:
                await self._work(self)
            except Exception as exc:  # noqa: BLE001 - raised again, to the caller
                self._error = exc
                self._call.cancel()

    async def _join(self, task: asyncio.Task[None]) -> None:
        """Wait for the end of the work; whoever cancels the caller meanwhile cancels both."""
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            self.dismiss()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
            raise

    async def _wait_in_a_group(self, call: Awaitable[_T], delay_s: float) -> _T | None:
        result: _T | None = None
        self._own = own = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(self._do_work, own, delay_s)
            try:
                with self._call:
                    result = await call
            except Exception as exc:  # noqa: BLE001 - raised again, out of the group's own wrapping
                self._error = exc
                own.cancel()
            if not self.begun:
                own.cancel()
        if self._error is not None:
            raise self._error
        return result


def _on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False
