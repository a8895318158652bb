"""The ledger on disk: what survives a restart, a kill, a damaged file and a full disk."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade.errors import ConfigError
from cascade.ledgers import Budget, Refusal, Reservation, Spend, SqliteLedger

from .times import Calendar

LIMITS = (Budget(usd=10, tokens=10_000, per="day"), Budget(usd=100, per="month"))
AN_ASK = Spend(usd=0.5, tokens=100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "ledger.sqlite"


def opened(path: Path, **more: float) -> SqliteLedger:
    ledger = SqliteLedger(path, clock=Calendar(), **more)
    ledger.start()
    return ledger


async def spend(ledger: SqliteLedger, account: str = "a", amount: Spend = AN_ASK) -> None:
    held = await ledger.reserve(account, amount, LIMITS)
    assert isinstance(held, Reservation)
    await ledger.settle(held, amount)


async def spent_usd(ledger: SqliteLedger, account: str = "a") -> float:
    return (await ledger.left(account, LIMITS))[0].usd_spent


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def in_file(path: Path) -> int:
    """Nano-dollars of today that another process would find."""
    file = sqlite3.connect(path)
    try:
        (total,) = file.execute("SELECT sum(nano_usd) FROM spent WHERE per = 'day'").fetchone()
    finally:
        file.close()
    return total or 0


@pytest.mark.anyio
async def test_what_was_spent_survives_and_what_was_held_does_not(path: Path) -> None:
    """The calls of the process before are over; their cost is not."""
    ledger = opened(path)
    await spend(ledger)
    await spend(ledger, "b\ud800 {x}\0")
    assert isinstance(await ledger.reserve("a", Spend(usd=9, tokens=1), LIMITS), Reservation)
    assert ledger.open_reservations == 1
    await ledger.aclose()
    await ledger.aclose()
    ledger = opened(path)
    first, second = await ledger.left("a", LIMITS)
    assert (first.usd_spent, first.usd_left, first.tokens_left) == (0.5, 9.5, 9900)
    assert (second.usd_spent, second.usd_left) == (0.5, 99.5)
    assert await spent_usd(ledger, "b\ud800 {x}\0") == 0.5
    assert ledger.open_reservations == 0
    ledger.close()


@pytest.mark.anyio
async def test_periods_that_ended_while_nobody_ran_are_dropped(path: Path) -> None:
    """The day after, the day's budget is whole again and the month's is not."""
    ledger = opened(path)
    await spend(ledger)
    ledger.close()
    ledger = SqliteLedger(path, clock=Calendar("2026-01-31T23:59:59Z"))
    ledger.start()
    assert await spent_usd(ledger) == 0.5
    ledger.close()
    ledger = SqliteLedger(path, clock=Calendar("2026-02-01T00:00:00Z"))
    ledger.start()
    assert [x.usd_spent for x in await ledger.left("a", LIMITS)] == [0.0, 0.0]
    ledger.close()
    assert in_file(path) == 0


@pytest.mark.anyio
async def test_a_released_reservation_writes_nothing(path: Path) -> None:
    """Nothing was spent, so nothing has changed."""
    ledger = opened(path)
    held = await ledger.reserve("a", AN_ASK, LIMITS)
    assert isinstance(held, Reservation)
    await ledger.release(held)
    await ledger.settle(held, AN_ASK)
    ledger.close()
    assert in_file(path) == 0


@pytest.mark.anyio
async def test_a_budget_is_kept_across_restarts(path: Path) -> None:
    """Spent before and after add up to a refusal."""
    for _ in range(20):
        ledger = opened(path)
        await spend(ledger)
        ledger.close()
    ledger = opened(path)
    reply = await ledger.reserve("a", AN_ASK, LIMITS)
    ledger.close()
    assert isinstance(reply, Refusal)
    assert (reply.why, reply.usd_left) == ("spent", 0.0)


KILLED = """
import sys, time, anyio
from cascade.ledgers import Budget, Spend, SqliteLedger

async def main():
    ledger = SqliteLedger(sys.argv[1])
    ledger.start()
    limits = (Budget(usd=1e6, per="month"),)
    for i in range(1, 10_000_000):
        held = await ledger.reserve("a", Spend(usd=1e-9), limits)
        await ledger.settle(held, Spend(usd=1e-9))
        sys.stdout.write(f"{time.monotonic()} {i}\\n")
        sys.stdout.flush()
        time.sleep(0.0002)

