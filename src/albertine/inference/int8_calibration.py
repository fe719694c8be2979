"""Texts to the ranges in which an encoder's products are rounded to int8.

K channels that enter a product, R sampled rows of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from albertine.inference.fused import Watch
from albertine.inference.int8_plan import Int8Plan
from albertine.inference.kernels import Int8Range
from albertine.inference.products import Product, block_of, joined_layers, layers_of
from albertine.models.encoder import Encoder

__all__ = ["calibrated_plan"]

_ROWS = 2048
"""Rows that are kept of what enters a product."""
_ROWS_A_BATCH = 128
_SHRINKING = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Shares of the whole range that are tried: a few outliers may be cut so that all others are rounded more finely."""
_SMOOTHING = 0.5
"""How much of the difference between channels the weights take (arXiv:2211.10438, alpha)."""


def calibrated_plan(
    encoder: Encoder, run: Callable[[Watch], object]
) -> tuple[Int8Plan, dict[tuple[int, Product], float]]:
    """Return ranges for every product of an encoder, and how far each output is off, as a share of its size.

    Args:
        encoder: whose weights are rounded.
        run: runs texts like those that will come through a `FusedEncoder` of it in fp32 that has the given watch.
    """
    samples: dict[tuple[int, Product], list[Tensor]] = {}
    highest: dict[tuple[int, Product], Tensor] = {}

    def watch(index: int, product: Product, inputs: Tensor) -> None:
        key = (index, product)
        peak = inputs.abs().amax(dim=0)
        highest[key] = torch.maximum(highest[key], peak) if key in highest else peak
        known = samples.setdefault(key, [])
        if sum(len(one) for one in known) < _ROWS:
            step = max(1, len(inputs) // _ROWS_A_BATCH)
            known.append(inputs[::step][:_ROWS_A_BATCH].clone())

    run(watch)
    channels = _channels(encoder, highest)
    ranges: dict[tuple[int, Product], Int8Range] = {}
    errors: dict[tuple[int, Product], float] = {}
    for key, parts in samples.items():
        rows = torch.cat(parts)[:_ROWS]
        weight, _ = joined_layers(layers_of(encoder, *key))
        one = _range(rows, channels[block_of(encoder.config, *key), key[1]])
        ranges[key], errors[key] = one, _error(rows, weight, one)
    return Int8Plan(ranges=ranges, facts={}), errors


def _channels(encoder: Encoder, highest: dict[tuple[int, Product], Tensor]) -> dict[tuple[int, Product], Tensor]:
    """Return what the channels of every block's products are divided by, by block and product."""
    peaks: dict[tuple[int, Product], Tensor] = {}
    for (index, product), peak in highest.items():
        place = (block_of(encoder.config, index, product), product)
        peaks[place] = torch.maximum(peaks[place], peak) if place in peaks else peak
    found = {}
    for (index, product), _ in highest.items():
        place = (block_of(encoder.config, index, product), product)
        if product == "outer":
            # comes as whole numbers from the product before, all channels alike
            found[place] = torch.ones(1)
            continue
        least = torch.finfo(torch.float32).tiny
        weight, _ = joined_layers(layers_of(encoder, index, product))
        columns = weight.abs().amax(dim=0).clamp_min(1e-5)
        smooth = peaks[place].clamp_min(1e-5) ** _SMOOTHING / columns ** (1 - _SMOOTHING)
        found[place] = (smooth / smooth.log().mean().exp()).clamp_min(least)
    return found


def _range(rows: Tensor, channels: Tensor) -> Int8Range:
    """Return the range that changes the sampled rows least, [R, K]."""
    scaled = rows / channels
    low, high = min(float(scaled.min()), 0.0), max(float(scaled.max()), 0.0)
    tried = []
    for share in _SHRINKING:
        size = max(share * (high - low), 1e-6) / 255
        one = Int8Range(channels=channels, size=size, zero=min(255, max(0, round(-share * low / size))))
        tried.append((float((_rounded(scaled, one) - scaled).square().mean()), one))
    return min(tried, key=lambda pair: pair[0])[1]


def _rounded(scaled: Tensor, one: Int8Range) -> Tensor:
    whole = (scaled / one.size + one.zero).round().clamp(0, 255)
    return (whole - one.zero) * one.size


def _error(rows: Tensor, weight: Tensor, one: Int8Range) -> float:
    """Return how far a product with rounded factors is off, as a share of its size."""
    exact = rows @ weight.T
    folded = weight * one.channels
    scales = folded.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127
    rounded = _rounded(rows / one.channels, one) @ ((folded / scales).round() * scales).T
    return float((rounded - exact).norm() / exact.norm().clamp_min(1e-12))
