"""Which products of an encoder run in int8, and how their inputs are rounded: made once, kept with the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from albertine.errors import CheckpointError
from albertine.inference.kernels import Int8Range
from albertine.inference.products import PRODUCTS, Product, block_of
from albertine.models.config import EncoderConfig

__all__ = ["Int8Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Plan:
    """The ranges of the products that run in int8; those without one stay in floating point."""

    ranges: Mapping[tuple[int, Product], Int8Range]
    """By pass and product. Passes that share a block share the channels, so that its weights are rounded once."""
    facts: Mapping[str, object]
    """What was measured when the plan was made, ready for JSON."""

    def without(self, *left_out: tuple[int, Product]) -> Int8Plan:
        """Return the plan with some products in floating point."""
        return Int8Plan(ranges={key: one for key, one in self.ranges.items() if key not in left_out}, facts=self.facts)

    def with_facts(self, facts: Mapping[str, object]) -> Int8Plan:
        """Return the plan with other facts."""
        return Int8Plan(ranges=self.ranges, facts=facts)

    def to_bytes(self, config: EncoderConfig) -> bytes:
        """Return the contents of the plan's file.

        Args:
            config: of the encoder.
        """
        channels: dict[str, Tensor] = {}
        rows = []
        for (index, product), one in sorted(self.ranges.items(), key=lambda item: item[0]):
            channels[_name(config, index, product)] = one.channels.contiguous()
            rows.append([index, product, one.size, one.zero])
        return save(channels, metadata={"ranges": json.dumps(rows), "facts": json.dumps(self.facts)})

    @classmethod
    def read(cls, path: Path, config: EncoderConfig) -> Int8Plan:
        """Read what `to_bytes` gave.

        Raises:
            CheckpointError: the file is damaged, or belongs to another encoder.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                rows, facts = json.loads(metadata["ranges"]), json.loads(metadata["facts"])
                channels = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
            ranges: dict[tuple[int, Product], Int8Range] = {}
            for index, product, size, zero in rows:
                if (
                    product not in PRODUCTS
                    or not 0 <= index < config.num_passes
                    or not 0 <= zero <= 255
                    or not size > 0
                ):
                    raise ValueError(f"pass {index}, {product}, {size}, {zero}")
                found = channels[_name(config, index, product)].to(torch.float32)
                width = config.intermediate_size if product == "outer" else config.hidden_size
                if found.shape not in ((1,), (width,)) or not bool((found > 0).all()):
                    raise ValueError(f"channels of shape {tuple(found.shape)}")
                ranges[index, product] = Int8Range(channels=found, size=float(size), zero=int(zero))
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                "this is not the int8 plan of this model",
                where=str(path),
                received=str(error),
                next_step="Make it again with: albertine compress MODEL DATA --out FOLDER",
            ) from error
        return cls(ranges=ranges, facts=facts)


def _name(config: EncoderConfig, index: int, product: Product) -> str:
    return f"channels.{product}.{block_of(config, index, product)}"
