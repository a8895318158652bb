"""A task beside the caller's, begun only when what the caller waits for takes long."""

from __future__ import annotations

from contextvars import ContextVar

import anyio
import anyio.lowlevel
import pytest

from cascade.resilience.deputy import Alarms, Deputy

pytestmark = pytest.mark.anyio

SOON_S = 0.005
NEVER_S = 60.0


class Work:
    """What a deputy does: notes that it was begun and how it ended, in between it does as it is told."""

    def __init__(self, *, stops: bool = False, error: Exception | None = None) -> None:
        self.begun = anyio.Event()
        self.let_go = anyio.Event()
        self.ended = ""
        self._stops = stops
        self._error = error

    async def __call__(self, deputy: Deputy) -> None:
        self.begun.set()
        try:
            if self._error is not None:
                raise self._error
            if self._stops:
                deputy.stop_waiting()
            else:
                await self.let_go.wait()
            self.ended = "done"
        except anyio.get_cancelled_exc_class():
            self.ended = "cancelled"
            raise


async def at_once(deputy_of_it: Deputy | None = None) -> str:
    await anyio.lowlevel.checkpoint()
    if deputy_of_it is not None:
        deputy_of_it.dismiss()
    return "answer"


async def for_ever() -> str:
    await anyio.sleep_forever()
    return "never"


async def test_a_quick_call_needs_no_deputy() -> None:
    """The work is not begun, then or later."""
    work = Work()
    deputy = Deputy(work, Alarms())
    assert await deputy.wait_for(at_once(), SOON_S) == "answer"
    await anyio.sleep(4 * SOON_S)
    assert not deputy.begun
    assert not work.begun.is_set()


async def test_a_call_that_is_heard_of_dismisses_what_was_not_begun() -> None:
    """However long it then takes."""

    async def heard_then_slow() -> str:
        await at_once(deputy)
        await anyio.sleep(4 * SOON_S)
        return "answer"

    deputy = Deputy(Work(), Alarms())
    assert await deputy.wait_for(heard_then_slow(), SOON_S) == "answer"
    assert not deputy.begun


async def test_the_work_may_stop_a_slow_call() -> None:
    """The caller gets None, and the call was cancelled."""
    deputy = Deputy(Work(stops=True), Alarms())
    assert await deputy.wait_for(for_ever(), SOON_S) is None
    assert deputy.begun


async def test_the_end_of_the_work_is_waited_for() -> None:
    """Who has begun something is asked for its end, answer or not."""
    work = Work()

    async def until_begun() -> str:
        await work.begun.wait()
        return "answer"

    got: list[str | None] = []

    async def ask() -> None:
        got.append(await Deputy(work, Alarms()).wait_for(until_begun(), SOON_S))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await work.begun.wait()
        await anyio.wait_all_tasks_blocked()
        assert got == []
        work.let_go.set()
    assert (got, work.ended) == (["answer"], "done")


async def test_the_call_may_dismiss_what_was_begun() -> None:
    """Its work is cancelled."""
    work = Work()

    async def until_begun() -> str:
        await work.begun.wait()
        return await at_once(deputy)

    deputy = Deputy(work, Alarms())
    assert await deputy.wait_for(until_begun(), SOON_S) == "answer"
    assert work.ended == "cancelled"


@pytest.mark.parametrize("delay_s", [SOON_S, NEVER_S], ids=["begun", "not begun"])
async def test_who_cancels_the_caller_cancels_both(delay_s: float) -> None:
    """Nothing is left running."""
    work = Work()
    called = anyio.Event()
    cancelled = False

    async def call() -> None:
        nonlocal cancelled
        called.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled = True
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(Deputy(work, Alarms()).wait_for, call(), delay_s)
        await (work.begun if delay_s == SOON_S else called).wait()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert cancelled
    assert work.ended == ("cancelled" if delay_s == SOON_S else "")


async def test_who_cancels_the_caller_cancels_the_work_that_goes_on_alone() -> None:
    """The call has ended already."""
    work = Work()

    async def until_begun() -> None:
        await work.begun.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(Deputy(work, Alarms()).wait_for, until_begun(), SOON_S)
        await work.begun.wait()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert work.ended == "cancelled"


