"""The cache on disk: what survives, what is shared, and what damage, hostility and full disks do."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from cascade.cache import DiskCache
from cascade.cache.codec import encode
from cascade.errors import ConfigError
from cascade.ports import Cache

from .entries import SetClock, all_keys, entry

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "cache"


@asynccontextmanager
async def opened(folder: Path, **more: Any) -> AsyncIterator[DiskCache]:
    more.setdefault("clock", SetClock())
    more.setdefault("retry_s", 0.0)
    more.setdefault("timeout_s", 20.0)
    store = DiskCache(folder, **more)
    store.start()
    try:
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()


async def filled(folder: Path, *keys: str) -> Path:
    """A folder in which these entries are kept; return its file."""
    async with opened(folder) as store:
        for key in keys:
            assert await store.put(entry(key))
    return folder / "cache.db"


def run_sql(path: Path, *statements: str, given: tuple[Any, ...] = ()) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        return [file.execute(statement, given).fetchall() for statement in statements][-1]


async def eventually(condition: Callable[[], Any], within_s: float = 10) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up
        await anyio.sleep(0.005)


async def test_what_was_put_is_found_by_the_next_process(folder: Path) -> None:
    """Under its own key, until it is removed."""
    keys = ["k", "nul\0", "nul", "ключ", "x" * 10_000, ""]
    async with opened(folder) as store:
        assert isinstance(store, Cache)
        assert await store.get("k") is None
        assert await store.put(entry(text="1"))
        for key in keys:
            assert await store.put(entry(key))
        stats = store.stats()
        assert (stats["entries"], stats["puts"], stats["misses"]) == (6, 7, 1)
        assert stats["bytes"] > 6 * len(encode(entry()) or b"")
    assert await store.get("k") is None
    assert not await store.put(entry())
    assert await store.remove(["k"]) == 0
    assert await all_keys(store.entries()) == []
    await store.aclose()
    async with opened(folder) as store:
        for key in keys:
            assert await store.get(key) == entry(key)
        assert await all_keys(store.entries()) == keys
        assert await store.remove(["k", "k", "nul\0", "other"]) == 2
        assert await store.remove([]) == 0
        assert await store.get("k") is None
        assert await store.get("nul") is not None
        assert await store.put(entry("nul"))
        assert store.stats()["entries"] == 4
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "cache.db").stat().st_mode & 0o777 == 0o600


async def test_starting_and_closing_twice_is_harmless(folder: Path) -> None:
    """And it can be opened again."""
    store = DiskCache(folder)
    await store.aclose()
    for _ in range(2):
        store.start()
        store.start()
        await store.put(entry())
        assert await store.get("k") == entry()
        await store.aclose()
        await store.aclose()


async def test_thousands_are_listed_once_each(folder: Path) -> None:
    """Page by page, while others are put and removed."""
    async with opened(folder) as store:
        async with anyio.create_task_group() as tasks:
            for number in range(1_000):
                tasks.start_soon(store.put, entry(f"{number:04}"))
        listed = []
        async for found in store.entries():
            if not listed:
                await store.put(entry("new"))
                await store.remove(["0999", found.key])
            listed.append(found.key)
        assert len(set(listed)) == len(listed)
        assert {f"{n:04}" for n in range(1_000)} - set(listed) <= {"0999"}


async def test_an_entry_lives_until_its_time(folder: Path) -> None:
    """By the clock it is given; one that was set back ends it."""
    clock = SetClock()
    async with opened(folder, clock=clock) as store:
        await store.put(entry(ttl_s=600))
        await store.put(entry("for ever"))
        assert not await store.put(entry("over", ttl_s=0))
        assert not await store.put(entry("\ud800"))
        assert await store.get("\ud800") is None
        clock.move(599)
        assert await store.get("k") is not None
        clock.move(1)
        assert await store.get("k") is None
        clock.move(-3600)
        clock.seconds += 7200
        assert await store.get("k") is None
        assert await all_keys(store.entries()) == ["for ever"]
        stats = store.stats()
        assert (stats["expired"], stats["unstorable"]) == (2, 2)


async def test_the_file_stays_near_its_size(folder: Path) -> None:
    """What was kept first is dropped first; what is kept anew is the newest; one entry of any size fits."""
    async with opened(folder, max_mb=2) as store:
        await store.put(entry("anew"))
        for number in range(200):
            assert await store.put(entry(f"{number:03}", "x" * 30_000))
            assert store.stats()["bytes"] <= 2_000_000
            if number == 10:
                await store.put(entry("anew"))
        keys = await all_keys(store.entries())
        assert keys == sorted(keys)
        assert keys[-1] == "199"
        assert len(keys) > 40
        stats = store.stats()
        assert stats["entries"] == len(keys)
        assert stats["evictions"] == 202 - len(keys) - 1
        assert not await store.put(entry("large", "x" * 1_000_000))
        assert await store.put(entry("large", "x" * 990_000))
        assert await store.get("large") is not None
        assert store.stats()["too_large"] == 1
    assert (folder / "cache.db").stat().st_size <= 2_000_000


async def test_ten_megabytes_are_kept_where_there_is_room(folder: Path) -> None:
    """A long prompt is a prompt; many small entries make room for it."""
    long = entry("long", "x" * 10_000_000)
    async with opened(folder, max_mb=21) as store:
        for number in range(25):
            assert await store.put(entry(str(number), "x" * 600_000))
        assert await store.put(long)
        assert await store.get("long") == long
        assert await store.get("24") is not None
        assert store.stats()["bytes"] <= 21_000_000
    async with opened(folder, max_mb=1) as store:
        assert await store.put(entry("small"))
        assert await all_keys(store.entries()) == ["small"]
        assert store.stats()["bytes"] <= 1_000_000


WRITES = """
import sys, anyio
from cascade.cache import DiskCache
from tests.cache.entries import entry

