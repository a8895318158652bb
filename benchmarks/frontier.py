"""What does a ladder save, against every baseline? Trained and tuned on `train`, reported on `test`, once.

    python benchmarks/frontier.py [--smoke] [LOG…]

One table: lift over the random mix of single models (points of 100) and saving at 95 / 99 / 100 % of
the best single model's quality, with 95 % intervals over test requests, for each family alone and for
all together. The range of costs ends at the model that was best on `train`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks._shared import (
    LOGS,
    SharedLog,
    absent,
    every_log,
    read_arguments,
    shared_log,
    write_result,
)
from cascade.replay.metrics import Curve, hull, lift, saving_at
from cascade.replay.search import Candidate, best_ladder, candidates, strongest
from cascade.replay.table import Table, make_table
from cascade.replay.walks import outcome, replay_policy

ROWS = {
    "ours (all families)": None,
    "induction": ("induction",),
    "cascade routing (ETH)": ("cascade_routing",),
    "threshold chains": ("chain",),
    "prompt-only routing": ("routing",),
    "agreement of two": ("agreement",),
}
LEVELS = (0.95, 0.99, 1.0)
DRAWS = 400


def curve(chosen: Sequence[Candidate], table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return cost and quality by policy and request, policies by rising mean cost; (k, n) each."""
    done = [outcome(replay_policy(c.policy, table), table) for c in chosen]
    done.sort(key=lambda o: float(o.cost.mean()))
    return np.stack([o.cost for o in done]), np.stack([o.quality for o in done])


def figures(
    cost: np.ndarray, quality: np.ndarray, table: Table, top: int, weights: np.ndarray
) -> list[float]:
    """Return lift and savings of one (weighted) sample of requests."""
    order = np.argsort(cost @ weights, kind="stable")
    ours = Curve(cost=(cost @ weights)[order], quality=(quality @ weights)[order])
    singles = Curve(cost=weights @ table.cost, quality=weights @ table.score)
    reference = float(singles.cost[top]), float(singles.quality[top])
    return [lift(ours, singles, top), *(100 * saving_at(x, ours, *reference) for x in LEVELS)]


def judge_row(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """A perfect judge: the best quality at hand for the least money; the cascade pays up to it."""
    order = np.argsort(table.cost.mean(axis=0))
    paid = np.cumsum(table.cost[:, order], axis=1)
    best = table.score.max(axis=1)
    first = (table.score[:, order] >= best[:, None]).argmax(axis=1)
    return paid[np.arange(table.n), first][None], best[None].astype(float)


def one_log(log: SharedLog, draws: int) -> dict[str, list[list[float]]]:
    """Return for every row [[value, low, high] of lift, s95, s99, s100]."""
    train, test = log.train, log.test
    found = candidates(train, best_ladder(train))
    top = strongest(train)
    rng = np.random.default_rng(0)
    even = np.full(test.n, 1.0 / test.n)
    samples = rng.multinomial(test.n, even, draws) / test.n
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, families in ROWS.items():
        part = [c for c in found if families is None or c.family in ("fixed", *families)]
        on = hull([c.cost for c in part], [c.quality for c in part])
        rows[name] = curve([part[i] for i in on], test)
    fixed = [c for c in found if c.family == "fixed"]
    on = hull([c.cost for c in fixed], [c.quality for c in fixed])
    rows["random mix of models"] = curve([fixed[i] for i in on], test)
    rows["perfect judge"] = judge_row(test)
    told = {}
    for name, (cost, quality) in rows.items():
        value = figures(cost, quality, test, top, even)
        drawn = np.array([figures(cost, quality, test, top, w) for w in samples])
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        told[name] = [[v, float(a), float(b)] for v, a, b in zip(value, low, high, strict=True)]
    return told


def made_up() -> SharedLog:
    """Return a small log where the scorer knows much, for --smoke."""
    rng = np.random.default_rng(0)
    n, skill = 400, np.array([0.5, 0.7, 0.9])
    hard = rng.random(n)
    score = (hard[:, None] < skill).astype(float)
    q = np.clip(skill - hard[:, None] + rng.normal(0, 0.1, (n, 3)) + 0.5, 0, 1)
    table = make_table(
        models=("small", "middle", "large"),
        ids=[str(i) for i in range(n)],
        score=score,
        cost=np.array([1.0, 4.0, 20.0]) * 1e-4 * np.ones((n, 1)),
        q=np.broadcast_to(q, (8, n, 3)),
        same=(score[:, :, None] == score[:, None, :]).astype(int),
    )
    return SharedLog(
        name="made up", train=table.take(np.arange(200)), test=table.take(np.arange(200, 400))
    )


def check() -> None:
    """The measures on cases with known answers, before anything is reported."""
    line = Curve(cost=np.array([1.0, 3.0]), quality=np.array([0.5, 0.9]))
    assert abs(lift(line, line, 1)) < 1e-9
    assert abs(saving_at(1.0, line, 3.0, 0.9)) < 1e-12
    assert abs(saving_at(7 / 9, line, 3.0, 0.9) - (1 - 2 / 3)) < 1e-9


def main(arguments: Sequence[str]) -> int:
    """Print the table and write out/frontier.json."""
    smoke, names = read_arguments(arguments, __doc__, LOGS, every_log())
    check()
    reason = None if smoke else absent()
    if reason:
        print(reason)
        return 0
    every: dict[str, dict[str, list[list[float]]]] = {}
    for name in ["made up"] if smoke else names:
        log = made_up() if smoke else shared_log(name)
        every[name] = one_log(log, 20 if smoke else DRAWS)
        print(f"\n{name}: {log.train.n} train, {log.test.n} test, {', '.join(log.test.models)}")
        for row, values in every[name].items():
            cells = [f"{v:6.2f} [{a:6.2f}, {b:6.2f}]" for v, a, b in values]
            print(f"  {row:24s} lift {cells[0]}   saved {'  '.join(cells[1:])}", flush=True)
    print(f"\nmean over {len(every)} logs: lift, saved at 95 / 99 / 100 %")
    for row in next(iter(every.values())):
        means = np.mean([[v[0] for v in one[row]] for one in every.values()], axis=0)
        print(f"  {row:24s} {means[0]:6.2f}   {means[1]:5.1f} / {means[2]:5.1f} / {means[3]:5.1f}")
    if smoke:
        assert every["made up"]["ours (all families)"][0][0] > 0
    else:
        write_result("frontier", {"draws": DRAWS, "logs": every})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
