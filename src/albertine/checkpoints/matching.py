"""Tensors of a file > parameters of an encoder, with a report of everything that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from albertine.checkpoints.huggingface import ModelType, ReadConfig
from albertine.checkpoints.names import (
    ENCODER_PREFIX,
    MASKED_WORD_HEAD,
    PAIR_HEAD,
    POOLER,
    canonical,
    file_names,
    is_known_extra,
)
from albertine.checkpoints.report import LoadReport, Reshaped
from albertine.errors import CheckpointError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

__all__ = ["EncoderState", "Match", "encoder_state", "match"]

_OPTIONAL = (POOLER, MASKED_WORD_HEAD, PAIR_HEAD)
"""Parts without which an encoder is still one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What of a file found its place."""

    found: dict[str, Tensor]
    """By our names, in the dtype of the file."""
    missing: dict[str, str]
    """Our name -> the name that was looked for in the file."""
    extra: dict[str, Tensor]
    """Tensors of the file without a place, by the names they have there."""
    reshaped: dict[str, Reshaped]
    """Tensors with a place of another shape, by our names."""


def match(
    tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size], config: EncoderConfig, kind: ModelType
) -> Match:
    """Find every expected tensor in a file.

    Args:
        tensors: by the names of the file, of any age.
        expected: our name -> shape.
        config: of the encoder.
        kind: whose names the file has.
    """
    places = {place: name for name, place in file_names(expected, config, kind).items()}
    found: dict[str, Tensor] = {}
    extra: dict[str, Tensor] = {}
    reshaped: dict[str, Reshaped] = {}
    for original, tensor in tensors.items():
        place = canonical(original, kind)
        name = places.get(place)
        if name is None or name in found:  # or the same tensor twice, under an old and a new name
            extra[original] = tensor
        elif tensor.shape != expected[name]:
            reshaped[name] = Reshaped(name=original, found=tuple(tensor.shape), expected=tuple(expected[name]))
        else:
            found[name] = tensor
    missing = {name: place for place, name in places.items() if name not in found and name not in reshaped}
    return Match(found=found, missing=missing, extra=extra, reshaped=reshaped)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderState:
    """The parameters that a folder has for an encoder, and for its heads where they were asked for."""

    config: EncoderConfig
    """As read, but for the pooler, which is there only where the file has it."""
    tensors: dict[str, Tensor]
    """By the names of `PretrainingModel`; a head is there whole or not at all."""
    report: LoadReport


def encoder_state(tensors: Mapping[str, Tensor], read: ReadConfig, *, heads: bool, where: str) -> EncoderState:
    """Settle for what a file has: the encoder must be complete, pooler and heads may be absent.

    Args:
        tensors: by the names of the file.
        read: its configuration.
        heads: whether the masked-word and pair heads are wanted.
        where: the folder, for messages.

    Raises:
        CheckpointError: a tensor of the encoder is missing or of another shape; the masked-word head has a word table
            of its own.
    """
    config = read.config
    with torch.device("meta"):
        whole = PretrainingModel(config, masked_word=heads, pair=heads and config.add_pooler)
    expected = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    found = match(tensors, expected, config, read.model_type)
    _take_decoder(found, read.model_type, where)
    _refuse_incomplete(
        {name: place for name, place in found.missing.items() if not name.startswith(_OPTIONAL)},
        {name: one for name, one in found.reshaped.items() if not name.startswith(_OPTIONAL)},
        where,
    )
    absent = [part for part in _OPTIONAL if any(name.startswith(part) for name in (*found.missing, *found.reshaped))]
    notes = read.notes
    if POOLER in absent:
        config = replace(config, add_pooler=False)
        notes = (*notes, "the pooler is not in the file: the encoder is built without one")
        if heads and PAIR_HEAD not in absent:
            absent.append(PAIR_HEAD)
            notes = (*notes, "the pair head is left out, because it stands on the pooler")
    known = {name for name in found.extra if is_known_extra(canonical(name, read.model_type))}
    return EncoderState(
        config=config,
        tensors={name: tensor for name, tensor in found.found.items() if not name.startswith(tuple(absent))},
        report=LoadReport(
            missing=tuple(sorted(found.missing.values())),
            unexpected=tuple(sorted(set(found.extra) - known)),
            unused=tuple(sorted(known)),
            reshaped=tuple(found.reshaped.values()),
            foreign_keys=read.foreign_keys,
            ignored_keys=read.ignored_keys,
            notes=notes,
        ),
    )


def _take_decoder(found: Match, kind: ModelType, where: str) -> None:
    """Deal with a decoder saved beside the table it is tied to: its bias may be the head's, its weight is the table."""
    decoder = {"bert": "cls.predictions.decoder", "albert": "predictions.decoder"}.get(kind)
    bias, table = f"{MASKED_WORD_HEAD}bias", found.found.get(f"{ENCODER_PREFIX}embeddings.word_embeddings.weight")
    if decoder is None or table is None or (bias not in found.found and bias not in found.missing):
        return
    originals = {canonical(name, kind): name for name in found.extra}
    own_bias, weight = originals.get(f"{decoder}.bias"), originals.get(f"{decoder}.weight")
    if bias in found.missing and own_bias is not None and found.extra[own_bias].shape == table.shape[:1]:
        found.found[bias] = found.extra.pop(own_bias)
        del found.missing[bias]
    if weight is not None and not torch.equal(found.extra[weight], table):
        raise CheckpointError(
            "the masked-word head has a word table of its own; here it always shares the encoder's",
            where=f"{where}: {weight}",
            next_step="The encoder alone opens with load_encoder",
        )


def _refuse_incomplete(missing: Mapping[str, str], reshaped: Mapping[str, Reshaped], where: str) -> None:
    """Refuse a model that lacks parts it cannot do without.

    Raises:
        CheckpointError: naming every missing and every reshaped tensor.
    """
    if not missing and not reshaped:
        return
    wrong = [f"no {place}" for place in sorted(missing.values())] + [str(tensor) for tensor in reshaped.values()]
    raise CheckpointError(
        f"weights and config.json do not fit: {len(missing)} tensors of the model are missing, {len(reshaped)} have "
        "another shape",
        where=where,
        received="; ".join(wrong),
        next_step="Use the config.json that was saved with these weights, and check its model_type",
    )
