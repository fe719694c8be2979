"""What is to be exported: any model or encoder that opens, with the head that its graph gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from albertine.checkpoints.card import encoder_card, encoder_manifest
from albertine.checkpoints.huggingface import config_to_json
from albertine.checkpoints.load import Loaded, open_encoder, open_pretraining, preset_asked_for
from albertine.checkpoints.native import TASK_FILE
from albertine.checkpoints.opening import open_checkpoint
from albertine.errors import ConfigError
from albertine.inference.export.heads import (
    ClassifierHead,
    Head,
    IntentSlotsHead,
    SpanHead,
    StatesHead,
    TaggerHead,
    VectorHead,
)
from albertine.inference.folder import folder_config
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.models.pooling import PoolingMode, SentenceEncoder, SentencePooling
from albertine.records import Batch
from albertine.shipped import shipped_folder
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.classifier import Classifier
from albertine.tasks.config import TaskConfig
from albertine.tasks.intent_slots_module import IntentSlotTagger
from albertine.tasks.sentence_similarity import BiEncoder
from albertine.tasks.span_predictor import SpanPredictor
from albertine.tasks.tagger import Tagger, TaggingModule
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["Subject", "open_subject"]

_BODY, _ENCODER = "body.", "encoder."
"""What the names of an encoder's parameters begin with in a task's module, and elsewhere."""

_LABELS = "A score for every label, in the order of task.json's labels; divide by its temperature first."
_NUMBER = "The predicted number on the scale of the training: times value_spread, plus value_mean of task.json."
_LIKENESS = "How alike the two texts are; its logistic function is between 0 and 1."


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model in memory, float32 on the CPU, in evaluation mode."""

    config: EncoderConfig
    """Of its encoder."""
    module: nn.Module
    prefix: str
    """What the names of the encoder's parameters begin with in the module."""
    head: Head
    run: Callable[[Batch], Any]
    """Calls the module on a padded batch; `head` takes apart what comes back."""
    tokenizer: Tokenizer | None
    """None for an encoder without one, which takes ids."""
    max_length: int
    """Tokens that it reads at a time."""
    config_json: Mapping[str, object]
    """config.json, as in a model folder."""
    card: str
    """The model card, Markdown."""
    manifest: Mapping[str, object]
    """manifest.json: how it was trained, or the versions that opened it."""
    format: str
    """What it was read from."""
    lowercase: bool = False
    """Whether texts are lower-cased before the tokenizer sees them."""
    model: Model | None = None
    """The task model that it is; None for an encoder."""


def open_subject(
    source: str | Path,
    *,
    encoder_only: bool = False,
    pooling: PoolingMode | None = None,
    allow_pickle: bool = False,
) -> Subject:
    """Open what is to be exported.

    Args:
        source: a trained model, or anything else that `load_encoder` opens.
        encoder_only: leave every head out.
        pooling: give one vector a text, made in this way; for an encoder whose folder does not say how.
        allow_pickle: read weights that are a pickle, with a restricted loader, where there are no others.

    Raises:
        CheckpointError: something in the folder is missing, damaged, a pickle, or not known.
        ConfigError: no such folder or name; a model that cannot be exported; a pooling for a model that has its own.
    """
    folder = shipped_folder(source) or Path(source)
    trained = (folder / TASK_FILE).is_file()
    kind = "preset" if preset_asked_for(source, say_random=False) is not None else "albertine"
    sentence = None
    if not trained and kind != "preset":
        with open_checkpoint(source, allow_pickle=allow_pickle) as opened:
            kind, sentence = opened.format, opened.sentence
            trained = sentence is None and opened.task_head() is not None
    if trained and not encoder_only:
        if pooling is not None:
            raise _needless_pooling("a trained model", pooling)
        return _of_model(load(source, precision="fp32"), str(source), kind)
    if pooling is not None or (sentence is not None and not encoder_only):
        if pooling is not None and sentence is not None:
            raise _needless_pooling("the source", pooling)
        return _of_sentences(open_encoder(source, allow_pickle=allow_pickle), pooling, str(source), kind)
    pretraining = open_pretraining(source, allow_pickle=allow_pickle)
    if encoder_only:
        pretraining.module.masked_word_head = pretraining.module.pair_head = None
    return _of_encoder(pretraining, str(source), kind)


def _needless_pooling(what: str, pooling: str) -> ConfigError:
    return ConfigError(
        f"{what} says itself what it makes of a text's states",
        where="pooling",
        received=pooling,
        next_step="Leave the option out",
    )


