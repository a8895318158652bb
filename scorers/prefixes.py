"""P(the whole answer will be right), given its beginning: one head for each model and checkpoint.

A head reads the prompt, the beginning as if it were an answer, and what the ladder's scorer said of
the model before it answered; its label is that of the whole answer. It is fitted on prefixes of
logged answers: text and token log-probabilities are cut alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np

from .boost_head import fit_boost, predict_boost
from .calibrate import Calibration, logit, logit_one
from .dataset import Collected, Kept
from .evaluate import auroc, brier
from .features import OWN_NAMES, PROMPT_NAMES, Prompt, read, read_prompt
from .features.answer import read_answer
from .folds import fold_ids, prompt_groups
from .stack import Stack, fit_stack

__all__ = [
    "LEAST_PREFIX_ROWS",
    "PrefixHead",
    "PrefixModel",
    "cut_text",
    "fit_prefixes",
    "prefix_facts",
    "tokens_of",
]

LEAST_PREFIX_ROWS = 100
"""Labelled answers that reach a checkpoint from which on a head is fitted for it."""

CHARACTERS_PER_TOKEN = 4.0
"""What a token is reckoned with where a log counts none."""

_FOLDS = 5
_GROUPS = ("prompt", "hand")
"""What the scorer said before, and the head, in the words of `stack.PRIOR`."""
_WIDTH = len(PROMPT_NAMES) + len(OWN_NAMES) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixHead:
    """What is known of one model at one checkpoint.

    Attributes:
        model: Which model of the ladder.
        tokens: The checkpoint.
        booster: Reads prompt, beginning and forecast.
        stack: Weighs it against the forecast, and calibrates.
        rows: Answers it was fitted on.
        base_rate: Share of them that are right.
        auroc: Of their scores by learners that had not seen them; NaN with one class.
        brier: Their Brier score.
        brier_before: That of the scorer's forecast, which has not seen the answer.
    """

    model: int
    tokens: int
    booster: lgb.Booster
    stack: Stack
    rows: int
    base_rate: float
    auroc: float
    brier: float
    brier_before: float


class PrefixModel:
    """The heads of a ladder.

    Args:
        models: The ladder's models.
        heads: At most one for each model and checkpoint.
    """

    def __init__(self, models: Sequence[str], heads: Sequence[PrefixHead]) -> None:
        self.models = tuple(models)
        self.heads = tuple(heads)
        self._by_model: dict[int, list[PrefixHead]] = {}
        for head in sorted(heads, key=lambda head: head.tokens):
            self._by_model.setdefault(head.model, []).append(head)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """All checkpoints that some model has a head for, rising."""
        return tuple(sorted({head.tokens for head in self.heads}))

    def head(self, model: int, tokens: int) -> PrefixHead | None:
        """Return the head of the last checkpoint that is reached, or None before the first."""
        reached = [head for head in self._by_model.get(model, ()) if head.tokens <= tokens]
        return reached[-1] if reached else None

    def probability(
        self,
        head: PrefixHead,
        prompt: Prompt,
        text: str,
        forecast: float,
        *,
        logprobs: Sequence[float] | None = None,
        top_logprobs: Sequence[Sequence[float]] | None = None,
    ) -> float:
        """Return P(the whole will be right), in [0, 1].

        Args:
            head: The model's, at this checkpoint.
            prompt: The request's prompt.
            text: The beginning of the answer.
            forecast: P(right) as the scorer said before the model answered, in [0, 1].
            logprobs: Natural-log probabilities of its tokens, or None.
            top_logprobs: Their best alternatives, or None.
        """
        found = read(
            prompt,
            text,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            completion_tokens=head.tokens,
        )
        assert found is not None
        x = np.array([[*prompt.values, *found.values, forecast]], np.float32)
        raw = float(predict_boost(head.booster, x)[0])
        scores = np.array([[logit_one(forecast), logit_one(raw)]])
        return float(head.stack(scores)[0])

    def as_value(self) -> dict[str, Any]:
        """Return what `codec.save_fitted` writes."""
        names = ("model", "tokens", "booster", "rows", "base_rate", "brier", "brier_before")
        heads = []
        for head in self.heads:
            value: dict[str, Any] = {name: getattr(head, name) for name in names}
            value["auroc"] = None if np.isnan(head.auroc) else head.auroc
            value["weights"], value["bias"] = head.stack.weights, head.stack.bias
            value["calibration"] = head.stack.calibration
            heads.append(value)
        return {"models": self.models, "heads": tuple(heads)}

    @classmethod
    def from_value(cls, value: Any) -> PrefixModel:
        """Return the model that was written.

        Raises:
            ValueError: It is none, or its parts do not fit.
        """
        if not isinstance(value, dict) or set(value) != {"models", "heads"}:
            raise ValueError("prefix: not models and heads")
        models, heads = value["models"], value["heads"]
        if not isinstance(models, tuple) or not all(isinstance(name, str) for name in models):
            raise ValueError("prefix.models: not names")
        return cls(models, [_head(head, len(models)) for head in heads])

    def as_json(self) -> list[dict[str, Any]]:
        """Return what the manifest says of each head."""
        return [
            {
                "model": self.models[head.model],
                "tokens": head.tokens,
                "rows": head.rows,
                "base_rate": head.base_rate,
                "auroc": None if np.isnan(head.auroc) else head.auroc,
                "brier": head.brier,
                "brier_before": head.brier_before,
            }
            for head in self.heads
        ]


_NUMBERS = ("base_rate", "brier", "brier_before", "bias")
_FIELDS = {*_NUMBERS, "model", "tokens", "rows", "auroc", "booster", "weights", "calibration"}


def _head(value: Any, models: int) -> PrefixHead:
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise ValueError("prefix.heads: not the fields of a head")
    whole = all(type(value[name]) is int for name in ("model", "tokens", "rows"))
    real = all(type(value[name]) in (int, float) for name in _NUMBERS)
    if not whole or not real or not 0 <= value["model"] < models or value["tokens"] < 1:
        raise ValueError("prefix.heads: numbers that none can have")
    weights, booster = value.pop("weights"), value["booster"]
    sound = isinstance(weights, np.ndarray) and weights.dtype.kind == "f"
    if not sound or weights.shape != (len(_GROUPS),) or not np.isfinite(weights).all():
        raise ValueError("prefix.heads: weights of other parts")
    if not isinstance(booster, lgb.Booster) or booster.num_feature() != _WIDTH:
        raise ValueError("prefix.heads: trees over other features")
    calibration, auc = value.pop("calibration"), value.pop("auroc")
    if not isinstance(calibration, Calibration):
        raise ValueError("prefix.heads: no calibration")
    stack = Stack(weights=weights, bias=float(value.pop("bias")), calibration=calibration)
    return PrefixHead(**value, stack=stack, auroc=float("nan") if auc is None else float(auc))


def tokens_of(kept: Kept) -> int:
    """Return how many tokens a logged answer has: counted, or reckoned from its characters."""
    if kept.tokens is not None:
        return kept.tokens
    return round(len(kept.text or "") / CHARACTERS_PER_TOKEN)


def cut_text(text: str, tokens: int, of: int) -> str:
    """Return the beginning of a text that its first tokens are reckoned to hold.

    >>> cut_text("The answer is 42.", 2, 4)
    'The answ'
    """
    return text if tokens >= of else text[: len(text) * tokens // of]


def fit_prefixes(
    found: Collected,
    rows: np.ndarray,
    forecasts: np.ndarray,
    models: Sequence[str],
    checkpoints: Sequence[int],
    seed: int = 0,
) -> PrefixModel:
    """Fit the heads of a ladder.

    Args:
        found: The log, collected with these checkpoints.
        rows: Its rows to fit on. Shape (n,).
        forecasts: P(model j is right) given the answers of all models before it, by learners that have
            not seen the row. Shape (n, m).
        models: The ladder, cheapest first.
        checkpoints: Tokens, rising.
        seed: Of folds and learners.
    """
    groups = prompt_groups([found.prompts[i] for i in rows.tolist()])
    prompts = [read_prompt(found.prompts[i]) for i in rows.tolist()]
    heads = []
    for j, model in enumerate(models):
        kept = [found.kept[i].get(model) for i in rows.tolist()]
        for at, tokens in enumerate(checkpoints):
            use = [
                n
                for n, one in enumerate(kept)
                if one is not None and one.text is not None and one.score == one.score
                if tokens_of(one) >= tokens
            ]
            if len(use) < LEAST_PREFIX_ROWS:
                continue
            answers = [one for n in use if (one := kept[n]) is not None]
            own = [
                _values(prompts[n], one, at, tokens) for n, one in zip(use, answers, strict=True)
            ]
            y = np.array([one.score for one in answers])
            p = np.clip(forecasts[use, j], 0.0, 1.0)
            x = np.hstack(
                [
                    np.array([prompts[n].values for n in use], np.float32),
                    np.array(own, np.float32),
                    p[:, None].astype(np.float32),
                ]
            )
            heads.append(_fit_head(j, tokens, x, y, p, groups[use], seed))
    return PrefixModel(models, heads)


def _values(prompt: Prompt, kept: Kept, at: int, tokens: int) -> tuple[float, ...]:
    """Return `OWN_NAMES` of a beginning, as `features.read` does of what has come of a stream."""
    text = cut_text(kept.text or "", tokens, tokens_of(kept))
    signals = None if not kept.prefix_signals else kept.prefix_signals[at]
    if signals is None:
        found = read(prompt, text, completion_tokens=tokens)
        assert found is not None
        return found.values
    answer = read_answer(
        text,
        prompt,
        finish_reason=None,
        completion_tokens=tokens,
        prompt_tokens=None,
        mean_logprob=signals[0],
    )
    return (*answer.values, *signals, float("nan"))


def _fit_head(
    model: int,
    tokens: int,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    groups: np.ndarray,
    seed: int,
) -> PrefixHead:
    folds = fold_ids(groups, _FOLDS, seed)
    raw = np.empty(len(y))
    for fold in range(_FOLDS):
        inside = folds == fold
        if inside.any():
            raw[inside] = predict_boost(fit_boost(x[~inside], y[~inside], seed=seed), x[inside])
    stack, fitted = fit_stack(np.stack([logit(p), logit(raw)], axis=1), y, _GROUPS, folds)
    return PrefixHead(
        model=model,
        tokens=tokens,
        booster=fit_boost(x, y, seed=seed),
        stack=stack,
        rows=len(y),
        base_rate=float(y.mean()),
        auroc=auroc(fitted, y),
        brier=brier(fitted, y),
        brier_before=brier(p, y),
    )


def prefix_facts(model: PrefixModel | None) -> Mapping[str, Any]:
    """Return what the manifest is to say of prefixes; nothing without any."""
    return {} if model is None else {"prefixes": model.as_json()}
