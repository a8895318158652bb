"""Fitting a same-answer scorer for the command line: what is needed, what came of it, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log
from typing import TYPE_CHECKING

from cascade.errors import ScorerError

from .pair_files import LabelledPairs, likenesses

if TYPE_CHECKING:
    from scorers.embedders import Embedder
    from scorers.pair_bounds import Certified
    from scorers.pair_model import PairModel

__all__ = ["Fitted", "fit_scorer", "promise_in_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted scorer before it is saved or used.

    Attributes:
        model: The parts.
        certified: The threshold.
        rows: Pairs it was fitted on.
        duplicates: Those of them that are duplicates.
        allowed: Those that no guard refuses.
        auroc: How well rows kept apart are told apart by it.
    """

    model: PairModel
    certified: Certified
    rows: int
    duplicates: int
    allowed: int
    auroc: float


def fit_scorer(
    pairs: LabelledPairs,
    *,
    embedder: Embedder | None,
    false_hits: float,
    confidence: float,
    general: bool = False,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> Fitted:
    """Fit, calibrate and choose the threshold on rows kept apart.

    Raises:
        ScorerError: There are too few pairs, or too few of one class.
    """
    from sklearn.metrics import roc_auc_score

    from scorers.pair_bounds import kept_threshold
    from scorers.pair_model import LEAST_OF_A_CLASS, LEAST_ROWS, fit_pairs, links, read_pairs

    same = pairs.labels
    fewer = min(int(same.sum()), int((~same).sum()))
    if len(same) < LEAST_ROWS or fewer < LEAST_OF_A_CLASS:
        raise ScorerError(
            f"{len(same):,} training pairs, {int(same.sum()):,} of them duplicates: at least "
            f"{LEAST_ROWS} are needed, and {LEAST_OF_A_CLASS} of each kind"
        )
    near, margin = likenesses(pairs)
    rows = read_pairs(pairs.texts, near, margin, embedder)
    fitted = fit_pairs(
        rows,
        same,
        links(pairs.texts),
        vectors=None if embedder is None else embedder.name,
        general=general,
        seed=seed,
        progress=progress,
    )
    p_same, is_same = fitted.p_same[fitted.allowed], same[fitted.allowed]
    certified = kept_threshold(p_same, is_same, rate=false_hits, confidence=confidence)
    return Fitted(
        model=fitted.model,
        certified=certified,
        rows=len(same),
        duplicates=int(same.sum()),
        allowed=int(fitted.allowed.sum()),
        auroc=float(roc_auc_score(same, fitted.p_same)),
    )


def promise_in_words(certified: Certified, wanted: float | None = None) -> str:
    """Return what is promised of the threshold, and from what.

    Args:
        certified: The threshold.
        wanted: The rate that was asked for; None: the one that is promised.
    """
    rate = certified.rate if wanted is None else wanted
    asked = f"{rate:.2%} false hits at {certified.confidence:.0%} confidence"
    if not certified.hits:
        least = ceil(log(1.0 - certified.confidence) / log(1.0 - min(0.99, 2.0 * rate)))
        return (
            f"no threshold keeps {asked}, nor twice that, so every pair is refused: at least "
            f"{least:,} hits without a wrong one are needed among the training pairs"
        )
    found = (
        f"on training pairs kept apart {certified.hits:,} hits, {certified.wrong:,} wrong, "
        f"at most {certified.upper:.2%}"
    )
    if certified.rate > rate:
        return (
            f"threshold {certified.threshold:.4f}: there are too few pairs to promise {asked}; "
            f"promised is twice that, {certified.rate:.2%}; {found}"
        )
    return f"threshold {certified.threshold:.4f}: {asked}; {found}"
