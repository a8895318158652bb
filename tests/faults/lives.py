"""What dies and comes back: the upstream, the client, its callers, the disk of its log."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from cascade import Cascade
from cascade.log_reader import LogReader
from cascade.sinks import JsonlSink

from .checks import violations
from .harness import OPEN_S, Setting, ask_once, crowd, gather, ladder_file, provider
from .plan import Faulty, Plan, unit
from .scenarios import Finding, Scenario
from .upstreams import Upstream
from .victim import FIRST_ASK, Victim
from .watch import Seen, describe

__all__ = ["life_scenarios"]

_OUTAGE_S = 1.0
_RECOVERY_S = 8 * OPEN_S + 0.5
"""Longest that a breaker stays open, and what a probe may take on top."""

_CANCELLED_WITHIN_S = 0.08
_SLOWEST_S = 0.06
_HEALED_S = 10.0
"""How long a log with records to write may take to find that there is room again."""

_GONE_S = 0.25
"""Seconds after the last cancellation within which the upstream must see nobody."""

_KILLS = 3
_KILLED_AFTER_S = (0.2, 0.7)

_ROOM = 4_000
"""Bytes of the disk for each record that is to fit on it."""


def life_scenarios() -> list[Scenario]:
    """Return the scenarios of this module."""
    return [
        Scenario("upstream-killed", _upstream_killed),
        Scenario("client-killed", _client_killed),
        Scenario("cancelled", _cancelled),
        Scenario("disk-full", _disk_full),
    ]


async def _upstream_killed(setting: Setting) -> Finding:
    """Kill the first rung's upstream under load and start it again; the second rung bridges."""
    upstream, outage = setting.upstream, _Outage()
    providers = {"bad": provider(upstream.url), "good": provider(setting.spare.url)}
    file = ladder_file(setting.folder, providers, [("small", "bad"), ("large", "good")])

    async def drive(ladder: Cascade) -> list[Seen]:
        seen: list[Seen] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outage.happen, upstream)
            seen += await crowd(ladder, outage.until_it_is_over(), setting.in_flight)
        return seen

    evidence = await gather(file, setting, drive, probes=None)
    wrong = violations(evidence)
    wrong += [
        f"bridged: ask {seen.ask} was not answered: {seen.error}"
        for seen in evidence.seen
        if seen.outcome not in ("answered", "degraded")
    ]
    back = [
        seen.ended - outage.restarted
        for seen in evidence.seen
        if seen.began >= outage.restarted and seen.model == "small"
    ]
    note = f"back {min(back) * 1e3:,.0f} ms after its restart" if back else "never back"
    lag = evidence.lag.within(outage.restarted, outage.restarted + min(back, default=0.0))
    if not back or min(back) > _RECOVERY_S + lag:
        wrong.append(f"recovery: {note}")
    return Finding(evidence=evidence, violations=wrong, note=note)


@dataclass(slots=True)
class _Outage:
    """An upstream's death and its return, with the asks that go on meanwhile."""

    restarted: float = float("inf")
    over: bool = False

    async def happen(self, upstream: Upstream) -> None:
        """Kill the upstream and start it again."""
        await anyio.sleep(_OUTAGE_S / 2)
        await run_sync(upstream.kill)
        await anyio.sleep(_OUTAGE_S)
        await run_sync(upstream.start)
        self.restarted = time.monotonic()
        await anyio.sleep(_RECOVERY_S + 0.5)
        self.over = True

    def until_it_is_over(self) -> Iterator[int]:
        """Yield asks as long as it lasts."""
        ask = 0
        while not self.over:
            yield ask
            ask += 1


