"""all-MiniLM-L6-v2 in plain numpy, straight from the formulas: what the ONNX graph is held against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import erf

HEADS, LAYERS, WIDTH = 12, 6, 384


def forward(weights: Mapping[str, np.ndarray], tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the vector of a text, of length 1, and those of its tokens, of any."""
    t = len(tokens)

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return np.asarray(x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return np.asarray(centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"])

    x = weights["embeddings.word_embeddings.weight"][tokens]
    x = x + weights["embeddings.position_embeddings.weight"][:t]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{at}.attention.self.{name}")
            .reshape(t, HEADS, WIDTH // HEADS)
            .transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(WIDTH // HEADS))
        scores /= scores.sum(-1, keepdims=True)
        mixed = (scores @ value).transpose(1, 0, 2).reshape(t, WIDTH)
        x = norm(
            x + linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm"
        )
        inner = linear(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1.0 + erf(inner / np.sqrt(2.0)))
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean), x
