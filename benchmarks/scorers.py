"""How well do scorers know when the cheap answer is right? One table over the shared logs.

Fitted on `train`, reported on `test`, once. The pair of models of each log follows one rule: strong is
the best on train, cheap the cheapest model with at least 60 % of its score at half its price or less.
Every peer is fitted on the same rows; intervals are paired bootstraps over prompts.

    python benchmarks/scorers.py [--seeds 3] [--smoke] [LOG …]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cascade.records import TrafficRow  # noqa: E402
from cascade.replay.metrics import deferral  # noqa: E402
from cascade.traffic_log import TrafficLog  # noqa: E402 - run as a script from anywhere
from scorers.dataset import Dataset, read_dataset  # noqa: E402
from scorers.evaluate import auroc, brier, ece, ece_floor, paired_bootstrap  # noqa: E402
from scorers.folds import fold_ids, prompt_groups  # noqa: E402
from scorers.heads import Blocks  # noqa: E402
from scorers.ladder_fit import fit_ladder  # noqa: E402
from scorers.text_head import fit_text, fit_vocabulary  # noqa: E402

SHARED = ROOT.parent / "shared" / "data"
FIRM = (
    "cascade9_mmlu",
    "cascade9_truthfulqa",
    "confidence_sciq",
    "llmrouter_scores",
    "mmlupro",
    "routellm_gsm8k",
    "routellm_mmlu",
)
OTHERS = (
    "local_headlines",
    "samples_date",
    "zeroeval_gsm8k",
    "routellm_mtbench",
    "cascade9_gsm8k",
    "confidence_sat",
    "alpacaeval1",
    "alpacaeval2",
)
"""Too small, too easy or too unlike a task with right answers to be judged one by one."""
BOOTSTRAPS = 500
NEIGHBOURS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One way of choosing on one log.

    Attributes:
        log: Name of the log.
        way: Whose ranking it is.
        apgr: Mean over seeds; random is 0.5.
        low: Lower end of its 95 % interval, of the first seed; NaN where none was made.
        high: Upper end.
        cpt50: Least share of strong calls for half of the gap.
        cpt80: The same for 80 % of it.
        auroc: Of "the cheap answer is right"; NaN for rankings that are no probability of it.
        brier: Mean squared error of that probability.
        ece: Calibration error over 15 equal-mass bins.
        ece_floor: What it would be on as many rows, on average, of scores that are perfectly calibrated.
        ece_floor_95: What it would exceed in 5 % of draws.
        quality: Mean score, of a single model; NaN for what has no single point.
        cost_usd: Mean US dollars a request, of a single model.
    """

    log: str
    way: str
    apgr: float
    low: float = np.nan
    high: float = np.nan
    cpt50: float = np.nan
    cpt80: float = np.nan
    auroc: float = np.nan
    brier: float = np.nan
    ece: float = np.nan
    ece_floor: float = np.nan
    ece_floor_95: float = np.nan
    quality: float = np.nan
    cost_usd: float = np.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A shared log: its features, and which rows are for fitting (train) and for reporting (test)."""

    data: Dataset
    train: np.ndarray
    test: np.ndarray

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the log."""
        return self.data.models

    @property
    def blocks(self) -> Blocks:
        """Prompts, answers, features and scores."""
        return self.data.blocks

    @property
    def cost(self) -> np.ndarray:
        """US dollars of each answer. Shape (n, k)."""
        return self.data.cost