async def main():
    folder, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = DiskCache(folder, timeout_s=60)
    store.start()
    print("ready", flush=True)
    i = 0
    while i != number:
        assert await store.put(entry(f"{name}{i}", f"{name}{i} " * 50)), store.stats()
        print(i, flush=True)
        for key in (f"{name}{i}", f"{'ba'[name == 'b']}{i}"):
            found = await store.get(key)
            assert found is None or found.answer.text == f"{key} " * 50
        i += 1
    await store.aclose()

anyio.run(main)
"""


async def test_two_processes_share_a_folder(folder: Path) -> None:
    """Both begin at once, in an empty one, and find what the other has kept."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITES, str(folder), name, "300"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for child in children:
        assert child.communicate(timeout=100)[1] == ""
        assert child.returncode == 0
    async with opened(folder) as store:
        assert store.set_aside == []
        assert store.stats()["entries"] == 600
        for name in "ab":
            for number in range(300):
                found = await store.get(f"{name}{number}")
                assert found is not None
                assert found.answer.text == f"{name}{number} " * 50


async def test_a_process_killed_while_it_writes_damages_nothing(folder: Path) -> None:
    """What it said was kept is there, whole."""
    for round_, run_s in enumerate((0.05, 0.2, 0.11)):
        with subprocess.Popen(
            [sys.executable, "-c", WRITES, str(folder), f"{round_}-", "-1"],
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            await anyio.sleep(run_s)
            child.send_signal(signal.SIGKILL)
            kept = child.stdout.read().split("\n")[:-1]
        async with opened(folder) as store:
            for number in kept:
                found = await store.get(f"{round_}-{number}")
                assert found is not None
                assert found.answer.text == f"{round_}-{number} " * 50
            assert store.set_aside == []


def damage_all(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 400)


def damage_first_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:600] = os.urandom(500)
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def add_trigger(path: Path) -> None:
    run_sql(
        path,
        "CREATE TRIGGER mine AFTER INSERT ON Cache BEGIN"
        " UPDATE Cache SET value = (SELECT value FROM Cache LIMIT 1); END",
    )


def change_trigger(path: Path) -> None:
    run_sql(
        path,
        "DROP TRIGGER Settings_count_insert",
        "CREATE TRIGGER Settings_count_insert AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END",
    )


def put_a_view_in_place(path: Path) -> None:
    run_sql(
        path,
        "DROP TABLE Cache",
        "CREATE VIEW Cache AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT i AS rowid, 'k' AS key, 1 AS raw, 0 AS expire_time FROM n",
    )


def add_pragma(path: Path) -> None:
    run_sql(path, "INSERT INTO Settings VALUES ('sqlite_writable_schema', 1)")


def shadow_a_method(path: Path) -> None:
    run_sql(path, "INSERT INTO Settings VALUES ('get', 'x')")


def make_count_a_text(path: Path) -> None:
    run_sql(path, "UPDATE Settings SET value = 'many' WHERE key = 'size'")


