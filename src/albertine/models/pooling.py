"""From the states of a text's tokens to one vector for the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from albertine.errors import ConfigError, unknown_name
from albertine.models.config import EncoderConfig

if TYPE_CHECKING:  # the encoder is built with the pooler of this file
    from albertine.models.encoder import Encoder

__all__ = [
    "DenseActivation",
    "DenseLayer",
    "Pooler",
    "PoolingMode",
    "Prompt",
    "SentenceEncoder",
    "SentencePooler",
    "SentencePooling",
    "Similarity",
    "VectorUse",
    "first_tokens",
    "pool_sentences",
]

PoolingMode = Literal["cls", "max", "mean", "mean_sqrt_length", "weighted_mean", "last"]
"""How a text's vector comes from its tokens' states: the first token's, the largest of every component, the mean, the
sum over the root of the length, the mean weighted by position (1, 2, 3, …), the last token's."""

DenseActivation = Literal["identity", "tanh", "relu", "gelu", "sigmoid"]
"""What follows a dense layer; gelu is the erf form."""

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
"""How two vectors are compared: their cosine, their dot product, or a distance."""

_ACTIVATIONS: dict[DenseActivation, Callable[[Tensor], Tensor]] = {
    "identity": lambda vectors: vectors,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseLayer:
    """A linear layer over the pooled vector.

    Raises:
        ConfigError: a width below one, or an unknown activation.
    """

    in_features: int
    """Width of what comes in."""
    out_features: int
    """Width of what goes out."""
    bias: bool = True
    """Whether a bias is added."""
    activation: DenseActivation = "tanh"
    """What follows the product."""

    def __post_init__(self) -> None:
        for name in ("in_features", "out_features"):
            if getattr(self, name) < 1:
                raise ConfigError("a width is too small", where=name, received=getattr(self, name), allowed="1 or more")
        if self.activation not in _ACTIVATIONS:
            raise unknown_name("activation", self.activation, _ACTIVATIONS, where="activation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Words that a model wants before every text of one kind."""

    name: str
    """The kind of text, such as query."""
    text: str
    """What is written before it, its last space included; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorUse:
    """What a model's vectors were made for, kept for those who use them: nothing here computes with it.

    Raises:
        ConfigError: an unknown similarity; two prompts of one name; a default prompt that is none of them.
    """

    similarity: Similarity = "cosine"
    """How vectors are to be compared."""
    prompts: tuple[Prompt, ...] = ()
    """What the model knows, in its order."""
    default_prompt: str | None = None
    """The name of the prompt that stands before a text of which nothing is said; None: none does."""
    prompt_is_pooled: bool = True
    """Whether the states of a prompt's tokens are part of the vector."""

    def __post_init__(self) -> None:
        if self.similarity not in get_args(Similarity):
            raise unknown_name("similarity", str(self.similarity), get_args(Similarity), where="similarity")
        names = [prompt.name for prompt in self.prompts]
        if len(set(names)) < len(names):
            raise ConfigError("two prompts have one name", where="prompts", received=", ".join(names))
        if self.default_prompt is not None and self.default_prompt not in names:
            raise unknown_name("prompt", self.default_prompt, names, where="default_prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePooling:
    """How one vector for a text is made of its tokens' states.

    Raises:
        ConfigError: no mode, one twice or an unknown one; dense layers whose widths do not follow; a length or a width
            below one.
    """

    modes: tuple[PoolingMode, ...] = ("mean",)
    """One or several; the vectors of several stand one after another, in this order."""
    dense: tuple[DenseLayer, ...] = ()
    """Layers that the pooled vector goes through, in their order."""
    normalize: bool = False
    """Whether the result is divided by its Euclidean norm, so that a dot product is a cosine."""
    max_length: int | None = None
    """Tokens that longer texts are cut to, special ones included; None for what tokenizer and positions allow."""
    lowercase: bool = False
    """Whether texts are lower-cased before the tokenizer sees them, whatever it does itself."""
    truncate_dim: int | None = None
    """Numbers that a vector is cut to in the end, when it has been normalised; None cuts none. Vectors of models that
    were trained for it (Matryoshka) are useful at several widths."""
    normalize_cut: bool = False
    """Whether what is left of a cut vector is normalised; no folder says so, those who use it may ask for it."""
    use: VectorUse = VectorUse()
    """What the vectors were made for."""

    def __post_init__(self) -> None:
        for mode in self.modes:
            if mode not in get_args(PoolingMode):
                raise unknown_name("pooling mode", str(mode), get_args(PoolingMode), where="modes")
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise ConfigError(
                "every pooling mode is given once, and there is at least one",
                where="modes",
                received=", ".join(self.modes) or "none",
            )
        for name, what in (("max_length", "the maximum length"), ("truncate_dim", "the width that is kept")):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{what} is too small", where=name, received=value, allowed="1 or more")
        for before, after in pairwise(self.dense):
            if before.out_features != after.in_features:
                raise ConfigError(
                    "a dense layer does not take what the one before it gives",
                    where="dense",
                    received=f"{before.out_features} into {after.in_features}",
                )

    def width(self, hidden_size: int) -> int:
        """Return the width of the vectors over an encoder of this width.

        Raises:
            ConfigError: the first dense layer takes another width.
        """
        pooled = len(self.modes) * hidden_size
        if self.dense and self.dense[0].in_features != pooled:
            raise ConfigError(
                "the first dense layer does not take what the pooling gives",
                where="dense",
                received=f"{' + '.join(self.modes)} over an encoder of width {hidden_size} gives {pooled}, "
                f"the layer takes {self.dense[0].in_features}",
            )
        whole = self.dense[-1].out_features if self.dense else pooled
        return whole if self.truncate_dim is None else min(whole, self.truncate_dim)


def first_tokens(hidden: Tensor, sequence_starts: Tensor | None = None) -> Tensor:
    """Return the state of every text's first token, [N, H].

    Args:
        hidden: [B, T, H] padded or [S, H] packed.
        sequence_starts: [N+1] of a packed batch.
    """
    if sequence_starts is None:
        return hidden[:, 0]
    return hidden.index_select(0, sequence_starts[:-1])


class Pooler(nn.Module):
    """BERT's pooler: the first token's state through a dense layer and tanh."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, sequence_starts: Tensor | None = None) -> Tensor:
        """Return [N, H]; the arguments are those of `first_tokens`."""
        return torch.tanh(self.dense(first_tokens(hidden, sequence_starts)))


def pool_sentences(
    hidden: Tensor,
    modes: Sequence[PoolingMode],
    *,
    attention_mask: Tensor | None = None,
    sequence_starts: Tensor | None = None,
) -> Tensor:
    """Return one vector a text, [N, len(modes) * H] float32, the modes one after another.

    Sums run in float32 whatever the states are in. The definitions are those of sentence-transformers' Pooling.

    Args:
        hidden: [B, T, H] padded or [S, H] packed.
        modes: in the order in which their vectors stand.
        attention_mask: [B, T] of a padded batch, 1 for real tokens, on whichever side they are; None: all are real.
        sequence_starts: [N+1] of a packed batch; every text has at least one token.
    """
    hidden = hidden.float()
    if sequence_starts is not None:
        pooled = [_pooled_packed(hidden, mode, sequence_starts) for mode in modes]
    else:
        mask = hidden.new_ones(hidden.shape[:2]) if attention_mask is None else attention_mask.to(hidden.dtype)
        pooled = [_pooled_padded(hidden, mode, mask) for mode in modes]
    return torch.cat(pooled, dim=-1)


class SentencePooler(nn.Module):
    """Makes a text's vector of its tokens' states: pools, goes through the dense layers, normalises, cuts.

    Its parameters are `dense.0.weight` [out, in], `dense.0.bias` [out], `dense.1.weight`, …

    Args:
        pooling: what to do.
        hidden_size: width of the encoder.

    Raises:
        ConfigError: the first dense layer does not take what the pooling gives.
    """

    def __init__(self, pooling: SentencePooling, hidden_size: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.width = pooling.width(hidden_size)
        self.dense = nn.ModuleList(nn.Linear(one.in_features, one.out_features, bias=one.bias) for one in pooling.dense)

    def forward(
        self, hidden: Tensor, *, attention_mask: Tensor | None = None, sequence_starts: Tensor | None = None
    ) -> Tensor:
        """Return one vector a text, [N, width] float32; the arguments are those of `pool_sentences`."""
        vectors = pool_sentences(
            hidden, self.pooling.modes, attention_mask=attention_mask, sequence_starts=sequence_starts
        )
        for layer, record in zip(self.dense, self.pooling.dense, strict=True):
            assert isinstance(layer, nn.Linear)
            vectors = _ACTIVATIONS[record.activation](layer(vectors.to(layer.weight.dtype)))
        vectors = vectors.float()
        vectors = nn.functional.normalize(vectors, dim=-1) if self.pooling.normalize else vectors
        # The order of sentence-transformers: what is cut off counts for the length.
        cut = vectors[:, : self.width]
        return nn.functional.normalize(cut, dim=-1) if self.pooling.normalize_cut else cut


class SentenceEncoder(nn.Module):
    """An encoder that gives one vector a text; its parameters are `encoder.…` and `pooling.…`.

    Args:
        encoder: its pooler, where it has one, is not used.
        pooling: what to do with its states.

    Raises:
        ConfigError: the first dense layer does not take what the pooling gives.
    """

    def __init__(self, encoder: Encoder, pooling: SentencePooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = SentencePooler(pooling, encoder.config.hidden_size)

    def forward(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        sequence_starts: Tensor | None = None,
    ) -> Tensor:
        """Return one vector a text, [N, width] float32; arguments and errors are those of `Encoder.forward`."""
        layout = self.encoder.layout(input_ids, attention_mask=attention_mask, sequence_starts=sequence_starts)
        hidden = self.encoder.embed(input_ids, layout=layout, token_type_ids=token_type_ids, position_ids=position_ids)
        for index in range(self.encoder.config.num_passes):
            hidden = self.encoder.run_pass(index, hidden, layout).hidden
        hidden = self.encoder.leave(hidden)
        vectors: Tensor = self.pooling(hidden, attention_mask=attention_mask, sequence_starts=sequence_starts)
        return vectors


def _pooled_padded(hidden: Tensor, mode: PoolingMode, mask: Tensor) -> Tensor:
    """Pool [B, T, H] with a float mask of [B, T] into [B, H]."""
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    if mode == "cls":
        return hidden[rows, mask.argmax(dim=1)]
    if mode == "last":
        return hidden[rows, mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)]
    if mode == "max":
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)
    # Positions count from a text's first token, on whichever side its padding stands.
    weights = mask * mask.cumsum(dim=1) if mode == "weighted_mean" else mask
    # Zeroed, not multiplied: what stands at padding may be infinite or no number.
    total = (hidden.masked_fill(mask.unsqueeze(-1) == 0, 0.0) * weights.unsqueeze(-1)).sum(dim=1)
    return total / _denominator(weights.sum(dim=1), mode)


def _pooled_packed(hidden: Tensor, mode: PoolingMode, starts: Tensor) -> Tensor:
    """Pool [S, H] into [N, H]."""
    if mode == "cls":
        return first_tokens(hidden, starts)
    if mode == "last":
        return hidden.index_select(0, starts[1:] - 1)
    lengths = starts.diff()
    texts = torch.arange(len(lengths), device=hidden.device)
    owner = torch.repeat_interleave(texts, lengths, output_size=hidden.shape[0])
    empty = hidden.new_zeros(len(lengths), hidden.shape[1])
    if mode == "max":
        return empty.scatter_reduce(0, owner.unsqueeze(-1).expand_as(hidden), hidden, "amax", include_self=False)
    if mode == "weighted_mean":
        positions = torch.arange(hidden.shape[0], device=hidden.device) - starts[owner] + 1
        hidden = hidden * positions.to(hidden.dtype).unsqueeze(-1)
        weight = (lengths * (lengths + 1)).to(hidden.dtype) / 2
    else:
        weight = lengths.to(hidden.dtype)
    return empty.index_add(0, owner, hidden) / _denominator(weight, mode)


def _denominator(weight: Tensor, mode: PoolingMode) -> Tensor:
    """Return what a sum is divided by, [N, 1], from the summed weights of its tokens, [N]."""
    return (weight.sqrt() if mode == "mean_sqrt_length" else weight).unsqueeze(-1)
