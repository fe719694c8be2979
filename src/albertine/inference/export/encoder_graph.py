"""The nodes of an encoder: every column of values that `EncoderConfig` has, on padded texts.

B texts, T positions of a row, E embedding width, H hidden width, A heads, D = H / A.

A pass over a shared block names the same weights as the pass before. Positions that the mask hides are computed as
copies of their text's first token: so they never decide how large the numbers are that integers have to hold, and a
text's answer does not depend on how far it was filled up. What stands there in the outputs means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from albertine.inference.export.graph import Array, Graph, Value
from albertine.inference.export.products import Linear, Products
from albertine.models.attention import HIDDEN_KEY
from albertine.models.config import EncoderConfig

__all__ = ["EncoderGraph", "Inputs", "Weights", "activated", "input_names"]

_BOOL, _FLOAT = 9, 1
"""onnx.TensorProto's numbers of the types that a Cast can go to."""

_BATCH_AND_LENGTH = ("batch", "length")


class Weights:
    """A module's parameters as NumPy arrays, by the names that they have there.

    Args:
        tensors: float32 on the CPU.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._joined: dict[str, Linear] = {}

    def array(self, name: str) -> Array:
        """Return a parameter; it shares the module's memory."""
        found: Array = self._tensors[name].detach().numpy()
        return found

    def linear(self, name: str) -> Linear:
        """Return the layer whose parameters are `name.weight` and, where it has one, `name.bias`."""
        bias = self.array(f"{name}.bias") if f"{name}.bias" in self._tensors else None
        return Linear(name=name, weight=self.array(f"{name}.weight"), bias=bias)

    def joined(self, name: str, parts: tuple[str, ...]) -> Linear:
        """Return layers that read the same states as one layer, their outputs one after another."""
        if name not in self._joined:
            layers = [self.linear(f"{name}.{part}") for part in parts]
            self._joined[name] = Linear(
                name=".".join([name, "_".join(parts)]),
                weight=np.concatenate([one.weight for one in layers]),
                bias=np.concatenate([one.bias for one in layers if one.bias is not None]),
            )
        return self._joined[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What goes into the graph, [B, T] each."""

    input_ids: Value
    attention_mask: Value
    token_type_ids: Value | None
    """None for an encoder without segments."""


def input_names(config: EncoderConfig) -> tuple[str, ...]:
    """Return the names of the inputs of an encoder's graph, all of them int64 [B, T]."""
    return ("input_ids", "attention_mask", *(("token_type_ids",) if config.type_vocab_size else ()))


class EncoderGraph:
    """Adds an encoder's nodes to a graph.

    Args:
        graph: which takes them.
        config: of the encoder.
        weights: of the module that the encoder is a part of.
        products: how products with weights are computed.
        prefix: what the encoder's parameters have before their names, such as `body.`.
    """

    def __init__(self, graph: Graph, config: EncoderConfig, weights: Weights, products: Products, prefix: str) -> None:
        self.graph = graph
        self.config = config
        self.weights = weights
        self.products = products
        self.prefix = prefix
        given = {name: graph.input(name, _BATCH_AND_LENGTH) for name in input_names(config)}
        self.inputs = Inputs(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            token_type_ids=given.get("token_type_ids"),
        )
        with graph.scope("mask"):
            self._real = graph.node("Cast", self.inputs.attention_mask, to=_BOOL)
            self.mask = graph.node("Cast", self.inputs.attention_mask, to=_FLOAT)
            """[B, T] float32, 1 for real tokens."""
            hidden = graph.node("Sub", graph.number(1.0), self.mask)
            added = graph.node("Mul", hidden, graph.number(HIDDEN_KEY))
            self._added = graph.node("Unsqueeze", added, graph.integers(1, 2))

    def states(self, *, first_only: bool = False) -> Value:
        """Return the last states, [B, T, H].

        Args:
            first_only: those of the first token alone are wanted, [B, 1, H]; the last pass then computes no others.
        """
        hidden = self._embedded()
        for index in range(self.config.num_passes):
            with self.graph.scope(f"pass_{index}"):
                hidden = self._pass(index, hidden, first_only=first_only and index == self.config.num_passes - 1)
        return hidden

    def pooled(self, states: Value) -> Value:
        """Return the pooler's vector of every text, [B, H]; without a pooler the state of its first token."""
        with self.graph.scope("pooler"):
            first = self.graph.node("Gather", states, self.graph.integer(0), axis=1)
            if not self.config.add_pooler:
                return first
            return self.graph.node("Tanh", self.linear(first, f"{self.prefix}pooler.dense"))

    def word_scores(self, states: Value, head: str) -> Value:
        """Return the scores of every word of the vocabulary, [B, T, V], by the masked-word head of a name."""
        table_name = f"{self.prefix}embeddings.word_embeddings.weight"
        with self.graph.scope("words"):
            words = activated(self.graph, self.linear(states, f"{head}.dense"), self.config.hidden_act)
            words = self.norm(words, f"{head}.layer_norm")
            if self.config.embedding_norm_width == "hidden" and self.config.has_projection:
                projection = self.weights.linear(f"{self.prefix}embeddings.projection")
                words = self.products.back(self.graph, words, projection)
            bias = self.weights.array(f"{head}.bias")
            if not self.config.tie_word_embeddings:
                decoder = self.weights.array(f"{head}.decoder.weight")
                return self.products.linear(
                    self.graph, words, Linear(name=f"{head}.decoder", weight=decoder, bias=bias)
                )
            return self.products.scores(self.graph, words, table_name, self.weights.array(table_name), bias)

    def linear(self, states: Value, name: str) -> Value:
        """Return states after the linear layer of a name."""
        return self.products.linear(self.graph, states, self.weights.linear(name))

    def norm(self, states: Value, name: str) -> Value:
        """Return states after the LayerNorm of a name."""
        scale, bias = (self._stored(f"{name}.{part}") for part in ("weight", "bias"))
        return self.graph.node(
            "LayerNormalization", states, scale, bias, axis=-1, epsilon=float(self.config.layer_norm_eps)
        )

    def _stored(self, name: str) -> Value:
        return self.graph.weight(name, lambda: self.weights.array(name))

    def _embedded(self) -> Value:
        """Return the stack's input, [B, T, H]."""
        graph, config = self.graph, self.config
        projection = f"{self.prefix}embeddings.projection" if config.has_projection else None
        early = config.embedding_norm_width == "hidden"
        with graph.scope("embeddings"):
            states = self._rows("word_embeddings", self._visible(self.inputs.input_ids))
            if config.position_embedding == "sinusoidal":
                states = graph.node("Mul", states, graph.number(math.sqrt(config.embedding_size)))
            if projection is not None and early:
                states = self.linear(states, projection)
            states = graph.node("Add", states, self._positions())
            if self.inputs.token_type_ids is not None:
                types = self._rows("token_type_embeddings", self._visible(self.inputs.token_type_ids))
                states = graph.node("Add", states, types)
            if config.embedding_norm_width != "none":
                states = self.norm(states, f"{self.prefix}embeddings.layer_norm")
            return self.linear(states, projection) if projection is not None and not early else states

    def _visible(self, ids: Value) -> Value:
        """Return ids [B, T] in which hidden positions have that of their text's first token."""
        return self.graph.node("Where", self._real, ids, self.graph.firsts(ids))

    def _rows(self, table: str, ids: Value) -> Value:
        name = f"{self.prefix}embeddings.{table}.weight"
        return self.products.rows(self.graph, ids, name, self.weights.array(name))

    def _positions(self) -> Value:
        """Return what stands for every token's place, [B, T, W]; hidden ones have the first token's."""
        graph = self.graph
        # Counted, not listed: runtimes then know that this is as long as the ids are, and fuse what follows.
        counted = graph.node("CumSum", self.inputs.attention_mask, graph.integer(1))
        places = graph.node("Mul", graph.node("Sub", counted, graph.integer(1)), self.inputs.attention_mask)
        if self.config.position_embedding == "learned":
            return self._rows("position_embeddings", places)
        width = self.config.embedding_norm_size
        steps = np.arange(0, width, 2, dtype=np.float32)
        # the product that `sinusoidal_positions` forms, in float32 as there
        rates = np.exp(steps * np.float32(-math.log(10_000.0) / width)).astype(np.float32)
        numbers = graph.node("Unsqueeze", graph.node("Cast", places, to=_FLOAT), graph.integers(-1))
        angles = graph.node("Mul", numbers, graph.weight("position_rates", lambda: rates))
        waves = [graph.node("Unsqueeze", graph.node(wave, angles), graph.integers(-1)) for wave in ("Sin", "Cos")]
        code = graph.reshaped(graph.node("Concat", *waves, axis=-1), 0, 0, 2 * len(rates))
        return code if width % 2 == 0 else graph.sliced(code, 2, width)

    def _pass(self, index: int, hidden: Value, *, first_only: bool) -> Value:
        """Return the states after a pass: [B, T, H], or [B, 1, H] of the first tokens."""
        blocks = self.config.blocks_of_pass(index)
        attention = f"{self.prefix}attention_blocks.{blocks.attention}"
        with self.graph.scope("attention"):
            entering = self._entering(hidden, attention)
            mixed = self._attended(entering, attention, first_only=first_only)
            hidden = self.graph.firsts(hidden) if first_only else hidden
            hidden = self._leaving(hidden, self.linear(mixed, f"{attention}.output"), attention)
        feed_forward = f"{self.prefix}feed_forward_blocks.{blocks.feed_forward}"
        with self.graph.scope("feed_forward"):
            inner = self.linear(self._entering(hidden, feed_forward), f"{feed_forward}.intermediate")
            inner = activated(self.graph, inner, self.config.hidden_act)
            return self._leaving(hidden, self.linear(inner, f"{feed_forward}.output"), feed_forward)

    def _entering(self, hidden: Value, block: str) -> Value:
        return self.norm(hidden, f"{block}.layer_norm") if self.config.norm_placement == "pre" else hidden

    def _leaving(self, hidden: Value, part: Value, block: str) -> Value:
        summed = self.graph.node("Add", part, hidden)
        return summed if self.config.norm_placement == "pre" else self.norm(summed, f"{block}.layer_norm")

    def _attended(self, entering: Value, block: str, *, first_only: bool) -> Value:
        """Return every token's mixture of values, [B, T, H], or that of the first tokens alone, [B, 1, H]."""
        graph, width = self.graph, self.config.hidden_size
        heads = self.config.num_attention_heads
        together = self.products.linear(graph, entering, self.weights.joined(block, ("query", "key", "value")))
        query, key, value = graph.nodes("Split", 3, together, axis=-1)
        query = graph.firsts(query) if first_only else query
        query, key, value = (graph.reshaped(one, 0, 0, heads, width // heads) for one in (query, key, value))
        query = graph.node("Transpose", query, perm=[0, 2, 1, 3])
        query = graph.node("Mul", query, graph.number((width // heads) ** -0.5))
        scores = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 2, 3, 1]))
        shares = graph.node("Softmax", graph.node("Add", scores, self._added), axis=-1)
        mixed = graph.node("MatMul", shares, graph.node("Transpose", value, perm=[0, 2, 1, 3]))
        return graph.reshaped(graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), 0, 0, width)


def activated(graph: Graph, states: Value, name: str) -> Value:
    """Return the activation that `EncoderConfig.hidden_act` names, written out in the form that runtimes fuse."""
    if name == "relu":
        return graph.node("Relu", states)
    one, half = graph.number(1.0), graph.number(0.5)
    if name == "gelu":
        share = graph.node("Erf", graph.node("Div", states, graph.number(math.sqrt(2.0))))
        return graph.node("Mul", graph.node("Mul", states, graph.node("Add", share, one)), half)
    cube = graph.node("Mul", graph.node("Pow", states, graph.number(3.0)), graph.number(0.044715))
    share = graph.node("Tanh", graph.node("Mul", graph.node("Add", states, cube), graph.number(math.sqrt(2 / math.pi))))
    return graph.node("Mul", graph.node("Mul", states, half), graph.node("Add", share, one))
