"""What a ladder file says of failures, limits and budgets, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from cascade import (
    AllRungsFailed,
    BudgetExceeded,
    Cascade,
    CircuitOpen,
    DeadlineExceeded,
    EngineClosed,
    LadderError,
    LimitReached,
    RequestError,
)
from cascade.testing import ListSink

from .upstream_server import UpstreamServer, running_server

pytestmark = pytest.mark.anyio

QUICK = "retry: {attempts: 3, backoff_s: 0.001, max_backoff_s: 0.01}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def write(tmp_path: Path, upstream: UpstreamServer) -> Any:
    """Return a function that writes a ladder of given providers and rungs and opens it."""

    def make(
        providers: dict[str, str], rungs: list[str], rest: str = "", **options: Any
    ) -> Cascade:
        lines = ["providers:"]
        for name, (behaviour, _, more) in (
            (name, given.partition(";")) for name, given in providers.items()
        ):
            if behaviour.startswith("{"):
                lines.append(f"  {name}: {behaviour}")
            else:
                lines.append(
                    f"  {name}: {{kind: openai, base_url: {upstream.url(behaviour)}{more}}}"
                )
        lines += ["scorer: {kind: none}", "ladder:", *(f"  - {{{rung}}}" for rung in rungs), rest]
        path = tmp_path / "ladder.yaml"
        path.write_text("\n".join(lines))
        return Cascade.from_yaml(path, **options)

    return make


async def test_a_failing_call_is_repeated_and_told(write: Any) -> None:
    """Every try is in the attempt, with its error and what it cost."""
    sink = ListSink()
    engine = write(
        {"down": f"server-error;, {QUICK}", "up": "ok"},
        ["model: m, provider: down, unknown: accept", "model: m, provider: up"],
        sink=sink,
    )
    async with engine:
        result = await engine.ask("Which?")
    assert result.text == "lead"
    failed = result.attempts[0]
    assert [request.deployment for request in failed.tries] == ["down", "down"]
    assert failed.cost_usd == 0.0, "an answer with a status of 500 is not billed"
    assert [t["error"]["status"] for t in sink.records[0]["attempts"][0]["tries"]] == [500, 500]


async def test_a_provider_that_keeps_failing_is_left_alone(
    write: Any, upstream: UpstreamServer
) -> None:
    """Once its breaker is open no request reaches it, and attempts say so."""
    engine = write(
        {"down": "server-error;, retry: null, breaker: {consecutive: 3}", "up": "ok"},
        ["model: once, provider: down, unknown: accept", "model: m, provider: up"],
    )
    before = len(upstream.seen("server-error"))
    async with engine:
        results = [await engine.ask("Which?") for _ in range(6)]
    assert len(upstream.seen("server-error")) - before == 3
    assert [r.attempts[0].verdict for r in results] == ["failed"] * 3 + ["skipped"] * 3
    assert isinstance(results[-1].attempts[0].error, CircuitOpen)


async def test_a_pool_goes_on_with_another_member(write: Any) -> None:
    """The failed try is told, and the attempt names the member that answered."""
    engine = write(
        {
            "a": "server-error",
            "b": "ok",
            "both": f"{{kind: pool, of: [a, b], strategy: round_robin, {QUICK}}}",
        },
        ["model: m, provider: both, price: {input: 1, output: 1}"],
    )
    async with engine:
        results = [await engine.ask("Which?") for _ in range(4)]
    assert {result.text for result in results} == {"lead"}
    assert {result.attempts[0].provider for result in results} == {"b"}
    tried = [request.deployment for r in results for request in r.attempts[0].tries]
    assert set(tried) == {"a"}


async def test_a_slow_member_is_hedged_and_the_loser_is_paid(
    write: Any, upstream: UpstreamServer
) -> None:
    """The quick member's answer comes, the slow request is closed, its cost is an upper estimate."""
    engine = write(
        {
            "slow": "hang",
            "quick": "ok",
            "both": "{kind: pool, of: [slow, quick], strategy: round_robin, "
            "hedge: {after_s: 0.05, share: 1.0}}",
        },
        ["model: m, provider: both, price: {input: 1, output: 1}"],
    )
    async with engine:
        results = [await engine.ask("Which?") for _ in range(2)]
        assert await anyio.to_thread.run_sync(upstream.wait_until_closed, "hang")
    hedged = next(result for result in results if result.attempts[0].tries)
    assert hedged.attempts[0].provider == "quick"
    (loser,) = hedged.attempts[0].tries
    assert (loser.deployment, loser.estimated, loser.cost_usd) == ("slow", True, 9e-6)
    assert hedged.cost_usd == pytest.approx(18e-6)


