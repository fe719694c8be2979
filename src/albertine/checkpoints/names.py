"""Names of tensors: ours <-> those in a file, for Hugging Face's BERT and ALBERT of every age, and for our own form.

"Ours" are the names of `PretrainingModel`: `encoder.…`, `masked_word_head.…`, `pair_head.…`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from albertine.checkpoints.huggingface import ModelType
from albertine.models.config import EncoderConfig

__all__ = [
    "ENCODER_PREFIX",
    "MASKED_WORD_HEAD",
    "PAIR_HEAD",
    "POOLER",
    "Place",
    "canonical",
    "file_names",
    "is_known_extra",
]

ENCODER_PREFIX = "encoder."
POOLER = "encoder.pooler."
MASKED_WORD_HEAD = "masked_word_head."
PAIR_HEAD = "pair_head."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a tensor of ours lies in a file."""

    name: str
    """Its name there."""
    transposed: bool = False
    """Whether its rows are our columns: TensorFlow keeps a dense layer's kernel as [in, out], we as [out, in]."""


_EMBEDDINGS = {
    "embeddings.word_embeddings": "embeddings.word_embeddings",
    "embeddings.position_embeddings": "embeddings.position_embeddings",
    "embeddings.token_type_embeddings": "embeddings.token_type_embeddings",
    "embeddings.layer_norm": "embeddings.LayerNorm",
}
_BERT_BLOCK = {
    "attention_blocks.{}.query": "encoder.layer.{}.attention.self.query",
    "attention_blocks.{}.key": "encoder.layer.{}.attention.self.key",
    "attention_blocks.{}.value": "encoder.layer.{}.attention.self.value",
    "attention_blocks.{}.output": "encoder.layer.{}.attention.output.dense",
    "attention_blocks.{}.layer_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "feed_forward_blocks.{}.intermediate": "encoder.layer.{}.intermediate.dense",
    "feed_forward_blocks.{}.output": "encoder.layer.{}.output.dense",
    "feed_forward_blocks.{}.layer_norm": "encoder.layer.{}.output.LayerNorm",
}
_ALBERT_GROUP = "encoder.albert_layer_groups.{}.albert_layers.{}"
_ALBERT_BLOCK = {
    "attention_blocks.{}.query": f"{_ALBERT_GROUP}.attention.query",
    "attention_blocks.{}.key": f"{_ALBERT_GROUP}.attention.key",
    "attention_blocks.{}.value": f"{_ALBERT_GROUP}.attention.value",
    "attention_blocks.{}.output": f"{_ALBERT_GROUP}.attention.dense",
    "attention_blocks.{}.layer_norm": f"{_ALBERT_GROUP}.attention.LayerNorm",
    "feed_forward_blocks.{}.intermediate": f"{_ALBERT_GROUP}.ffn",
    "feed_forward_blocks.{}.output": f"{_ALBERT_GROUP}.ffn_output",
    "feed_forward_blocks.{}.layer_norm": f"{_ALBERT_GROUP}.full_layer_layer_norm",
}
_BERT_ONCE = {"pooler.dense": "pooler.dense"}
_ALBERT_ONCE = {"embeddings.projection": "encoder.embedding_hidden_mapping_in", "pooler.dense": "pooler"}
_BERT_HEADS = {
    "masked_word_head.dense": "cls.predictions.transform.dense",
    "masked_word_head.layer_norm": "cls.predictions.transform.LayerNorm",
    "masked_word_head.decoder": "cls.predictions.decoder",
    "masked_word_head": "cls.predictions",
    "pair_head": "cls.seq_relationship",
}
_ALBERT_HEADS = {
    "masked_word_head.dense": "predictions.dense",
    "masked_word_head.layer_norm": "predictions.LayerNorm",
    "masked_word_head.decoder": "predictions.decoder",
    "masked_word_head": "predictions",
    "pair_head": "sop_classifier.classifier",
}

# What wrappers put in front of every name, and what model classes put in front of the encoder's.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")
_BASES = re.compile(r"^(?:bert|albert)\.")
# Heads under the names of the other family, as old conversions have them.
_HEAD_ALIASES: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {
    "bert": (
        (re.compile(r"^predictions\."), "cls.predictions."),
        (re.compile(r"^cls\.predictions\.(dense|LayerNorm)\."), r"cls.predictions.transform.\1."),
        (re.compile(r"^(?:sop_classifier\.classifier|seq_relationship)\."), "cls.seq_relationship."),
    ),
    "albert": (
        (re.compile(r"^cls\.predictions\."), "predictions."),
        (re.compile(r"^predictions\.transform\."), "predictions."),
        (re.compile(r"^(?:cls\.seq_relationship|seq_relationship|sop_classifier(?!\.classifier))\."),
         "sop_classifier.classifier."),
    ),
}  # fmt: skip
_KNOWN_EXTRA = re.compile(
    r"^(?:embeddings\.(?:position_ids|token_type_ids)$"  # buffers that old versions saved
    r"|cls\.|predictions\.|sop_classifier\.|masked_word_head\.|pair_head\."  # pretraining heads
    r"|classifier\.|qa_outputs\.|logits_proj\.)"  # task heads
)


def file_names(ours: Iterable[str], config: EncoderConfig, kind: ModelType) -> dict[str, str]:
    """Return the name in the file of every tensor of ours.

    Args:
        ours: names as `PretrainingModel` has them; a name that the file's form has no place for stays as it is.
        config: of the encoder.
        kind: whose names the file has.
    """
    table = _module_names(config, kind)
    names = {}
    for name in ours:
        module, _, last = name.rpartition(".")
        names[name] = f"{table[module]}.{last}" if module in table else name
    return names


def canonical(name: str, kind: ModelType) -> str:
    """Return a name of a file as today's `BertForPreTraining` or `AlbertForPreTraining` writes it."""
    name = _WRAPPERS.sub("", name)
    if kind == "albertine":
        return name
    name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))  # LayerNorm's, before 2019
    name = _BASES.sub("", name)
    for pattern, replacement in _HEAD_ALIASES[kind]:
        name = pattern.sub(replacement, name)
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
        return f"{kind}.{name}"
    return name


def is_known_extra(name: str) -> bool:
    """Say whether a (canonical) name is a task's head or a buffer, which may come along unused."""
    return _KNOWN_EXTRA.match(_BASES.sub("", name)) is not None


def _module_names(config: EncoderConfig, kind: ModelType) -> Mapping[str, str]:
    """Return module of ours -> module in the file."""
    if kind == "albertine":
        return {}
    blocks = config.num_attention_blocks
    table = dict(_EMBEDDINGS)
    if kind == "bert":
        table |= _BERT_ONCE
        for block in range(blocks):
            table |= {ours.format(block): theirs.format(block) for ours, theirs in _BERT_BLOCK.items()}
    else:
        table |= _ALBERT_ONCE
        for block in range(blocks):
            place = divmod(block, config.inner_group_num)
            table |= {ours.format(block): theirs.format(*place) for ours, theirs in _ALBERT_BLOCK.items()}
    heads = _BERT_HEADS if kind == "bert" else _ALBERT_HEADS
    return {ENCODER_PREFIX + ours: f"{kind}.{theirs}" for ours, theirs in table.items()} | heads
