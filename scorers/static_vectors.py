"""Static word vectors out of the wheel of `wordllama`, read as plain files: offline, 256 numbers a text.

The package itself is not imported: it looks for its tokenizer in a folder of the user and downloads
it otherwise, though the wheel holds it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cascade.errors import ScorerError

from .embedders import EMBEDDERS, Embedded
from .pair_text import PromptText
from .pair_words import FUNCTION

__all__ = ["StaticVectors"]

_WEIGHTS = Path("weights", "l2_supercat_256.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_INSTALL = "install it with: pip install 'cascade-ask[embed]'"
_MOST_TOKENS = 2_000
_MOST_WORDS = 24
_KEPT_WORDS = 20_000


class StaticVectors:
    """Vectors of texts and words. Not thread-safe.

    Attributes:
        name: What the vectors are, for a scorer that was fitted with them.

    Raises:
        ScorerError: The package is not installed, or does not hold what it should.
    """

    name = EMBEDDERS["static"] or ""
    slow = False

    def __init__(self) -> None:
        found = find_spec("wordllama")
        if found is None or not found.submodule_search_locations:
            raise ScorerError(f"the embedder static needs the package wordllama; {_INSTALL}")
        folder = Path(found.submodule_search_locations[0])
        try:
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer

            (table,) = load_file(folder / _WEIGHTS).values()
            self._tokenizer: Any = Tokenizer.from_file(str(folder / _TOKENIZER))
        except ImportError as exc:
            raise ScorerError(
                f"the embedder static needs the package {exc.name}; {_INSTALL}"
            ) from exc
        except (OSError, ValueError) as exc:
            raise ScorerError(f"{folder}: no vectors that can be read ({exc})") from exc
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._table = np.asarray(table, np.float32)
        self._words: OrderedDict[str, np.ndarray | None] = OrderedDict()

    def embed(self, prompts: Sequence[tuple[str, PromptText]]) -> list[Embedded]:
        """Return the vectors of prompts and of their content words: some 40 µs each."""
        return [
            Embedded(self.text(text), self.words(prompt).astype(np.float16))
            for text, prompt in prompts
        ]

    def text(self, text: str) -> np.ndarray | None:
        """Return the mean vector of a text, of length 1, or None where it has no tokens. Shape (256,)."""
        text = text.encode("utf-8", "replace").decode()  # lone halves of characters have no tokens
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not tokens:
            return None
        mean = self._table[tokens].mean(0)
        length = float(np.sqrt(mean @ mean))
        return mean / length if length > 0.0 else None

    def words(self, text: PromptText) -> np.ndarray:
        """Return the vectors of a prompt's content words. Shape (n, 256), n at most 24."""
        content = [w for w in dict.fromkeys(text.words) if w not in FUNCTION][:_MOST_WORDS]
        rows = [row for word in content if (row := self._word(word)) is not None]
        return np.array(rows, np.float32).reshape(len(rows), self._table.shape[1])

    def _word(self, word: str) -> np.ndarray | None:
        if word in self._words:
            self._words.move_to_end(word)
            return self._words[word]
        vector = self.text(word)
        self._words[word] = vector
        if len(self._words) > _KEPT_WORDS:
            self._words.popitem(last=False)
        return vector