async def test_the_next_rung_is_asked_beside_a_slow_one(
    write: Any, upstream: UpstreamServer
) -> None:
    """Its answer is taken, the slow call is cancelled, and its cost counts."""
    sink = ListSink()
    engine = write(
        {"slow": "hang", "quick": "ok"},
        [
            "model: s, provider: slow, unknown: accept, price: {input: 1, output: 1}",
            "model: l, provider: quick, price: {input: 10, output: 10}",
        ],
        "hedge: {after_s: 0.05, share: 1.0}",
        sink=sink,
    )
    async with engine:
        with anyio.fail_after(5):
            result = await engine.ask("Which?")
        assert await anyio.to_thread.run_sync(upstream.wait_until_closed, "hang")
    assert (result.text, result.rung) == ("lead", 1)
    assert [a.verdict for a in result.attempts] == ["accepted", "hedged"]
    assert result.cost_usd == pytest.approx(90e-6 + 9e-6)
    assert [a["verdict"] for a in sink.records[0]["attempts"]] == ["accepted", "hedged"]


async def test_what_is_not_idempotent_is_never_hedged(write: Any) -> None:
    """Only the first rung is asked, until the deadline."""
    engine = write(
        {"slow": "hang", "quick": "ok"},
        ["model: s, provider: slow, unknown: accept", "model: l, provider: quick"],
        "hedge: {after_s: 0.01, share: 1.0}",
    )
    async with engine:
        with pytest.raises(Exception, match="deadline_s"):
            await engine.ask("Which?", idempotent=False, deadline_s=0.2)


async def test_a_spent_budget_ends_the_ask_and_survives_a_restart(write: Any) -> None:
    """`BudgetExceeded` says until when; a new engine on the same file knows what was spent."""
    providers = {"up": "ok"}
    rungs = ["model: m, provider: up, max_tokens: 2, price: {input: 1000000, output: 1000000}"]
    budget = "budgets: [{usd: 20, per: month}]"
    async with write(providers, rungs, budget) as engine:
        await engine.ask("Which?")  # costs 9 dollars
        await engine.ask("Which?")
    async with write(providers, rungs, budget) as engine:
        with pytest.raises(
            BudgetExceeded, match="the ladder: the budget of 20 USD a month"
        ) as caught:
            await engine.ask("Which?")
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s > 0


async def test_a_spent_budget_leaves_what_still_fits(write: Any) -> None:
    """With `when_spent: cheaper` the dear rung is passed over, and a free one answers."""
    engine = write(
        {"up": "ok"},
        [
            "model: dear, provider: up, unknown: accept, price: {input: 1000000, output: 1000000}",
            "model: free, provider: up, price: {input: 0, output: 0}",
        ],
        "budgets: [{usd: 1, per: day}]\nwhen_spent: cheaper\nledger: {kind: memory}",
    )
    async with engine:
        result = await engine.ask("Which?")
    assert [attempt.verdict for attempt in result.attempts] == ["skipped", "accepted"]
    assert isinstance(result.attempts[0].error, BudgetExceeded)


@pytest.mark.parametrize(("when_spent", "text"), [("cached", "lead"), ("refuse", None)])
async def test_a_spent_budget_serves_what_is_cached_or_nothing(
    write: Any, when_spent: str, text: str | None
) -> None:
    """An answer from the cache costs nothing; `refuse` means refuse."""
    sink = ListSink()
    engine = write(
        {"up": "ok"},
        ["model: m, provider: up, max_tokens: 2, price: {input: 1, output: 1}"],
        f"budgets: [{{tokens: 9, per: month}}]\nledger: {{kind: memory}}\ncache: {{kind: memory}}\n"
        f"when_spent: {when_spent}",
        sink=sink,
    )
    async with engine:
        await engine.ask("Which?")
        with pytest.raises(BudgetExceeded):
            await engine.ask("Another?")
        if text is None:
            with pytest.raises(BudgetExceeded, match=r"the budget of 9 tokens a month is spent"):
                await engine.ask("Which?")
        else:
            assert (await engine.ask("Which?")).text == text
    assert len(sink.records) == 3