async def _cancelled(setting: Setting) -> Finding:
    """Cancel twice as many asks as other scenarios make, each at a moment of its own."""
    upstream = setting.upstream
    faulty = {model: Faulty(share=0.2, faults=("hang",)) for model in ("small", "large")}
    upstream.plan(Plan(faulty=faulty, delay_s=(0.0, _SLOWEST_S)))
    providers = {"patient": provider(upstream.url, 30.0)}  # no timeout must do it for us
    file = ladder_file(setting.folder, providers, [("small", "patient"), ("large", "patient")])
    wrong: list[str] = []
    cancelled = 0

    def enough() -> Iterator[int]:
        ask = 0
        while cancelled < 2 * setting.asks:
            yield ask
            ask += 1

    async def one(ladder: Cascade, ask: int) -> Seen:
        nonlocal cancelled
        began = time.monotonic()
        seen: Seen | None = None
        with anyio.move_on_after(_CANCELLED_WITHIN_S * unit("cancelled", ask)):
            seen = await ask_once(ladder, ask)
        if seen is None:
            cancelled += 1
        return seen or describe(ask, began, None)

    async def drive(ladder: Cascade) -> list[Seen]:
        # Fewer at once: a crowd would be cancelled before it is through to the upstream.
        seen = await crowd(ladder, enough(), setting.in_flight // 4, one)
        until = time.monotonic() + _GONE_S
        while working := (await run_sync(upstream.counts)).states().get("working", 0):
            if time.monotonic() > until:
                wrong.append(f"cancelled: the upstream still works on {working} requests")
                break
            await anyio.sleep(0.01)
        return seen

    evidence = await gather(file, setting, drive, probes=None)
    noticed = evidence.counts[0].states().get("cancelled", 0)
    if noticed == 0:
        wrong.append("cancelled: the upstream has noticed nothing")
    note = f"the upstream saw {noticed:,} of its requests cancelled"
    return Finding(evidence=evidence, violations=wrong + violations(evidence), note=note)


async def _client_killed(setting: Setting) -> Finding:
    """Kill processes in the midst of logging; then go on in the same log."""
    wrong: list[str] = []
    providers = {"good": provider(setting.spare.url)}
    file = ladder_file(setting.folder, providers, [("small", "good"), ("large", "good")])
    log = file.parent / "log"
    written: set[str] = set()
    lost = 0
    for number in range(_KILLS):
        victim = Victim(file, number)
        least, most = _KILLED_AFTER_S
        await anyio.sleep(least + (most - least) * unit("kill", number))
        flushed, asked = await run_sync(victim.kill)
        written |= set(flushed)
        lost += len(asked) - len(flushed)
    before = LogReader(path=log)
    ids = [str(record["id"]) for record in before]
    if missing := written - set(ids):
        wrong.append(f"flushed: {len(missing)} records are gone that had been flushed")
    if len(ids) != len(set(ids)):
        wrong.append(f"flushed: {len(ids) - len(set(ids))} records are there twice")
    if before.torn > _KILLS:
        wrong.append(f"flushed: {before.torn} torn lines after {_KILLS} kills")
    evidence = await gather(file, setting, probes=None)
    mine = [record for record in evidence.records if record["metadata"]["ask"] < FIRST_ASK]
    if len(evidence.records) - len(mine) != len(ids):
        wrong.append("flushed: opening the log again has changed what was in it")
    # The upstream's account holds the calls of the dead, too.
    known = {seen.ask for seen in evidence.seen}
    counts = [
        replace(told, rows=tuple(row for row in told.rows if row.ask in known))
        for told in evidence.counts
    ]
    evidence = replace(evidence, records=mine, counts=counts, torn=evidence.torn - before.torn)
    note = f"{_KILLS} kills, {len(written):,} records flushed, {before.torn} lines torn"
    return Finding(evidence=evidence, violations=wrong + violations(evidence), note=note)


async def _disk_full(setting: Setting) -> Finding:
    """Fill the disk of the log under load, and give it room again."""
    setting.folder.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    providers = {"good": provider(setting.spare.url)}
    with _tiny_disk(setting.folder, _ROOM * setting.asks) as disk, _shouts() as shouts:
        rungs = [("small", "good"), ("large", "good")]
        file = ladder_file(setting.folder / "disk", providers, rungs)
        third = setting.asks // 3
        sink = JsonlSink(file.parent / "log", flush_s=0.05, max_pending=third // 4, max_wait_s=0.02)

        async def drive(ladder: Cascade) -> list[Seen]:
            seen = await crowd(ladder, range(third), setting.in_flight)
            before = sink.statistics()
            disk.fill()
            seen += await crowd(ladder, range(third, 2 * third), setting.in_flight)
            full = sink.statistics()
            if before.dropped or full.failures == 0 or full.dropped == 0:
                wrong.append(f"full: the disk was full at another time: {before}, {full}")
            disk.free()
            with anyio.move_on_after(_HEALED_S):  # a busy machine may let the writer wait
                while sink.statistics().pending:
                    await anyio.sleep(0.05)
            seen += await crowd(ladder, range(2 * third, 3 * third), setting.in_flight)
            if (after := sink.statistics()).dropped > full.dropped:
                wrong.append(f"healed: records are lost although there is room: {after}")
            return seen

        evidence = await gather(file, setting, drive, probes=None, sink=sink)
        told = sink.statistics()
    if told.pending:
        wrong.append(f"healed: {told.pending} records were never written")
    if evidence.dropped != told.dropped:
        wrong.append(f"counted: {told.dropped} dropped, the log says {evidence.dropped}")
    wrong += [
        f"shouted: nobody was told of {words!r}"
        for words in ("cannot write", "dropped")
        if not any(words in shout for shout in shouts)
    ]
    wrong += [
        f"answered: ask {seen.ask}: {seen.error}"
        for seen in evidence.seen
        if seen.outcome not in ("answered", "degraded")
    ]
    evidence = replace(evidence, lost=told.dropped)
    note = f"{disk.kind}: {told.failures} writes failed, {told.dropped:,} records lost and counted"
    return Finding(evidence=evidence, violations=wrong + violations(evidence), note=note)


@dataclass(frozen=True, slots=True)
class _Disk:
    kind: str
    fill: Callable[[], None]
    free: Callable[[], None]


@contextlib.contextmanager
def _tiny_disk(folder: Path, size: int) -> Iterator[_Disk]:
    """Mount a tiny disk at `folder`/disk; where that is not allowed, limit the size of files."""
    mounted = folder / "disk"
    mounted.mkdir()
    mount, ballast = shutil.which("mount"), mounted / "ballast"
    command = [str(mount), "-t", "tmpfs", "-o", f"size={size}", "none", str(mounted)]
    allowed = mount is not None and os.geteuid() == 0
    if allowed and subprocess.run(command, capture_output=True).returncode == 0:

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    continue

        try:
            yield _Disk("a full tmpfs", fill, ballast.unlink)
        finally:
            subprocess.run(["umount", str(mounted)], check=True, capture_output=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> None:
        size = max((path.stat().st_size for path in mounted.glob("log/*")), default=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, hard))

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield _Disk("a limit on the size of files", limit, free)
    finally:
        free()


@contextlib.contextmanager
def _shouts() -> Iterator[list[str]]:
    """Collect what the program's log is told at the level of errors."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear, log = Ear(logging.ERROR), logging.getLogger("cascade.log")
    log.addHandler(ear)
    propagate, log.propagate = log.propagate, False
    try:
        yield heard
    finally:
        log.propagate = propagate
        log.removeHandler(ear)