@pytest.mark.parametrize("shielded", [False, True])
async def test_the_end_of_the_work_is_waited_for_even_so(shielded: bool) -> None:
    """What it does in a shielded scope is done before the cancelled caller is gone."""
    begun = anyio.Event()
    said: list[str] = []

    async def work(deputy: Deputy) -> None:
        with anyio.CancelScope(shield=shielded):
            begun.set()
            await anyio.sleep(4 * SOON_S)
            said.append("written")

    async with anyio.create_task_group() as group:
        group.start_soon(Deputy(work, Alarms()).wait_for, for_ever(), SOON_S)
        await begun.wait()
        group.cancel_scope.cancel()
    assert said == ["written"] * shielded


async def test_a_mistake_in_the_work_stops_the_call_and_is_raised() -> None:
    """As itself, not in a group."""
    error = KeyError("a bug")
    with pytest.raises(KeyError) as caught:
        await Deputy(Work(error=error), Alarms()).wait_for(for_ever(), SOON_S)
    assert caught.value is error


@pytest.mark.parametrize("delay_s", [SOON_S, NEVER_S], ids=["begun", "not begun"])
async def test_a_mistake_in_the_call_ends_the_work_and_is_raised(delay_s: float) -> None:
    """As itself, not in a group."""
    work = Work()
    error = KeyError("a bug")

    async def call() -> None:
        if delay_s == SOON_S:
            await work.begun.wait()
        raise error

    with pytest.raises(KeyError) as caught:
        await Deputy(work, Alarms()).wait_for(call(), delay_s)
    assert caught.value is error
    assert work.ended == ("cancelled" if delay_s == SOON_S else "")


async def test_one_timer_watches_over_all() -> None:
    """Each is begun in its time: the short wait is not kept by the long one, nor forgotten after it."""
    alarms = Alarms()
    order: list[str] = []

    async def wait(name: str, delay_s: float) -> None:
        async def work(deputy: Deputy) -> None:
            order.append(name)
            deputy.stop_waiting()

        assert await Deputy(work, alarms).wait_for(for_ever(), delay_s) is None

    async with anyio.create_task_group() as group:
        group.start_soon(wait, "third", 12 * SOON_S)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(wait, "first", SOON_S)
        group.start_soon(wait, "second", 6 * SOON_S)
    assert order == ["first", "second", "third"]
    assert await Deputy(Work(stops=True), alarms).wait_for(for_ever(), SOON_S) is None


async def test_the_work_belongs_to_the_caller() -> None:
    """It sees the caller's context variables, whoever set the timer."""
    whose: ContextVar[str] = ContextVar("whose", default="nobody")
    alarms = Alarms()
    seen: list[str] = []

    async def ask(name: str) -> None:
        async def work(deputy: Deputy) -> None:
            seen.append(whose.get())
            deputy.stop_waiting()

        whose.set(name)
        await Deputy(work, alarms).wait_for(for_ever(), SOON_S)

    async with anyio.create_task_group() as group:
        for name in ("a", "b", "c"):
            group.start_soon(ask, name)
    assert sorted(seen) == ["a", "b", "c"]


def test_it_may_be_used_on_one_loop_after_the_other() -> None:
    """What was due on a loop that has ended is nobody's."""
    alarms = Alarms()

    async def main(delay_s: float) -> None:
        with anyio.move_on_after(4 * SOON_S):
            assert await Deputy(Work(stops=True), alarms).wait_for(for_ever(), delay_s) is None

    for delay_s in (NEVER_S, SOON_S):
        anyio.run(main, delay_s)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_caller_that_was_cancelled_and_stopped_at_once_is_cancelled(
    anyio_backend: str,
) -> None:
    """Both wake it for the same reason; only one of them may be kept from it."""
    begun = anyio.Event()
    after = False

    async def work(deputy: Deputy) -> None:
        begun.set()
        await anyio.sleep_forever()

    deputy = Deputy(work, Alarms())

    async def ask() -> None:
        nonlocal after
        await deputy.wait_for(for_ever(), SOON_S)
        after = True

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await begun.wait()
        deputy.stop_waiting()
        group.cancel_scope.cancel()
    assert not after
