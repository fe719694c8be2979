"""Tensors of a file > parameters of an encoder, with a report of everything that does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from albertine.checkpoints.diagnosis import likely_cause
from albertine.checkpoints.huggingface import LayoutName, ReadConfig
from albertine.checkpoints.layouts import LAYOUTS
from albertine.checkpoints.names import ENCODER_PREFIX, MASKED_WORD_HEAD, PAIR_HEAD, POOLER, Place
from albertine.checkpoints.report import LoadReport, Reshaped, listed
from albertine.checkpoints.source import TensorSource, read_tensor
from albertine.checkpoints.state import TaskHead
from albertine.errors import CheckpointError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

__all__ = ["EncoderState", "Match", "encoder_state", "fill", "match", "read_placed"]

_OPTIONAL = (POOLER, MASKED_WORD_HEAD, PAIR_HEAD)
"""Parts without which an encoder is still one."""
_HEAD_NAMES = {MASKED_WORD_HEAD: "masked-word head", PAIR_HEAD: "sentence-pair head"}
_DECODER = f"{MASKED_WORD_HEAD}decoder.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What of a file found its place."""

    found: dict[str, Place]
    """Our name -> where it lies in the file, by the name it has there."""
    missing: dict[str, str]
    """Our name -> the name that was looked for in the file."""
    extra: dict[str, str]
    """Names of the file without a place, as they are there -> as the newest code writes them."""
    reshaped: dict[str, Reshaped]
    """Tensors with a place of another shape, by our names."""


def match(source: TensorSource, expected: Mapping[str, torch.Size], config: EncoderConfig, layout: LayoutName) -> Match:
    """Find every expected tensor in a file.

    Args:
        source: tensors by the names of the file, of any age.
        expected: our name -> shape.
        config: of the encoder.
        layout: whose names the file has.

    Raises:
        CheckpointError: two tensors that differ are one of the model's by their names.
    """
    rules = LAYOUTS[layout]
    looked_for = rules.places(expected, config)
    ours = {place.name: name for name, place in looked_for.items()}
    candidates: dict[str, list[str]] = {}
    extra: dict[str, str] = {}
    for original in source.entries:
        known = rules.canonical(original)
        if known in ours:
            candidates.setdefault(known, []).append(original)
        else:
            extra[original] = known
    found: dict[str, Place] = {}
    reshaped: dict[str, Reshaped] = {}
    for known, originals in candidates.items():
        name, chosen = ours[known], _the_one(source, known, originals)
        transposed, shape = looked_for[name].transposed, tuple(expected[name])
        wanted, given = shape[::-1] if transposed else shape, source.entries[chosen].shape
        if given != wanted:
            reshaped[name] = Reshaped(name=chosen, found=given, expected=wanted)
        else:
            found[name] = Place(name=chosen, transposed=transposed)
    missing = {name: place.name for name, place in looked_for.items() if name not in found and name not in reshaped}
    return Match(found=found, missing=missing, extra=extra, reshaped=reshaped)


def _the_one(source: TensorSource, known: str, originals: Sequence[str]) -> str:
    """Choose among the tensors that mean the same: the one of that very name, or any where they are all equal."""
    if len(originals) == 1 or known in originals:
        return known if known in originals else originals[0]
    first = read_tensor(source, originals[0])
    for other in originals[1:]:
        if source.entries[other].shape != tuple(first.shape) or not torch.equal(read_tensor(source, other), first):
            raise CheckpointError(
                "two tensors of the file are the same one of the model by their names, and differ",
                where=str(source.path),
                received=listed(originals),
                allowed=known,
                next_step="Keep the one that belongs to the encoder, under that name",
            )
    return originals[0]


