"""The computation of all-MiniLM-L6-v2 as an ONNX graph, made from its weights.

BERT (Devlin et al. 2018) of six layers: token and position embeddings, then self-attention and a
feed-forward part a layer, each added to what came in and normalised; at the end the mean over tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["LAYERS", "WIDTH", "build_graph"]

HEADS, LAYERS, WIDTH = 12, 6, 384
_EPSILON = 1e-12
_OPSET, _IR = 20, 10


class _Graph:
    """Nodes and weights in the making."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self._weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(self._numpy.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        made = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [made], **attributes))
        return made

    def linear(self, x: str, name: str) -> str:
        weight = self.constant(f"{name}.weight", self._weights[f"{name}.weight"].T)
        bias = self.constant(f"{name}.bias", self._weights[f"{name}.bias"])
        return self.node("Add", self.node("MatMul", x, weight), bias)

    def norm(self, x: str, name: str) -> str:
        scale, bias = (
            self.constant(f"{name}.{part}", self._weights[f"{name}.{part}"])
            for part in ("weight", "bias")
        )
        return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=_EPSILON)


def build_graph(weights: Mapping[str, np.ndarray]) -> bytes:
    """Return the serialised model.

    Inputs are `ids`, int64 of shape (n, t) with rows of equal length, so that nothing is masked, and
    `at`, int64, the positions 0 to t - 1. Outputs are `whole`, float32 of shape (n, 384) and length 1,
    and `parts`, float32 of shape (n, t, 384), of any length.

    Args:
        weights: By the names that the model's safetensors file has.

    Raises:
        KeyError: A weight is missing.
    """
    from onnx import TensorProto, helper

    graph = _Graph(weights)
    split = graph.constant("split", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    joined = graph.constant("joined", np.array([0, 0, WIDTH], np.int64))
    scale = graph.constant("scale", np.array((WIDTH // HEADS) ** -0.5, np.float32))
    places = graph.constant(
        "places",
        weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0],
    )
    words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    x = graph.node("Add", graph.node("Gather", words, "ids"), graph.node("Gather", places, "at"))
    x = graph.norm(x, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        part = f"encoder.layer.{layer}"
        query, key, value = (
            graph.node("Reshape", graph.linear(x, f"{part}.attention.self.{name}"), split)
            for name in ("query", "key", "value")
        )
        query = graph.node("Transpose", query, perm=[0, 2, 1, 3])
        key = graph.node("Transpose", key, perm=[0, 2, 3, 1])
        value = graph.node("Transpose", value, perm=[0, 2, 1, 3])
        scores = graph.node("Mul", graph.node("MatMul", query, key), scale)
        mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
        mixed = graph.node("Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        mixed = graph.linear(mixed, f"{part}.attention.output.dense")
        x = graph.norm(graph.node("Add", x, mixed), f"{part}.attention.output.LayerNorm")
        inner = graph.node("Gelu", graph.linear(x, f"{part}.intermediate.dense"))
        inner = graph.linear(inner, f"{part}.output.dense")
        x = graph.norm(graph.node("Add", x, inner), f"{part}.output.LayerNorm")
    graph.node("Identity", x, name="parts")
    axis = graph.constant("over_tokens", np.array([1], np.int64))
    mean = graph.node("ReduceMean", x, axis, keepdims=0)
    graph.node("LpNormalization", mean, name="whole", axis=-1, p=2)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "t"]),
                helper.make_tensor_value_info("at", TensorProto.INT64, ["t"]),
            ],
            [
                helper.make_tensor_value_info("whole", TensorProto.FLOAT, ["n", WIDTH]),
                helper.make_tensor_value_info("parts", TensorProto.FLOAT, ["n", "t", WIDTH]),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    return bytes(model.SerializeToString())
