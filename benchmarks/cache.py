"""How fast the response cache is: hits through the whole engine, near-duplicate lookups, memory.

    python benchmarks/cache.py            # some two minutes
    python benchmarks/cache.py --smoke    # the same paths in seconds, numbers worth nothing

Rungs answer from memory in this very process, so that what is left is the engine's and the cache's own
work. Answers are checked before anything is timed. The table is printed; raw numbers go to out/cache.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._shared import write_result  # noqa: E402
from cascade import Cascade, Ladder, Price, Rung  # noqa: E402
from cascade.cache import DiskCache, MemoryCache, TieredCache  # noqa: E402
from cascade.caching import CacheSettings  # noqa: E402
from cascade.ports import Cache  # noqa: E402
from cascade.testing import ScriptedClient, reply  # noqa: E402

ANSWER = "A mole of lead weighs 207 grams, a mole of iron 56. " * 8
MOST_US = {"memory": 50.0, "disk": 150.0}
LEAST_HITS_PER_S = 10_000
NEAR_MOST_MS = {10_000: 1.0, 100_000: 3.0}
INSERT_MOST_MS = 1.0


def engine(store: Cache | None) -> Cascade:
    """Return an engine of one rung that answers at once, with a cache or without."""
    rung = Rung(model="m", provider="p", price=Price(input=1, output=1), unknown="accept")
    client = ScriptedClient({"m": [reply(ANSWER)]})
    cache = None if store is None else CacheSettings(store=store)
    return Cascade(Ladder(name="bench", rungs=(rung,)), {"p": client}, cache=cache)


async def hit_us(store: Cache, asks: int) -> list[float]:
    """Return the microseconds of exact hits, each through the whole engine."""
    samples = []
    async with engine(store) as ladder:
        await ladder.ask("Which is heavier, a mole of iron or a mole of lead?")
        for i in range(-50, asks):
            began = time.perf_counter()
            result = await ladder.ask("Which is heavier, a mole of iron or a mole of lead?")
            took = time.perf_counter() - began
            assert result.text == ANSWER
            assert result.cache is not None
            if i >= 0:
                samples.append(took * 1e6)
    return samples


async def hits_per_s(store: Cache, asks: int, in_flight: int) -> float:
    """Return exact hits a second on one core with `in_flight` tasks asking again and again."""
    prompts = [f"Question number {i}?" for i in range(500)]
    left = asks
    async with engine(store) as ladder:
        for prompt in prompts:
            await ladder.ask(prompt)

        async def worker(seed: int) -> None:
            nonlocal left
            rng = random.Random(seed)
            while left > 0:
                left -= 1
                result = await ladder.ask(rng.choice(prompts))
                assert result.cache is not None

        began = time.perf_counter()
        await asyncio.gather(*(worker(i) for i in range(in_flight)))
        return asks / (time.perf_counter() - began)


def made_questions(n: int) -> list[str]:
    """Return distinct made-up questions of some ten words."""
    rng = random.Random(7)
    verbs = ("explain", "describe", "summarise", "compare", "list", "translate", "compute", "name")
    things = [
        f"{a}{b}"
        for a in ("blue", "old", "fast", "iron", "paper", "city", "river", "night")
        for b in ("bridge", "garden", "engine", "market", "school", "letter", "window")
    ]
    places = (
        "Lisbon",
        "Osaka",
        "Quito",
        "Oslo",
        "Accra",
        "Lima",
        "Perth",
        "Riga",
        "Cairo",
        "Delhi",
    )
    found: dict[str, None] = {}
    while len(found) < n:
        words = (rng.choice(verbs), rng.choice(things), rng.choice(things), rng.choice(places))
        found[
            f"Please {words[0]} how the {words[1]} near the {words[2]} of {words[3]} "
            f"came to be number {rng.randrange(10**6)}"
        ] = None
    return list(found)


def near_ms(make: Callable[[], Any], entries: int, lookups: int) -> dict[str, float]:
    """Return milliseconds of insertions and of lookups, verification included, and bytes an entry."""
    import tracemalloc

    questions = made_questions(entries + lookups)
    search = make()
    tracemalloc.start()  # counts the index, not the scorer
    inserts = []
    for i, question in enumerate(questions[:entries]):
        began = time.perf_counter()
        search.add(f"{i:032x}", "scope", question)
        inserts.append(time.perf_counter() - began)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rng = random.Random(1)
    asked = [f"{question} please" for question in rng.sample(questions[:entries], lookups // 2)]
    asked += questions[entries : entries + lookups // 2]
    for question in asked[:20]:
        search.find("scope", question)
    gc.collect()
    took = []
    for question in asked:
        began = time.perf_counter()
        search.find("scope", question)
        took.append(time.perf_counter() - began)
    return {
        "insert_ms": statistics.median(inserts) * 1e3,
        "lookup_ms": statistics.median(took) * 1e3,
        "lookup_p99_ms": statistics.quantiles(took, n=100)[98] * 1e3,
        "bytes_an_entry": size / entries,
    }


def _judged(value: float, bar: float, most: bool) -> str:
    good = value <= bar if most else value >= bar
    return f"{'≤' if most else '≥'} {bar:,g}: {'met' if good else 'missed'}"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="run everything in seconds")
    smoke = parser.parse_args().smoke
    asks = 100 if smoke else 5_000
    table = Table("what", "median", "p99", "bar")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, Callable[[], Cache]] = {
            "memory": lambda: MemoryCache(max_mb=64),
            "disk": lambda: DiskCache(f"{folder}/disk"),
            "memory over disk": lambda: TieredCache(
                MemoryCache(max_mb=64), DiskCache(f"{folder}/below")
            ),
        }
        for name, make in stores.items():
            samples = asyncio.run(hit_us(make(), asks))
            median, p99 = statistics.median(samples), statistics.quantiles(samples, n=100)[98]
            result[f"hit_us {name}"] = samples
            bar = _judged(median, MOST_US[name], True) if name in MOST_US else ""
            table.add_row(f"exact hit, {name}, µs", f"{median:,.1f}", f"{p99:,.1f}", bar)
        rates = [
            asyncio.run(hits_per_s(MemoryCache(max_mb=64), asks * 4, 64))
            for _ in range(1 if smoke else 5)
        ]
        rate = statistics.median(rates)
        result["hits_per_s"] = rates
        table.add_row(
            "hits a second, 64 in flight",
            f"{rate:,.0f}",
            "",
            _judged(rate, LEAST_HITS_PER_S, False),
        )
    from cascade.build_cache import near_search
    from cascade.config import NearConfig
    from scorers.minilm import absent

    with_minilm = NearConfig(embedder="minilm")
    sizes: list[tuple[str, int, Callable[[], Any]]] = [
        ("near", entries, near_search)
        for entries in ((500,) if smoke else (10_000, 100_000, 300_000))
    ]
    if not smoke and absent() is None:
        sizes.append(("near with minilm", 10_000, lambda: near_search(with_minilm)))
    for name, entries, make_near in sizes:
        found = near_ms(make_near, entries, 40 if smoke else 400)
        result[f"{name} {entries}"] = found
        bar = NEAR_MOST_MS.get(entries) if name == "near" else None
        table.add_row(
            f"{name}, lookup among {entries:,}, ms",
            f"{found['lookup_ms']:.3f}",
            f"{found['lookup_p99_ms']:.3f}",
            "" if bar is None else _judged(found["lookup_ms"], bar, True),
        )
        table.add_row(
            f"{name}, insert into {entries:,}, ms",
            f"{found['insert_ms']:.3f}",
            "",
            _judged(found["insert_ms"], INSERT_MOST_MS, True),
        )
        table.add_row(f"{name}, bytes an entry of {entries:,}", f"{found['bytes_an_entry']:,.0f}")
    Console(width=100).print(table)
    if not smoke:
        write_result("cache", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
