"""A task beside the caller's, begun only once what the caller waits for has taken long.

Nearly every call that may be hedged is answered before the delay is over. So the call runs in the
caller's own task, and one timer watches over all of them; a task a call costs 120 µs, a timer and a
cancel scope a call 7, an entry in a table 1. anyio has no timer without a task, and stops only what
runs in a scope: on asyncio the event loop's timer and the task's own cancellation stand in for them.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - for its timers and for cancelling a task, see above
import math
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import TypeVar

import anyio

__all__ = ["Alarms", "Deputy"]

_T = TypeVar("_T")


class Alarms:
    """Begins what deputies have to do when their time has come; on asyncio, for one loop at a time."""

    __slots__ = ("_due", "_loop", "_next_at")

    def __init__(self) -> None:
        self._due: dict[Deputy, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_at = math.inf

    def set(self, deputy: Deputy, delay_s: float, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a deputy's work after `delay_s` seconds."""
        if loop is not self._loop:
            self._loop, self._next_at = loop, math.inf
            self._due.clear()
        at = loop.time() + delay_s
        self._due[deputy] = at
        if at < self._next_at:
            self._look_at(at, loop)

    def unset(self, deputy: Deputy) -> None:
        """Do not begin it any more. The timer is left: it will find nothing to do."""
        self._due.pop(deputy, None)

    def _look_at(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        self._next_at = at
        loop.call_at(at, self._look, at, loop, context=Context())

    def _look(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        """Begin what is due, unless an earlier look has been arranged since."""
        if at != self._next_at or loop is not self._loop:
            return
        self._next_at = math.inf
        now = max(at, loop.time())
        for deputy in [deputy for deputy, due_at in self._due.items() if due_at <= now]:
            del self._due[deputy]
            deputy.begin(loop)
        if self._due:
            self._look_at(min(self._due.values()), loop)


class Deputy:
    """Does its work beside one call of the caller, if that takes long; both have ended when it returns.

    Args:
        work: What to do, given this; it may call `stop_waiting`.
        alarms: Tells it that it has taken long.

    Attributes:
        begun: Whether the work was begun.
    """

    __slots__ = (
        "_alarms",
        "_caller",
        "_context",
        "_error",
        "_own",
        "_scope",
        "_stopped",
        "_task",
        "_work",
        "begun",
    )

    def __init__(self, work: Callable[[Deputy], Awaitable[None]], alarms: Alarms) -> None:
        self.begun = False
        self._work = work
        self._alarms = alarms
        self._error: Exception | None = None
        self._own: anyio.CancelScope | None = None  # the work's
        self._task: asyncio.Task[None] | None = None  # the work's
        self._scope: anyio.CancelScope | None = None  # the call's, where it has one
        self._caller: asyncio.Task[object] | None = None  # while it waits for the call
        self._stopped = False
        self._context: Context | None = None

    async def wait_for(self, call: Awaitable[_T], delay_s: float) -> _T | None:
        """Return what `call` returns, or None when the work has stopped it.

        Args:
            call: What to wait for, in the caller's own task.
            delay_s: Seconds after which the work is begun.

        Raises:
            Exception: Of the call (the work is then stopped), or of the work.
        """
        caller = _asyncio_task()
        if caller is None:
            return await self._wait_in_a_group(call, delay_s)
        cancelled_before = caller.cancelling()
        result: _T | None = None
        self._caller = caller
        self._context = copy_context()  # the work belongs to the caller, not to who set the timer
        self._alarms.set(self, delay_s, caller.get_loop())
        try:
            result = await call
        except asyncio.CancelledError:
            if not self._stopped or caller.cancelling() > cancelled_before + 1:
                self.dismiss()
                raise
        except BaseException:
            self.dismiss()
            raise
        finally:
            self._caller = None
            self._alarms.unset(self)
            if self._stopped:
                caller.uncancel()
            if self._task is not None:
                await self._join(self._task)
        if self._error is not None:
            raise self._error
        return result

    def stop_waiting(self) -> None:
        """Cancel the call, unless it is over."""
        if self._scope is not None:
            self._scope.cancel()
        elif self._caller is not None and not self._stopped:
            self._stopped = True
            self._caller.cancel()

    def dismiss(self) -> None:
        """Cancel the work, or never begin it."""
        self._alarms.unset(self)
        if self._own is not None:
            self._own.cancel()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the work in a task, whose end `wait_for` waits for."""
        assert self._context is not None
        self._context.run(self._begin, loop)

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
                self.stop_waiting()

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
        self._own, self._scope = own, scope = anyio.CancelScope(), anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(self._do_work, own, delay_s)
            try:
                with scope:
                    result = await call
            except Exception as exc:  # noqa: BLE001 - raised again, out of the group's own wrapping
                self._error = exc
                own.cancel()
            if not self.begun:
                own.cancel()
        if self._error is not None:
            raise self._error
        return result


def _asyncio_task() -> asyncio.Task[object] | None:
    """Return the running task, or None where it is none of asyncio's."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
