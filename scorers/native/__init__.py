"""The inner loops of scoring, compiled. Where they were not built, numpy or Python does the same.

`blend` is `scorers.blend` for one row, `trees` is `scorers.forest` for many, `text` is
`scorers.text_bank` for one text, `logprob` is `scorers.features.logprob`, `words` counts words and
phrases, `equations` reads those of `scorers.arithmetic`. `tests/scorers/test_native.py` holds both
ways against each other.
"""

from __future__ import annotations

__all__ = [
    "BlendRow",
    "PhraseTable",
    "TextWeights",
    "TreeRows",
    "blanked",
    "check_equations",
    "chosen_values",
    "distinct_triples",
    "doubles",
    "find",
    "hashes_of",
    "map_values",
    "rank_values",
    "top_values",
]

try:
    from .blend import BlendRow, map_values
    from .equations import blanked, check_equations
    from .logprob import chosen_values, doubles, top_values
    from .text import TextWeights, find
    from .trees import TreeRows, rank_values
    from .words import PhraseTable, distinct_triples, hashes_of
except ImportError:  # not built: no C compiler where it was installed
    BlendRow = PhraseTable = TextWeights = TreeRows = None  # type: ignore[assignment,misc]
    chosen_values = doubles = top_values = find = map_values = None  # type: ignore[assignment]
    blanked = check_equations = None  # type: ignore[assignment]
    distinct_triples = hashes_of = rank_values = None  # type: ignore[assignment]
