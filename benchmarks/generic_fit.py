"""How should the generic prior be fitted? Each task of its own log left out in turn.

The mean over tasks and models of AUROC within a task, whose answers no fit has seen: 0.5 is random.
All settings of `scorers/generic.py` were chosen by this table, on no other log.

    python benchmarks/generic_fit.py [--smoke]
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scorers.boost_head import fit_boost, predict_boost  # noqa: E402
from scorers.evaluate import auroc  # noqa: E402
from scorers.features import OWN_NAMES  # noqa: E402
from scorers.features.logprob import LOGPROB_NAMES  # noqa: E402
from scorers.generic import READ, SIGNS, fit_signed, generic_log, percentiles  # noqa: E402
from scorers.linear_head import logistic_newton  # noqa: E402

_Fit = Callable[[list[np.ndarray], list[np.ndarray]], Callable[[np.ndarray], np.ndarray]]
"""Ranks of each part and what was right → how right other answers look."""

ALL = tuple(name for name in OWN_NAMES if name not in LOGPROB_NAMES and name != "s_p_true")


def main() -> None:
    """Print the table."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="the same: it takes seconds")
    parser.parse_args()
    data = generic_log()
    tasks = np.array([name.rpartition("-")[0] for name in data.ids])
    print(f"{len(data)} questions of {len(set(tasks))} tasks; AUROC within a task left out")
    for j, model in enumerate(data.models):
        print(f"  {model}: {np.nanmean(data.score[:, j]):.1%} right")
    ways: Sequence[tuple[str, tuple[str, ...], _Fit]] = (
        ("mean log-probability", ("l_mean",), lambda parts, right: lambda z: z[:, 0]),
        ("shortest first", ("a_log_chars",), lambda parts, right: lambda z: -z[:, 0]),
        ("signs alone, equal weights", READ, lambda parts, right: lambda z: z @ SIGNS),
        ("signed, pulled to a common size", READ, _signed),
        ("signs free, pulled to zero", READ, _free),
        ("LightGBM, 7 leaves, 60 trees", READ, _boosted),
        ("all numbers, signs free", ALL, _free),
        ("all numbers, LightGBM", ALL, _boosted),
    )
    for name, reads, fit in ways:
        found = _held_out(data.blocks.own, data.score, tasks, reads, fit)
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        print(f"{name:34s} {np.mean(found):.3f} ± {error:.3f}", flush=True)


def _held_out(
    own: np.ndarray, score: np.ndarray, tasks: np.ndarray, reads: tuple[str, ...], fit: _Fit
) -> list[float]:
    """Return the AUROC within each task, of each model, by a fit on the other tasks."""
    at = [OWN_NAMES.index(name) for name in reads]
    parts: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
    for task in np.unique(tasks):
        for j in range(score.shape[1]):
            rows = np.flatnonzero((tasks == task) & np.isfinite(score[:, j]))
            x = own[rows, j][:, at]
            parts[str(task), j] = percentiles(x)(x), score[rows, j]
    found = []
    for (task, _), (z, y) in parts.items():
        rest = [part for (other, _), part in parts.items() if other != task]
        looks = fit([z for z, _ in rest], [y for _, y in rest])
        if 0 < y.mean() < 1:
            found.append(float(auroc(looks(z), y)))
    return found


def _signed(parts: list[np.ndarray], right: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    weights = fit_signed(parts, right)
    return lambda z: z @ weights


def _free(parts: list[np.ndarray], right: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    own = np.eye(len(parts))[np.repeat(np.arange(len(parts)), [len(p) for p in parts])]
    z = np.hstack([np.concatenate(parts), 10.0 * own])  # an intercept a part, next to no penalty
    weights, _ = logistic_newton(z, np.concatenate(right), 30.0)
    return lambda x: x @ weights[: x.shape[1]]


def _boosted(
    parts: list[np.ndarray], right: list[np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    booster = fit_boost(np.concatenate(parts), np.concatenate(right), seed=0, trees=60)
    return lambda x: predict_boost(booster, x)


if __name__ == "__main__":
    main()
