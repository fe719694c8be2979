"""Names of tensors: ours <-> the variables of Google's BERT and ALBERT and of brightmart's Chinese ALBERT."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from albertine.checkpoints.names import ENCODER_PREFIX, MASKED_WORD_HEAD, PAIR_HEAD, Place
from albertine.checkpoints.source import StoredTensor
from albertine.checkpoints.state import HeadProblem, TaskHead
from albertine.errors import CheckpointError
from albertine.models.config import EncoderConfig

__all__ = [
    "GoogleLayout",
    "canonical_google",
    "detect_layout",
    "google_block",
    "google_head",
    "google_places",
    "is_google_extra",
]

GoogleLayout = Literal["google-bert", "google-albert", "brightmart-albert"]

_BERT_BLOCK = {
    "attention_blocks.{}.query": "attention/self/query",
    "attention_blocks.{}.key": "attention/self/key",
    "attention_blocks.{}.value": "attention/self/value",
    "attention_blocks.{}.output": "attention/output/dense",
    "attention_blocks.{}.layer_norm": "attention/output/LayerNorm",
    "feed_forward_blocks.{}.intermediate": "intermediate/dense",
    "feed_forward_blocks.{}.output": "output/dense",
    "feed_forward_blocks.{}.layer_norm": "output/LayerNorm",
}
_ALBERT_BLOCK = {
    "attention_blocks.{}.query": "attention_1/self/query",
    "attention_blocks.{}.key": "attention_1/self/key",
    "attention_blocks.{}.value": "attention_1/self/value",
    "attention_blocks.{}.output": "attention_1/output/dense",
    "attention_blocks.{}.layer_norm": "LayerNorm",
    "feed_forward_blocks.{}.intermediate": "ffn_1/intermediate/dense",
    # Inside the scope of the intermediate layer, where Google's code opens the output's.
    "feed_forward_blocks.{}.output": "ffn_1/intermediate/output/dense",
    "feed_forward_blocks.{}.layer_norm": "LayerNorm_1",
}
_TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")

# What every variable of the encoder and of its heads begins with, whatever scope somebody opened around it.
_OF_ENCODER = (
    r"embeddings/(?:(?:word|position|token_type)_embeddings|word_embeddings_2|LayerNorm/(?:beta|gamma))$"
    r"|encoder/(?:layer_(?:\d+|shared)|transformer|embedding_hidden_mapping_in)/"
    r"|pooler/dense/"
)
_SCOPED = re.compile(rf"^(?:.*/)?(?P<rest>(?:{_OF_ENCODER}).*)$")
_SCOPED_HEAD = re.compile(r"^(?:.*/)?(?P<rest>cls/(?:predictions|seq_relationship|squad)/.*)$")
_OBJECTS = re.compile(r"/\.(?:ATTRIBUTES|OPTIMIZER_SLOT)/|^_CHECKPOINTABLE_OBJECT_GRAPH$")
_KNOWN_EXTRA = re.compile(
    r"^(?:cls/(?:predictions|seq_relationship|squad)/"  # pretraining heads, SQuAD
    r"|output_(?:weights|bias)$"  # a classifier
    r"|(?:start_logits|end_logits|answer_class)/"  # ALBERT's SQuAD v2
    r"|loss/LayerNorm/)"  # what brightmart's code puts in front of the classifier of a pre-norm model
)
_CLASSIFIER_NORM = "loss/LayerNorm/gamma"


def google_block(block: int, layout: GoogleLayout, *, inner_group_num: int = 1) -> str:
    """Return the scope that holds a block of weights, counted over groups and the inner blocks of each."""
    if layout == "google-bert":
        return f"bert/encoder/layer_{block}"
    if layout == "brightmart-albert":
        return "bert/encoder/layer_shared"
    group, inner = divmod(block, inner_group_num)
    return f"bert/encoder/transformer/group_{group}/inner_group_{inner}"


def google_places(ours: Iterable[str], config: EncoderConfig, layout: GoogleLayout) -> dict[str, Place]:
    """Return where in a checkpoint every tensor of ours lies.

    Args:
        ours: names as `PretrainingModel` has them, and `classifier.*` and `qa_outputs.*` of a task's head.
        config: of the encoder; `google.google_differences` says whether the layout can hold it.
        layout: whose variables.

    Raises:
        CheckpointError: that code has no such variable.
    """
    every = _every_place(config, layout)
    asked = list(ours)
    if homeless := [name for name in asked if name not in every]:
        raise CheckpointError(
            f"the code of {layout} has no variable for {'this tensor' if len(homeless) == 1 else 'these tensors'}",
            where=homeless[0],
            received=", ".join(homeless[:5]) + (f" and {len(homeless) - 5} more" if len(homeless) > 5 else ""),
            next_step="Convert to huggingface or albertine instead",
        )
    return {name: every[name] for name in asked}


def canonical_google(name: str) -> str:
    """Return a variable's name as Google's own code writes it: `bert/…`, `cls/…`, whatever scope stands in front."""
    if found := _SCOPED_HEAD.match(name):
        return found["rest"]
    if found := _SCOPED.match(name):
        return f"bert/{found['rest']}"
    return name


def is_google_extra(name: str) -> bool:
    """Say whether a (canonical) name is a known head's, which may come along unused."""
    return _KNOWN_EXTRA.match(name) is not None


