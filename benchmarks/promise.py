"""Is the promise kept? Policies tuned on `train`; `test` is split 200 times into rows to certify on and the rest.

    python benchmarks/promise.py [--smoke] [LOG…]

Broken: on the rest of the test rows the policy keeps less than 95 % of the strongest model's quality
although 90 % confidence was promised. The rest is a sample too, so some breaks are its own noise; the
column beside it judges by all test rows together.
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
from benchmarks.frontier import made_up
from cascade.policies import Fixed
from cascade.replay.promise import wealth
from cascade.replay.search import best_ladder, candidates
from cascade.replay.tune import Goal, pick, promised, strongest_alone
from cascade.replay.walks import Outcome, outcome, replay_policy

RATIO, CONFIDENCE = 0.95, 0.9
SHARES = (0.25, 0.5)
SPLITS = 200


def check() -> None:
    """Under the worst null (mean difference exactly 0) wealth passes 10 in at most one run of ten."""
    rng = np.random.default_rng(0)
    runs = 2_000
    passed = 0
    for _ in range(runs):
        strong = (rng.random(150) < 0.8).astype(float)
        quality = (rng.random(150) < 0.8 * RATIO).astype(float)
        passed += wealth(quality, strong, ratio=RATIO, tuned=0.3) >= 1 / (1 - CONFIDENCE)
    assert passed / runs <= 0.1, passed / runs


def one_log(log: SharedLog, share: float, splits: int) -> dict[str, float]:
    """Return what came of promising on one log."""
    train, test = log.train, log.test
    found = candidates(train, best_ladder(train))
    reference = strongest_alone(train)
    wanted = pick(found, Goal(quality=RATIO), reference)
    assert isinstance(reference.policy, Fixed)
    top = test.models.index(reference.policy.model)
    strong, dear = test.score[:, top].astype(float), test.cost[:, top].astype(float)
    done: dict[str, Outcome] = {}
    size = int(share * test.n)
    certified = broken = broken_whole = broken_without = 0
    saved, saved_without = [], []
    plain = outcome(replay_policy(wanted.policy, test), test)
    for k in range(splits):
        order = np.random.default_rng(k).permutation(test.n)
        rows, rest = order[:size], order[size:]
        chosen, promise = promised(
            found, wanted, reference, train, test.take(rows), RATIO, CONFIDENCE
        )
        name = chosen.policy.version
        if name not in done:
            done[name] = outcome(replay_policy(chosen.policy, test), test)
        one = done[name]
        certified += promise.certified
        broken += one.quality[rest].mean() < RATIO * strong[rest].mean() - 1e-12
        broken_whole += one.quality.mean() < RATIO * strong.mean() - 1e-12
        broken_without += plain.quality[rest].mean() < RATIO * strong[rest].mean() - 1e-12
        saved.append(1 - one.cost[rest].mean() / dear[rest].mean())
        saved_without.append(1 - plain.cost[rest].mean() / dear[rest].mean())
    return {
        "rows": size,
        "certified": certified / splits,
        "broken": broken / splits,
        "broken_by_all_rows": broken_whole / splits,
        "saving": float(np.mean(saved)),
        "broken_without": broken_without / splits,
        "saving_without": float(np.mean(saved_without)),
    }


def main(arguments: Sequence[str]) -> int:
    """Print the table and write out/promise.json."""
    smoke, names = read_arguments(arguments, __doc__, [*LOGS, "routellm_gsm8k"], every_log())
    check()
    reason = None if smoke else absent()
    if reason:
        print(reason)
        return 0
    splits = 10 if smoke else SPLITS
    told = {}
    print(
        f"{'log':22s} rows  certified  broken  (all rows)  saved |  without a test: broken  saved"
        f"     ({RATIO:.0%} of the strongest, {CONFIDENCE:.0%} confidence, {splits} splits)"
    )
    for name in ["made up"] if smoke else names:
        log = made_up() if smoke else shared_log(name)
        for share in SHARES:
            one = told[f"{name} {share}"] = one_log(log, share, splits)
            print(
                f"{name:22s} {one['rows']:4d}  {one['certified']:8.0%}  {one['broken']:6.1%}"
                f"  {one['broken_by_all_rows']:9.1%}  {one['saving']:6.1%} |"
                f"  {one['broken_without']:20.1%}  {one['saving_without']:6.1%}",
                flush=True,
            )
    if not smoke:
        write_result("promise", {"ratio": RATIO, "confidence": CONFIDENCE, "rows": told})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
