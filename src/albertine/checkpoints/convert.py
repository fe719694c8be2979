"""From one format to another, shared or unshared on the way, and proven by running both."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from albertine.checkpoints.adapting import with_activation
from albertine.checkpoints.convert_options import ACTIVATIONS, check_options, check_target
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.load import OpenedState, open_state
from albertine.checkpoints.report import listed
from albertine.checkpoints.sharing import shared, unshared
from albertine.checkpoints.state import ModelState
from albertine.checkpoints.storage import Storage, read_back
from albertine.checkpoints.verification import Verification
from albertine.checkpoints.verify import DEFAULT_TOLERANCE, compare_states
from albertine.checkpoints.writing import save_state
from albertine.errors import ConfigError, FailureError, UserError
from albertine.models.config import EncoderConfig
from albertine.models.pooling import PoolingMode, SentencePooling

__all__ = ["Conversion", "convert"]

_LOG = logging.getLogger("albertine")

SCHEMA_VERSION = 1
_REPEATED = re.compile(r"(?:^|\.)(?:position_ids|token_type_ids|predictions\.decoder\.(?:weight|bias))$")
"""Buffers, and the decoder that is tied to the word table: what is said elsewhere as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a conversion did."""

    source: str
    """What was opened."""
    source_format: str
    """The format it was in."""
    target: str
    """The folder that was written."""
    target_format: str
    """The format it is in."""
    tensors: int
    """Tensors of the model that was written."""
    parameters: int
    """Numbers in them."""
    notes: tuple[str, ...]
    """What was changed, and what the format had no place for, in sentences."""
    verification: Verification | None
    """How what was written compares with the source; None where it was not asked for."""

    def to_dict(self) -> dict[str, object]:
        """Return the document that `--json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "source_format": self.source_format,
            "target": self.target,
            "target_format": self.target_format,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "notes": list(self.notes),
            "verification": None if self.verification is None else self.verification.to_dict(),
        }

    def render(self) -> str:
        """Return the lines for a terminal."""
        lines = [
            f"{self.source} ({self.source_format}) -> {self.target} ({self.target_format}): "
            f"{self.tensors:,} tensors, {self.parameters:,} parameters",
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines if self.verification is None else [*lines, self.verification.render()])


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: TargetFormat | None = None,
    storage: Storage | None = None,
    verify: bool = False,
    activation: Literal["erf", "tanh"] | None = None,
    share: Literal["average"] | int | None = None,
    groups: int = 1,
    unshare: bool = False,
    pooling: PoolingMode | None = None,
    encoder_only: bool = False,
    allow_pickle: bool = False,
    texts: Sequence[str | tuple[str, str]] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Conversion:
    """Write a model in another format, or with weights of another size.

    Args:
        source: anything that `load_encoder` opens.
        target: the folder to write; files in it that belong to no model stay.
        to: the format; None, where only a storage is asked for, is albertine.
        storage: fp32; bf16, half of that; int8, a quarter, which only Albertine reads; None keeps the dtypes of the
            source, where those of eight bits are read as fp32.
        verify: open what was written, run both on the same texts, and keep the target from being made where an output
            differs by more than `tolerance`.
        activation: the form of GELU that the target is to have. Google's code knows the tanh form only; for a source
            with the erf form the question must be answered: tanh makes it another function (outputs move by about
            1e-3), erf keeps the function for Albertine through a note that Google's code does not read.
        share: make an ALBERT of a BERT, as a start for training: its blocks averaged, or those of one layer.
        groups: of an ALBERT made by `share`, and of nothing else.
        unshare: make a BERT of an ALBERT: every layer gets its copy of the shared block, outputs stay.
        pooling: how a text's vector is made, for a sentence-transformers target whose source does not say it.
        encoder_only: leave every head out; opens models whose head does something that is not known here.
        allow_pickle: read weights that are a pickle, with a restricted loader, where there are no others.
        texts: to verify on, texts or pairs; None for a built-in handful.
        tolerance: the largest difference of an output that `verify` lets pass.

    Raises:
        ConfigError: options that contradict each other or the source, a configuration that the format cannot hold, a
            target that is the source.
        CheckpointError: the source cannot be opened.
        FailureError: the result differs from the source, and was not kept; or the disk is full.
    """
    format = check_options(
        to=to,
        storage=storage,
        activation=activation,
        share=share,
        groups=groups,
        unshare=unshare,
        pooling=pooling,
        tolerance=tolerance,
    )
    check_target(source, Path(target))
    opened = open_state(source, allow_pickle=allow_pickle, encoder_only=encoder_only)
    changed = _changed(opened.state, to=format, activation=activation, share=share, groups=groups, unshare=unshare)
    if storage is not None:
        changed = _stored(changed, storage)
    state = changed.state if pooling is None else _with_pooling(changed.state, pooling)
    checked: list[Verification] = []
    written = save_state(
        state,
        opened.tokenizer,
        Path(target),
        format,
        storage=storage,
        task=None if encoder_only else opened.task,
        check=_checker(changed.expected, opened, texts, tolerance, (str(source), str(target)), checked)
        if verify
        else None,
    )
    return Conversion(
        source=str(source),
        source_format=opened.format,
        target=str(target),
        target_format=format,
        tensors=len(written.state.tensors),
        parameters=sum(tensor.numel() for tensor in written.state.tensors.values()),
        notes=(*_left_behind(opened), *changed.notes, *written.notes),
        verification=checked[0] if checked else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changed:
    """A model after what was asked to be changed in it."""

    state: ModelState
    expected: ModelState
    """The model whose outputs the result must have: the source, or what a change of the function made of it."""
    notes: tuple[str, ...]


def _changed(
    source: ModelState,
    *,
    to: str,
    activation: str | None,
    share: Literal["average"] | int | None,
    groups: int,
    unshare: bool,
) -> _Changed:
    """Share, unshare and change the activation, as asked."""
    state = expected = source
    notes = []
    if unshare:
        state = unshared(state)
        notes.append(f"unshared: {state.config.num_hidden_layers} layers with weights of their own, the same outputs")
    if share is not None:
        expected = state = _shared(state, groups, share)
        how = "averaged" if share == "average" else f"taken from layer {share}"
        where = "" if groups == 1 else f" of each of {groups} groups"
        notes.append(f"shared: the blocks {how}{where}, a start for training")
    form = _other_activation(state.config, to, activation)
    if form is not None:
        state, expected = with_activation(state, form), with_activation(expected, form)
        notes.append(f"the activation is now the {activation} form of GELU, and was the other one")
    if share is not None or form is not None:
        notes.append("outputs are those of the changed model, no longer the source's")
    if to == "tensorflow" and state.config.hidden_act == "gelu":
        notes.append(
            "the erf form of GELU stands in a note that Google's code does not read: it computes the tanh form"
        )
    return _Changed(state=state, expected=expected, notes=tuple(notes))


def _stored(changed: _Changed, storage: Storage) -> _Changed:
    """Round the weights as they will be stored, and say by how much that moves them."""
    state, expected = (
        replace(one, tensors=read_back(one.tensors, storage)) for one in (changed.state, changed.expected)
    )
    before = changed.state.tensors
    moved = max((_distance(before[name], tensor) for name, tensor in state.tensors.items()), default=0.0)
    if not moved:
        return replace(changed, state=state, expected=expected)
    note = f"stored as {storage}: a weight moved by {moved:.2g} at most, and outputs are those of the rounded weights"
    return _Changed(state=state, expected=expected, notes=(*changed.notes, note))


def _distance(tensor: Tensor, other: Tensor) -> float:
    return float((other.float() - tensor.float()).abs().max()) if tensor.numel() else 0.0


def _left_behind(opened: OpenedState) -> tuple[str, ...]:
    """Name the tensors of the source that no format has a place for, because what they do is not known."""
    report = opened.report
    names = [name for name in (*report.unexpected, *report.unused) if not _REPEATED.search(name)]
    return (f"not carried over, tensors of the source beyond what is read: {listed(names)}",) if names else ()


def _shared(state: ModelState, groups: int, method: Literal["average"] | int) -> ModelState:
    try:
        return shared(state, groups=groups, method=method)
    except ConfigError as error:  # by the names that this function's arguments have
        where = "share" if error.where == "method" else error.where
        raise ConfigError(
            error.what, where=where, received=error.received, allowed=error.allowed, next_step=error.next_step
        ) from error


def _other_activation(config: EncoderConfig, to: str, wanted: str | None) -> Literal["gelu", "gelu_tanh"] | None:
    """Return the activation that the model is to get; None where it keeps its own."""
    if wanted is not None:
        return None if config.hidden_act == ACTIVATIONS[wanted] else ACTIVATIONS[wanted]
    if to == "tensorflow" and config.hidden_act == "gelu":
        raise ConfigError(
            "Google's code computes the tanh form of GELU only, and this model has the erf form",
            where="activation",
            received="nothing said",
            allowed="tanh: the target computes the tanh form everywhere, outputs move by about 1e-3; "
            "erf: Albertine goes on computing the erf form, Google's code the tanh form",
            next_step="Repeat with --activation tanh or --activation erf",
        )
    return None


def _with_pooling(state: ModelState, mode: PoolingMode) -> ModelState:
    if state.pooling is not None:
        raise ConfigError(
            "the source says itself how a text's vector is made",
            where="pooling",
            received=mode,
            allowed=", ".join(state.pooling.modes),
            next_step="Leave the option out",
        )
    return replace(state, pooling=SentencePooling(modes=(mode,)))


def _checker(
    expected: ModelState,
    opened: OpenedState,
    texts: Sequence[str | tuple[str, str]] | None,
    tolerance: float,
    names: tuple[str, str],
    checked: list[Verification],
) -> Callable[[Path, ModelState], None]:
    """Return what opens the folder that was written, and refuses it where it is another model."""

    def check(folder: Path, written: ModelState) -> None:
        again = _reopened(folder, names[1])
        result = compare_states(
            _as_the_format_names_it(expected, written),
            again.state,
            tokenizers=(opened.tokenizer, again.tokenizer),
            texts=texts,
            tolerance=tolerance,
            names=names,
        )
        checked.append(result)
        if wrong := (*_not_as_written(written, again.state), *_disagreements(result)):
            _LOG.warning("what was written, compared with the source:\n%s", result.render())
            raise FailureError(
                "what was written is not what was to be written, and was not kept",
                where=names[1],
                received="; ".join(wrong),
                next_step="Convert without --verify to look at it, and report it, unless the tolerance is too small",
            )

    return check


def _as_the_format_names_it(expected: ModelState, written: ModelState) -> ModelState:
    """Return what is expected under the labels that the format has, and with a pooling where it needs one."""
    head, pooling = expected.head, expected.pooling or written.pooling
    if head is not None and written.head is not None and len(head.labels) == len(written.head.labels):
        numbered = all(label == f"LABEL_{index}" for index, label in enumerate(written.head.labels))
        head = replace(head, labels=written.head.labels) if numbered else head
    return replace(expected, head=head, pooling=pooling)


def _reopened(folder: Path, target: str) -> OpenedState:
    """Open what was written, under a name that nobody is to see."""
    try:
        return open_state(folder, quiet=True)
    except UserError as error:  # whose file it is, and whose fault
        raise FailureError(
            f"what was written cannot be opened again, and was not kept: {error.what}",
            where=target,
            received=error.received,
            next_step="Report this with the source's configuration",
        ) from error


def _not_as_written(written: ModelState, again: ModelState) -> list[str]:
    """Say in what a folder differs from what was to be written: bits of the weights, or what stands beside them."""
    wrong = [name for name, tensor in written.tensors.items() if not _same(tensor, again.tensors.get(name))]
    wrong += sorted(set(again.tensors) - set(written.tensors))
    found = [f"{len(wrong)} of {len(written.tensors)} tensors: {listed(wrong)}"] if wrong else []
    parts = {
        "configuration": written.config == again.config,
        "task and labels": written.head == again.head,
        "sentence pooling": written.pooling == again.pooling,
    }
    return found + [f"another {name}" for name, equal in parts.items() if not equal]


def _disagreements(result: Verification) -> list[str]:
    """Say in which outputs the two models are further apart than was allowed."""
    wrong = [output for output in result.outputs if not output.within]
    found = [f"{one.name}: {one.detail if one.largest is None else f'{one.largest:.2g} apart'}" for one in wrong]
    if result.tokenizer_difference is not None:
        found.append(f"the tokenizers differ: {result.tokenizer_difference}")
    return found


def _same(tensor: Tensor, other: Tensor | None) -> bool:
    if other is None or other.dtype != tensor.dtype or other.shape != tensor.shape:
        return False
    return torch.equal(other.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