async def test_a_thousand_asks_at_once_overspend_by_one_call_each_at_most(write: Any) -> None:
    """What is held counts: of many asks at once only those that fit are made."""
    engine = write(
        {"up": "ok"},
        ["model: m, provider: up, max_tokens: 2, price: {input: 1, output: 1}"],
        "budgets: [{tokens: 90, per: month}]\nledger: {kind: memory}",
    )
    done: list[int] = []
    refused: list[int] = []

    async def one(i: int) -> None:
        try:
            await engine.ask("Which?")
            done.append(i)
        except BudgetExceeded:
            refused.append(i)

    async with engine, anyio.create_task_group() as group:
        for i in range(200):
            group.start_soon(one, i)
    assert len(done) + len(refused) == 200
    assert 10 <= len(done) <= 90 // 4 + 1, "each holds 2 + 2 tokens, and has used 9"


async def test_tenants_have_budgets_of_their_own(write: Any) -> None:
    """One that has spent its own does not hinder another; one that nobody named is refused."""
    engine = write(
        {"up": "ok"},
        ["model: m, provider: up, max_tokens: 2, price: {input: 1, output: 1}"],
        "tenants:\n  acme: {budgets: [{tokens: 9, per: day}]}\n"
        "  globex: {budgets: [{tokens: 9, per: day}]}\nledger: {kind: memory}",
    )
    async with engine:
        await engine.ask("Which?", tenant="acme")
        with pytest.raises(BudgetExceeded, match="tenant 'acme'"):
            await engine.ask("Which?", tenant="acme")
        assert (await engine.ask("Which?", tenant="globex")).text == "lead"
        for unknown in ("initech", None):
            with pytest.raises(RequestError, match=r"tenant: .* given; allowed: a tenant that"):
                await engine.ask("Which?", tenant=unknown)


async def test_a_tenant_beyond_its_rate_is_refused_at_once(write: Any) -> None:
    """`when_full: refuse` ends the ask with the seconds to wait."""
    engine = write(
        {"up": "ok"},
        ["model: m, provider: up, unknown: accept", "model: l, provider: up"],
        'tenants: {"*": {limits: {requests_per_min: 1, when_full: refuse}}}\nledger: {kind: memory}',
    )
    async with engine:
        await engine.ask("Which?", tenant="a")
        with pytest.raises(AllRungsFailed) as caught:
            await engine.ask("Which?", tenant="a")
        assert (await engine.ask("Which?", tenant="b")).text == "lead"
    (cause,) = caught.value.exceptions
    assert isinstance(cause, LimitReached)
    assert caught.value.retry_after_s == pytest.approx(60, abs=2)


async def test_a_pause_asked_for_holds_for_every_ask(write: Any, upstream: UpstreamServer) -> None:
    """After a 429 with Retry-After the provider is not asked again before its time."""
    engine = write(
        {"busy": "rate-limit;, limits: {max_wait_s: 0.1}, retry: null", "up": "ok"},
        ["model: m, provider: busy, unknown: accept", "model: m, provider: up"],
    )
    before = len(upstream.seen("rate-limit"))
    async with engine:
        results = [await engine.ask("Which?") for _ in range(5)]
    assert len(upstream.seen("rate-limit")) - before == 1
    assert [r.attempts[0].verdict for r in results] == ["failed"] + ["skipped"] * 4
    assert "CoolingDown" in results[-1].attempts[0].reason


