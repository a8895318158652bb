"""Identical requests under way at once: one call, however it ends."""

from __future__ import annotations

import gc
import traceback
import weakref
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from cascade.cache import SingleFlight
from cascade.errors import ConfigError
from cascade.testing import FakeClock

pytestmark = pytest.mark.anyio


class Call:
    """A call that ends when it is told to, and counts how often it was made."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.made = 0
        self.end = anyio.Event()

    async def __call__(self) -> str:
        self.made += 1
        number = self.made
        await self.end.wait()
        if self.error is not None:
            raise self.error
        return f"answer {number}"


def at_rest(flight: SingleFlight[str]) -> bool:
    return flight.stats()["in_flight"] == flight.stats()["waiting"] == 0


async def test_a_crowd_shares_one_call() -> None:
    """All get its value, and one of them is told that it led."""
    flight = SingleFlight[str]()
    call = Call()
    got: list[tuple[str, bool]] = []

    async def ask() -> None:
        got.append(await flight.run("k", call))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
        await wait_all_tasks_blocked()
        assert flight.stats()["waiting"] == 99
        call.end.set()
    assert sorted(got) == [("answer 1", False)] * 99 + [("answer 1", True)]
    stats = flight.stats()
    assert (stats["led"], stats["shared"]) == (1, 99)
    assert at_rest(flight)


async def test_other_keys_and_later_asks_call_themselves() -> None:
    """Nothing is kept."""
    flight = SingleFlight[str]()
    call = Call()
    call.end.set()
    assert await flight.run("k", call) == ("answer 1", True)
    assert await flight.run("k", call) == ("answer 2", True)
    held = Call()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flight.run, "k", held)
        await wait_all_tasks_blocked()
        assert await flight.run("other", call) == ("answer 3", True)
        held.end.set()


async def test_none_is_a_value() -> None:
    """Those who wait get it, and do not call."""
    flight = SingleFlight[None]()
    end = anyio.Event()
    got: list[tuple[None, bool]] = []

    async def ask() -> None:
        got.append(await flight.run("k", end.wait))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(ask)
        await wait_all_tasks_blocked()
        end.set()
    assert [led for _, led in got] == [True, False]


async def test_when_the_leader_is_cancelled_the_next_leads() -> None:
    """One of those who wait calls anew, the others wait on; again and again."""
    flight = SingleFlight[str]()
    call = Call()
    scopes = [anyio.CancelScope() for _ in range(5)]
    leaders: list[int] = []
    got: dict[int, tuple[str, bool]] = {}

    async def ask(number: int) -> None:
        async def lead() -> str:
            leaders.append(number)
            return await call()

        with scopes[number]:
            got[number] = await flight.run("k", lead)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(ask, number)
        await wait_all_tasks_blocked()
        for made in (1, 2, 3):
            assert call.made == made
            scopes[leaders[-1]].cancel()
            await wait_all_tasks_blocked()
        call.end.set()
    assert len(set(leaders)) == 4
    assert got.keys() == set(range(5)) - set(leaders[:3])
    assert {text for text, _ in got.values()} == {"answer 4"}
    assert [number for number, (_, led) in got.items() if led] == leaders[3:]
    assert flight.stats()["handed_over"] == 3
    assert at_rest(flight)


async def test_one_who_waits_may_be_cancelled() -> None:
    """Nobody else notices."""
    flight = SingleFlight[str]()
    call = Call()
    got = []

    async def ask() -> None:
        got.append(await flight.run("k", call))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await wait_all_tasks_blocked()
        with anyio.move_on_after(0.001):
            await flight.run("k", call)
        assert flight.stats()["waiting"] == 0
        call.end.set()
    assert got == [("answer 1", True)]
    assert call.made == 1


async def test_an_error_reaches_all_who_waited_once() -> None:
    """The next to ask calls again."""
    flight = SingleFlight[str]()
    call = Call(ValueError("no"))
    errors: list[ValueError] = []

    async def ask() -> None:
        with pytest.raises(ValueError, match="no") as caught:
            await flight.run("k", call)
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
        await wait_all_tasks_blocked()
        call.end.set()
    assert len(errors) == 20
    assert call.made == 1
    assert len(traceback.extract_tb(errors[0].__traceback__)) < 8  # not longer with every one
    with pytest.raises(ValueError, match="no"):
        await flight.run("k", call)
    assert call.made == 2
    assert flight.stats()["errors_shared"] == 19
    assert at_rest(flight)


async def test_the_leaders_own_errors_are_not_passed_on() -> None:
    """Its deadline is not that of the others: one of them leads."""
    flight = SingleFlight[str](private=(TimeoutError,), error_s=60)
    first, second = Call(TimeoutError()), Call()
    second.end.set()
    got: list[tuple[str, bool]] = []

    async def lead() -> None:
        with pytest.raises(TimeoutError):
            await flight.run("k", first)

    async def ask() -> None:
        got.append(await flight.run("k", second))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await wait_all_tasks_blocked()
        tasks.start_soon(ask)
        await wait_all_tasks_blocked()
        first.end.set()
    assert got == [("answer 1", True)]


async def test_an_error_is_repeated_for_as_long_as_it_is_told() -> None:
    """Without a call, and under its own key only."""
    clock = FakeClock()
    flight = SingleFlight[str](error_s=2, clock=clock)
    call = Call(ValueError("no"))
    call.end.set()
    for _ in range(50):
        with pytest.raises(ValueError, match="no") as caught:
            await flight.run("k", call)
    assert call.made == 1
    assert len(traceback.extract_tb(caught.value.__traceback__)) < 8
    with pytest.raises(ValueError, match="no"):
        await flight.run("other", call)
    assert call.made == 2
    clock.seconds += 2
    call.error = None
    assert await flight.run("k", call) == ("answer 3", True)
    assert flight.stats()["errors_repeated"] == 49
    assert flight._errors == {}


async def test_a_bounded_number_of_errors_is_remembered() -> None:
    """The oldest are forgotten."""
    flight = SingleFlight[str](error_s=2, clock=FakeClock())
    call = Call(ValueError("no"))
    call.end.set()
    for number in range(1_200):
        with pytest.raises(ValueError, match="no"):
            await flight.run(str(number), call)
    assert len(flight._errors) == 1_000
    with pytest.raises(ValueError, match="no"):
        await flight.run("0", call)
    assert call.made == 1_201


async def test_nothing_is_held_when_all_is_over() -> None:
    """Neither values nor errors nor what was asked, without waiting for the garbage collector."""

    class Big:
        pass

    flight = SingleFlight[Any]()
    kept: list[weakref.ref[Any]] = []

    async def succeed() -> Big:
        made = Big()
        kept.append(weakref.ref(made))
        return made

    async def fail() -> Big:
        made = Big()
        kept.append(weakref.ref(made))
        raise ValueError(made)

    gc.collect()
    gc.disable()
    try:
        await flight.run("k", succeed)
        with pytest.raises(ValueError):
            await flight.run("k", fail)
        await anyio.sleep(0)
        assert [made() for made in kept] == [None, None]
    finally:
        gc.enable()


async def test_a_negative_time_is_refused() -> None:
    """Said when it is made."""
    with pytest.raises(ConfigError, match="error_s -1"):
        SingleFlight[str](error_s=-1)