@pytest.mark.parametrize(
    "damage",
    [
        damage_all,
        damage_first_page,
        cut_short,
        add_trigger,
        change_trigger,
        put_a_view_in_place,
        add_pragma,
        shadow_a_method,
        make_count_a_text,
    ],
)
async def test_a_damaged_or_foreign_file_is_set_aside(
    folder: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """It is renamed, which is said once, and the cache begins anew. The last such file is kept."""
    path = await filled(folder, *map(str, range(20)))
    damage(path)
    bad = path.read_bytes()
    for _ in range(2):
        caplog.clear()
        async with opened(folder) as store:
            assert await store.get("1") is None
            assert await store.put(entry("1"))
            assert await store.get("1") == entry("1")
            assert [kept.read_bytes() for kept in store.set_aside] == [bad]
            assert store.stats()["set_aside"] == 1
        said = [record.getMessage() for record in caplog.records if record.name == "cascade"]
        assert len(said) == 1
        assert "begun anew" in said[0]
        path.write_bytes(bad)
    assert len(list(folder.glob("*damaged*"))) == 1


async def test_a_file_damaged_while_it_is_open_is_set_aside(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lookups miss, and go on with a new file as soon as there is one."""
    path = await filled(folder, *map(str, range(2_000)))
    async with opened(folder) as store:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
        for number in range(2_000):
            found = await store.get(str(number))
            assert found is None or found == entry(str(number))
        await eventually(lambda: store.stats()["set_aside"] == 1)
        assert await store.put(entry("new"))
        assert await store.get("new") == entry("new")
        assert len(store.set_aside) == 1
    assert caplog.text.count("begun anew") == 1


async def test_damage_inside_an_entry_is_a_miss(folder: Path) -> None:
    """SQLite does not notice it; the checksum does. Putting it anew mends it."""
    path = await filled(folder, "k")
    content = path.read_bytes()
    assert content.count(b'"text":"42"') == 1
    path.write_bytes(content.replace(b'"text":"42"', b'"text":"43"'))
    async with opened(folder) as store:
        assert await store.get("k") is None
        assert await all_keys(store.entries()) == []
        assert store.stats()["unreadable"] == 1
        await store.put(entry())
        assert await store.get("k") == entry()


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_folder_that_is_emptied_while_it_is_open_is_begun_anew(
    folder: Path, how: str
) -> None:
    """Somebody clears the cache by hand: what is put from then on is found by others."""
    await filled(folder, "old")
    async with opened(folder) as store:
        for file in folder.iterdir():
            file.unlink()
        if how == "removed":
            folder.rmdir()
        assert await store.put(entry("new"))
        assert await store.get("old") is None
        assert await store.get("new") is not None
        async with opened(folder) as other:
            assert await all_keys(other.entries()) == ["new"]


@pytest.mark.parametrize("what", ["a file", "another program's database"])
async def test_a_folder_that_is_taken_by_others_is_used_again_when_it_is_free(
    folder: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then nothing is kept, which is said once; with a pause between tries, nothing is tried."""
    await filled(folder, "old")
    async with opened(folder) as store:
        folder.rename(folder.with_name("away"))
        if what == "a file":
            folder.touch()
        else:
            folder.mkdir()
            run_sql(folder / "cache.db", "CREATE TABLE mine (x)")
        for number in range(3):
            assert not await store.put(entry(str(number)))
            assert await store.get("old") is None
        assert await all_keys(store.entries()) == []
        assert await store.remove(["old"]) == 0
        stats = store.stats()
        assert (stats["outages"], stats["failures"]) == (1, 8)
        folder.rename(folder.with_name("taken"))
        folder.with_name("away").rename(folder)
        give_up = time.monotonic() + 10
        while await store.get("old") is None:
            assert time.monotonic() < give_up
            await anyio.sleep(0.005)
        assert await store.put(entry("new"))
    said = [r.getMessage() for r in caplog.records if "cannot be used" in r.getMessage()]
    assert len(said) == 1
    async with opened(folder, retry_s=60) as store:
        folder.rename(folder.with_name("away"))
        folder.touch()
        assert not await store.put(entry("1"))
        folder.unlink()
        assert not await store.put(entry("1"))
        assert not folder.exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


ROW = (
    "INSERT OR REPLACE INTO Cache (key, raw, store_time, access_time, mode, filename, value)"
    " VALUES (?, ?, 0, 0, ?, ?, ?)"
)


async def test_nothing_of_a_strangers_file_is_run_opened_or_deleted(
    folder: Path, tmp_path: Path
) -> None:
    """Pickled keys and values, names of files, values that are none: misses, listed by nobody."""
    path = await filled(folder, "good")
    exploded, victim, inside = tmp_path / "exploded", tmp_path / "victim", folder / "ab.val"
    bomb = pickle.dumps(Bomb(exploded))
    for file in (victim, inside, tmp_path / "bomb"):
        file.write_bytes(bomb)
    rows: list[tuple[Any, ...]] = [
        ("pickle", 1, 4, None, bomb),
        ("pickle in a file", 1, 4, str(tmp_path / "bomb"), None),
        ("file", 1, 2, str(victim), None),
        ("file above", 1, 2, "../../victim", None),
        ("text file", 1, 3, "ab.val", None),
        ("file and value", 1, 1, str(victim), encode(entry("file and value"))),
        ("mode of text", 1, "1", None, encode(entry("mode of text"))),
        ("no value", 1, 1, None, None),
        ("number", 1, 1, None, 7),
        ("text", 1, 1, None, (encode(entry("text")) or b"").decode()),
        ("another's", 1, 1, None, encode(entry("good"))),
        (bomb, 0, 1, None, encode(entry("k"))),
        (b"good", 1, 1, None, encode(entry("good"))),
        (7, 1, 1, None, encode(entry("7"))),
        (None, None, None, None, None),
    ]
    for row in rows:
        run_sql(path, ROW, given=row)
    async with opened(folder) as store:
        assert await store.get("good") == entry("good")
        for key, *_ in rows:
            if isinstance(key, str) and key not in ("file and value", "mode of text"):
                assert await store.get(key) is None, key
        assert await all_keys(store.entries()) == ["good", "file and value", "mode of text"]
        assert store.stats()["unreadable"] == 9
        assert await store.remove(["file", "file above"]) == 2
        for key, *_ in rows:
            if isinstance(key, str):
                assert await store.put(entry(key))
                assert await store.get(key) == entry(key)
        assert store.set_aside == []
    assert not exploded.exists()
    assert victim.exists()
    assert inside.exists()


async def test_text_that_is_no_utf8_is_a_miss(folder: Path) -> None:
    """As a value, and as a key when entries are listed."""
    path = await filled(folder, "k")
    run_sql(path, "UPDATE Cache SET value = CAST(x'ff' AS TEXT)")
    async with opened(folder) as store:
        assert await store.get("k") is None
        assert store.stats()["unreadable"] == 1
        assert await store.put(entry())
    run_sql(path, ROW, given=("x", 1, 1, None, b""))
    run_sql(path, "UPDATE Cache SET key = CAST(x'ff' AS TEXT) WHERE key = 'x'")
    async with opened(folder) as store:
        await all_keys(store.entries())
        await eventually(lambda: store.stats()["set_aside"] == 1)


@pytest.mark.parametrize(
    "change",
    ["rowid = -rowid", "raw = 0", "expire_time = -1", "key = rowid"],
)
async def test_rows_that_cannot_be_dropped_do_not_fill_the_disk(folder: Path, change: str) -> None:
    """A file that is full of them is set aside."""
    async with opened(folder) as store:
        for number in range(60):
            await store.put(entry(str(number), "x" * 30_000))
    run_sql(folder / "cache.db", f"UPDATE Cache SET {change}")
    async with opened(folder, max_mb=1) as store:
        await store.put(entry("new"))
        await eventually(lambda: store.stats()["set_aside"] == 1)
        assert await store.put(entry("new"))
        assert await store.get("new") == entry("new")


def test_another_programs_database_is_left_alone(folder: Path) -> None:
    """Also when it is one of diskcache, which would drop its entries for ours."""
    import diskcache

    diskcache.Cache(str(folder)).close()
    before = (folder / "cache.db").read_bytes()
    with pytest.raises(ConfigError, match="another program's database"):
        DiskCache(folder).start()
    assert (folder / "cache.db").read_bytes() == before


@pytest.mark.parametrize("where", ["file", "file/below", "taken"])
def test_a_folder_that_cannot_be_used_is_said_at_the_start(tmp_path: Path, where: str) -> None:
    """With what to do about it."""
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "cache.db").mkdir(parents=True)
    with pytest.raises(ConfigError, match="give a folder this process may write to"):
        DiskCache(tmp_path / where).start()


@pytest.mark.parametrize(
    "arguments", [{"max_mb": 0.5}, {"max_mb": float("inf")}, {"timeout_s": 0}, {"retry_s": -1}]
)
def test_arguments_have_ranges(tmp_path: Path, arguments: dict[str, float]) -> None:
    """Said when it is made."""
    with pytest.raises(ConfigError, match=f"cache: {next(iter(arguments))} "):
        DiskCache(tmp_path, **arguments)


FULL = """
import logging, resource, sys, time, anyio
from cascade.cache import DiskCache
from tests.cache.entries import entry

def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    folder, full_at = sys.argv[1], int(sys.argv[2])
    store = DiskCache(folder, retry_s=0.01, timeout_s=60)
    if full_at == 0:
        allow(0)
    store.start()
    allow(full_at)
    kept = 0
    for i in range(300):
        kept += await store.put(entry(str(i), "x" * 3000))
        found = await store.get(str(i))
        assert found is None or found == entry(str(i), "x" * 3000)
        await anyio.sleep(0.001)
    assert kept < 300
    stats = store.stats()
    assert stats["failures"] > 0 and stats["outages"] == 1, stats
    started = time.monotonic()
    for i in range(100):
        await store.get("nothing")
    assert time.monotonic() - started < 5
    allow(resource.RLIM_INFINITY)
    give_up = time.monotonic() + 10
    while not await store.put(entry("healed")):
        assert time.monotonic() < give_up
        await anyio.sleep(0.005)
    assert await store.get("healed") == entry("healed")
    assert store.set_aside == []
    await store.aclose()

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
anyio.run(main)
"""


@pytest.mark.parametrize("full_at", [0, 300_000], ids=["from the start", "while running"])
def test_a_full_disk_costs_hits_and_nothing_else(folder: Path, full_at: int) -> None:
    """Writes fail for real (a limit on file size); it is said once, counted, and heals."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder), str(full_at)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.strip().splitlines()
    assert [line.split()[0] for line in said] == ["ERROR", "WARNING"], done.stderr
    assert "cannot be used" in said[0]
    assert "kept again" in said[1]


async def test_a_full_database_can_still_be_read(folder: Path) -> None:
    """SQLite's own limit stands for a disk without room."""
    await filled(folder, "old")
    async with opened(folder) as store:
        assert await store.put(entry("new"))  # the thread has its connection
        keeper = store._keeper
        assert keeper is not None
        assert keeper.file is not None
        cache = keeper.file._cache
        await keeper.line.ask(lambda: cache._sql("PRAGMA max_page_count = 1").fetchall())
        assert not await store.put(entry("large", "x" * 100_000))
        assert await store.get("old") is not None
        assert store.stats()["failures"] == 1
        await keeper.line.ask(lambda: cache._sql("PRAGMA max_page_count = 100000").fetchall())
        assert await store.put(entry("large", "x" * 100_000))


async def test_a_process_stopped_while_it_writes_holds_nobody_for_long(folder: Path) -> None:
    """Lookups go on; what is put is given up; whoever starts now misses until the lock is gone."""
    path = await filled(folder, "k")
    async with opened(folder, timeout_s=0.1) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            assert not await store.put(entry("new"))
            assert await store.get("k") is not None
            assert time.monotonic() - started < 5
            assert store.stats()["failures"] == 1
            started = time.monotonic()
            async with opened(folder) as late:
                assert time.monotonic() - started < 5
                assert await late.get("k") is None
                other.execute("COMMIT")
                assert await late.put(entry("later"))
                assert await late.get("k") is not None
        assert await store.get("later") is not None


class Slow:
    """A file whose lookups take a while."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.lookups = 0

    def get(self, key: str) -> bytes | None:
        self.lookups += 1
        time.sleep(self.takes_s)
        return encode(entry(key))

    def close(self) -> None:
        return


async def test_a_disk_that_hangs_holds_the_event_loop_once(folder: Path) -> None:
    """The next lookups wait in the thread, no longer than they are told, and others go on meanwhile."""
    async with opened(folder, timeout_s=0.05) as store:
        keeper = store._keeper
        assert keeper is not None
        slow: Any = Slow(0.3)
        whole, keeper.file = keeper.file, slow
        assert await store.get("k") is not None
        started = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(store.get, "k")
        assert time.monotonic() - started < 5
        assert store.stats()["misses"] == 50
        await anyio.sleep(0.4)
        assert slow.lookups <= 52
        slow.takes_s = 0.0
        assert await store.get("k") is not None  # by the thread
        keeper.file = whole


async def test_what_cannot_be_removed_is_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be served again."""
    async with opened(folder) as store:
        await store.put(entry())
        with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await store.remove(["k"]) == 0
    assert "1 entries could not be removed" in caplog.text


def test_importing_the_package_imports_no_store() -> None:
    """Neither SQLite nor diskcache nor redis-py is loaded before it is needed."""
    script = (
        "import sys, cascade.cache; from cascade.cache import MemoryCache, DiskCache, RedisCache;"
        "print({'sqlite3', 'diskcache', 'redis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