@pytest.mark.parametrize(
    ("provider", "rest", "message"),
    [
        ("retry: {backoff_s: 9, max_backoff_s: 1}", "", r"retry.backoff_s: 9 is longer than"),
        (
            "retry: {attempts: 0}",
            "",
            r"retry.attempts: 0 is out of range .*allowed: a whole number in",
        ),
        ("breaker: {open_s: -1}", "", r"breaker.open_s: -1 "),
        ("limits: {concurrent: 0}", "", r"limits.concurrent: 0 "),
        ("limits: {adaptive: true}", "", r"limits.adaptive: has no upper bound"),
        ("limits: {when_full: explode}", "", r"when_full: .*allowed: wait or escalate or refuse"),
        ("timeout_s: 0", "", r"timeout_s: 0 "),
        (
            "connect_timeout_s: 5",
            "deadline_s: 1",
            r"connect_timeout_s: 5 is longer than `deadline_s`",
        ),
        (
            "retry: {max_backoff_s: 5}",
            "deadline_s: 1",
            r"max_backoff_s: 5 is longer than `deadline_s`",
        ),
        ("timeout_s: 1, first_token_timeout_s: 2", "", r"first_token_timeout_s: 2 is longer than"),
        ("", "deadline_s: -1", r"deadline_s: -1 "),
        ("", "budgets: [{per: day}]", r"budgets\[0\]: limits nothing"),
        ("", "budgets: [{usd: 0, per: day}]", r"budgets\[0\].usd: 0 "),
        (
            "",
            "budgets: [{usd: 1, per: week}]",
            r"budgets\[0\].per: .*allowed: minute or day or month",
        ),
        ("", "budgets: [{usd: 1, per: day}]", r"price: budgets\[0\] is in US dollars"),
        ("", "hedge: {after_s: 5}\ndeadline_s: 2", r"hedge.after_s: 5 is not before"),
        ("", "ledger: {kind: paper}", r"ledger.kind: .*allowed: .*sqlite"),
    ],
)
async def test_settings_that_cannot_be_kept_are_refused(
    write: Any, provider: str, rest: str, message: str
) -> None:
    """The message names the key, what was given and what is allowed."""
    with pytest.raises(LadderError, match=message):
        write({"up": f"ok;, {provider}" if provider else "ok"}, ["model: m, provider: up"], rest)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ("of: [a, a]", r"of\[1\]: 'a' is already of\[0\] .*each deployment once"),
        ("of: [a, c]", r"of\[1\]: 'c' is not under `providers`"),
        ("of: [p]", r"of\[0\]: 'p' is a pool itself"),
        ("of: []", r"providers.p.of: "),
        ("of: [a], strategy: luck", r"strategy: .*weighted or round_robin or least_busy"),
        ("of: [a], strategy: cheapest", r"of\[0\]: has no price"),
        ("of: [{provider: a, weight: 0}]", r"of\[0\].weight: 0 "),
    ],
)
async def test_pools_that_make_no_sense_are_refused(write: Any, pool: str, message: str) -> None:
    """The message names the member, what was given and what is allowed."""
    with pytest.raises(LadderError, match=message):
        write({"a": "ok", "p": f"{{kind: pool, {pool}}}"}, ["model: m, provider: p"])


async def test_closing_cuts_a_call_that_hangs(write: Any, upstream: UpstreamServer) -> None:
    """After the grace time its connection is closed, no rung is called any more, the record says so."""
    sink = ListSink()
    engine = write(
        {"slow": "hang", "up": "ok"},
        ["model: s, provider: slow, unknown: accept", "model: l, provider: up"],
        "grace_s: 0.05",
        sink=sink,
    )
    errors: list[EngineClosed] = []

    async def one() -> None:
        try:
            await engine.ask("Which?")
        except EngineClosed as error:
            errors.append(error)

    before = len(upstream.seen("ok"))
    async with anyio.create_task_group() as tasks, engine:
        tasks.start_soon(one)
        while not upstream.open_connections("hang"):
            await anyio.sleep(0.01)
    assert upstream.wait_until_closed("hang")
    assert [attempt.model for attempt in errors[0].attempts] == ["s"]
    assert errors[0].cost_usd is None
    assert [record["outcome"] for record in sink.records] == ["cut"]
    assert len(upstream.seen("ok")) == before


async def test_the_deadline_of_an_ask_ends_a_call_that_hangs(
    write: Any, upstream: UpstreamServer
) -> None:
    """Whatever the provider's own timeout; the upstream sees its connection closed."""
    engine = write({"slow": "hang"}, ["model: s, provider: slow"])
    async with engine:
        began = anyio.current_time()
        with pytest.raises(DeadlineExceeded, match=r"deadline_s 0\.2 ran out") as caught:
            await engine.ask("Which?", deadline_s=0.2)
        assert anyio.current_time() - began < 2.0
        assert await anyio.to_thread.run_sync(upstream.wait_until_closed, "hang")
    assert caught.value.cost_usd is None
