"""Files of labelled pairs of prompts, and how like each pair is in a cache that holds all the first ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.markup import escape

from cascade.errors import LogError
from cascade.log_lines import numbered_lines

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LabelledPairs", "likenesses", "read_pair_files", "tell_pairs_skipped"]


@dataclass(slots=True, kw_only=True)
class LabelledPairs:
    """Pairs out of files.

    Attributes:
        texts: (cached, asked), in the order of the files.
        same: Whether an answer to the first answers the second, beside `texts`.
        skipped: Lines that are no labelled pair, by reason.
        first_skipped: Where the first of each reason stands.
    """

    texts: list[tuple[str, str]] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    first_skipped: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> np.ndarray:
        """`same` as an array. Shape (n,), bool."""
        import numpy as np

        return np.array(self.same, bool)


def read_pair_files(paths: Sequence[Path]) -> LabelledPairs:
    """Read ``{"a", "b", "duplicate"}`` lines; what is no such pair is passed over and counted.

    Raises:
        LogError: A file cannot be read, is cut short, or holds no pair at all.
    """
    pairs = LabelledPairs()
    decoder = msgspec.json.Decoder()
    for path in paths:
        before = len(pairs.texts)
        for number, line in numbered_lines(path):
            try:
                value = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                reason: str | None = "not JSON"
            else:
                reason = _why_no_pair(value)
            if reason is None:
                pairs.texts.append((value["a"], value["b"]))
                pairs.same.append(bool(value["duplicate"]))
            else:
                pairs.skipped[reason] += 1
                pairs.first_skipped.setdefault(reason, f"{path}:{number}")
        if len(pairs.texts) == before:
            why = "; ".join(f"{at}: {reason}" for reason, at in pairs.first_skipped.items())
            raise LogError(
                f'{path}: no labelled pair in it; a line is {{"a": text, "b": text, '
                f'"duplicate": true or false}}{"; " if why else ""}{why}'
            )
    return pairs


def likenesses(pairs: LabelledPairs) -> tuple[list[float], list[float]]:
    """Return each pair's similarity, and how far that is above the likest other cached prompt.

    The cache holds all first texts. The margin is negative where another of them is likelier, and NaN
    where there is no other one at all.
    """
    from cascade.cache.near_index import NearIndex, similarity

    index = NearIndex(k=3, floor=0.0)
    for cached in dict.fromkeys(cached for cached, _ in pairs.texts):
        index.add(cached, "", cached)
    near, margin = [], []
    for cached, asked in pairs.texts:
        found = index.find("", asked)
        own = next((value for key, value in found if key == cached), None)
        if own is None:
            own = similarity(cached, asked)
        other = next((value for key, value in found if key != cached), 0.0)
        near.append(own)
        margin.append(own - other if len(index) > 1 else math.nan)
    return near, margin


def tell_pairs_skipped(console: Console, pairs: LabelledPairs) -> None:
    """Say what was passed over, and where the first of each kind stands."""
    for reason, count in pairs.skipped.most_common():
        first = escape(pairs.first_skipped[reason])
        console.print(f"[yellow]skipped {count:,} lines:[/] {escape(reason)}; the first: {first}")


def _why_no_pair(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "not an object"
    for name in ("a", "b", "duplicate"):
        if name not in value:
            return f"no `{name}`"
    for name in ("a", "b"):
        if not isinstance(value[name], str):
            return f"`{name}` is not text"
        if not value[name].strip():
            return f"`{name}` is empty"
    if value["duplicate"] not in (True, False):  # 1 and 0 are equal to them
        return "`duplicate` is neither true nor false"
    return None