def load(name: str) -> Log:
    """Return a shared log, priced by the shared price list unless it states what was paid.

    A log of scores only has no output tokens: there the input alone is priced, which keeps the
    order of the models.
    """
    prices = json.loads((SHARED / "prices.json").read_text())
    splits: list[str] = []

    def rows() -> Iterator[TrafficRow]:
        for row in TrafficLog(paths=[SHARED / f"{name}.jsonl.gz"]):
            splits.append(row.split)
            row.split = ""  # both halves are read; which is which stays here
            for response in row.responses:
                response.completion_tokens = response.completion_tokens or 0
            yield row

    def price(model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        known = prices.get(model)
        if known is None:
            return None
        return (prompt_tokens * known["input"] + completion_tokens * known["output"]) / 1e6

    # The logged p_true is used where its second call is in the logged cost: cascade9_truthfulqa.
    data = read_dataset(rows(), price=price, p_true=True)
    return Log(
        data=data,
        train=np.flatnonzero([split == "train" for split in splits]),
        test=np.flatnonzero([split == "test" for split in splits]),
    )


def pair(score: np.ndarray, cost: np.ndarray) -> tuple[int, int] | None:
    """Return (cheap, strong) by the rule above, from train rows of shape (n, m); None if none fits."""
    quality, dollars = np.nanmean(score, axis=0), np.nanmean(cost, axis=0)
    strong = int(np.argmax(quality))
    fit = [
        j
        for j in range(len(quality))
        if quality[j] >= 0.6 * quality[strong] and dollars[j] <= 0.5 * dollars[strong]
    ]
    return (min(fit, key=lambda j: (round(float(dollars[j]), 9), j)), strong) if fit else None


def ours(
    data: Dataset, train: np.ndarray, test: np.ndarray, weak: int, strong: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (P(cheap right), value of escalating, payoff of escalating) on `test`, each (n,).

    What `cascade train --models cheap,strong` fits and `cascade replay` measures.
    """
    pair = [data.models[weak], data.models[strong]]
    fitted, _ = fit_ladder(data, train, pair, seed)
    two = data.only(pair)
    q = fitted.probabilities(two, test, [1, 3])
    score = two.score[test]
    payoff = np.where(fitted.keep_weak(q, 0, 1), score[:, 0], score[:, 1])
    return q[1][:, 0], fitted.value_of_escalating(q, 0, 1), payoff


def peers(
    blocks: Blocks, train: np.ndarray, test: np.ndarray, weak: int, strong: int
) -> dict[str, np.ndarray]:
    """Return the value of escalating by each peer, (n,); fitted on train rows."""
    y_weak, y_strong = blocks.score[train, weak], blocks.score[train, strong]
    asked = [blocks.prompts[i] for i in train]
    new = [blocks.prompts[i] for i in test]
    both = fit_text(asked, np.stack([y_weak, y_strong], axis=1), l2=2.0).predict(new)
    found = {"prompt only, TF-IDF": both[:, 1] - both[:, 0]}
    vocabulary = fit_vocabulary(asked, max_terms=30_000)
    known, wanted = vocabulary.transform(asked), vocabulary.transform(new)
    gain = np.zeros(len(test))
    for start in range(0, len(test), 500):
        near = (wanted[start : start + 500] @ known.T).toarray()
        k = min(NEIGHBOURS, near.shape[1] - 1)
        picked = np.argpartition(-near, k, axis=1)[:, :k]
        weight = np.take_along_axis(near, picked, axis=1) + 1e-6
        gain[start : start + 500] = (weight * (y_strong - y_weak)[picked]).sum(1) / weight.sum(1)
    found["prompt only, neighbours"] = gain
    if blocks.has_text(weak):

        def read(rows: np.ndarray) -> list[str]:
            return [f"{blocks.prompts[i]} {blocks.texts[i][weak] or ''}" for i in rows]

        judged = fit_text(read(train), y_weak[:, None], l2=2.0).predict(read(test))
        found["FrugalGPT-style, question + answer"] = -judged[:, 0]
    logprob = blocks.logprob[test, weak]
    if np.isfinite(logprob).mean() > 0.9:
        found["raw log-probability"] = -logprob
    p_true = blocks.own[test, weak, -1]
    if np.isfinite(p_true).mean() > 0.9:
        found["raw p_true"] = -p_true
    return found


def curve(
    log: str,
    way: str,
    value: np.ndarray,
    weak: np.ndarray,
    strong: np.ndarray,
    payoff: np.ndarray | None = None,
    draws: int = 0,
) -> Line:
    """Return the line of one ranking."""
    pay = strong if payoff is None else payoff
    found = deferral(value, weak, strong, pay)
    low = high = np.nan
    if draws:
        low, high = paired_bootstrap(
            lambda rows: deferral(value[rows], weak[rows], strong[rows], pay[rows]).apgr,
            len(weak),
            draws,
        )
    return Line(
        log=log,
        way=way,
        apgr=found.apgr,
        low=low,
        high=high,
        cpt50=found.cpt50,
        cpt80=found.cpt80,
    )


def half_split(name: str, seeds: int, draws: int) -> list[Line]:
    """Fit on train, report on test."""
    data = load(name)
    blocks, train, test = data.blocks, data.train, data.test
    chosen = pair(blocks.score[train], data.cost[train])
    if chosen is None:
        return [Line(log=name, way="no model fits the rule for the cheap one", apgr=np.nan)]
    weak, strong = chosen
    y_weak, y_strong = blocks.score[test, weak], blocks.score[test, strong]
    runs = [ours(data.data, train, test, weak, strong, seed) for seed in range(seeds)]
    curves = [deferral(value, y_weak, y_strong, pay) for _, value, pay in runs]
    by_chance, at_most = ece_floor(runs[0][0])
    first = curve(name, "cascade", runs[0][1], y_weak, y_strong, runs[0][2], draws)
    lines = [
        Line(
            log=name,
            way="cascade",
            apgr=float(np.mean([c.apgr for c in curves])),
            low=first.low,
            high=first.high,
            cpt50=float(np.mean([c.cpt50 for c in curves])),
            cpt80=float(np.mean([c.cpt80 for c in curves])),
            auroc=float(np.mean([auroc(q, y_weak) for q, _, _ in runs])),
            brier=float(np.mean([brier(q, y_weak) for q, _, _ in runs])),
            ece=float(np.mean([ece(q, y_weak) for q, _, _ in runs])),
            ece_floor=by_chance,
            ece_floor_95=at_most,
        )
    ]
    lines += [
        curve(name, way, value, y_weak, y_strong)
        for way, value in peers(blocks, train, test, weak, strong).items()
    ]
    noise = np.random.default_rng(0).random(len(test))
    best = np.maximum(y_weak, y_strong)
    base = np.full(len(test), float(np.nanmean(blocks.score[train, weak])))
    lines += [
        Line(
            log=name,
            way=f"{way}: {data.models[j]}",
            apgr=np.nan,
            quality=float(np.nanmean(blocks.score[test, j])),
            cost_usd=float(np.nanmean(data.cost[test, j])),
        )
        for way, j in (("always cheap", weak), ("always strong", strong))
    ]
    lines += [
        curve(name, "random", noise, y_weak, y_strong),
        curve(name, "perfect judge of the cheap answer", -y_weak, y_weak, y_strong),
        curve(name, "oracle", y_strong - y_weak, y_weak, y_strong, best),
        Line(
            log=name,
            way="base rate",
            apgr=np.nan,
            brier=brier(base, y_weak),
            ece=ece(base, y_weak),
        ),
    ]
    return lines


def whole_file(name: str, seeds: int, draws: int) -> list[Line]:
    """Five folds over the whole file, grouped by near-identical prompt."""
    data = load(name)
    blocks, train = data.blocks, data.train
    chosen = pair(blocks.score[train], data.cost[train])
    assert chosen is not None, name
    weak, strong = chosen
    y_weak, y_strong = blocks.score[:, weak], blocks.score[:, strong]
    groups = prompt_groups(blocks.prompts)
    found = []
    for seed in range(seeds):
        folds = fold_ids(groups, 5, 100 + seed)
        value, pay, q = np.zeros(len(y_weak)), y_strong.copy(), np.zeros(len(y_weak))
        for fold in range(5):
            rest, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            q[held], value[held], pay[held] = ours(data.data, rest, held, weak, strong, seed)
        found.append((q, value, pay))
    curves = [deferral(value, y_weak, y_strong, pay) for _, value, pay in found]
    first = curve(name, "", found[0][1], y_weak, y_strong, found[0][2], draws)
    return [
        Line(
            log=name,
            way="cascade, whole file, 5 folds",
            apgr=float(np.mean([c.apgr for c in curves])),
            low=first.low,
            high=first.high,
            cpt50=float(np.mean([c.cpt50 for c in curves])),
            cpt80=float(np.mean([c.cpt80 for c in curves])),
            auroc=float(np.mean([auroc(q, y_weak) for q, _, _ in found])),
            ece=float(np.mean([ece(q, y_weak) for q, _, _ in found])),
        )
    ]


def few_labels(name: str, labels: int, draws: int) -> list[Line]:
    """Fit on that many labels, drawn `draws` times; report on test."""
    data = load(name)
    blocks, train, test = data.blocks, data.train, data.test
    chosen = pair(blocks.score[train], data.cost[train])
    assert chosen is not None, name
    weak, strong = chosen
    y_weak, y_strong = blocks.score[test, weak], blocks.score[test, strong]
    found = []
    for draw in range(draws):
        picked = np.sort(np.random.default_rng(draw).permutation(train)[:labels])
        _, value, pay = ours(data.data, picked, test, weak, strong, draw)
        found.append(deferral(value, y_weak, y_strong, pay).apgr)
    return [
        Line(
            log=name,
            way=f"cascade, {labels} labels, {draws} draws",
            apgr=float(np.mean(found)),
            low=float(np.min(found)),
            high=float(np.max(found)),
        )
    ]


def report(lines: Sequence[Line]) -> Table:
    """Return the table."""
    table = Table(title="Knowing when the cheap answer is right (test rows)", title_justify="left")
    for head in (
        "log",
        "way",
        "APGR",
        "95 %",
        "CPT50",
        "CPT80",
        "AUROC",
        "Brier",
        "ECE",
        "by chance",
        "right",
        "$/1,000",
    ):
        left = head in ("log", "way")
        table.add_column(head, justify="left" if left else "right", no_wrap=True)

    def number(value: float, digits: int = 3, scale: float = 1.0) -> str:
        return "" if np.isnan(value) else f"{value * scale:.{digits}f}"

    def chance(line: Line) -> str:
        if np.isnan(line.ece_floor):
            return ""
        return f"{number(line.ece_floor)}–{number(line.ece_floor_95)}"

    for line in lines:
        interval = "" if np.isnan(line.low) else f"{line.low:.2f}–{line.high:.2f}"
        table.add_row(
            line.log,
            line.way,
            number(line.apgr),
            interval,
            number(line.cpt50, 1, 100),
            number(line.cpt80, 1, 100),
            number(line.auroc),
            number(line.brier),
            number(line.ece),
            chance(line),
            number(line.quality),
            number(line.cost_usd, 4, 1_000),
            style="bold" if line.way.startswith("cascade") else None,
        )
    return table


def main() -> None:
    """Print the table, write the JSON."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="*", help="names of shared logs; default: all of the bar")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one small log, one seed")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "scorers.json")
    args = parser.parse_args()
    console = Console(width=180)
    if not SHARED.exists():
        console.print(f"skipped: {SHARED.name} is not here; this benchmark reads the shared logs")
        return
    seeds, draws = (1, 20) if args.smoke else (args.seeds, BOOTSTRAPS)
    names = args.logs or (["cascade9_truthfulqa"] if args.smoke else [*FIRM, *OTHERS])
    lines: list[Line] = []
    for name in names:
        began = time.perf_counter()
        lines += half_split(name, seeds, draws)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if not args.logs and not args.smoke:
        lines += whole_file("routellm_gsm8k", seeds, draws)
        lines += whole_file("routellm_mmlu", 1, draws)
        lines += few_labels("routellm_gsm8k", 100, 6)
    console.print(report(lines))
    firm = [line.apgr for line in lines if line.way == "cascade" and line.log in FIRM]
    if firm:
        console.print(f"mean APGR over {len(firm)} firm pairs: {np.mean(firm):.3f}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    parameters = {"seeds": seeds, "bootstraps": draws, "logs": list(names)}
    machine = {"python": platform.python_version(), "platform": platform.platform()}
    content = {"parameters": parameters, "machine": machine, "lines": [asdict(x) for x in lines]}
    args.out.write_text(json.dumps(content))
    console.print(f"raw numbers: {args.out}")


if __name__ == "__main__":
    main()
