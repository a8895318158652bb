"""What do early accept and early reject save in streams, what do they cost, and does a draft ever leak?

    python benchmarks/streaming.py [--streams 10000] [--rows N] [--smoke]
    python benchmarks/streaming.py --local 20        # two real models on this machine, and nothing else

First 10,000 streams are read from a real server process of which every fourth answer ends badly; each is
checked against what the models said. Then the same stream is read by the engine and by a bare socket, in
turn. Then real logged answers of two models are told token by token, at
stated speeds: plain asks, streams that hold, and streams that decide early. Thresholds are picked on train
rows that no scorer was fitted on; everything reported is of test rows. Intervals are 95 %, of paired
bootstraps.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import anyio
import numpy as np

from benchmarks._shared import absent, write_result
from benchmarks._stream_leaks import Leaks, count_leaks
from benchmarks._stream_local import (
    ACCEPT,
    CHECKPOINTS,
    HOLD,
    MAX_TOKENS,
    NAMES,
    REJECT,
    measure_local,
)
from benchmarks._stream_overhead import CHUNKS, measure_overhead
from benchmarks._stream_recorded import (
    CASES,
    GIVEN_UP,
    KEPT,
    SENT_ON,
    SPEEDS,
    Case,
    Picked,
    Run,
    measure_case,
)

DRAWS = 2_000


def main() -> int:
    """Run both parts, print the tables, write one JSON."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--streams", type=int, default=10_000, help="streams checked for leaks")
    arguments.add_argument("--rows", type=int, help="rows of each split, at most")
    arguments.add_argument("--smoke", action="store_true", help="little of everything")
    arguments.add_argument("--local", type=int, help="questions asked of two real models, run here")
    given = arguments.parse_args()
    if given.local is not None:
        return _local(given.local)
    streams = 200 if given.smoke else given.streams
    found = anyio.run(count_leaks, streams)
    _print_leaks(found)
    times = anyio.run(measure_overhead, 5 if given.smoke else 200)
    _print_overhead(times)
    result: dict[str, Any] = {
        "leaks": _leaks_json(found),
        "overhead": {name: each.tolist() for name, each in times.items()},
        "cases": [],
    }
    why = absent()
    if why:
        print(why)
    for case in () if why else CASES[-1:] if given.smoke else CASES:
        rows = 240 if given.smoke else given.rows
        picked, runs = anyio.run(lambda case=case, rows=rows: measure_case(case, rows=rows))
        _print_case(case, picked, runs)
        result["cases"].append(_case_json(case, picked, runs))
    if not given.smoke:
        write_result("streaming", result)
    return 1 if found.leaked or found.streams != streams else 0


def _local(questions: int) -> int:
    why = absent()
    if why:
        print(why)
        return 0
    runs = anyio.run(measure_local, questions)
    print(f"{' → '.join(NAMES)} by llama.cpp, {questions} questions, limit {MAX_TOKENS} tokens")
    print(f"accept {HOLD}, early from {ACCEPT}, ended below {REJECT}, at {CHECKPOINTS} tokens")
    _print_runs(runs)
    write_result("streaming_local", {"questions": questions, "runs": _runs_json(runs)})
    return 0


def _print_leaks(found: Leaks) -> None:
    ends = ", ".join(f"{n:,} {end}" for end, n in found.ends.most_common())
    modes = ", ".join(f"{n:,} {mode}" for mode, n in found.modes.most_common())
    print(f"{found.streams:,} streams in {found.seconds:.0f} s: {ends}")
    print(f"drafts of the answered ones: {modes}")
    print(f"leaked: {found.leaked}{'' if found.first is None else f'; the first: {found.first}'}")


def _print_overhead(times: dict[str, np.ndarray]) -> None:
    print(f"\n{'':16}{'first byte ms':>22}{'total ms':>20}{'per chunk µs':>14}")
    print(f"{'':16}{'median':>11}{'p90':>11}{'median':>10}{'p90':>10}{'median':>14}")
    for name, each in times.items():
        middle, high = 1000 * np.median(each, axis=0), 1000 * np.quantile(each, 0.9, axis=0)
        chunk = 1000 * (middle[1] - middle[0]) / CHUNKS
        print(
            f"{name:16}{middle[0]:11.2f}{high[0]:11.2f}{middle[1]:10.2f}{high[1]:10.2f}{chunk:14.1f}"
        )


def _print_case(case: Case, picked: Picked, runs: list[Run]) -> None:
    small, large = case.models
    print(f"\n{case.log}: {small} → {large}, {len(runs[0].quality)} test rows")
    accept = "none" if picked.accept is None else f"{picked.accept:.2f}"
    reject = "none" if picked.reject is None else f"{picked.reject:.2f}"
    print(f"accept {picked.hold:.2f}, early from {accept}, ended below {reject}")
    _print_runs(runs)


def _print_runs(runs: list[Run]) -> None:
    print(
        f"{'':14}{'first byte s':>22}{'total s':>20}{'draft':>8}{'USD/1k':>9}"
        f"{'quality':>9}{'against hold':>24}{'early':>14}"
    )
    print(f"{'':14}{'median':>8}{'p90':>7}{'mean':>7}{'median':>8}{'mean':>12}{'tokens':>8}")
    hold = next(run for run in runs if run.name == "hold")
    for run in runs:
        low, high = _interval(run.quality - hold.quality)
        early = run.modes.get("early_accept", 0), run.modes.get("early_reject", 0)
        print(
            f"{run.name:14}{np.median(run.first_s):8.2f}{np.quantile(run.first_s, 0.9):7.2f}"
            f"{run.first_s.mean():7.2f}{np.median(run.total_s):8.2f}{run.total_s.mean():12.2f}"
            f"{run.draft_tokens.mean():8.1f}{1000 * run.cost_usd.mean():9.4f}"
            f"{run.quality.mean():9.3f}"
            f"{(run.quality - hold.quality).mean():+8.3f} [{low:+.3f}, {high:+.3f}]"
            f"{early[0] / len(run.quality):7.0%}{early[1] / len(run.quality):7.0%}"
        )


def _interval(difference: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    n = len(difference)
    means = [difference[rng.integers(0, n, n)].mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _leaks_json(found: Leaks) -> dict[str, Any]:
    return {
        "streams": found.streams,
        "leaked": found.leaked,
        "ends": dict(found.ends),
        "modes": dict(found.modes),
        "seconds": found.seconds,
    }


def _case_json(case: Case, picked: Picked, runs: list[Run]) -> dict[str, Any]:
    return {
        "log": case.log,
        "models": case.models,
        "checkpoints": case.checkpoints,
        "speeds": [[speed.first_s, speed.token_s] for speed in SPEEDS],
        "given_up": GIVEN_UP,
        "kept": KEPT,
        "sent_on": SENT_ON,
        "thresholds": {"hold": picked.hold, "accept": picked.accept, "reject": picked.reject},
        "runs": _runs_json(runs),
    }


def _runs_json(runs: list[Run]) -> list[dict[str, Any]]:
    hold = next(run for run in runs if run.name == "hold")
    arrays = ("first_s", "total_s", "quality", "draft_tokens", "cost_usd")
    return [
        {
            "name": run.name,
            "modes": run.modes,
            "quality_against_hold": _interval(run.quality - hold.quality),
            **{name: getattr(run, name).tolist() for name in arrays},
        }
        for run in runs
    ]


if __name__ == "__main__":
    sys.exit(main())
