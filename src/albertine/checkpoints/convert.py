"""From one format to another, shared or unshared on the way, and proven by running both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from albertine.checkpoints.adapting import with_activation
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.load import OpenedState, open_state
from albertine.checkpoints.report import listed
from albertine.checkpoints.sharing import shared, unshared
from albertine.checkpoints.state import ModelState
from albertine.checkpoints.verification import Verification
from albertine.checkpoints.verify import DEFAULT_TOLERANCE, compare_states
from albertine.checkpoints.writing import save_state
from albertine.errors import ConfigError, FailureError, unknown_name
from albertine.models.pooling import PoolingMode, SentencePooling

__all__ = ["Conversion", "convert"]

_LOG = logging.getLogger("albertine")

SCHEMA_VERSION = 1
_ACTIVATIONS: dict[str, Literal["gelu", "gelu_tanh"]] = {"erf": "gelu", "tanh": "gelu_tanh"}


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
    to: TargetFormat,
    verify: bool = False,
    activation: Literal["erf", "tanh"] | None = None,
    share: Literal["average"] | int | None = None,
    groups: int = 1,
    unshare: bool = False,
    pooling: PoolingMode | None = None,
    allow_pickle: bool = False,
    texts: Sequence[str | tuple[str, str]] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Conversion:
    """Write a model in another format.

    Args:
        source: anything that `load_encoder` opens.
        target: the folder to write; files in it that belong to no model stay.
        to: the format.
        verify: open what was written, run both on the same texts, and keep the target from being made where an output
            differs by more than `tolerance`.
        activation: the form of GELU that the target is to have. Google's code knows the tanh form only; for a source
            with the erf form the question must be answered: tanh makes it another function (outputs move by about
            1e-3), erf keeps the function for Albertine through a note that Google's code does not read.
        share: make an ALBERT of a BERT, as a start for training: its blocks averaged, or those of one layer.
        groups: of an ALBERT made by `share`.
        unshare: make a BERT of an ALBERT: every layer gets its copy of the shared block, outputs stay.
        pooling: how a text's vector is made, for a sentence-transformers target whose source does not say it.
        allow_pickle: read weights that are a pickle, with a restricted loader, where there are no others.
        texts: to verify on, texts or pairs; None for a built-in handful.
        tolerance: the largest difference of an output that `verify` lets pass.

    Raises:
        ConfigError: options that contradict each other or the source, a configuration that the format cannot hold, a
            target that is the source.
        CheckpointError: the source cannot be opened.
        FailureError: the result differs from the source, and was not kept; or the disk is full.
    """
    _check(source, target, to=to, activation=activation, share=share, unshare=unshare, pooling=pooling)
    opened = open_state(source, allow_pickle=allow_pickle)
    state, notes = opened.state, []
    expected = opened.state
    if unshare:
        state = unshared(state)
        notes.append(f"unshared: {state.config.num_hidden_layers} layers with weights of their own, the same outputs")
    if share is not None:
        expected = state = shared(state, groups=groups, method=share)
        how = "averaged" if share == "average" else f"taken from layer {share}"
        where = "" if groups == 1 else f" of each of {groups} groups"
        notes.append(f"shared: the blocks {how}{where}, a start for training")
    state, changed = _with_activation(state, to, activation)
    if changed:
        notes.append(changed)
        expected = state
    if pooling is not None:
        expected = state = _with_pooling(state, pooling)
    if share is not None or changed:
        notes.append("outputs are those of the changed model, no longer the source's")
    checked: list[Verification] = []
    written = save_state(
        state,
        opened.tokenizer,
        Path(target),
        to,
        task=opened.task,
        check=_checker(expected, opened, texts, tolerance, (str(source), str(target)), checked) if verify else None,
    )
    return Conversion(
        source=str(source),
        source_format=opened.format,
        target=str(target),
        target_format=to,
        tensors=len(written.state.tensors),
        parameters=sum(tensor.numel() for tensor in written.state.tensors.values()),
        notes=(*notes, *written.notes),
        verification=checked[0] if checked else None,
    )


def _check(
    source: str | Path,
    target: str | Path,
    *,
    to: str,
    activation: str | None,
    share: str | int | None,
    unshare: bool,
    pooling: str | None,
) -> None:
    """Refuse what cannot be meant, before anything is read."""
    if to not in get_args(TargetFormat):
        raise unknown_name("format", to, get_args(TargetFormat), where="to")
    if activation is not None and activation not in _ACTIVATIONS:
        raise unknown_name("activation", activation, tuple(_ACTIVATIONS), where="activation")
    if share is not None and unshare:
        raise ConfigError("a model is either shared or unshared", where="share", received="both")
    if isinstance(share, str) and share != "average":
        raise ConfigError(
            "this is no way to share layers", where="share", received=share, allowed="average, or a layer's number"
        )
    if pooling is not None and to != "sentence-transformers":
        raise ConfigError(
            "only a sentence-transformers folder has a place for a pooling", where="pooling", received=f"to {to}"
        )
    if Path(source).exists() and Path(target).exists() and Path(source).resolve() == Path(target).resolve():
        raise ConfigError(
            "source and target are the same folder",
            where="target",
            received=str(target),
            next_step="Name a new folder",
        )


def _with_activation(state: ModelState, to: str, activation: str | None) -> tuple[ModelState, str | None]:
    """Answer the question of the activation; return what it changed, None where the function stays."""
    own = state.config.hidden_act
    if to == "tensorflow" and own == "gelu" and activation is None:
        raise ConfigError(
            "Google's code computes the tanh form of GELU only, and this model has the erf form",
            where="activation",
            received="nothing said",
            allowed="tanh: the target computes the tanh form everywhere, outputs move by about 1e-3; "
            "erf: Albertine goes on computing the erf form, Google's code the tanh form",
            next_step="Repeat with --activation tanh or --activation erf",
        )
    if activation is None or own == _ACTIVATIONS[activation]:
        return state, None
    changed = with_activation(state, _ACTIVATIONS[activation])
    return changed, f"the activation is now the {activation} form of GELU, and was the other one"


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
        again = open_state(folder)
        _refuse_other_weights(written, again.state, names[1])
        result = compare_states(
            expected,
            again.state,
            tokenizers=(opened.tokenizer, again.tokenizer),
            texts=texts,
            tolerance=tolerance,
            names=names,
        )
        checked.append(result)
        if not result.passed:
            raise FailureError(
                f"what was written is another model than the source, and was not kept:\n{result.render()}\n",
                where=names[1],
                next_step="Convert without --verify to look at it, and report this with both configurations",
            )

    return check


def _refuse_other_weights(written: ModelState, again: ModelState, where: str) -> None:
    """Refuse a folder whose weights are not, bit for bit, those that were to be written."""
    wrong = [name for name, tensor in written.tensors.items() if not _same(tensor, again.tensors.get(name))]
    wrong += sorted(set(again.tensors) - set(written.tensors))
    if wrong:
        raise FailureError(
            f"{len(wrong)} of {len(written.tensors)} tensors do not come back as they were written: {listed(wrong)}",
            where=where,
            next_step="Check the disk, and report this with both configurations",
        )


def _same(tensor: Tensor, other: Tensor | None) -> bool:
    return other is not None and other.dtype == tensor.dtype and torch.equal(other, tensor)
