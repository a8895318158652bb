"""The thread that speaks to a store: nobody waits for it longer than told, whatever becomes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from cascade.cache.line import Job, Line

pytestmark = pytest.mark.anyio


class Store:
    """Doubles what it is asked, when it is let."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.batches: list[list[int]] = []
        self.finished = 0

    def perform(self, jobs: list[Job[int, int]]) -> list[int | None]:
        self.batches.append([job.ask for job in jobs])
        self.free.wait()
        return [2 * job.ask if job.wanted else None for job in jobs]

    def finish(self) -> None:
        self.finished += 1


@asynccontextmanager
async def opened(store: Store, timeout_s: float = 10.0) -> AsyncIterator[Line[int, int]]:
    line = Line[int, int]("test-line", store.perform, store.finish, timeout_s=timeout_s)
    line.start()
    try:
        yield line
    finally:
        store.free.set()
        with anyio.CancelScope(shield=True):
            await line.aclose()


async def eventually(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        await anyio.sleep(0.001)


async def test_everybody_gets_the_own_reply() -> None:
    """What waits while the thread is busy is taken at once."""
    store = Store()
    got: dict[int, int | None] = {}

    async def ask(number: int) -> None:
        got[number] = await line.ask(number)

    async with opened(store) as line:
        store.free.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, -1)
            await eventually(lambda: store.batches == [[-1]])
            for number in range(600):
                tasks.start_soon(ask, number)
            await anyio.wait_all_tasks_blocked()
            store.free.set()
        assert got == {number: 2 * number for number in range(-1, 600)}
        assert [len(batch) for batch in store.batches] == [1, 250, 250, 100]
        line.tell(7)
        await eventually(lambda: store.batches[-1] == [7])
    assert store.finished == 1
    assert await line.ask(1) is None
    line.tell(1)
    await line.aclose()


async def test_nobody_waits_longer_than_told() -> None:
    """What need not be done is not done; what has to be done is."""
    store = Store()
    async with opened(store, timeout_s=0.05) as line:
        store.free.clear()
        started = time.monotonic()
        assert await line.ask(1) is None
        assert await line.ask(2, idle=True, timeout_s=0.01) is None
        assert await line.ask(3, timeout_s=0.01) is None
        with anyio.move_on_after(0.01):
            await line.ask(4, idle=True, timeout_s=100)
        assert time.monotonic() - started < 20  # the last would wait for 100
        store.free.set()
        assert await line.ask(5) == 10
    assert [ask for batch in store.batches for ask in batch] == [1, 3, 5]


async def test_what_is_too_much_is_refused() -> None:
    """By number and by weight; one of any weight is taken when nothing else waits."""
    store = Store()
    async with opened(store, timeout_s=0.001) as line:
        store.free.clear()
        line.tell(0)
        await eventually(lambda: store.batches == [[0]])
        assert await line.ask(1, weight=100_000_000) is None
        started = time.monotonic()
        assert await line.ask(2, weight=1, timeout_s=100) is None
        for number in range(20_000):
            line.tell(number)
        assert await line.ask(3, timeout_s=100) is None
        assert time.monotonic() - started < 10
        store.free.set()
    done = [ask for batch in store.batches for ask in batch]
    assert done == [0, 1, *range(9_999)]


async def test_heavy_asks_are_taken_a_few_at_a_time() -> None:
    """One pipeline of all of them would take too long."""
    store = Store()
    async with opened(store) as line:
        store.free.clear()
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(lambda n: line.ask(n, weight=1_500_000), number)
            await anyio.wait_all_tasks_blocked()
            store.free.set()
    assert max(len(batch) for batch in store.batches) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_nobody_waits_for_a_thread_that_has_ended() -> None:
    """An error of ours ends it; those who wait and those who come later have no reply."""

    def fail(jobs: list[Job[int, int]]) -> list[int | None]:
        raise ZeroDivisionError

    store = Store()
    line = Line[int, int]("test-line", fail, store.finish, timeout_s=100)
    line.start()
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(line.ask, number)
    assert await line.ask(1) is None
    await line.aclose()
    assert store.finished == 1


async def test_a_line_that_was_never_started_can_be_closed() -> None:
    """Its owner may have failed before."""
    store = Store()
    line = Line[int, int]("test-line", store.perform, store.finish, timeout_s=1)
    await line.aclose()


def test_an_event_loop_that_has_ended_holds_nobody() -> None:
    """Its asks are dropped, and another loop is served."""
    store = Store()
    line = Line[int, int]("test-line", store.perform, store.finish, timeout_s=0.01)
    line.start()
    store.free.clear()
    assert anyio.run(line.ask, 1) is None
    store.free.set()

    async def later() -> None:
        assert await line.ask(2, timeout_s=10) == 4
        await line.aclose()

    anyio.run(later)
    assert store.finished == 1
