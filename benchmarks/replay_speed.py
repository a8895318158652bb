"""How fast is replay? One policy over a million requests, a whole tune, and reading a log.

python benchmarks/replay_speed.py [--smoke]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec
import numpy as np

from benchmarks._shared import read_arguments, write_result
from cascade.cli.prices import PriceList
from cascade.cli.tables import read_log
from cascade.policies import CascadeRouting, Chain, Fixed, Routing
from cascade.replay.induction import InductionFitter
from cascade.replay.table import Table, make_table
from cascade.replay.tune import Goal, tune
from cascade.replay.walks import outcome, replay_policy
from cascade.traffic_log import TrafficLog

REPEATS = 7


def made_table(n: int, m: int, seed: int = 0) -> Table:
    """Return n requests to m models whose forecasts are worth something."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n, dtype=np.float32)
    skill = np.linspace(0.4, 0.9, m, dtype=np.float32)
    right = np.clip(skill + 0.4 - 0.8 * hard[:, None], 0.02, 0.98)
    score = (rng.random((n, m), dtype=np.float32) < right).astype(np.float32)
    q = np.empty((1 << m, n, m), np.float32)
    for state in range(1 << m):
        noise = rng.normal(0, 0.15, (n, m)).astype(np.float32)
        inside = np.array([state >> j & 1 for j in range(m)], np.float32)
        q[state] = np.clip(right + noise + inside * 0.4 * (score - right), 0, 1)
    cost = rng.random((n, m), dtype=np.float32) * (3.0 ** np.arange(m, dtype=np.float32)) * 1e-5
    return make_table(
        models=[f"m{j}" for j in range(m)],
        ids=[str(i) for i in range(n)],
        score=score,
        cost=cost,
        q=q,
        same=(score[:, :, None] == score[:, None, :]).astype(np.int8),
    )


def seconds(run: Callable[[], Any], repeats: int = REPEATS) -> list[float]:
    """Return the seconds of several runs, sorted."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return sorted(found)


def policies(table: Table) -> dict[str, Any]:
    """Return one policy of each kind over the whole ladder."""
    few = table.take(np.arange(min(table.n, 20_000)))
    fitter = InductionFitter(few, table.models)
    valued: dict[str, Any] = {
        "models": table.models,
        "cost_usd": fitter.mean_cost,
        "tradeoff_usd": 2e-3,
    }
    chain = Chain(models=table.models, accept=(0.8,) * (len(table.models) - 1))
    return {
        "fixed": Fixed(model=table.models[0]),
        "chain": chain,
        "routing": Routing(**valued),
        "cascade_routing": CascadeRouting(**valued),
        "induction": fitter.fit(2e-3),
    }


def main(arguments: Sequence[str]) -> int:
    """Print the table and write out/replay_speed.json."""
    smoke, _ = read_arguments(arguments, __doc__)
    sizes = (1_000, 10_000) if smoke else (10_000, 100_000, 1_000_000)
    result: dict[str, Any] = {"walks": {}, "tune": {}}
    print("one policy, 4 rungs: walk and outcome together, seconds, median (slowest)")
    for n in sizes:
        table = made_table(n, 4)
        for name, policy in policies(table).items():
            walks = replay_policy(policy, table)
            assert 0.0 <= float(outcome(walks, table).quality.mean()) <= 1.0
            took = seconds(
                lambda p=policy, t=table: outcome(replay_policy(p, t), t), 3 if smoke else REPEATS
            )
            result["walks"][f"{name} {n}"] = took
            median = took[len(took) // 2]
            print(f"  {name:16s} {n:>9,} requests  {median:8.4f}  ({took[-1]:.4f})", flush=True)
        del table
    print("tune --quality 0.95 over 5 models, every family, seconds")
    for n in (1_000,) if smoke else (10_000, 100_000):
        table = made_table(n, 5)
        start = time.perf_counter()
        tuned = tune(table, Goal(quality=0.95), confidence=0.9)
        took_s = time.perf_counter() - start
        assert tuned.chosen.cost <= tuned.strongest_cost
        result["tune"][str(n)] = took_s
        print(f"  {n:>9,} requests  {took_s:6.2f}  ({tuned.tried} policies on the last pass)")
        del table
    rows = 2_000 if smoke else 50_000
    rates = reading(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for what, rate in rates.items():
        print(f"reading JSON lines into {what}: {rate:.0f} MB/s on one core")
    print(f"peak memory of this process: {peak:.0f} MB")
    result |= {"read_mb_s": rates, "peak_mb": peak}
    if not smoke:
        write_result("replay_speed", result)
    return 0


def reading(rows: int) -> dict[str, float]:
    """Return megabytes a second at which a traffic log of four models becomes rows and tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        with path.open("wb") as file:
            for i in range(rows):
                answers = [
                    {
                        "model": f"m{j}",
                        "text": f"{'word ' * 60}so the answer is {i % 7 + j % 2}.",
                        "score": float(j % 2),
                        "prompt_tokens": 50,
                        "completion_tokens": 64,
                        "cost_usd": 1e-5 * 3**j,
                        "latency_s": 0.5,
                        "logprobs": [-0.01] * 64,
                    }
                    for j in range(4)
                ]
                row = {"id": str(i), "prompt": "why " * 40, "responses": answers}
                file.write(msgspec.json.encode(row) + b"\n")
        megabytes = path.stat().st_size / 1e6

        def table(compare: bool) -> None:
            read = read_log(
                [path], None, models=None, splits=[None], prices=PriceList(), compare=compare
            )
            assert read.table.n == rows
            assert read.table.score.mean() == 0.5

        def rows_only() -> None:
            assert sum(1 for _ in TrafficLog(paths=[path])) == rows

        table(True)  # imports
        ways = {
            "rows": rows_only,
            "a table": lambda: table(False),
            "a table with answers compared": lambda: table(True),
        }
        return {what: megabytes / seconds(run, 3)[1] for what, run in ways.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
