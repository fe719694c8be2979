"""What models hand on: frozen records whose tensors PyTorch's tree functions reach.

B rows, T positions of a padded row, N texts, S tokens of a packed batch, H hidden width, V vocabulary, A heads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor
from torch.utils import _pytree

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["EncoderOutput", "PassOutput", "PretrainingOutput"]


R = TypeVar("R", bound="DataclassInstance")


def _registered(cls: type[R]) -> type[R]:
    """Register the dataclass as a pytree; absent (None) fields are no leaves, so that tensor functions map over it."""

    def flatten(record: R) -> tuple[list[object], list[str]]:
        names = [field.name for field in dataclasses.fields(record) if getattr(record, field.name) is not None]
        return [getattr(record, name) for name in names], names

    def flatten_with_keys(record: R) -> tuple[list[tuple[_pytree.KeyEntry, object]], list[str]]:
        values, names = flatten(record)
        return [(_pytree.GetAttrKey(name), value) for name, value in zip(names, values, strict=True)], names

    def unflatten(values: Iterable[object], names: list[str]) -> R:
        build: Callable[..., R] = cls
        return build(**dict(zip(names, values, strict=True)))

    _pytree.register_pytree_node(
        cls,
        flatten,
        unflatten,
        serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
        flatten_with_keys_fn=flatten_with_keys,
    )
    return cls


@_registered
@dataclass(frozen=True, slots=True, kw_only=True)
class PassOutput:
    """What one pass through the stack gives."""

    hidden: Tensor
    """[B, T, H] or [S, H]."""
    attention: Tensor | None = None
    """[B, A, T, T] attention weights (each row sums to 1) before dropout, where they were asked for."""


@_registered
@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderOutput:
    """What an encoder makes of a batch."""

    last_hidden_state: Tensor
    """[B, T, H] padded, [S, H] packed."""
    pooler_output: Tensor | None = None
    """[N, H], one row a text; None without a pooler."""
    hidden_states: tuple[Tensor, ...] | None = None
    """The stack's input, then the state after every pass; None where they were not asked for."""
    attentions: tuple[Tensor, ...] | None = None
    """[B, A, T, T] for every pass; None where they were not asked for."""


@_registered
@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingOutput:
    """What encoder and pretraining heads make of a batch."""

    prediction_logits: Tensor | None = None
    """[B, T, V] padded, [S, V] packed, [M, V] where M positions were given; None without the masked-word head."""
    pair_logits: Tensor | None = None
    """[N, 2]: next or in order, against random or swapped; None without the pair head."""
    encoder: EncoderOutput
    """The encoder's own output."""