def detect_layout(names: Iterable[str], *, where: str) -> GoogleLayout:
    """Say whose code wrote a checkpoint, from the names of its variables.

    Args:
        names: of the variables.
        where: the checkpoint, for messages.

    Raises:
        CheckpointError: TensorFlow 2's names of Python objects, two encoders, or none that is known.
    """
    given = list(names)
    if objects := [name for name in given if _OBJECTS.search(name)]:
        raise CheckpointError(
            "a TensorFlow 2 checkpoint, whose tensors are named after Python objects and not after variables",
            where=where,
            received=objects[0],
            allowed="checkpoints of the original code, with names such as bert/embeddings/word_embeddings",
            next_step="Take the original release of this model (bert_model.ckpt with bert_config.json) or its Hugging "
            "Face version",
        )
    tables = sorted(name for name in given if name.endswith("embeddings/word_embeddings"))
    if len(tables) > 1:
        raise CheckpointError(
            "several encoders in one checkpoint",
            where=where,
            received=", ".join(tables),
            next_step="Save the one that is wanted by itself",
        )
    known = {canonical_google(name) for name in given}
    signs: dict[GoogleLayout, str] = {
        "brightmart-albert": r"bert/encoder/layer_shared/|bert/embeddings/word_embeddings_2$",
        "google-albert": r"bert/encoder/transformer/group_\d+/",
        "google-bert": r"bert/encoder/layer_\d+/",
    }
    found = [layout for layout, sign in signs.items() if any(re.match(sign, name) for name in known)]
    if len(found) == 1:
        return found[0]
    raise CheckpointError(
        "the variables of two different architectures"
        if found
        else "not a BERT or an ALBERT of a layout that is known",
        where=where,
        received=" and ".join(found) if found else f"{len(given)} variables: {', '.join(sorted(given)[:5])}",
        allowed="bert/encoder/layer_0/… (BERT), bert/encoder/transformer/group_0/… (ALBERT), "
        "bert/encoder/layer_shared/… (brightmart's Chinese ALBERT)",
    )


def google_head(entries: Mapping[str, StoredTensor]) -> TaskHead | None:
    """Return the fine-tuned head of Google's `run_classifier` or `run_squad`; None where there is none that is known.

    Their files name no labels: a classifier's come back as LABEL_0, LABEL_1, …. A classifier behind a norm of its own,
    as brightmart's code gives pre-norm models one, is none that is known here.

    Args:
        entries: the checkpoint's variables.
    """
    shapes = {canonical_google(name): entry.shape for name, entry in entries.items()}
    squad = shapes.get("cls/squad/output_weights")
    if squad is not None and len(squad) == 2 and squad[0] == 2 and shapes.get("cls/squad/output_bias") == (2,):
        return TaskHead(task="question-answering", labels=("start", "end"), module="qa_outputs")
    weights = shapes.get("output_weights")
    if (
        weights is None
        or len(weights) != 2
        or not weights[1]
        or shapes.get("output_bias") != weights[:1]
        or _CLASSIFIER_NORM in shapes
    ):
        return None
    labels = tuple(f"LABEL_{index}" for index in range(weights[0]))
    # One row is a regression's, as that of STS-B in ALBERT's run_classifier.
    problem: HeadProblem = "regression" if weights[0] == 1 else "single"
    return TaskHead(task="text-classification", labels=labels, module="classifier", problem=problem)


def _every_place(config: EncoderConfig, layout: GoogleLayout) -> dict[str, Place]:
    """Return every tensor of ours that a checkpoint of this layout can hold, heads included."""
    embeddings = f"{ENCODER_PREFIX}embeddings."
    places = {f"{embeddings}{table}.weight": Place(name=f"bert/embeddings/{table}") for table in _TABLES}
    places |= _module(f"{embeddings}layer_norm", "bert/embeddings/LayerNorm")
    if layout == "google-albert":
        places |= _module(f"{embeddings}projection", "bert/encoder/embedding_hidden_mapping_in")
    elif layout == "brightmart-albert":
        places[f"{embeddings}projection.weight"] = Place(name="bert/embeddings/word_embeddings_2", transposed=True)
    parts = _ALBERT_BLOCK if layout == "google-albert" else _BERT_BLOCK
    blocks = 1 if layout == "brightmart-albert" else config.num_attention_blocks
    for block in range(blocks):
        scope = google_block(block, layout, inner_group_num=config.inner_group_num)
        for part, theirs in parts.items():
            places |= _module(ENCODER_PREFIX + part.format(block), f"{scope}/{theirs}")
    places |= _module(f"{ENCODER_PREFIX}pooler.dense", "bert/pooler/dense")
    places |= _module(f"{MASKED_WORD_HEAD}dense", "cls/predictions/transform/dense")
    places |= _module(f"{MASKED_WORD_HEAD}layer_norm", "cls/predictions/transform/LayerNorm")
    places[f"{MASKED_WORD_HEAD}bias"] = Place(name="cls/predictions/output_bias")
    for head, scope in ((PAIR_HEAD, "cls/seq_relationship/"), ("classifier.", ""), ("qa_outputs.", "cls/squad/")):
        places[f"{head}weight"] = Place(name=f"{scope}output_weights")
        places[f"{head}bias"] = Place(name=f"{scope}output_bias")
    return places


def _module(ours: str, theirs: str) -> dict[str, Place]:
    """Return the places of a norm's or a dense layer's weight and bias."""
    norm = theirs.rpartition("/")[2].startswith("LayerNorm")
    weight = Place(name=f"{theirs}/gamma") if norm else Place(name=f"{theirs}/kernel", transposed=True)
    return {f"{ours}.weight": weight, f"{ours}.bias": Place(name=f"{theirs}/{'beta' if norm else 'bias'}")}
