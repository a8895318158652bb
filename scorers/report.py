"""What a scorer is worth: each model's scores on held-out rows, against baselines, in numbers and words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .dataset import Dataset
from .evaluate import auroc, brier, ece, paired_bootstrap
from .features import OWN_NAMES
from .folds import fold_ids, prompt_groups
from .linear_head import fit_linear

__all__ = ["Baseline", "Bin", "ModelReport", "Report", "make_report", "more_labels", "stage_of"]

COLD_START = 25
FEW = 200
SETTLED = 800
BINS = 10
DRAWS = 400
BASELINE_ROWS = 6_000
"""Rows that baselines are fitted on at most."""
_LENGTH = OWN_NAMES.index("a_log_chars")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One line of a reliability table: answers of about the same confidence.

    Attributes:
        n: Answers.
        said: Their mean confidence.
        was: Share of them that was right.
    """

    n: int
    said: float
    was: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A simpler scorer on the same rows. None where it cannot be had or told.

    Attributes:
        auroc: P(a right answer scores above a wrong one).
        brier: Mean squared error of its probabilities.
    """

    auroc: float | None
    brier: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """One model's answers on held-out rows, scored by P(right | prompt, own answer).

    Attributes:
        name: The model.
        n: Rows with a label of this model.
        base_rate: Share of right answers.
        auroc: P(a right answer scores above a wrong one); None when all are right, or all wrong.
        auroc_interval: 95 % interval by bootstrap over rows; None without an AUROC.
        brier: Mean squared error, and before calibration.
        brier_before: The same before calibration.
        ece: Expected calibration error over 15 bins of equal size.
        ece_before: The same before calibration.
        reliability: Bins of equal size, rising in confidence.
        reliability_before: The same before calibration.
        baselines: Name → simpler scorer.
        separates: Whether the interval of the AUROC lies above one half.
    """

    name: str
    n: int
    base_rate: float
    auroc: float | None
    auroc_interval: tuple[float, float] | None
    brier: float
    brier_before: float
    ece: float
    ece_before: float
    reliability: tuple[Bin, ...]
    reliability_before: tuple[Bin, ...]
    baselines: Mapping[str, Baseline]
    separates: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a scorer is worth.

    Attributes:
        held_out: Which rows it was measured on, in words.
        labels: Labelled answers it was trained on, of the model that has the fewest.
        stage: How far that gets, in words.
        next_labels: What 50 more rows would buy, in words.
        models: One report a model, in the ladder's order.
        verdict: Whether right and wrong answers can be told apart, in words.
    """

    held_out: str
    labels: int
    stage: str
    next_labels: str
    models: tuple[ModelReport, ...]
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def make_report(
    held_out: str,
    labels: int,
    train: Dataset,
    train_rows: np.ndarray,
    scores: np.ndarray,
    raw: np.ndarray,
    other: tuple[Dataset, np.ndarray] | None = None,
    *,
    seed: int = 0,
) -> Report:
    """Compare a scorer with its baselines.

    Args:
        held_out: Which rows these are, in words.
        labels: Labelled answers the scorer was trained on, of the model that has the fewest.
        train: What the scorer was trained on.
        train_rows: The rows of it, each with a label of some model; a model is measured, and its
            baselines are fitted, on those with a label of its own.
        scores: P(right | prompt, own answer) of the rows reported on. Shape (n, m).
        raw: The same before calibration. Shape (n, m).
        other: Another dataset and its rows to report on; None to report on the training rows, whose
            scores must then be out-of-fold, as those of the baselines will be.
        seed: Of folds and bootstrap.
    """
    data, rows = (train, train_rows) if other is None else other
    truth = data.score[rows]
    models = []
    splits = None if other is not None else _folds(train, train_rows, seed)
    for j, name in enumerate(train.models):
        known = np.isfinite(truth[:, j])
        y, p, before = truth[known, j], scores[known, j], raw[known, j]
        area, interval = _area(p, y, seed)
        models.append(
            ModelReport(
                name=name,
                n=len(y),
                base_rate=float(y.mean()),
                auroc=area,
                auroc_interval=interval,
                brier=brier(p, y),
                brier_before=brier(before, y),
                ece=ece(p, y),
                ece_before=ece(before, y),
                reliability=_reliability(p, y),
                reliability_before=_reliability(before, y),
                baselines=_baselines(j, train, train_rows, data, rows, splits, seed),
                separates=interval is not None and interval[0] > 0.5,
            )
        )
    return Report(
        held_out=held_out,
        labels=labels,
        stage=stage_of(labels),
        next_labels=more_labels(labels),
        models=tuple(models),
        verdict=_verdict(models),
    )


def stage_of(labels: int) -> str:
    """Return how far this many labelled rows get, in words."""
    if labels < COLD_START:
        return (
            f"cold start: {labels} labelled rows, and a scorer needs {COLD_START}; until then "
            "a ranking (by log-probabilities, or by the text alone), or two cheap models that agree, "
            "decide better than chance"
        )
    if labels < FEW:
        return (
            f"few labels: {labels} rows; linear heads carry the scores, the gain of the next "
            "model is hardly believed, and intervals are wide"
        )
    if labels < SETTLED:
        return f"enough to work with: {labels} rows; each further hundred still shows"
    return f"settled: {labels} rows; further ones mostly narrow the intervals"


# methods page, section 11, point 8: APGR on routellm_gsm8k by labels.
_LABELS = (50, 100, 200, 400)
_APGR = (0.66, 0.69, 0.71, 0.75)