anyio.run(main)
"""


def test_a_killed_process_forgets_fifty_milliseconds_at_most(path: Path) -> None:
    """SIGKILL in the middle of settling: what was settled 50 ms before is in the file."""
    for run_s in (0.4, 0.05, 0.17):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            before = in_file_if_there(path)
            lines = [child.stdout.readline()]
            reader = threading.Thread(target=lines.extend, args=(child.stdout,))
            reader.start()
            time.sleep(run_s)
            killed_at = time.monotonic()
            child.send_signal(signal.SIGKILL)
            child.wait()
            reader.join()
        settled = [line.split() for line in lines if line.endswith("\n")]
        due = [int(i) for at, i in settled if float(at) < killed_at - 0.05]
        ledger = SqliteLedger(path)
        ledger.start()
        ledger.close()
        kept = in_file_month(path) - before
        assert max(due, default=0) <= kept <= int(settled[-1][1]) + 1
        assert ledger.set_aside == []


def in_file_if_there(path: Path) -> int:
    return in_file_month(path) if path.exists() else 0


def in_file_month(path: Path) -> int:
    file = sqlite3.connect(path)
    try:
        (total,) = file.execute("SELECT sum(nano_usd) FROM spent").fetchone()
    finally:
        file.close()
    return total or 0


def damage_all(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 400)


def damage_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 + 2000] = os.urandom(2000)
    path.write_bytes(content)


def damage_row(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE spent SET period = 'never'")
    file.close()


def damage_count(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE spent SET nano_usd = -5, period = '2099-01' WHERE per = 'month'")
    file.close()


def damage_table(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE spent")
    file.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "damage", [damage_all, damage_page, damage_row, damage_count, damage_table]
)
async def test_a_damaged_file_is_kept_aside_said_and_begun_anew(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The program starts, nothing is deleted, and somebody is told."""
    ledger = opened(path)
    await spend(ledger)
    ledger.close()
    damage(path)
    damaged = path.read_bytes()
    for _ in range(2):
        with caplog.at_level(logging.WARNING, "cascade"):
            ledger = opened(path)
        assert await spent_usd(ledger) == 0.0
        await spend(ledger)
        ledger.close()
        assert in_file(path) == 500_000_000
        assert [kept.read_bytes() for kept in ledger.set_aside] == [damaged]
        assert "damaged" in caplog.text
        assert ledger.set_aside[0].name in caplog.text
        path.write_bytes(damaged)
    kept = sorted(p.name for p in path.parent.iterdir() if "damaged" in p.name)
    assert kept[0] == "ledger.sqlite.damaged-20260131T120030.000Z"
    assert len(kept) == 2


@pytest.mark.anyio
async def test_a_damaged_file_put_in_place_while_it_is_open_is_kept_aside_too(path: Path) -> None:
    """Somebody restores a bad copy. Memory holds the truth: nothing is lost."""
    ledger = opened(path, flush_s=0.001, retry_s=0.01)
    await spend(ledger)
    bad = path.with_name("bad")
    damage_all(bad)
    bad.replace(path)
    path.with_name(path.name + "-wal").unlink()  # with it, SQLite would repair the file
    await spend(ledger, "b")
    wait_for(lambda: len(ledger.set_aside) == 1 and not ledger.behind)
    ledger.close()
    assert in_file(path) == 1_000_000_000


@pytest.mark.anyio
async def test_a_file_removed_while_it_is_open_is_written_anew(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Writing on into a file without a name would lose everything at the end."""
    ledger = opened(path, flush_s=0.001, retry_s=0.01)
    await spend(ledger)
    await spend(ledger, "b")
    path.unlink()
    await spend(ledger)
    wait_for(lambda: ledger.failures > 0 and not ledger.behind)
    ledger.close()
    assert in_file(path) == 1_500_000_000
    assert "removed or replaced" in caplog.text


FULL = """
import logging, resource, sys, time, anyio
from cascade.ledgers import Budget, Spend, SqliteLedger

def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def wait_for(condition):
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)