def _of_model(model: Model, source: str, kind: str) -> Subject:
    config, module = model.config, model.learnt
    if not isinstance(config, EncoderConfig) or not isinstance(module, nn.Module):
        raise ConfigError(
            "this model has no encoder, and only encoders and what stands on them are exported",
            where=source,
            received=f"the baseline {model.body_kind}",
            allowed="BERT, ALBERT and what Albertine's other columns of values make",
            next_step="Use it as it is: it is small, and Albertine answers with it by itself",
        )
    return Subject(
        config=config,
        module=module,
        prefix=_BODY,
        head=_task_head(module, model.task_config, source),
        run=module,
        tokenizer=model.tokenizer,
        max_length=min(model.task_config.max_length or config.max_position_embeddings, config.max_position_embeddings),
        config_json=folder_config(config, None if model.task.head is None else model.task.head(model.task_config)),
        card=model.card or encoder_card(config, Path(source).name),
        manifest=model.manifest,
        format=kind,
        model=model,
    )


def _task_head(module: nn.Module, task_config: TaskConfig, source: str) -> Head:
    """Return the head of a task's module.

    Raises:
        ConfigError: a task whose answers one run of a graph does not hold.
    """
    if isinstance(module, Classifier):
        if task_config.task != "text-classification":
            return ClassifierHead(1, _LIKENESS)
        number = task_config.own(ClassificationOptions).problem == "regression"
        return ClassifierHead(module.classifier.out_features, _NUMBER if number else _LABELS)
    if type(module) is Tagger:
        return _tagger(module)
    if isinstance(module, IntentSlotTagger):
        return IntentSlotsHead(module.intents.out_features, _tagger(module))
    if isinstance(module, SpanPredictor):
        return SpanHead()
    if isinstance(module, BiEncoder) and module.pooling is not None:
        assert isinstance(module.body, Encoder), "what pools states has an encoder"
        return VectorHead(module.pooling.pooling, module.body.config.hidden_size, "pooling.")
    raise ConfigError(
        "models of this task cannot be exported: an answer takes more than one run of a graph, which depend on each "
        "other",
        where=source,
        received=task_config.task,
        allowed="text-classification, token-classification, question-answering, sentence-similarity, intent-slots",
        next_step="Export its encoder alone with --encoder-only, or answer with Albertine itself",
    )


def _tagger(module: TaggingModule) -> TaggerHead:
    with torch.inference_mode():
        chain = None if module.crf is None else module.crf()
    return TaggerHead(module.classifier.out_features, chain)


def _of_sentences(found: Loaded[Encoder], pooling: PoolingMode | None, source: str, kind: str) -> Subject:
    config, sentence = found.module.config, found.sentence
    record = SentencePooling(modes=(pooling,)) if pooling is not None else SentencePooling()
    record = record if sentence is None else sentence.pooling
    module = SentenceEncoder(found.module, record)
    if sentence is not None:
        own = {name: sentence.tensors[f"pooling.{name}"].float() for name in module.pooling.state_dict()}
        module.pooling.load_state_dict(own)
    module.eval()
    tokenizer = found.tokenizer
    longest = record.max_length or (None if tokenizer is None else tokenizer.max_length)
    return Subject(
        config=config,
        module=module,
        prefix=_ENCODER,
        head=VectorHead(record, config.hidden_size, "pooling."),
        run=lambda batch: module(
            batch.input_ids, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids
        ),
        tokenizer=tokenizer,
        max_length=min(longest or config.max_position_embeddings, config.max_position_embeddings),
        config_json=config_to_json(config),
        card=encoder_card(config, Path(source).name),
        manifest=encoder_manifest(),
        format=kind,
        lowercase=record.lowercase and not (tokenizer is None or tokenizer.lowercase),
    )


def _of_encoder(found: Loaded[PretrainingModel], source: str, kind: str) -> Subject:
    module = found.module
    return Subject(
        config=module.config,
        module=module,
        prefix=_ENCODER,
        head=StatesHead(module.config, words=module.masked_word_head is not None, pair=module.pair_head is not None),
        run=lambda batch: module(
            batch.input_ids, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids
        ),
        tokenizer=found.tokenizer,
        max_length=module.config.max_position_embeddings,
        config_json=config_to_json(module.config),
        card=encoder_card(module.config, Path(source).name),
        manifest=encoder_manifest(),
        format=kind,
    )
