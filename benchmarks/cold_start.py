"""What is the generic prior worth before there are labels, and while there are few?

The ranks come from the answers of the `train` rows, whose labels nobody looks at; APGR of the cheap
model's answers on `test` (pair of models by the rule of `scorers.py`; 0.5 is random). Then scorers
fitted on 25, 50 and 100 labels, with and without the prior at its fixed weight 2 · 25 / (n + 25),
on the logs where it reads the text.

    python benchmarks/cold_start.py [--draws 3] [--smoke] [LOG …]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.scorers import SHARED, Log, load, ours, pair  # noqa: E402
from cascade.replay.metrics import deferral  # noqa: E402
from scorers.evaluate import auroc  # noqa: E402
from scorers.features import OWN_NAMES  # noqa: E402
from scorers.generic import READ, fit_weights, percentiles, rank_answers, why_silent  # noqa: E402

LOGS = (
    *("routellm_gsm8k", "zeroeval_gsm8k", "cascade9_gsm8k", "mmlupro", "samples_date"),
    *("cascade9_truthfulqa", "routellm_mtbench", "alpacaeval1"),
    *("confidence_sciq", "confidence_sat", "cascade9_mmlu", "local_headlines"),
)
"""The shared logs with text that have a pair of models; the last four have log-probabilities."""
LABELS = (25, 50, 100)
_READ = [OWN_NAMES.index(name) for name in READ]
_LENGTH = OWN_NAMES.index("a_log_chars")


def main() -> None:
    """Print the tables, write the JSON."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("logs", nargs="*", help="names of shared logs; default: those with text")
    parser.add_argument("--draws", type=int, default=3, help="draws of labels; 0: no fade")
    parser.add_argument("--smoke", action="store_true", help="one small log, one draw")
    given = parser.parse_args()
    if not SHARED.is_dir():
        print(f"skipped: {SHARED} is not there")
        return
    names = given.logs or (("samples_date",) if given.smoke else LOGS)
    draws = 1 if given.smoke else given.draws
    labels = LABELS[:1] if given.smoke else LABELS
    found = [line for name in names if (line := measure(name, draws, labels)) is not None]
    means(found)
    out = ROOT / "out" / "cold_start.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"draws": draws, "logs": found}, indent=1) + "\n")


def measure(name: str, draws: int, sizes: Sequence[int] = LABELS) -> dict[str, Any] | None:
    """Measure one log and print its line."""
    begin = time.perf_counter()
    log = load(name)
    chosen = pair(log.blocks.score[log.train], log.cost[log.train])
    if chosen is None:
        print(f"{name}: no pair of models")
        return None
    weak, strong = chosen
    own, test = log.blocks.own[:, weak], log.test
    y_weak, y_strong = log.blocks.score[test, weak], log.blocks.score[test, strong]

    def apgr(value: np.ndarray) -> float:
        return float(deferral(value, y_weak, y_strong, y_strong).apgr)

    ranking = rank_answers(own[log.train])
    looks = np.zeros(len(test)) if ranking is None else ranking.looks(own[test])
    if ranking is not None and ranking.by_logprob:
        # Live, the confidence of such an answer is unknown, and it is sent on.
        looks[np.isnan(log.blocks.logprob[test, weak])] = looks.min() - 1.0
    line: dict[str, Any] = {
        "log": name,
        "rows": [len(log.train), len(test)],
        "shortest first": apgr(own[test, _LENGTH]),
        "silent": None if ranking else why_silent(own[log.train]),
        "prior": 0.5 if ranking is None else apgr(-looks),
        "prior auroc": 0.5 if ranking is None else float(auroc(looks, y_weak)),
    }
    if ranking is None:
        line["had it spoken"] = apgr(
            -(percentiles(own[log.train][:, _READ])(own[test][:, _READ]) @ fit_weights())
        )
    else:
        line["sent on below 0.4"] = float((ranking.rank(own[test]) < 0.4).mean())
    logprob = log.blocks.logprob[test, weak]
    if np.isfinite(logprob).mean() > 0.9:
        line["logprob"] = apgr(-np.nan_to_num(logprob, nan=-9.0))
    told = [f"{key} {value:.3f}" for key, value in line.items() if isinstance(value, float)]
    print(f"{name}: {', '.join(told)}{'' if ranking else '; silent: ' + str(line['silent'])}")
    if draws and ranking is not None and not ranking.by_logprob:
        line["fade"] = fade(log, weak, strong, looks, draws, sizes)
    print(f"  {time.perf_counter() - begin:.0f} s", flush=True)
    return line


def fade(
    log: Log, weak: int, strong: int, looks: np.ndarray, draws: int, sizes: Sequence[int]
) -> dict[str, list[list[float]]]:
    """Return [without, with the prior] of each draw, by number of labels."""
    y_weak, y_strong = (log.blocks.score[log.test, j] for j in (weak, strong))
    known = log.train[np.isfinite(log.blocks.score[log.train][:, [weak, strong]]).all(axis=1)]
    found: dict[str, list[list[float]]] = {}
    for labels in (n for n in sizes if n <= len(known)):
        rows = found[str(labels)] = []
        for draw in range(draws):
            picked = np.sort(np.random.default_rng(draw).permutation(known)[:labels])
            q, value, pay = ours(log.data, picked, log.test, weak, strong, draw)
            mixed = _sigmoid(_logit(q) + weight(labels) * looks)
            rows.append(
                [
                    float(deferral(v, y_weak, y_strong, pay).apgr)
                    for v in (value, value - (mixed - q))
                ]
            )
        mean = np.mean(rows, axis=0)
        print(f"  {labels} labels: {mean[0]:.3f} → {mean[1]:.3f} with the prior", flush=True)
    return found


def weight(labels: int) -> float:
    """Return the weight of the prior's log odds beside the scorer's. Source: methods 11."""
    return 2 * 25 / (labels + 25)


def means(found: Sequence[dict[str, Any]]) -> None:
    """Print the means over logs without and with log-probabilities."""
    for title, some in (
        ("without log-probabilities", [x for x in found if "logprob" not in x]),
        ("with log-probabilities", [x for x in found if "logprob" in x]),
    ):
        if not some:
            continue
        told = [f"{len(some)} logs {title}: prior {np.mean([x['prior'] for x in some]):.3f}"]
        spoke = [x["prior"] for x in some if x["silent"] is None]
        told += [f"where it speaks ({len(spoke)}) {np.mean(spoke):.3f}"] if spoke else []
        if "logprob" in some[0]:
            told.append(f"log-probability {np.mean([x['logprob'] for x in some]):.3f}")
        for labels in map(str, LABELS):
            runs = [np.mean(x["fade"][labels], axis=0) for x in some if labels in x.get("fade", {})]
            if runs:
                before, after = np.mean(runs, axis=0)
                gain = [b - a for a, b in runs]
                error = np.std(gain, ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
                told.append(
                    f"{labels} labels {before:.3f} → {after:.3f} "
                    f"({after - before:+.3f} ± {error:.3f}, {len(runs)} logs)"
                )
        print("; ".join(told))


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


if __name__ == "__main__":
    main()
