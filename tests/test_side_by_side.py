"""The next rung beside a slow one: what the walk makes of whoever answers first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import anyio
import anyio.lowlevel
import pytest

from cascade import Cascade, Ladder, Result, Rung
from cascade.errors import ConnectFailed, DeadlineExceeded
from cascade.resilience.hedge import Hedge
from cascade.testing import ScriptedScorer, reply
from cascade.types import Answer, Attempt, ModelCall, Request, Score

pytestmark = pytest.mark.anyio

SOON = Hedge(after_s=0.01, share=1.0)
LATE = Hedge(after_s=60.0, share=1.0)

AT_ONCE, NEVER = "at once", "never"
BESIDE = "middle asked"
AFTER = "small answered"
FAILED = "middle answered"

Said = Mapping[str, tuple[str, float | Exception]]
"""For each model: upon what it answers, and how sure it is, or what it fails with."""


class Models:
    """A client of three models that answer in the order a test wants, however busy the machine."""

    def __init__(self, said: Said) -> None:
        self._said = said
        self._happened = {what: anyio.Event() for what in (BESIDE, AFTER, FAILED, NEVER)}
        self.tasks: set[int] = set()
        self.asked: list[str] = []
        self.cancelled: list[str] = []

    async def complete(self, call: ModelCall) -> Answer:
        name = call.model
        self.tasks.add(anyio.get_current_task().id)
        self.asked.append(name)
        self._happen(f"{name} asked")
        upon, said = self._said[name]
        try:
            await anyio.lowlevel.checkpoint()
            if upon != AT_ONCE:
                await self._happened[upon].wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(name)
            raise
        self._happen(f"{name} answered")
        if isinstance(said, Exception):
            raise said
        return reply(name, confidence=said)

    def _happen(self, what: str) -> None:
        if what in self._happened:
            self._happened[what].set()

    async def aclose(self) -> None:
        """Have nothing to close."""


def engine(models: Models, hedge: Hedge = SOON) -> Cascade:
    rungs = (
        Rung(model="small", provider="p", accept=0.8),
        Rung(model="middle", provider="p", accept=0.8),
        Rung(model="large", provider="p"),
    )
    ladder = Ladder(name="three", rungs=rungs)
    return Cascade(ladder, {"p": models}, scorer=ScriptedScorer(), hedge=hedge)


def told(result: Result) -> list[tuple[str, str]]:
    return [(attempt.model, attempt.verdict) for attempt in result.attempts]


def said(
    small: tuple[str, float | Exception], middle: tuple[str, float | Exception], large: float = 0.5
) -> Said:
    return {"small": small, "middle": middle, "large": (AT_ONCE, large)}


CASES = {
    "the backup is sure": (
        said((NEVER, 0.9), (AT_ONCE, 0.9)),
        [("middle", "accepted"), ("small", "hedged")],
    ),
    "the backup is not, and the walk goes on": (
        said((NEVER, 0.9), (AT_ONCE, 0.3)),
        [("middle", "escalated"), ("large", "accepted"), ("small", "hedged")],
    ),
    "the slow one is first after all, and sure": (
        said((BESIDE, 0.9), (NEVER, 0.9)),
        [("small", "accepted"), ("middle", "hedged")],
    ),
    "the slow one is first after all, and not sure": (
        said((BESIDE, 0.3), (AFTER, 0.9)),
        [("small", "escalated"), ("middle", "accepted")],
    ),
}


@pytest.mark.parametrize(("who", "expected"), CASES.values(), ids=CASES)
async def test_whoever_answers_first_is_judged_first(
    who: Said, expected: list[tuple[str, str]]
) -> None:
    """What is not needed at the end is cancelled and told."""
    models = Models(who)
    async with engine(models) as ladder:
        result = await ladder.ask("Which?")
    assert told(result) == expected
    assert models.cancelled == [name for name, verdict in expected if verdict == "hedged"]


class Slow:
    """A scorer that keeps the loop to itself until a deadline has passed."""

    version = "slow"

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        time.sleep(0.3)
        return Score(confidence=0.9)


async def test_a_walk_that_ends_beside_a_slow_call_as_its_time_is_over_has_ended() -> None:
    """The answer that was accepted is returned; no other end is sought."""
    rungs = (Rung(model="small", provider="p", accept=0.8), Rung(model="middle", provider="p"))
    for reader in (False, True):
        models = Models(said((NEVER, 0.9), (AT_ONCE, 0.9)))
        made = Cascade(Ladder(name="two", rungs=rungs), {"p": models}, scorer=Slow(), hedge=SOON)
        async with made as ladder:
            if reader:
                async with ladder.stream("Which?", deadline_s=0.2) as events:
                    async for _ in events:
                        pass
                result = events.result
            else:
                result = await ladder.ask("Which?", deadline_s=0.2)
        assert result.model == "middle"
        assert models.cancelled == ["small"]


async def test_a_backup_that_fails_leaves_the_slow_one_its_time() -> None:
    """No answer is the first answer."""
    out = ConnectFailed("is out", provider="p", model="middle")
    models = Models(said((FAILED, 0.9), (AT_ONCE, out)))
    async with engine(models) as ladder:
        result = await ladder.ask("Which?")
    assert told(result) == [("small", "accepted"), ("middle", "hedged")]
    assert models.asked == ["small", "middle"]


@pytest.mark.parametrize("hedge", [LATE, Hedge(share=1.0)], ids=["a delay", "none known yet"])
async def test_a_quick_call_runs_in_the_askers_own_task(hedge: Hedge) -> None:
    """A task a call would cost more than all else the engine does for it."""
    models = Models(said((AT_ONCE, 0.3), (AT_ONCE, 0.3)))
    async with engine(models, hedge) as ladder:
        for _ in range(3):
            await ladder.ask("Which?")
    assert models.tasks == {anyio.get_current_task().id}
    assert models.asked == ["small", "middle", "large"] * 3


@pytest.mark.parametrize(
    "make",
    [
        lambda error: said((AT_ONCE, error), (AT_ONCE, 0.9)),
        lambda error: said((AT_ONCE, 0.3), (AT_ONCE, error)),
        lambda error: said((BESIDE, error), (NEVER, 0.9)),
        lambda error: said((NEVER, 0.9), (AT_ONCE, error)),
    ],
    ids=["alone", "alone, the second", "beside its backup", "as the backup"],
)
async def test_a_mistake_of_ours_leaves_as_itself(make: Callable[[Exception], Said]) -> None:
    """Not in a group, and what runs beside it is ended."""
    error = KeyError("a bug")
    models = Models(make(error))
    async with engine(models) as ladder:
        with pytest.raises(KeyError) as caught:
            await ladder.ask("Which?")
        assert ladder.in_flight == 0
    assert caught.value is error


@pytest.mark.parametrize("backed_up", [False, True])
async def test_a_cancelled_ask_cancels_both(backed_up: bool) -> None:
    """Whoever was asked."""
    models = Models(said((NEVER, 0.9), (NEVER, 0.9)))
    async with (
        engine(models, SOON if backed_up else LATE) as ladder,
        anyio.create_task_group() as group,
    ):
        group.start_soon(ladder.ask, "Which?")
        while len(models.asked) < 1 + backed_up:
            await anyio.sleep(0.005)
        group.cancel_scope.cancel()
    assert sorted(models.cancelled) == sorted(models.asked)


async def test_the_deadline_ends_both() -> None:
    """The ask ends in its time, with what both have cost."""
    models = Models(said((NEVER, 0.9), (NEVER, 0.9)))
    async with engine(models) as ladder:
        with pytest.raises(DeadlineExceeded) as caught:
            await ladder.ask("Which?", deadline_s=0.2)
    assert sorted(models.cancelled) == ["middle", "small"]
    assert {attempt.model for attempt in caught.value.attempts} == {"small", "middle"}