async def main():
    path, full_at = sys.argv[1], int(sys.argv[2])
    limits = (Budget(usd=1000, per="month"),)

    async def spend(accounts):
        for i in range(accounts):
            held = await ledger.reserve(f"tenant {i}", Spend(usd=0.5), limits)
            await ledger.settle(held, Spend(usd=0.5))

    ledger = SqliteLedger(path, flush_s=0.001, retry_s=0.02)
    if full_at == 0:
        allow(0)
    ledger.start()
    await spend(10)
    allow(full_at)
    for _ in range(10):  # counting goes on in memory
        await spend(1000)
        time.sleep(0.005)
    wait_for(lambda: ledger.failures > 3)
    assert ledger.behind
    before = await ledger.left("tenant 3", limits)
    assert before[0].usd_spent == 5.5, before
    allow(resource.RLIM_INFINITY)
    wait_for(lambda: not ledger.behind)
    await ledger.aclose()
    print(ledger.failures)

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
anyio.run(main)
"""


@pytest.mark.anyio
async def test_what_a_failing_disk_held_is_added_when_it_is_back(path: Path) -> None:
    """The file could not be read at the start: its counts and the new ones add up."""
    ledger = opened(path)
    await spend(ledger)
    ledger.close()
    ledger = SqliteLedger(path, clock=Calendar(), flush_s=0.001, retry_s=0.01)
    away = path.with_name("away")
    path.rename(away)
    path.symlink_to("/proc/self/mem")  # opens, and fails every read
    ledger.start()
    assert ledger.behind
    await spend(ledger)
    away.replace(path)
    wait_for(lambda: not ledger.behind)
    assert await spent_usd(ledger) == 1.0
    ledger.close()
    assert in_file(path) == 1_000_000_000


@pytest.mark.parametrize("full_at", [0, 40_000], ids=["from the start", "while running"])
def test_a_full_disk_costs_nothing_while_the_process_lives(path: Path, full_at: int) -> None:
    """Writes fail for real (a limit on file size); it is said once, and healed without a loss."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(full_at)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.strip().splitlines()
    assert [line.split()[0] for line in said] == ["ERROR", "WARNING"], done.stderr
    assert "cannot be written" in said[0]
    assert "nothing is missing" in said[1]
    assert in_file_month(path) == 10 * 500_000_000 + 10 * 1000 * 500_000_000


@pytest.mark.anyio
async def test_closing_while_it_cannot_be_written_says_what_is_lost(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for ever, and nothing is lost in silence."""
    ledger = opened(path, flush_s=60)
    await spend(ledger)
    path.unlink()
    path.mkdir()
    ledger.close()
    assert "2 counts lost at closing" in caplog.text


def test_a_second_process_is_refused(path: Path) -> None:
    """Two would each allow the whole budget; they are sent to Redis."""
    ledger = opened(path)
    script = f"from cascade.ledgers import SqliteLedger; SqliteLedger({str(path)!r}).start()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "in use by another process" in done.stderr
    assert "Redis" in done.stderr
    ledger.close()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_starting_twice_is_harmless(path: Path) -> None:
    """One file, one writer."""
    ledger = opened(path)
    ledger.start()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("cascade-ledger") == 1
    ledger.close()
    assert "cascade-ledger" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.anyio
async def test_it_can_be_opened_again_after_closing(path: Path) -> None:
    """A ledger object is as good as new."""
    ledger = opened(path)
    await spend(ledger)
    ledger.close()
    ledger.start()
    await spend(ledger)
    ledger.close()
    assert in_file(path) == 1_000_000_000


def test_another_programs_database_is_left_alone(path: Path) -> None:
    """It is neither written nor moved away."""
    path.parent.mkdir()
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE mine (x)")
    file.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="another program's database"):
        opened(path)
    assert path.read_bytes() == before


def test_a_later_format_is_not_read(path: Path) -> None:
    """Nor is it taken for damage."""
    opened(path).close()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 2")
    file.close()
    with pytest.raises(ConfigError, match="its format is 2, this version reads 1"):
        opened(path)


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    """Nothing was spent yet: somebody has to change the path."""
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "ledger.sqlite"):
        with pytest.raises(ConfigError, match="cannot be opened"):
            opened(path)


def test_nobody_else_may_read_the_file(path: Path) -> None:
    """It names tenants."""
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_settling_does_not_wait_for_the_disk(path: Path) -> None:
    """While the writer is held up by the disk, calls go on (timings are in the module's tests only)."""
    ledger = opened(path, flush_s=0.001)

    async def one() -> None:
        await spend(ledger)

    assert ledger._file is not None
    entered, go_on = threading.Event(), threading.Event()

    def hold() -> int:
        entered.set()
        go_on.wait(10)
        return 0

    ledger._file.set_progress_handler(hold, 1)
    _run(one)
    assert entered.wait(10)
    started = time.monotonic()
    for _ in range(10):
        _run(one)
    took = time.monotonic() - started
    go_on.set()
    ledger.close()
    assert took < 1
    assert in_file(path) == 11 * 500_000_000


def _run(function: Callable[[], object]) -> None:
    """Run a coroutine that never waits, without a loop."""
    coroutine = function()
    with pytest.raises(StopIteration):
        coroutine.send(None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", [{"flush_s": 0}, {"flush_s": float("nan")}, {"retry_s": -1}])
def test_times_that_make_no_sense_are_refused(path: Path, given: dict[str, float]) -> None:
    """The message names what was given and what is allowed."""
    with pytest.raises(ConfigError, match=r"_s .* is not a number of seconds above 0"):
        SqliteLedger(path, **given)
