"""Who says the same: the final answers of a log compared, without reading any other feature."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .claims import find_claim, same_claim
from .dataset import Collected
from .features.prompt import lists_options

__all__ = ["who_agrees"]


def who_agrees(found: Collected, models: Sequence[str]) -> NDArray[np.int8]:
    """Return 1 where two models claim the same, 0 where not, -1 where that cannot be told.

    The same verdicts as `Dataset.blocks.same` at a tenth of the time.

    Returns:
        Shape (n, k, k), symmetric; -1 on the diagonal.
    """
    same = np.full((len(found), len(models), len(models)), -1, np.int8)
    for i, (prompt, texts) in enumerate(zip(found.prompts, found.texts(models), strict=True)):
        letters = lists_options(prompt)
        claims = [None if text is None else find_claim(text, letters=letters) for text in texts]
        for j, mine in enumerate(claims):
            for other in range(j) if mine is not None else ():
                theirs = claims[other]
                if theirs is None or mine is None:
                    continue
                agree = same_claim(theirs, mine)
                if not math.isnan(agree):
                    same[i, other, j] = same[i, j, other] = int(agree)
    return same
