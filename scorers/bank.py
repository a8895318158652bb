"""Several judges laid out over one vector, so that what they share is looked up and computed once.

The vector holds what is known of one request: the prompt's numbers, each answer's, their labels,
how two of them compare, the prompt's text axes. `single` fills it for one request, `ladder` for many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .blend import Blend, Judgement
from .features import OWN_NAMES, PROMPT_NAMES
from .heads import CORE_COLUMNS, GROUPS, PROMPT_CORE, SIGNAL_COLUMNS, HeadSet, text_group
from .judges import Judge
from .labels import MAX_LABELS, LabelSet
from .linear_head import LinearHead
from .plain_trees import PlainModels
from .text_bank import Source, TextBank

__all__ = ["Bank", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """A run of columns that come from one place.

    Attributes:
        kind: ``prompt``, ``own``, ``labels``, ``compare``, ``axes`` or ``constant``.
        models: Whose answer, or whose two.
        labels: The labels, for ``labels``.
        number: Where they begin in what is said of the prompt, for ``axes``.
        value: The number, for ``constant``.
    """

    kind: str
    models: tuple[int, ...] = ()
    labels: LabelSet | None = None
    number: int = 0
    value: float = 0.0


@dataclass(slots=True)
class _Layout:
    parts: dict[Part, slice] = field(default_factory=dict)
    width: int = 0

    def columns(self, part: Part, size: int = 1) -> np.ndarray:
        """Return where a part stands; it is added if it is new."""
        if part not in self.parts:
            self.parts[part] = slice(self.width, self.width + size)
            self.width += size
        at = self.parts[part]
        return np.arange(at.start, at.stop)

    def prompt(self) -> np.ndarray:
        return self.columns(Part("prompt"), len(PROMPT_NAMES))

    def own(self, model: int) -> np.ndarray:
        return self.columns(Part("own", (model,)), len(OWN_NAMES))

    def constant(self, value: float) -> np.ndarray:
        return self.columns(Part("constant", value=float(np.float32(value))))


class Bank:
    """The judges of one or several questions; a column of its results each, in the order given.

    Args:
        judges: What is asked.
        texts: Holds their text heads.
        plain: What has been read of LightGBM models.
    """

    def __init__(self, judges: Sequence[Judge], texts: TextBank, plain: PlainModels) -> None:
        self._texts = texts
        self._layout = _Layout()
        self._text_at = self._text_places(judges)
        judgements = [self._judgement(judge) for judge in judges]
        self.parts = tuple(self._layout.parts.items())
        """What stands where in the vector."""
        self.width = self._layout.width
        """Length of the vector."""
        by_source: dict[Source, list[int]] = {}
        for source, head in self._text_at:
            by_source.setdefault(source, []).append(head)
        firsts = np.cumsum([0, *map(len, by_source.values())]).tolist()
        self.texts = tuple(
            (source, np.array(heads, np.intp), slice(first, first + len(heads)))
            for first, (source, heads) in zip(firsts, by_source.items(), strict=False)
        )
        """Each text that heads read: which of what is said of it, and where that belongs."""
        self.text_count = len(self._text_at)
        """How many sums of texts `blend` is to be given."""
        axes = [texts.prompt] if any(part.kind == "axes" for part, _ in self.parts) else []
        self.reads = tuple(dict.fromkeys([*axes, *by_source]))
        """The texts that have to be read."""
        self.blend = Blend(judgements, self.width, plain, texts=self.text_count)

    def _text_places(self, judges: Sequence[Judge]) -> dict[tuple[Source, int], int]:
        """Return (text, its head) -> where the head's sum stands; the heads on a text together."""
        found: dict[Source, dict[int, None]] = {}
        for judge in judges:
            weight_of = dict(zip(GROUPS, judge.stack.weights.tolist(), strict=True))
            for kind, head in judge.heads.text:
                if weight_of[text_group(kind)] > 0:
                    source, number = self._texts.place(head)
                    found.setdefault(source, {})[number] = None
        every = [(source, number) for source, numbers in found.items() for number in numbers]
        return {place: i for i, place in enumerate(every)}

    def _judgement(self, judge: Judge) -> Judgement:
        made = Judgement(bias=judge.stack.bias, calibration=judge.stack.calibration)
        heads = judge.heads
        weight_of = dict(zip(GROUPS, judge.stack.weights.tolist(), strict=True))
        numbers = self._numbers(heads)
        texts: dict[str, list[int]] = {}
        for kind, head in heads.text:
            place = self._texts.place(head)
            group = text_group(kind)
            if weight_of[group] > 0:
                texts.setdefault(group, []).append(self._text_at[place])
        for group, found in numbers.items():
            weight = weight_of[group]
            for head, columns in found if weight > 0 else ():
                into = made.linear if isinstance(head, LinearHead) else made.trees
                into.append((head, columns, weight / len(found)))
        for group, places in texts.items():
            made.texts += [(at, weight_of[group] / len(places)) for at in places]
        return made

    def _numbers(self, heads: HeadSet) -> dict[str, list[tuple[Any, np.ndarray]]]:
        """Return the heads on numbers by group, each with its columns."""
        layout = self._layout
        found: dict[str, list[tuple[Any, np.ndarray]]] = {}
        hand = self._hand(heads)
        found["hand"] = [(head, hand) for head in heads.hand]
        if heads.axes is not None and heads.with_axes:
            part = Part("axes", number=self._texts.place(heads.axes)[1])
            wide = np.append(hand, layout.columns(part, heads.axes.axes.shape[1]))
            found["hand"] += [(head, wide) for head in heads.with_axes]
        if heads.core is not None:
            found["core"] = [(heads.core, self._core(heads.answered))]
        if heads.answered:
            last = heads.answered[0]
            strength = layout.constant(heads.strength[last])
        if heads.pooled:
            who = [*strength, *layout.constant(last)]
            pool = np.concatenate([layout.prompt(), layout.own(last), who])
            found["pool"] = [(head, pool) for head in heads.pooled]
        if heads.signal is not None:
            signal = np.append(layout.own(last)[SIGNAL_COLUMNS], strength)
            found["signal"] = [(heads.signal, signal)]
        return {group: heads_ for group, heads_ in found.items() if heads_}

    def _hand(self, heads: HeadSet) -> np.ndarray:
        """Return the columns of `heads._hand`."""
        layout = self._layout
        parts = [layout.prompt()]
        for model, labels in zip(heads.answered, heads.labels, strict=True):
            parts.append(layout.own(model))
            parts.append(layout.columns(Part("labels", (model,), labels), MAX_LABELS + 1))
        if len(heads.answered) == 2:
            parts.append(layout.columns(Part("compare", heads.answered), 3))
        return np.concatenate(parts)

    def _core(self, answered: tuple[int, ...]) -> np.ndarray:
        """Return the columns of `heads._core`."""
        layout = self._layout
        parts = [layout.prompt()[PROMPT_CORE]]
        parts += [layout.own(model)[CORE_COLUMNS] for model in answered]
        if len(answered) == 2:
            parts.append(layout.columns(Part("compare", answered), 3)[:1])
        return np.concatenate(parts)
