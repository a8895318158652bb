"""Whether the parts of a fitted value fit together, before anything computes with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightgbm as lgb
import numpy as np

from .calibrate import Calibration
from .features import OWN_NAMES, PROMPT_NAMES
from .heads import CORE, GROUPS, SIGNALS, HeadSet, Model
from .judges import Judge, PairScorer
from .labels import MAX_LABELS, LabelSet
from .linear_head import ColumnMap, LinearHead
from .stack import Stack
from .states import StateModel
from .text_head import TextAxes, TextHead, Vocabulary

__all__ = ["check"]

MAX_KNOTS = 255
"""`linear_head.place` counts knots in bytes."""
MAX_ANSWERED = 2
_TEXT_KINDS = ("prompt", "chars", "both", "cross")


def check(value: Any) -> None:
    """Check one registered dataclass; its parts have been checked before it.

    Raises:
        ValueError: A field is of another type, shape or range; names the class and the field.
    """
    name = type(value).__name__
    for field, is_right in _CHECKS[type(value)].items():
        if not is_right(value):
            raise ValueError(f"{name}.{field} is not what it has to be")


def _array(values: Any, dimensions: int, kinds: str = "f") -> bool:
    return (
        isinstance(values, np.ndarray)
        and values.ndim == dimensions
        and values.dtype.kind in kinds
        and values.dtype.itemsize <= 8
    )


def _finite(values: Any, dimensions: int) -> bool:
    return _array(values, dimensions) and bool(np.isfinite(values).all())


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tuple_of(values: Any, kind: Any) -> bool:
    return isinstance(values, tuple) and all(isinstance(x, kind) for x in values)


def _ascending(values: np.ndarray) -> bool:
    return bool((np.diff(values, axis=-1) >= 0).all()) and not bool(np.isnan(values).any())


def _width(head: Model | None) -> int | None:
    """Return how many columns a head reads, None for no head."""
    if head is None:
        return None
    if isinstance(head, LinearHead):
        return len(head.columns.keep)
    return int(head.num_feature())


def _read(heads: Sequence[Any], width: int) -> bool:
    return _tuple_of(heads, LinearHead | lgb.Booster) and all(_width(h) == width for h in heads)


def _hand_width(heads: HeadSet) -> int:
    answers = len(heads.answered)
    own = len(OWN_NAMES) + MAX_LABELS + 1
    return len(PROMPT_NAMES) + answers * own + (3 if answers == 2 else 0)


def _axes_width(heads: HeadSet) -> int:
    return _hand_width(heads) + (0 if heads.axes is None else heads.axes.axes.shape[1])


def _core_width(heads: HeadSet) -> int:
    answers = len(heads.answered)
    return 3 + answers * len(CORE) + (1 if answers == 2 else 0)


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, tuple)
        and len(part) == 2
        and part[0] in _TEXT_KINDS
        and isinstance(part[1], TextHead)
    )


def _state_width(learner: StateModel) -> bool:
    parts = (learner.boost, learner.linear_in, learner.linear_out)
    return len({_width(part) for part in parts if part is not None}) == 1


_Checks = dict[str, Callable[[Any], bool]]

_CHECKS: dict[type, _Checks] = {
    Calibration: {
        "slope": lambda c: _real(c.slope) and c.slope > 0,
        "skew": lambda c: _real(c.skew) and _real(c.slope) and abs(c.skew) < c.slope,
        "bias": lambda c: _real(c.bias),
        "knots": lambda c: _finite(c.knots, 1) and _ascending(c.knots),
        "steps": lambda c: (
            _finite(c.steps, 1) and c.steps.shape == c.knots.shape and _ascending(c.steps)
        ),
        "blend": lambda c: _real(c.blend) and 0 <= c.blend <= 1,
    },
    ColumnMap: {
        "keep": lambda c: _array(c.keep, 1, "b"),
        "knots": lambda c: (
            _array(c.knots, 2)
            and c.knots.shape[0] == int(c.keep.sum())
            and 1 <= c.knots.shape[1] <= MAX_KNOTS
            and _ascending(c.knots)
        ),
        "scores": lambda c: _finite(c.scores, 2) and c.scores.shape == c.knots.shape,
        "missing": lambda c: _array(c.missing, 1, "b") and len(c.missing) == len(c.knots),
    },
    LinearHead: {
        "columns": lambda h: isinstance(h.columns, ColumnMap),
        "weights": lambda h: (
            _finite(h.weights, 1)
            and len(h.weights) == len(h.columns.knots) + int(h.columns.missing.sum())
        ),
        "bias": lambda h: _real(h.bias),
        "logistic": lambda h: isinstance(h.logistic, bool),
    },
    Vocabulary: {
        "index": lambda v: (
            isinstance(v.index, dict)
            and all(_whole(column) for column in v.index.values())
            and sorted(v.index.values()) == list(range(len(v.index)))
        ),
        "idf": lambda v: _finite(v.idf, 1) and len(v.idf) == len(v.index),
        "chars": lambda v: isinstance(v.chars, bool),
    },
    TextAxes: {
        "vocabulary": lambda a: isinstance(a.vocabulary, Vocabulary),
        "axes": lambda a: _finite(a.axes, 2) and len(a.axes) == len(a.vocabulary.index),
    },
    TextHead: {
        "vocabulary": lambda h: isinstance(h.vocabulary, Vocabulary),
        "weights": lambda h: (
            _finite(h.weights, 2)
            and len(h.weights) == len(h.vocabulary.index)
            and h.weights.shape[1] >= 1
        ),
        "bias": lambda h: _finite(h.bias, 1) and len(h.bias) == h.weights.shape[1],
    },
    LabelSet: {
        "values": lambda s: _tuple_of(s.values, str) and len(s.values) <= MAX_LABELS,
        "closed": lambda s: isinstance(s.closed, bool),
    },
    Stack: {
        "weights": lambda s: (
            _finite(s.weights, 1) and len(s.weights) == len(GROUPS) and bool((s.weights >= 0).all())
        ),
        "bias": lambda s: _real(s.bias),
        "calibration": lambda s: isinstance(s.calibration, Calibration),
    },
    HeadSet: {
        "strength": lambda h: _array(h.strength, 1),
        "answered": lambda h: (
            _tuple_of(h.answered, int)
            and len(h.answered) <= MAX_ANSWERED
            and all(_whole(j) and j < len(h.strength) for j in h.answered)
        ),
        "target": lambda h: _whole(h.target) and h.target < len(h.strength),
        "labels": lambda h: _tuple_of(h.labels, LabelSet) and len(h.labels) == len(h.answered),
        "axes": lambda h: h.axes is None or isinstance(h.axes, TextAxes),
        "hand": lambda h: _read(h.hand, _hand_width(h)),
        "with_axes": lambda h: (
            _read(h.with_axes, _axes_width(h)) and (not h.with_axes or h.axes is not None)
        ),
        "core": lambda h: (
            h.core is None or (isinstance(h.core, LinearHead) and _width(h.core) == _core_width(h))
        ),
        "pooled": lambda h: (
            _read(h.pooled, len(PROMPT_NAMES) + len(OWN_NAMES) + 2)
            and (not h.pooled or len(h.answered) > 0)
        ),
        "signal": lambda h: (
            h.signal is None
            or (
                isinstance(h.signal, LinearHead)
                and _width(h.signal) == len(SIGNALS) + 1
                and len(h.answered) > 0
            )
        ),
        "text": lambda h: (
            isinstance(h.text, tuple)
            and all(_is_text(part) for part in h.text)
            and (len(h.answered) > 0 or all(kind in _TEXT_KINDS[:2] for kind, _ in h.text))
        ),
    },
    Judge: {
        "heads": lambda j: isinstance(j.heads, HeadSet),
        "stack": lambda j: isinstance(j.stack, Stack),
        "oof": lambda j: _array(j.oof, 1),
    },
    PairScorer: {
        "weak": lambda p: _whole(p.weak),
        "strong": lambda p: _whole(p.strong),
        "trust": lambda p: _real(p.trust) and 0 <= p.trust <= 1,
        "first": lambda p: _tuple_of(p.first, Judge) and len(p.first) == 2,
        "both": lambda p: p.both is None or (_tuple_of(p.both, Judge) and len(p.both) == 2),
    },
    StateModel: {
        "target": lambda s: _whole(s.target),
        "boost": lambda s: s.boost is None or isinstance(s.boost, lgb.Booster),
        "linear_in": lambda s: s.linear_in is None or isinstance(s.linear_in, LinearHead),
        "linear_out": lambda s: isinstance(s.linear_out, LinearHead) and _state_width(s),
        "calibration": lambda s: _tuple_of(s.calibration, Calibration) and len(s.calibration) == 3,
    },
}
