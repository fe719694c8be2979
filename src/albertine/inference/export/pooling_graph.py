"""The nodes that make one vector a text of its tokens' states, as `SentencePooler` does.

B texts, T positions of a row, H hidden width.
"""

from __future__ import annotations

from albertine.inference.export.encoder_graph import EncoderGraph, activated
from albertine.inference.export.graph import Graph, Value
from albertine.inference.export.products import FloatProducts
from albertine.models.pooling import DenseActivation, PoolingMode, SentencePooling

__all__ = ["sentence_vectors"]

_LEAST_LENGTH = 1e-12
"""What a shorter vector is divided by when it is normalised, as in PyTorch."""
_FLOAT = FloatProducts()


def sentence_vectors(encoder: EncoderGraph, states: Value, pooling: SentencePooling, prefix: str) -> Value:
    """Return one vector a text, [B, width].

    Args:
        encoder: whose graph takes the nodes.
        states: [B, T, H]; [B, 1, H] where the first token's alone are pooled.
        pooling: what to do.
        prefix: what the names of the dense layers' parameters begin with, such as `pooling.`.
    """
    graph = encoder.graph
    with graph.scope("pooling"):
        pooled = [_pooled(encoder, states, mode) for mode in pooling.modes]
        vectors = pooled[0] if len(pooled) == 1 else graph.node("Concat", *pooled, axis=-1)
        for index, record in enumerate(pooling.dense):
            vectors = _FLOAT.linear(graph, vectors, encoder.weights.linear(f"{prefix}dense.{index}"))
            vectors = _activated(graph, vectors, record.activation)
        if pooling.normalize:
            vectors = _normalized(graph, vectors)
        if pooling.truncate_dim is not None:
            vectors = graph.sliced(vectors, 1, pooling.truncate_dim)
        return _normalized(graph, vectors) if pooling.normalize_cut else vectors


def _pooled(encoder: EncoderGraph, states: Value, mode: PoolingMode) -> Value:
    """Return [B, H]; a text's padding stands behind it."""
    graph, mask = encoder.graph, encoder.mask
    if mode == "cls":
        return graph.node("Gather", states, graph.integer(0), axis=1)
    if mode == "last":
        lengths = graph.node("ReduceSum", encoder.inputs.attention_mask, graph.integers(1), keepdims=1)
        return graph.node("GatherND", states, graph.node("Sub", lengths, graph.integer(1)), batch_dims=1)
    beside = graph.node("Unsqueeze", mask, graph.integers(-1))
    if mode == "max":
        # Hidden positions are copies of the first token's, which is among the largest already.
        return graph.node("ReduceMax", states, axes=[1], keepdims=0)
    if mode == "weighted_mean":
        places = graph.node("CumSum", mask, graph.integer(1))
        beside = graph.node("Unsqueeze", graph.node("Mul", mask, places), graph.integers(-1))
    total = graph.node("ReduceSum", graph.node("Mul", states, beside), graph.integers(1), keepdims=0)
    weight = graph.node("ReduceSum", beside, graph.integers(1), keepdims=0)
    return graph.node("Div", total, graph.node("Sqrt", weight) if mode == "mean_sqrt_length" else weight)


def _activated(graph: Graph, vectors: Value, name: DenseActivation) -> Value:
    if name == "identity":
        return vectors
    if name in ("relu", "gelu"):
        return activated(graph, vectors, name)
    return graph.node({"tanh": "Tanh", "sigmoid": "Sigmoid"}[name], vectors)


def _normalized(graph: Graph, vectors: Value) -> Value:
    length = graph.node("ReduceL2", vectors, axes=[-1], keepdims=1)
    return graph.node("Div", vectors, graph.node("Max", length, graph.number(_LEAST_LENGTH)))
