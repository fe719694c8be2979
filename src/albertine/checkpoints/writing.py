"""Named tensors > a folder in one of the formats, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from albertine.checkpoints.bundle.writer import write_bundle, write_checkpoint_state
from albertine.checkpoints.card import encoder_card, encoder_manifest
from albertine.checkpoints.fitting import Fitted, TargetFormat, fitted
from albertine.checkpoints.google.config import google_config, google_layout
from albertine.checkpoints.google.names import GoogleLayout, google_places
from albertine.checkpoints.huggingface import ModelType, config_to_json, model_type
from albertine.checkpoints.huggingface_heads import head_config
from albertine.checkpoints.names import ENCODER_PREFIX, MASKED_WORD_HEAD, PAIR_HEAD, file_names
from albertine.checkpoints.native import (
    TASK_FILE,
    TASK_SCHEMA_VERSION,
    replaced_files,
    replaced_names,
    write_model_files,
)
from albertine.checkpoints.opening import checkpoint_files
from albertine.checkpoints.report import listed
from albertine.checkpoints.sentence_transformers import write_sentence_transformers
from albertine.checkpoints.state import ModelState, TaskHead
from albertine.checkpoints.storage import Storage, check_storage, read_back
from albertine.errors import CheckpointError
from albertine.files import write_json
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["save_encoder", "save_state"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _GoogleNames:
    """What the files of a published checkpoint are called."""

    config: str
    prefix: str


_GOOGLE_FILES: Mapping[GoogleLayout, _GoogleNames] = {
    "google-bert": _GoogleNames(config="bert_config.json", prefix="bert_model.ckpt"),
    "google-albert": _GoogleNames(config="albert_config.json", prefix="model.ckpt-best"),
    "brightmart-albert": _GoogleNames(config="albert_config.json", prefix="albert_model.ckpt"),
}


def save_encoder(
    encoder: Encoder | PretrainingModel,
    tokenizer: Tokenizer | None,
    folder: str | Path,
    format: TargetFormat = "huggingface",
    *,
    storage: Storage | None = None,
) -> None:
    """Write an encoder, with its pretraining heads where it has them, to a folder.

    Args:
        encoder: in any dtype.
        tokenizer: written beside it; None writes none.
        folder: made where it does not exist; files in it that belong to no model stay.
        format: huggingface: a folder that transformers opens and computes the same with, refused for a configuration
            that transformers has no code for; albertine: the same where that is possible, else our own names;
            tensorflow: what Google's code reads; sentence-transformers: the encoder with mean pooling.
        storage: fp32; bf16, half of that; int8, a quarter, for the format albertine alone; None keeps the dtype.

    Raises:
        ConfigError: an unknown format, or a configuration or a storage that the format cannot hold.
        CheckpointError: files of another model would stay beside this one.
        FailureError: the disk is full or the place cannot be written to; what stood there before is unchanged.
    """
    prefix = "" if isinstance(encoder, PretrainingModel) else ENCODER_PREFIX
    tensors = {prefix + name: tensor for name, tensor in encoder.state_dict().items()}
    state = ModelState(config=encoder.config, tensors=tensors)
    save_state(state, tokenizer, Path(folder), format, storage=storage)


def save_state(
    state: ModelState,
    tokenizer: Tokenizer | None,
    folder: Path,
    format: TargetFormat,
    *,
    storage: Storage | None = None,
    task: Mapping[str, object] | None = None,
    manifest: Mapping[str, object] | None = None,
    card: str | None = None,
    check: Callable[[Path, ModelState], None] | None = None,
) -> Fitted:
    """Write a model to a folder in one of the formats.

    Args:
        state: the model.
        tokenizer: written beside it; None writes none.
        folder: made where it does not exist; files in it that belong to no model stay.
        format: see `save_encoder`.
        storage: likewise.
        task: task.json of the source, kept where the format has a place for it.
        manifest: of the training that made the model, in place of one that says nothing but versions.
        card: the model card that tells of that training, likewise.
        check: called with the folder that is complete and not yet in its place, and the model that was written; what it
            raises keeps it from there.

    Returns:
        The model as it was written, with the values that reading it gives, and what the format had no place for.

    Raises:
        ConfigError: an unknown format, or a configuration or a storage that the format cannot hold.
        CheckpointError: a configuration that no original TensorFlow code computes; a folder in which files of another
            model, which is not ours to remove, would stay beside this one.
        FailureError: the disk is full or the place cannot be written to; what stood there before is unchanged.
    """
    fit = fitted(state, format)
    if storage is not None:
        check_storage(storage, format=format)
        fit = replace(fit, state=replace(fit.state, tensors=read_back(fit.state.tensors, storage)))
    if task is not None and format != "albertine":
        fit = replace(
            fit, notes=(*fit.notes, "task.json is left out, with calibration and thresholds: it is Albertine's")
        )
    with replaced_files(folder) as new:
        if format == "tensorflow":
            _write_tensorflow(new, fit.state)
            if tokenizer is not None:
                tokenizer.save(new, max_length=fit.state.config.max_position_embeddings)
        else:
            _write_model(
                new,
                fit.state,
                tokenizer,
                task=task if format == "albertine" else None,
                manifest=manifest or encoder_manifest(),
                card=card or encoder_card(fit.state.config, folder.name),
                int8=storage == "int8",
            )
            head = fit.state.head
            if format == "albertine" and head is not None and head.problem == "single" and task is None:
                write_json(new / TASK_FILE, _task_values(fit.state, head))
        _refuse_mixture(folder, new)
        if check is not None:
            check(new, fit.state)
    return fit


def _refuse_mixture(folder: Path, new: Path) -> None:
    """Refuse a folder in which files of another model would stay, which could be read instead of the new ones."""
    if not folder.is_dir():
        return
    there = {path.relative_to(folder) for path in checkpoint_files(folder)} - replaced_names(folder)
    stays = sorted(str(name) for name in there if not (new / name).is_file())
    if stays:
        raise CheckpointError(
            "another model stands in this folder, and its files would mix with the new ones",
            where=str(folder),
            received=listed(stays),
            next_step="Name a new folder, or remove these files first",
        )


def _write_model(
    folder: Path,
    state: ModelState,
    tokenizer: Tokenizer | None,
    *,
    task: Mapping[str, object] | None,
    manifest: Mapping[str, object],
    card: str,
    int8: bool,
) -> None:
    if state.pooling is not None:
        write_sentence_transformers(folder, state.pooling, state.tensors, hidden_size=state.config.hidden_size)
    tensors = {name: tensor for name, tensor in state.tensors.items() if not name.startswith("pooling.")}
    config = state.config
    kind = "albertine" if int8 else model_type(config)  # what others cannot read they are to refuse
    names = file_names(tensors, config, kind)
    write_model_files(
        folder,
        config=config_to_json(config, kind) | _class_of(state, kind),
        tensors={names[name]: tensor for name, tensor in tensors.items()},
        tokenizer=tokenizer,
        task=task,
        manifest=manifest,
        card=card,
        int8=int8,
    )


def _write_tensorflow(folder: Path, state: ModelState) -> None:
    layout = google_layout(state.config)
    files = _GOOGLE_FILES[layout]
    places = google_places(state.tensors, state.config, layout)
    write_json(folder / files.config, google_config(state.config, layout))
    write_bundle(
        folder / files.prefix,
        {
            place.name: state.tensors[name].t() if place.transposed else state.tensors[name]
            for name, place in places.items()
        },
    )
    write_checkpoint_state(folder / files.prefix)


def _class_of(state: ModelState, kind: ModelType) -> dict[str, object]:
    """Name the class of transformers that the tensors make up, as its own folders do."""
    if kind == "albertine":
        return {}
    if state.head is not None:
        return head_config(state.head, kind)
    has_words = any(name.startswith(MASKED_WORD_HEAD) for name in state.tensors)
    has_pair = any(name.startswith(PAIR_HEAD) for name in state.tensors)
    suffix = "ForPreTraining" if has_words and has_pair else "ForMaskedLM" if has_words else "Model"
    if has_pair and not has_words and kind == "bert":  # transformers' ALBERT has no class for this
        suffix = "ForNextSentencePrediction"
    return {"architectures": [kind.capitalize() + suffix]}


def _task_values(state: ModelState, head: TaskHead) -> dict[str, object]:
    """Return task.json of a head that came from elsewhere: what is known of it."""
    return {
        "schema_version": TASK_SCHEMA_VERSION,
        "task": head.task,
        "labels": list(head.labels),
        "max_length": state.config.max_position_embeddings,
        "pairs": None,
    }