def more_labels(labels: int, more: int = 50) -> str:
    """Return what further labelled rows would buy, as an estimate in words."""
    if labels < COLD_START:
        return f"{COLD_START - labels} more labelled rows make a first scorer possible"
    here = math.log(labels), math.log(labels + more)
    # Beyond 400 rows the curve flattens; nobody measured where, so no gain is promised.
    gain = float(np.diff(np.interp(here, np.log(_LABELS), _APGR))[0])
    if labels < _LABELS[0]:
        slope = (_APGR[1] - _APGR[0]) / math.log(_LABELS[1] / _LABELS[0])
        gain = slope * (here[1] - here[0])
    if gain < 0.004:
        return f"{more} more labelled rows would hardly change the scores (an estimate)"
    return (
        f"{more} more labelled rows would buy about +{gain:.2f} APGR, the quality gap between two "
        "models that is recovered on average over all shares of calls to the stronger one, 0.50 at "
        "random (an estimate, from one public log of word problems)"
    )


def _verdict(models: Sequence[ModelReport]) -> str:
    blind = [m.name for m in models if not m.separates]
    if not blind:
        return "the scores tell right from wrong answers of every model"
    if len(blind) == len(models):
        return (
            "nothing separates right from wrong here: no model's interval of the AUROC lies above "
            "one half; do not set thresholds on these scores"
        )
    return (
        f"the scores do not tell right from wrong answers of {', '.join(blind)}: the interval of "
        "the AUROC includes one half, or all its answers are alike"
    )


def _area(
    p: np.ndarray, y: np.ndarray, seed: int
) -> tuple[float | None, tuple[float, float] | None]:
    area = auroc(p, y)
    if math.isnan(area):
        return None, None
    draws = DRAWS if len(y) <= 5_000 else DRAWS // 4
    low, high = paired_bootstrap(lambda rows: auroc(p[rows], y[rows]), len(y), draws, seed)
    return area, (low, high)


def _reliability(p: np.ndarray, y: np.ndarray) -> tuple[Bin, ...]:
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, min(BINS, max(1, len(p) // 10)))
    return tuple(
        Bin(n=len(part), said=float(p[part].mean()), was=float(y[part].mean()))
        for part in parts
        if len(part)
    )


_Splits = list[tuple[np.ndarray, np.ndarray]]


def _folds(train: Dataset, rows: np.ndarray, seed: int) -> _Splits:
    folds = fold_ids(prompt_groups([train.prompts[i] for i in rows]), 5, seed)
    return [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(5)]


def _baselines(
    j: int,
    train: Dataset,
    train_rows: np.ndarray,
    data: Dataset,
    rows: np.ndarray,
    splits: _Splits | None,
    seed: int,
) -> dict[str, Baseline]:
    known, labelled = np.isfinite(data.score[rows, j]), np.isfinite(train.score[train_rows, j])
    y = data.score[rows[known], j]
    found: dict[str, Baseline] = {}
    for name, fit in _KINDS.items():
        if splits is None:
            p = fit(train, _at_most(train_rows[labelled], seed), data, rows[known], j)
        else:
            p = np.full(len(rows), np.nan)
            for fitted_on, held in splits:
                a, v = fitted_on[labelled[fitted_on]], held[known[held]]
                if not len(v):
                    continue
                part = fit(train, _at_most(train_rows[a], seed), data, rows[v], j)
                if part is None:
                    p = None
                    break
                p[v] = part
            p = None if p is None else p[known]
        if p is None:
            found[name] = Baseline(auroc=None, brier=None)
        else:
            # One constant a fold ranks nothing; its AUROC would be noise about one half.
            area = 0.5 if name == "base rate" else auroc(p, y)
            found[name] = Baseline(auroc=None if math.isnan(area) else area, brier=brier(p, y))
    return found


def _at_most(rows: np.ndarray, seed: int) -> np.ndarray:
    if len(rows) <= BASELINE_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).permutation(rows)[:BASELINE_ROWS])


_Fit = Callable[[Dataset, np.ndarray, Dataset, np.ndarray, int], np.ndarray | None]


def _base_rate(
    train: Dataset, a: np.ndarray, data: Dataset, v: np.ndarray, j: int
) -> np.ndarray | None:
    return np.full(len(v), train.score[a, j].mean())


def _one_number(column: Callable[[Dataset, np.ndarray, int], np.ndarray]) -> _Fit:
    def fit(
        train: Dataset, a: np.ndarray, data: Dataset, v: np.ndarray, j: int
    ) -> np.ndarray | None:
        x = column(train, a, j)
        if np.isfinite(x).mean() < 0.5:
            return None
        head = fit_linear(x[:, None], train.score[a, j], l2=1.0)
        return np.asarray(head.predict(column(data, v, j)[:, None]))

    return fit


def _prompt_only(
    train: Dataset, a: np.ndarray, data: Dataset, v: np.ndarray, j: int
) -> np.ndarray | None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    y = train.score[a, j] >= 0.5
    if y.all() or not y.any():
        return None
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, max_features=30_000, sublinear_tf=True, dtype=np.float32
    )
    try:
        x = words.fit_transform([train.prompts[i] for i in a])
    except ValueError:  # no word stands in two prompts
        return None
    model = LogisticRegression(C=1.0, max_iter=300).fit(x, y)
    return np.asarray(model.predict_proba(words.transform([data.prompts[i] for i in v]))[:, 1])


_KINDS: dict[str, _Fit] = {
    "base rate": _base_rate,
    "mean log-probability": _one_number(lambda d, rows, j: d.blocks.logprob[rows, j]),
    "answer length": _one_number(lambda d, rows, j: d.blocks.own[rows, j, _LENGTH]),
    "prompt only (TF-IDF)": _prompt_only,
}
