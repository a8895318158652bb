"""From collected rows to a fitted, measured and saved scorer: what `cascade train` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from cascade.errors import ScorerError

from .artifact import save
from .calibrate import ISOTONIC_FROM
from .dataset import Collected, Dataset, TooFewLabels, TrainingFailed
from .explain import Explained, explain
from .labelled import LEAST_ROWS
from .ladder import MAX_MODELS, LadderModel
from .ladder_choice import PAIR, donors, pick_models
from .ladder_fit import SEEDS, OutOfFold, fit_ladder
from .prefixes import PrefixModel, fit_prefixes, prefix_facts
from .report import Report, make_report

__all__ = ["Choice", "Trained", "choose_models", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The models of the ladder, and why.

    Attributes:
        models: Cheapest first.
        told: Why these, and which were left out, in words; may be empty.
    """

    models: tuple[str, ...]
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A fitted scorer and what it is worth.

    Attributes:
        model: The scorer.
        oof: Its training rows' scores.
        dataset: What it was fitted on.
        report: What it is worth on held-out rows.
        facts: What the manifest is to say beyond that.
        prefixes: Scores beginnings of answers; None without checkpoints.
    """

    model: LadderModel
    oof: OutOfFold
    dataset: Dataset
    report: Report
    facts: Mapping[str, Any]
    prefixes: PrefixModel | None = None

    def save(self, path: Path, *, created: str) -> str:
        """Write the artifact and return its version; see `artifact.save`."""
        return save(
            path,
            self.model,
            self.oof,
            self.dataset,
            facts=self.facts,
            created=created,
            prefixes=self.prefixes,
        )

    def explain(self, most: int = 15) -> list[Explained]:
        """Return the features that matter most, by model; see `explain.explain`."""
        return explain(self.model, self.dataset, self.oof.rows, most)


def choose_models(found: Collected, wanted: Sequence[str] | None) -> Choice:
    """Return the ladder to train for.

    Args:
        found: The rows.
        wanted: The models asked for; None for those of the log, or, where there are more than
            five, for three to five on the hull of price and quality.

    Raises:
        ScorerError: A model that was asked for is not in the log.
        TooFewLabels: No model has a score.
    """
    if len(found) == 0:
        raise TooFewLabels(f"no row to train on{_because(found)}", 0)
    if wanted is not None:
        unknown = [m for m in wanted if m not in found.models]
        if unknown:
            raise ScorerError(
                f"--models: {', '.join(unknown)} not in the log; known: {', '.join(found.models)}"
            )
        score = found.column("score", wanted)
        blank = [m for j, m in enumerate(wanted) if np.isnan(score[:, j]).all()]
        if blank:
            raise TooFewLabels(f"no row has a score of {', '.join(blank)}", 0)
        return Choice(models=tuple(dict.fromkeys(wanted)), told=())
    names = list(found.models)
    score, cost = found.column("score", names), found.column("cost_usd", names)
    scored, priced = np.isfinite(score).any(axis=0), np.isfinite(cost).any(axis=0)
    told = []
    if not scored.any():
        raise TooFewLabels(f"no row has a score; the log has answers of {', '.join(names)}", 0)
    if not scored.all():
        told.append(f"left out, no score: {_names(names, ~scored)}")
    use = scored
    if (scored & priced).any():
        if not (priced | ~scored).all():
            told.append(
                f"left out, no price (give --prices, or name them with --models): "
                f"{_names(names, scored & ~priced)}"
            )
        use = scored & priced
    else:
        told.append("no model has a price: ordered by their share of right answers instead")
    at = np.flatnonzero(use)
    by_cost = cost[:, at] if priced[at].all() else score[:, at]
    if len(at) > 5:
        at = at[pick_models(score[:, at], by_cost)]
        told.append(f"{use.sum()} models in the log; the ladder is {_names(names, at)}")
    else:
        at = at[np.argsort(np.nanmean(by_cost, axis=0), kind="stable")]
    return Choice(models=tuple(names[j] for j in at), told=tuple(told))


def train(
    found: Collected,
    models: Sequence[str],
    *,
    seed: int = 0,
    seeds: int = SEEDS,
    split: str | None = None,
    prices: Mapping[str, Mapping[str, float]] | None = None,
    p_true: bool = False,
    held_out: tuple[str, Collected] | None = None,
    checkpoints: Sequence[int] = (),
    progress: Callable[[float, str], None] | None = None,
) -> Trained:
    """Fit and measure a scorer.

    Args:
        found: The training rows.
        models: The ladder, cheapest first.
        seed: The same seed and rows give the same artifact.
        seeds: Fits to average; each costs as much again.
        split: What split the rows are of, for the manifest.
        prices: Prices used, by model, for the manifest.
        p_true: Whether the logged `p_true` is a feature.
        held_out: A split's name and its rows to measure on; None: on the training rows, out of fold.
        checkpoints: Tokens after which beginnings of answers are scored, rising; `found` was collected
            with the same. Empty: none are.
        progress: Told the share of the work done, in [0, 1], and what is being done.

    Raises:
        ScorerError: The models do not make a ladder.
        TrainingFailed: Nothing can be learned from these rows.
    """
    if len(models) > MAX_MODELS:
        raise ScorerError(f"{len(models)} models; a scorer takes at most {MAX_MODELS}")
    tell = progress or (lambda share, what: None)
    n = len(found)
    score = found.column("score", models)
    labelled = np.isfinite(score)
    if (labelled.sum(axis=0) < LEAST_ROWS).any():
        fewest = int(labelled.sum(axis=0).min())
        raise TooFewLabels(_too_few(found, models, labelled), fewest)
    rows = np.flatnonzero(labelled.any(axis=1))
    with threadpool_limits(limits=1):  # for the same reasons as in `fit_ladder`
        tell(0.0, "reading answers")
        names = list(models)
        if len(models) <= PAIR:
            names += donors(found.models, found.column("score", found.models)[rows], models)
        read = found.dataset(names, p_true=p_true, progress=lambda i: tell(0.1 * i / n, "reading"))
        data = read.only(models)
        model, oof = fit_ladder(
            read,
            rows,
            models,
            seed,
            seeds=seeds,
            progress=lambda share, what: tell(0.1 + 0.8 * share, what),
        )
        tell(0.9, "measuring")
        report = _measure(data, model, oof, held_out, seed, p_true)
        prefixes = None
        if checkpoints:
            tell(0.95, "reading beginnings")
            before = np.stack([oof.q[(1 << j) - 1][:, j] for j in range(len(models))], axis=1)
            prefixes = fit_prefixes(found, oof.rows, before, models, checkpoints, seed)
        tell(1.0, "done")
    cost = data.cost
    facts = {
        "seed": seed,
        "split": split,
        "models": [
            {
                "name": m.name,
                "separates": m.separates,
                "conclusion": "separates" if m.separates else "does not separate",
                "price": None if prices is None else prices.get(m.name),
                "mean_cost_usd": _mean(cost[:, j]),
                "mean_score": float(np.nanmean(data.score[oof.rows, j])),
            }
            for j, m in enumerate(report.models)
        ],
        "calibration": "beta, blended with isotonic steps"
        if len(oof.rows) >= ISOTONIC_FROM
        else "beta",
        "metrics": report.as_json(),
        "stage": report.stage,
        "used": oof.used.as_json(),
        **prefix_facts(prefixes),
    }
    return Trained(
        model=model, oof=oof, dataset=data, report=report, facts=facts, prefixes=prefixes
    )


def _measure(
    data: Dataset,
    model: LadderModel,
    oof: OutOfFold,
    held_out: tuple[str, Collected] | None,
    seed: int,
    p_true: bool,
) -> Report:
    m, labels = len(model.models), min(oof.used.answers)
    if held_out is None:
        own = np.stack([oof.q[1 << j][:, j] for j in range(m)], axis=1)
        told = (
            f"{len(oof.rows)} training rows, each scored by learners that had not seen it; "
            "stack and calibration had"
        )
        return make_report(told, labels, data, oof.rows, own, oof.raw, seed=seed)
    split, found = held_out
    other = found.dataset(model.models, p_true=p_true)
    known = np.isfinite(other.score)
    blank = [name for name, some in zip(model.models, known.any(axis=0), strict=True) if not some]
    if blank:
        raise TrainingFailed(f"no row of split {split!r} has a score of {', '.join(blank)}")
    rows = np.flatnonzero(known.any(axis=1))
    own, raw = model.own_scores(other, rows)
    told = f"{len(rows)} rows of split {split!r}"
    return make_report(told, labels, data, oof.rows, own, raw, (other, rows), seed=seed)


def _too_few(found: Collected, models: Sequence[str], labelled: np.ndarray) -> str:
    n = labelled.sum(axis=0)
    each = ", ".join(f"{m}: {count:,}" for m, count in zip(models, n.tolist(), strict=True))
    return (
        f"{n.min():,} of {len(found):,} rows have a score of {models[int(n.argmin())]} ({each}); "
        f"training needs at least {LEAST_ROWS} of every model of the ladder{_because(found)}. "
        "Label more answers, or train for fewer --models; until then "
        "`scorer: {kind: logprob}` needs no labels"
    )


def _because(found: Collected) -> str:
    if not found.left_out:
        return ""
    told = ", ".join(f"{count} × {why}" for why, count in found.left_out.most_common())
    return f" (left out: {told})"


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _names(names: Sequence[str], at: np.ndarray) -> str:
    chosen = np.flatnonzero(at) if at.dtype == bool else at
    return ", ".join(names[int(j)] for j in chosen)
