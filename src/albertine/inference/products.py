"""The matrix products of an encoder's passes, and the layers whose weights each has.

H hidden width, F inner width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from albertine.models.attention import AttentionBlock
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.layers import FeedForwardBlock

__all__ = ["PRODUCTS", "Product", "block_of", "joined_layers", "layers_of", "parts_of_pass"]

Product = Literal["projected", "output", "inner", "outer"]
"""The products of a pass: queries, keys and values [H, 3 H]; attention's output [H, H]; the feed-forward part's first
[H, F] and second [F, H]."""
PRODUCTS: tuple[Product, ...] = get_args(Product)


def block_of(config: EncoderConfig, index: int, product: Product) -> int:
    """Return the block of weights that a product of pass `index` uses."""
    blocks = config.blocks_of_pass(index)
    return blocks.attention if product in ("projected", "output") else blocks.feed_forward


def parts_of_pass(encoder: Encoder, index: int) -> tuple[AttentionBlock, FeedForwardBlock]:
    """Return the two blocks that pass `index` of a plain encoder runs."""
    blocks = encoder.config.blocks_of_pass(index)
    mixing = encoder.attention_blocks[blocks.attention]
    mapping = encoder.feed_forward_blocks[blocks.feed_forward]
    assert isinstance(mixing, AttentionBlock), "a plain encoder"
    assert isinstance(mapping, FeedForwardBlock), "a plain encoder"
    return mixing, mapping


def layers_of(encoder: Encoder, index: int, product: Product) -> tuple[nn.Linear, ...]:
    """Return the layers whose weights, one under another, are those of a product of pass `index`."""
    mixing, mapping = parts_of_pass(encoder, index)
    layers: dict[Product, tuple[nn.Linear, ...]] = {
        "projected": (mixing.query, mixing.key, mixing.value),
        "output": (mixing.output,),
        "inner": (mapping.intermediate,),
        "outer": (mapping.output,),
    }
    return layers[product]


def joined_layers(layers: Sequence[nn.Linear]) -> tuple[Tensor, Tensor]:
    """Return weights and biases of layers that read the same, one under another."""
    return torch.cat([one.weight.detach() for one in layers]), torch.cat([one.bias.detach() for one in layers])
