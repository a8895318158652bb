"""The state machine of a ledger: what it allows, and that it never leaks."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cascade.ledgers import Budget, Ledger, MemoryLedger, Refusal, Reservation, Spend
from cascade.ledgers.ledger import Books

from .times import Calendar

DOLLAR_A_DAY = (Budget(usd=1, per="day"),)


def reserved(books: Books, account: str, amount: Spend, limits: Any) -> Reservation:
    reply = books.reserve(account, amount, limits)
    assert isinstance(reply, Reservation)
    return reply


def refused(books: Books, account: str, amount: Spend, limits: Any) -> Refusal:
    reply = books.reserve(account, amount, limits)
    assert isinstance(reply, Refusal)
    return reply


@pytest.fixture
def clock() -> Calendar:
    return Calendar()


@pytest.fixture
def books(clock: Calendar) -> Books:
    return Books(clock)


def test_what_is_held_is_not_given_twice(books: Books) -> None:
    """Two calls that fit one by one do not fit together."""
    reserved(books, "a", Spend(usd=0.6), DOLLAR_A_DAY)
    refusal = refused(books, "a", Spend(usd=0.6), DOLLAR_A_DAY)
    assert (refusal.why, refusal.usd_left, refusal.tokens_left) == ("held", 0.4, None)
    reserved(books, "b", Spend(usd=0.6), DOLLAR_A_DAY)


def test_what_was_not_needed_is_given_back(books: Books) -> None:
    """Settling holds the real cost only."""
    first = reserved(books, "a", Spend(usd=0.9), DOLLAR_A_DAY)
    books.settle(first, Spend(usd=0.1))
    reserved(books, "a", Spend(usd=0.9), DOLLAR_A_DAY)


def test_a_call_may_cost_more_than_was_held_and_that_counts(books: Books) -> None:
    """The overrun is counted: nothing is left, and less than nothing is not said."""
    first = reserved(books, "a", Spend(usd=0.1), DOLLAR_A_DAY)
    books.settle(first, Spend(usd=1.7))
    (left,) = books.left("a", DOLLAR_A_DAY)
    assert (left.usd_left, left.usd_spent) == (0.0, 1.7)
    refusal = refused(books, "a", Spend(usd=0.0), DOLLAR_A_DAY)
    assert (refusal.why, refusal.usd_left) == ("spent", 0.0)


def test_an_unknown_cost_counts_as_what_was_held(books: Books) -> None:
    """Nothing is invented and nothing is free."""
    limits = (Budget(usd=1, tokens=100, per="day"),)
    first = reserved(books, "a", Spend(usd=0.25, tokens=40), limits)
    books.settle(first, Spend(usd=None, tokens=30))
    (left,) = books.left("a", limits)
    assert (left.usd_spent, left.tokens_spent) == (0.25, 30)


def test_an_unknown_amount_is_refused_where_it_is_limited(books: Books) -> None:
    """Nobody could say whether the budget holds; in a unit without a limit it does not matter."""
    refusal = refused(books, "a", Spend(tokens=5), DOLLAR_A_DAY)
    assert (refusal.why, refusal.retry_after_s) == ("unknown", None)
    reserved(books, "a", Spend(tokens=5), (Budget(tokens=5, per="day"),))


def test_a_call_larger_than_the_budget_is_not_told_to_wait(books: Books) -> None:
    """No period will ever have room for it."""
    refusal = refused(books, "a", Spend(usd=1.01), DOLLAR_A_DAY)
    assert (refusal.why, refusal.retry_after_s) == ("too_large", None)


def test_only_the_first_settling_counts(books: Books) -> None:
    """Settling or releasing again does nothing, in any order."""
    first = reserved(books, "a", Spend(usd=0.5), DOLLAR_A_DAY)
    assert books.settle(first, Spend(usd=0.5))
    assert not books.settle(first, Spend(usd=0.5))
    assert not books.release(first)
    second = reserved(books, "a", Spend(usd=0.5), DOLLAR_A_DAY)
    assert books.release(second)
    assert not books.settle(second, Spend(usd=0.5))
    assert not Books(Calendar()).settle(first, Spend(usd=9))
    (left,) = books.left("a", DOLLAR_A_DAY)
    assert (left.usd_left, left.usd_spent, books.open_reservations) == (0.5, 0.5, 0)


def test_every_budget_has_to_allow_it_or_nothing_is_held(books: Books) -> None:
    """The one whose period ends last is named, so that waiting for it is enough."""
    limits = (Budget(tokens=10, per="minute"), Budget(usd=1, per="day"), Budget(usd=9, per="month"))
    books.settle(reserved(books, "a", Spend(usd=0.9, tokens=9), limits), Spend(usd=0.9, tokens=9))
    refusal = refused(books, "a", Spend(usd=0.2, tokens=2), limits)
    assert refusal.budget == limits[1]
    assert refusal.retry_after_s == pytest.approx(12 * 3600 - 30)
    refusal = refused(books, "a", Spend(usd=0.05, tokens=2), limits)
    assert (refusal.budget, refusal.retry_after_s) == (limits[0], 30.0)
    assert [x.usd_left for x in books.left("a", limits)] == [None, 0.1, 8.1]
    assert [x.ends_in_s for x in books.left("a", limits)] == [30.0, 43170.0, 43170.0]


def test_two_budgets_of_one_period_hold_an_amount_once(books: Books) -> None:
    """One limits money, the other tokens; they share the count."""
    limits = (Budget(usd=1, per="day"), Budget(tokens=100, per="day"))
    held = reserved(books, "a", Spend(usd=0.75, tokens=10), limits)
    assert held.periods == (("day", "2026-01-31"),)
    assert [x.usd_left for x in books.left("a", limits)] == [0.25, None]
    assert [x.tokens_left for x in books.left("a", limits)] == [None, 90]


def test_no_budget_holds_nothing(books: Books) -> None:
    """An account without limits is not counted."""
    books.settle(reserved(books, "a", Spend(), ()), Spend())
    assert books.rows() == []


def test_a_new_period_begins_with_nothing_spent(books: Books, clock: Calendar) -> None:
    """Minutes, days and months end by the calendar; a later call of the old one counts there."""
    limits = (Budget(usd=1, per="minute"), Budget(usd=5, per="month"))
    late = reserved(books, "a", Spend(usd=1), limits)
    clock.move(31)
    assert [x.usd_left for x in books.left("a", limits)] == [1.0, 4.0]
    reserved(books, "a", Spend(usd=1), limits)
    books.settle(late, Spend(usd=1))
    minute, month = books.left("a", limits)
    assert (minute.usd_spent, minute.usd_left) == (0.0, 0.0)
    assert (month.usd_spent, month.usd_left) == (1.0, 3.0)
    clock.move(12 * 3600)
    assert [x.usd_left for x in books.left("a", limits)] == [1.0, 5.0]


def test_a_clock_set_back_begins_no_period_again(books: Books, clock: Calendar) -> None:
    """Time goes on from where it was, at its own pace, until the real clock has caught up."""
    limits = (Budget(usd=1, per="minute"),)
    clock.set_wall("2026-01-31T12:01:00Z")
    books.settle(reserved(books, "a", Spend(usd=1), limits), Spend(usd=1))
    clock.set_wall("2026-01-31T12:00:00Z")
    assert refused(books, "a", Spend(usd=0.1), limits).retry_after_s == pytest.approx(
        60.0, abs=0.02
    )
    reserved(books, "new", Spend(usd=0.1), limits)
    assert books.watch.ahead
    clock.move(59)
    assert refused(books, "a", Spend(usd=0.1), limits).retry_after_s == pytest.approx(1.0, abs=0.02)
    clock.move(1)
    reserved(books, "a", Spend(usd=1), limits)
    clock.set_wall("2026-01-31T12:02:10Z")
    assert refused(books, "a", Spend(usd=0.1), limits).retry_after_s == 50.0 - 60 + 60
    assert not books.watch.ahead


def test_a_stored_period_ahead_of_the_clock_is_believed_for_a_day_only(clock: Calendar) -> None:
    """A clock that was years ahead once does not keep a budget spent for years."""
    books = Books(clock)
    books.load([("a", "day", "2026-02-01", 10**9, 0), ("b", "month", "2036-02", 10**9, 0)])
    refusal = refused(books, "a", Spend(usd=0.5), DOLLAR_A_DAY)
    assert refusal.retry_after_s == pytest.approx(36 * 3600 - 30)
    refusal = refused(books, "b", Spend(usd=0.5), (Budget(usd=1, per="month"),))
    assert refusal.retry_after_s == pytest.approx(12 * 3600 - 30)


def test_periods_that_have_ended_are_forgotten(books: Books, clock: Calendar) -> None:
    """A million tenants that never return do not stay in memory."""
    limits = (Budget(usd=1, per="minute"),)
    for minute in range(10):
        for tenant in range(1000):
            books.release(reserved(books, f"{minute}-{tenant}", Spend(usd=0.1), limits))
        clock.move(60)
    assert len(books.rows()) < 3000


@pytest.mark.anyio
async def test_a_thousand_calls_at_once_pass_a_budget_by_their_own_overrun_only() -> None:
    """Every call costs three times what was held; without reserving, all 1,000 would have gone."""
    ledger, overrun, called = MemoryLedger(Calendar()), 0.0, 0
    ledger.start()

    async def ask() -> None:
        nonlocal overrun, called
        held = await ledger.reserve("a", Spend(usd=0.01), DOLLAR_A_DAY)
        if isinstance(held, Refusal):
            return
        called += 1
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        overrun += 0.02
        await ledger.settle(held, Spend(usd=0.03))

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(ask)
    left = await ledger.left("a", DOLLAR_A_DAY)
    assert called == 100
    assert left[0].usd_spent == pytest.approx(1 + overrun)
    assert ledger.open_reservations == 0
    await ledger.aclose()


@pytest.mark.anyio
async def test_a_released_call_leaves_the_budget_whole() -> None:
    """It has cost nothing, and what it cost is not counted afterwards either."""
    ledger = MemoryLedger(Calendar())
    held = await ledger.reserve("a", Spend(usd=1), DOLLAR_A_DAY)
    assert isinstance(held, Reservation)
    await ledger.release(held)
    await ledger.settle(held, Spend(usd=1))
    assert (await ledger.left("a", DOLLAR_A_DAY))[0].usd_left == 1.0
    assert isinstance(ledger, Ledger)


ACCOUNTS = ("a", "b")
LIMITS = (
    Budget(usd=0.00001, per="minute"),
    Budget(tokens=500, per="day"),
    Budget(usd=0.0001, tokens=5000, per="month"),
)
amounts = st.builds(
    Spend,
    usd=st.floats(0, 0.000012),
    tokens=st.integers(0, 600),
)
costs = st.builds(
    Spend,
    usd=st.none() | st.floats(0, 0.00002),
    tokens=st.none() | st.integers(0, 1000),
)


class Ledgers(RuleBasedStateMachine):
    """Any order of reserving, settling, releasing and time passing, against plain sums."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Calendar("2026-01-31T23:58:30Z")
        self.books = Books(self.clock)
        self.open: list[Reservation] = []
        self.closed: list[Reservation] = []
        self.spent: dict[tuple[str, str, str], list[int]] = {}
        self.overrun: dict[tuple[str, str, str], list[int]] = {}

    @rule(account=st.sampled_from(ACCOUNTS), amount=amounts)
    def reserve(self, account: str, amount: Spend) -> None:
        reply = self.books.reserve(account, amount, LIMITS)
        if isinstance(reply, Reservation):
            self.open.append(reply)
        else:
            assert reply.retry_after_s is None or reply.retry_after_s >= 0
            assert reply.budget in LIMITS

    @precondition(lambda self: self.open)
    @rule(data=st.data(), cost=costs)
    def settle(self, data: st.DataObject, cost: Spend) -> None:
        held = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.closed.append(held)
        assert self.books.settle(held, cost)
        amount = held.amount
        usd = amount.nano_usd if cost.usd is None else cost.nano_usd
        tokens = amount.tokens if cost.tokens is None else cost.tokens
        assert usd is not None
        assert tokens is not None
        assert amount.nano_usd is not None
        assert amount.tokens is not None
        for per, period in held.periods:
            key = (held.account, per, period)
            spent = self.spent.setdefault(key, [0, 0])
            over = self.overrun.setdefault(key, [0, 0])
            spent[0] += usd
            spent[1] += tokens
            over[0] += max(0, usd - amount.nano_usd)
            over[1] += max(0, tokens - amount.tokens)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.closed.append(held)
        assert self.books.release(held)

    @precondition(lambda self: self.closed)
    @rule(data=st.data(), cost=costs)
    def settle_again(self, data: st.DataObject, cost: Spend) -> None:
        assert not self.books.settle(data.draw(st.sampled_from(self.closed)), cost)

    @rule(seconds=st.sampled_from([0.5, 20, 45, 61, 3600]))
    def time_passes(self, seconds: float) -> None:
        self.clock.move(seconds)

    @rule(seconds=st.sampled_from([0.5, 61, 90_000]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.clock.move(-seconds)
        self.clock.seconds += seconds

    @invariant()
    def counts_are_exact(self) -> None:
        now = self.books.watch.now()
        for (account, per), count in self.books._counts.items():
            assert count.period <= now
            key = (account, per, count.period)
            mine = [
                r.amount
                for r in self.open
                if r.account == account and (per, count.period) in r.periods
            ]
            assert count.held_usd == sum(a.nano_usd or 0 for a in mine)
            assert count.held_tokens == sum(a.tokens or 0 for a in mine)
            assert [count.usd, count.tokens] == self.spent.get(key, [0, 0])

    @invariant()
    def no_budget_is_passed_by_more_than_the_overruns(self) -> None:
        for account in ACCOUNTS:
            for budget, left in zip(LIMITS, self.books.left(account, LIMITS), strict=True):
                assert left.usd_left is None or left.usd_left >= 0
                assert left.tokens_left is None or left.tokens_left >= 0
                period = next(
                    (c.period for k, c in self.books._counts.items() if k == (account, budget.per)),
                    "",
                )
                over = self.overrun.get((account, budget.per, period), [0, 0])
                count = self.books._counts.get((account, budget.per))
                if count is None:
                    continue
                if budget.nano_usd is not None:
                    assert count.usd + count.held_usd <= budget.nano_usd + over[0]
                if budget.tokens is not None:
                    assert count.tokens + count.held_tokens <= budget.tokens + over[1]

    def teardown(self) -> None:
        for held in self.open:
            self.books.release(held)
        assert self.books.open_reservations == 0
        assert all(c.held_usd == c.held_tokens == 0 for c in self.books._counts.values())


Ledgers.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestLedgers = Ledgers.TestCase
