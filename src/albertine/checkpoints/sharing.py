"""Models with shared blocks <-> models with a block for every pass: ALBERT as BERT, BERT as ALBERT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from albertine.checkpoints.state import ModelState
from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig

__all__ = ["shared", "unshared"]

_ATTENTION = "encoder.attention_blocks."
_FEED_FORWARD = "encoder.feed_forward_blocks."
_PROJECTION = "encoder.embeddings.projection."
# The tables over the vocabulary: of the encoder, and of a masked-word head that is not tied to it.
_WORD_TABLES = ("encoder.embeddings.word_embeddings.weight", "masked_word_head.decoder.weight")

_ROWS_AT_ONCE = 1024
"""Rows of a table that are multiplied out at a time, in float64."""


def unshared(state: ModelState) -> ModelState:
    """Give every pass a block of weights of its own: an ALBERT becomes a BERT that computes the same.

    Inner blocks become layers, so that a layer is one pass. Every output and every hidden state stays bit for bit what
    it was, with one exception: where the embedding norm lives at the hidden width and the projection has no bias
    (brightmart's Chinese ALBERT), nothing stands between word table and projection, and the two are multiplied into
    one table [V, H], in float64, which moves outputs by the rounding of the table's own type (in float32 by a few
    millionths of their size). The result is then a BERT in every respect, masked-word head included.

    In Google's ALBERT the norm stands between the table and the projection, and no single table does what both do: the
    result keeps its E × H embeddings, which BERT's code has no place for (transformers' ALBERT has: a group for every
    layer).

    Args:
        state: with anything on the encoder (heads, pooling), which comes along as it is.

    Returns:
        A state without sharing. Copies of a block are one tensor under several names, in the memory that it had
        before; who writes into one of them must copy first.

    Raises:
        ConfigError: every pass has its own block already.
    """
    config = state.config
    multiplied = _can_multiply_out(config)
    if config.share == "none" and config.inner_group_num == 1 and not multiplied:
        raise ConfigError(
            "there is nothing to unshare: every pass has a block of its own already",
            where="share",
            received=repr(config.share),
            allowed="a model whose layers share weights or have inner blocks",
        )
    tensors = {
        name: tensor for name, tensor in state.tensors.items() if not name.startswith((_ATTENTION, _FEED_FORWARD))
    }
    attention, feed_forward = _blocks(state.tensors, _ATTENTION), _blocks(state.tensors, _FEED_FORWARD)
    for index in range(config.num_passes):
        blocks = config.blocks_of_pass(index)
        for prefix, block in (
            (_ATTENTION, attention[blocks.attention]),
            (_FEED_FORWARD, feed_forward[blocks.feed_forward]),
        ):
            tensors |= {f"{prefix}{index}.{name}": tensor for name, tensor in block.items()}
    result = replace(config, num_hidden_layers=config.num_passes, num_hidden_groups=1, inner_group_num=1, share="none")
    if multiplied:
        projection = tensors.pop(f"{_PROJECTION}weight")
        tensors |= {name: _multiplied(tensors[name], projection) for name in _WORD_TABLES if name in tensors}
        result = replace(
            result,
            embedding_size=config.hidden_size,
            projection="auto",
            projection_bias=True,
            embedding_norm_width="embedding",
        )
    return replace(state, config=result, tensors=tensors)


def shared(state: ModelState, *, groups: int = 1, method: Literal["average"] | int = "average") -> ModelState:
    """Make the layers of a group share one block: a BERT becomes an ALBERT, as a start for training.

    The result computes something else than the source and has to be trained. Layers, width and everything outside the
    blocks stay; group g holds the layers whose `layer * groups // layers` is g. Inner blocks are shared one by one.

    Args:
        state: a model whose layers share nothing.
        groups: of consecutive layers, 1 … layers.
        method: average: the mean of a group's blocks, taken in float64 and given back in the type of the weights; a
            number: that layer of each group, counted from 0 within the group (with one group, the layer's own number).

    Returns:
        A state with `share` "all"; tensors that did not change are those of the source, in the same memory.

    Raises:
        ConfigError: layers that share weights already, or a number of groups or a layer out of range.
    """
    config = state.config
    members = _groups_to_share(config, groups)
    smallest = min(len(layers) for layers in members)
    if method != "average" and (not isinstance(method, int) or isinstance(method, bool) or not 0 <= method < smallest):
        raise ConfigError(
            "there is no such layer in every group",
            where="method",
            received=repr(method),
            allowed=f"average, or a layer of each group counted from 0: 0 … {smallest - 1}",
        )
    tensors = {
        name: tensor for name, tensor in state.tensors.items() if not name.startswith((_ATTENTION, _FEED_FORWARD))
    }
    for prefix in (_ATTENTION, _FEED_FORWARD):
        blocks = _blocks(state.tensors, prefix)
        for group, layers in enumerate(members):
            chosen = layers if method == "average" else (layers[method],)
            for inner in range(config.inner_group_num):
                sources = [blocks[layer * config.inner_group_num + inner] for layer in chosen]
                place = group * config.inner_group_num + inner
                tensors |= {
                    f"{prefix}{place}.{name}": _mean([source[name] for source in sources]) for name in sources[0]
                }
    return replace(state, config=replace(config, share="all", num_hidden_groups=groups), tensors=tensors)


def _groups_to_share(config: EncoderConfig, groups: int) -> tuple[tuple[int, ...], ...]:
    """Return the layers of every group, once it is clear that they can be shared."""
    if config.share != "none":
        raise ConfigError(
            "the layers of this model share weights already",
            where="share",
            received=repr(config.share),
            allowed="none",
            next_step="Unshare it first, then share it in another way",
        )
    layers = config.num_hidden_layers
    if not isinstance(groups, int) or isinstance(groups, bool) or not 1 <= groups <= layers:
        raise ConfigError("no such number of groups", where="groups", received=repr(groups), allowed=f"1 … {layers}")
    grouped = replace(config, share="all", num_hidden_groups=groups)
    return tuple(
        tuple(layer for layer in range(layers) if grouped.group_of_layer(layer) == group) for group in range(groups)
    )


def _can_multiply_out(config: EncoderConfig) -> bool:
    """Say whether word table and projection act one right after the other, so that their product is a table too.

    Sinusoidal positions scale the words by the square root of E, which would change with the table's width.
    """
    return (
        config.has_projection
        and not config.projection_bias
        and config.embedding_norm_width == "hidden"
        and config.position_embedding == "learned"
    )


def _multiplied(table: Tensor, projection: Tensor) -> Tensor:
    """Return `table` [V, E] behind `projection` [H, E] as one table [V, H], in the type of `table`."""
    result = table.new_empty(table.shape[0], projection.shape[0])
    weight = projection.to(torch.float64)
    for first in range(0, table.shape[0], _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        result[rows] = F.linear(table[rows].to(torch.float64), weight)
    return result


def _blocks(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    """Return the tensors of every block, by its index and their names within it."""
    blocks: dict[int, dict[str, Tensor]] = {}
    for index, name, tensor in _parts(tensors, prefix):
        blocks.setdefault(index, {})[name] = tensor
    return blocks


def _parts(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[int, str, Tensor]]:
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, _, rest = name.removeprefix(prefix).partition(".")
            yield int(index), rest, tensor


def _mean(tensors: list[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape; a single one stays as it is."""
    if len(tensors) == 1:
        return tensors[0]
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor in tensors:
        total += tensor
    return (total / len(tensors)).to(tensors[0].dtype)