def _refuse_other_numbers(source: TensorSource, name: str) -> None:
    dtype = source.entries[name].dtype
    if not dtype.is_floating_point:
        raise CheckpointError(
            "this weight is not made of floating-point numbers: the model was quantized, or the file is another's",
            where=f"{source.path}: {name}",
            received=str(dtype).removeprefix("torch."),
            allowed="float32, float16, bfloat16, float64",
            next_step="Open the model that it was made from",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderState:
    """The parameters that a file has for an encoder, and for its heads where they were asked for."""

    config: EncoderConfig
    """As read, but for the pooler, which is there only where the file has it, and the tie of the word head."""
    places: dict[str, Place]
    """By the names of `PretrainingModel`; a head is there whole or not at all."""
    report: LoadReport

    def has(self, part: str) -> bool:
        """Say whether the file has a part: POOLER, MASKED_WORD_HEAD or PAIR_HEAD of `names`."""
        return any(name.startswith(part) for name in self.places)


def encoder_state(
    source: TensorSource, read: ReadConfig, *, heads: bool, task_head: TaskHead | None = None, where: str
) -> EncoderState:
    """Settle for what a file has: the encoder must be complete, pooler and heads may be absent.

    Args:
        source: tensors by the names of the file.
        read: its configuration.
        heads: whether the masked-word and pair heads are wanted.
        task_head: the fine-tuned head that is wanted too, which must then be complete.
        where: the folder, for messages.

    Raises:
        CheckpointError: a tensor of the encoder or the task's head is missing, of another shape or not of floating
            point numbers; the file has tensors of an encoder that the configuration has no place for.
    """
    config = read.config
    with torch.device("meta"):
        whole = PretrainingModel(config, masked_word=heads, pair=heads and config.add_pooler)
    expected = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    if task_head is not None:
        rows = len(task_head.labels)
        expected[f"{task_head.module}.weight"] = torch.Size((rows, config.hidden_size))
        expected[f"{task_head.module}.bias"] = torch.Size((rows,))
    found = match(source, expected, config, read.layout)
    notes = read.notes
    if _take_decoder(found, source, read.layout):
        config = replace(config, tie_word_embeddings=False)
        notes = (
            *notes,
            "the masked-word head has a word table of its own, other than the encoder's: both stay",
        )
    _refuse_incomplete(found, source, read, where)
    for place in found.found.values():
        _refuse_other_numbers(source, place.name)
    absent = [part for part in _OPTIONAL if any(name.startswith(part) for name in (*found.missing, *found.reshaped))]
    if POOLER in absent:
        config = replace(config, add_pooler=False)
        notes = (*notes, "the pooler is not in the file: the encoder is built without one")
        if heads and PAIR_HEAD not in absent:
            absent.append(PAIR_HEAD)
            notes = (*notes, "the pair head is left out, because it stands on the pooler")
    # A head of which nothing is there is no damage: most models have none of the two.
    without = {head for head in (MASKED_WORD_HEAD, PAIR_HEAD) if not _has_some(head, found)}
    told = (*without, *(() if _has_some(POOLER, found) else (POOLER,)))  # of a missing pooler there is a note
    known = {name for name, known in found.extra.items() if LAYOUTS[read.layout].is_known_extra(known)}
    return EncoderState(
        config=config,
        places={name: place for name, place in found.found.items() if not name.startswith(tuple(absent))},
        report=LoadReport(
            missing=tuple(sorted(place for name, place in found.missing.items() if not name.startswith(told))),
            absent=tuple(_HEAD_NAMES[head] for head in sorted(without)) if heads else (),
            unexpected=tuple(sorted(set(found.extra) - known)),
            unused=tuple(sorted(known)),
            reshaped=tuple(found.reshaped.values()),
            foreign_keys=read.foreign_keys,
            ignored_keys=read.ignored_keys,
            notes=notes,
        ),
    )


def read_placed(source: TensorSource, place: Place, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor of a file as ours: its rows and columns in our order, in memory of its own.

    Args:
        source: the file.
        place: where the tensor lies.
        dtype: the type it gets; None keeps the file's.

    Raises:
        CheckpointError: the file is truncated or damaged.
    """
    entry = source.entries[place.name]
    shape = entry.shape[::-1] if place.transposed else entry.shape
    tensor = torch.empty(shape, dtype=dtype or entry.dtype)
    source.copy(place.name, tensor.t() if place.transposed else tensor)
    return tensor


def fill(
    module: nn.Module,
    source: TensorSource,
    places: Mapping[str, Place],
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Give a module that was built without memory its weights, one at a time, and set it to evaluation.

    Args:
        module: built on the meta device.
        source: the file.
        places: where each of its tensors lies.
        device: where the weights go.
        dtype: the type they get, whatever the file has.

    Raises:
        CheckpointError: the file is truncated or damaged.
    """
    state = {name: read_placed(source, place, dtype).to(device) for name, place in places.items()}
    module.load_state_dict(state, assign=True)
    module.eval()


def _has_some(part: str, found: Match) -> bool:
    return any(name.startswith(part) for name in (*found.found, *found.reshaped))


def _take_decoder(found: Match, source: TensorSource, layout: LayoutName) -> bool:
    """Deal with a decoder saved beside the table that it may be tied to: its bias may be the head's.

    Returns:
        Whether its weight is another table than the encoder's.
    """
    decoder = LAYOUTS[layout].decoder
    bias, table = f"{MASKED_WORD_HEAD}bias", found.found.get(f"{ENCODER_PREFIX}embeddings.word_embeddings.weight")
    if decoder is None or table is None or (bias not in found.found and bias not in found.missing):
        return False
    originals = {known: original for original, known in found.extra.items()}
    own_bias, weight = originals.get(f"{decoder}.bias"), originals.get(f"{decoder}.weight")
    words = source.entries[table.name].shape
    if bias in found.missing and own_bias is not None and source.entries[own_bias].shape == words[:1]:
        found.found[bias] = Place(name=own_bias)
        del found.missing[bias], found.extra[own_bias]
    if weight is None or source.entries[weight].shape != words:
        return False
    if torch.equal(read_tensor(source, weight), read_tensor(source, table.name)):
        return False
    found.found[_DECODER] = Place(name=weight)
    del found.extra[weight]
    return True


def _refuse_incomplete(found: Match, source: TensorSource, read: ReadConfig, where: str) -> None:
    """Refuse a model that lacks parts it cannot do without.

    Raises:
        CheckpointError: naming every missing and every reshaped tensor, and what is probably behind it.
    """
    missing = {name: place for name, place in found.missing.items() if not name.startswith(_OPTIONAL)}
    heads = (MASKED_WORD_HEAD, PAIR_HEAD)
    reshaped = {name: one for name, one in found.reshaped.items() if not name.startswith(heads)}
    rules = LAYOUTS[read.layout]
    beyond = [
        name for name, known in found.extra.items() if rules.body.match(known) and not rules.is_known_extra(known)
    ]
    if not missing and not reshaped and not beyond:
        return
    what = [f"{len(missing)} tensors of the model are missing, {len(reshaped)} have another shape"]
    if beyond:
        what.append(f"{len(beyond)} of the file's have no place in it")
    wrong = [str(tensor) for tensor in reshaped.values()] + [f"no {place}" for place in sorted(missing.values())]
    raise CheckpointError(
        f"weights and configuration do not fit: {', '.join(what)}",
        where=where,
        received=listed([*wrong, *(f"{name} without a place" for name in beyond)]),
        next_step=likely_cause(found, source, read),
    )
