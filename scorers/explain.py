"""Which features matter: gain and SHAP of the trees that read one answer, from LightGBM itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from .dataset import Dataset
from .features import OWN_NAMES, PROMPT_NAMES
from .heads import _hand as hand_features
from .labels import MAX_LABELS
from .ladder import LadderModel

__all__ = ["Explained", "explain"]

SHAP_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One feature of P(model is right | prompt, own answer).

    Attributes:
        model: The model.
        feature: Its name; `docs/scorers.md` lists them.
        gain: Share of the trees' total gain, in [0, 1].
        shap: Mean absolute SHAP value, log odds.
    """

    model: str
    feature: str
    gain: float
    shap: float


def explain(
    model: LadderModel, dataset: Dataset, rows: np.ndarray, most: int = 15
) -> list[Explained]:
    """Return each model's features by falling SHAP value; empty for models without trees.

    Trees are fitted from 150 rows on; below, only linear heads speak.
    """
    b = dataset.blocks
    rows = rows[np.linspace(0, len(rows) - 1, min(SHAP_ROWS, len(rows))).astype(int)]
    found: list[Explained] = []
    for j, name in enumerate(model.models):
        key = (j, j) if model.readable[j] else (j,)
        gains: list[np.ndarray] = []
        shaps: list[np.ndarray] = []
        labels: Sequence[str] = ()
        for member in model.members:
            heads = member.judges[key].heads
            x = hand_features(b, rows, heads.answered, heads.labels)
            labels = _names(len(heads.answered))
            for tree in heads.hand:
                if isinstance(tree, lgb.Booster):
                    gain = tree.feature_importance("gain")
                    gains.append(gain / max(gain.sum(), 1e-12))
                    values = np.asarray(tree.predict(x, pred_contrib=True, num_threads=1))
                    shaps.append(np.abs(values[:, :-1]).mean(axis=0))
        if not gains:
            continue
        gain, shap = np.mean(gains, axis=0), np.mean(shaps, axis=0)
        found += [
            Explained(model=name, feature=labels[f], gain=float(gain[f]), shap=float(shap[f]))
            for f in np.argsort(-shap, kind="stable")[:most].tolist()
        ]
    return found


def _names(answers: int) -> list[str]:
    names = list(PROMPT_NAMES)
    for _ in range(answers):
        names += [*OWN_NAMES, *(f"label_{i}" for i in range(MAX_LABELS)), "label_rank"]
    return names
