"""A Redis that keeps the budgets is killed under load and comes back, with either setting for it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Awaitable, Callable

import anyio
from anyio.to_thread import run_sync

from cascade import Cascade
from cascade.ledgers import Budget
from tests.redis_server import RedisServer

from .checks import violations
from .harness import Setting, ask_once, crowd, gather, ladder_file, provider
from .scenarios import Finding, Scenario, Unfit
from .watch import Seen

__all__ = ["ledger_scenarios"]

_BUDGET = Budget(usd=1_000_000, per="day")
_ACCOUNT = "ladder:ladder"
_PREFIX = "faults"

_KILLED_AFTER_S = 0.05

_BACK_S = 6.0
"""Seconds within which a ledger finds its Redis again: it looks every 5 s at the latest."""

_NANO = 1e-9
"""US dollars by which the ledger may be off for each call: it counts whole nano-dollars."""


def ledger_scenarios() -> list[Scenario]:
    """Return a scenario for each setting of `on_outage`."""
    return [
        Scenario("redis-gone-open", _redis_gone("open")),
        Scenario("redis-gone-closed", _redis_gone("closed")),
    ]


def _redis_gone(on_outage: str) -> Callable[[Setting], Awaitable[Finding]]:
    async def run(setting: Setting) -> Finding:
        program = shutil.which("redis-server")
        if program is None:
            raise Unfit("no redis-server")
        setting.folder.mkdir(parents=True, exist_ok=True)
        server = RedisServer(program, setting.folder)
        try:
            await run_sync(server.start)
            return await _with(server, on_outage, setting)
        finally:
            await run_sync(server.kill)

    return run


async def _with(server: RedisServer, on_outage: str, setting: Setting) -> Finding:
    file = ladder_file(
        setting.folder,
        {"good": provider(setting.spare.url)},
        [("small", "good"), ("large", "good")],
        budgets=[{"usd": _BUDGET.usd, "per": _BUDGET.per}],
        ledger={"kind": "redis", "url": server.url, "prefix": _PREFIX, "on_outage": on_outage},
    )
    part = setting.asks // 8  # the faults of providers are asked more
    wrong: list[str] = []
    back_s, killed_at = 0.0, 0.0

    async def kill() -> None:
        nonlocal killed_at
        await anyio.sleep(_KILLED_AFTER_S)
        await run_sync(server.kill)
        killed_at = time.monotonic()

    async def drive(ladder: Cascade) -> list[Seen]:
        nonlocal back_s
        before = await crowd(ladder, range(part), setting.in_flight)
        during: list[Seen] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            during += await crowd(ladder, range(part, 2 * part), setting.in_flight)
        during += await crowd(ladder, range(2 * part, 3 * part), setting.in_flight)
        await run_sync(server.start)
        began = time.monotonic()
        waiting = await _until_back(ladder, server, before + during, 4 * part)
        back_s = time.monotonic() - began
        after = await crowd(ladder, range(3 * part, 4 * part), setting.in_flight)
        wrong.extend(_as_set(on_outage, killed_at, during) + _answered(before + after))
        return before + during + waiting + after

    evidence = await gather(file, setting, drive, probes=None)
    calls = sum(len(seen.costs) for seen in evidence.seen)
    cost = sum(seen.cost_usd or 0.0 for seen in evidence.seen)
    spent, held = await _booked(server)
    if abs(spent - cost) > calls * _NANO:
        wrong.append(f"booked: Redis says {spent:.9f}, the asks cost {cost:.9f}")
    if held > _NANO:
        wrong.append(f"booked: {held:.9f} are still held for calls, and there are none")
    if back_s > _BACK_S:
        wrong.append(f"back: only {back_s:.1f} s after Redis")
    note = f"back after {back_s:.1f} s; booked {spent:.6f} USD"
    return Finding(evidence=evidence, violations=wrong + violations(evidence), note=note)


async def _until_back(
    ladder: Cascade, server: RedisServer, asked: list[Seen], first: int
) -> list[Seen]:
    """Ask one by one until an ask is answered and all that was asked before is booked."""
    cost = sum(seen.cost_usd or 0.0 for seen in asked)
    calls = sum(len(seen.costs) for seen in asked)
    until = time.monotonic() + 2 * _BACK_S
    seen: list[Seen] = []
    while time.monotonic() < until:
        seen.append(await ask_once(ladder, first + len(seen)))
        answered = seen[-1].outcome == "answered"
        if answered and (await _booked(server))[0] > cost - calls * _NANO:
            break
        await anyio.sleep(0.05)
    return seen


def _answered(asks: list[Seen]) -> list[str]:
    return [
        f"unanswered: ask {seen.ask}: {seen.error}"
        for seen in asks
        if seen.outcome not in ("answered", "degraded")
    ]


def _as_set(on_outage: str, killed_at: float, during: list[Seen]) -> list[str]:
    """Return what the setting does not allow for while Redis is away."""
    if on_outage == "open":
        return _answered(during)
    wrong = [
        f"closed: ask {seen.ask} was {seen.outcome}: {seen.error}"
        for seen in during
        if seen.began > killed_at and "BudgetExceeded" not in (seen.error or "")
    ]
    if not any(seen.began > killed_at for seen in during):
        wrong.append("closed: nothing was asked while Redis was away")
    return wrong


async def _booked(server: RedisServer) -> tuple[float, float]:
    """Return the US dollars that Redis has as spent, and those it has as held."""
    from cascade.ledgers.redis import RedisLedger

    ledger = RedisLedger(server.url, prefix=_PREFIX)
    await run_sync(ledger.start)
    left = await ledger.left(_ACCOUNT, [_BUDGET])
    await ledger.aclose()
    if not left or left[0].usd_left is None:
        return 0.0, 0.0
    assert _BUDGET.usd is not None
    return left[0].usd_spent, _BUDGET.usd - left[0].usd_left - left[0].usd_spent
