"""Hugging Face's config.json <-> `EncoderConfig`, for BERT and ALBERT.

A configuration of ours carries an `albertine` object with what Hugging Face has no name for, and is strict: an unknown
key is an error. A foreign one has no such object, and keys that nothing here reads are reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from albertine.errors import CheckpointError, ConfigError, nearest
from albertine.models.config import MOST_LAYERS, EncoderConfig

__all__ = [
    "ENCODER_BODY",
    "LayoutName",
    "ModelType",
    "ReadConfig",
    "config_from_json",
    "config_to_json",
    "differences",
    "model_type",
]

ModelType = Literal["bert", "albert", "albertine"]
"""Whose code computes the function, which is also whose names the tensors have in a folder of Hugging Face's form."""

LayoutName = Literal["bert", "albert", "albertine", "google-bert", "google-albert", "brightmart-albert"]
"""Whose names, and whose order of rows and columns, the tensors of a file have."""

ENCODER_BODY = "encoder"
"""The value of `albertine.body` in an encoder's configuration; baselines have theirs."""

_SHARED_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
    "layer_norm_eps",
    "pad_token_id",
    "tie_word_embeddings",
)
_ALBERT_KEYS = ("embedding_size", "num_hidden_groups", "inner_group_num", "classifier_dropout_prob")
_REQUIRED_KEYS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")

# What a key that is absent means to transformers; old configurations leave some out.
_DEFAULTS: dict[str, dict[str, str | int | float]] = {
    "bert": {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    "albert": {
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "embedding_size": 128,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "classifier_dropout_prob": 0.1,
    },
}
_COMMON_DEFAULTS: dict[str, int | float | bool] = {
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
}

_ACTIVATIONS: dict[str, Literal["gelu", "gelu_tanh", "relu"]] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}
_ACTIVATION_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu"}

# Keys that change the function; each is accepted at these values only, the last one named in the message.
_MUST_BE: dict[str, tuple[object, ...]] = {
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "add_cross_attention": (None, False),
    "is_encoder_decoder": (None, False),
    "pruned_heads": (None, {}),
    "quantization_config": (None, {}),
}

# Keys that transformers and Google's code write and that say nothing about what the encoder computes.
# fmt: off
_BOOKKEEPING = frozenset((
    "_attn_implementation_autoset", "_name_or_path", "architectures", "attn_implementation",
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "chunk_size_feed_forward", "cls_token_id",
    "cross_attention_hidden_size", "decoder_start_token_id", "directionality", "diversity_penalty", "do_sample",
    "down_scale_factor", "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "eos_token_ids",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gap_size",
    "gradient_checkpointing", "id2label", "label2id", "language", "length_penalty", "mask_token_id", "max_length",
    "min_length", "model_max_length", "name", "net_structure_type", "no_repeat_ngram_size", "num_beam_groups",
    "num_beams", "num_labels", "num_memory_blocks", "num_return_sequences", "output_attentions",
    "output_hidden_states", "output_past", "output_scores", "pooler_fc_size", "pooler_num_attention_heads",
    "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "prefix", "problem_type", "remove_invalid_values",
    "repetition_penalty", "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens",
    "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder",
    "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers_version", "typical_p",
    "use_bfloat16", "use_cache",
))
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig:
    """A configuration as read, and what of the file was not used."""

    config: EncoderConfig
    layout: LayoutName
    """Whose names the tensors have."""
    ours: bool
    """True where the file carries an `albertine` object."""
    foreign_keys: tuple[str, ...] = ()
    """Keys that nothing here reads and whose meaning is not known."""
    ignored_keys: tuple[str, ...] = ()
    """Keys that are known and do not change what the encoder computes."""
    notes: tuple[str, ...] = ()
    """What had to be assumed."""


def model_type(config: EncoderConfig) -> ModelType:
    """Return the Hugging Face architecture that computes the same function, or `albertine` where none does."""
    for kind in ("bert", "albert"):
        if not differences(config, kind):
            return kind
    return "albertine"


def differences(config: EncoderConfig, kind: Literal["bert", "albert"]) -> tuple[str, ...]:
    """Name the fields, with their values, that make a configuration another function than Hugging Face's `kind`."""
    own_blocks = config.share == "none" or config.num_hidden_groups == config.num_hidden_layers
    wrong = {
        "norm_placement": config.norm_placement != "post",
        "position_embedding": config.position_embedding != "learned",
        "type_vocab_size": config.type_vocab_size == 0,
        "embedding_norm_width": config.embedding_norm_width == "none",
    }
    if kind == "bert":
        wrong |= {
            "embedding_size": config.embedding_size != config.hidden_size,
            "projection": config.has_projection,
            "share": not own_blocks,
            "inner_group_num": config.inner_group_num != 1,
        }
    else:
        wrong |= {
            "projection": not config.has_projection,
            "projection_bias": not config.projection_bias,
            "embedding_norm_width": config.embedding_norm_width != "embedding",
            "share": not own_blocks and config.share != "all",
            "num_hidden_groups": not _same_groups(config.num_hidden_layers, _albert_groups(config)),
        }
    return tuple(f"{name}={getattr(config, name)!r}" for name, differs in wrong.items() if differs)


def config_to_json(config: EncoderConfig, kind: ModelType | None = None) -> dict[str, object]:
    """Return what config.json holds, by Hugging Face's names; `config_from_json` is the inverse.

    Args:
        config: of the encoder.
        kind: the `model_type`; None for `bert` or `albert` where their code computes the same function, else
            `albertine`, which other programs refuse.
    """
    kind = kind or model_type(config)
    values: dict[str, object] = dict(config.to_dict())
    result: dict[str, object] = {"model_type": kind}
    result |= {key: values[key] for key in _SHARED_KEYS}
    result["hidden_act"] = _ACTIVATION_NAMES[config.hidden_act]
    if kind == "bert":
        result["classifier_dropout"] = config.classifier_dropout_prob
    else:
        result |= {key: values[key] for key in _ALBERT_KEYS}
    if kind == "albert":
        result["num_hidden_groups"] = _albert_groups(config)
    # Every other field is written out, also at its default: a default may change, a model on disk may not.
    stated = {**result, "hidden_act": config.hidden_act, "classifier_dropout_prob": config.classifier_dropout_prob}
    own = {key: value for key, value in values.items() if key not in stated or stated[key] != value}
    return {**result, "albertine": {"body": ENCODER_BODY, **own}}


def config_from_json(values: Mapping[str, object], *, where: str) -> ReadConfig:
    """Read config.json, ours or a foreign BERT's or ALBERT's.

    Args:
        values: the contents of the file.
        where: the file, for messages.

    Raises:
        CheckpointError: another architecture, a key or value that would change the function and is not supported, a
            missing or impossible value; in a file of ours also an unknown key.
    """
    own = values.get("albertine")
    if own is not None and not isinstance(own, Mapping):
        raise CheckpointError("an object is expected here", where=f"{where}: albertine", received=repr(own))
    kind, notes = _read_model_type(values, where, ours=own is not None)
    _check_fixed_keys(values, where)
    if kind != "albertine":
        _check_groups(values, kind, where)
    fields = _fields(values, kind, where)
    if values.get("auto_map"):
        notes = (*notes, "config.json names code of its own (auto_map), which is not run: a plain encoder is read")
    if own is not None:
        _refuse_contradictions(fields, own, kind, where)
        fields |= {key: value for key, value in own.items() if key != "body"}
    config = _build(fields, where)
    read = set(_read_keys(kind)) | {"model_type", "albertine", "auto_map"} | set(_MUST_BE)
    unread = [key for key in values if key not in read]
    foreign = tuple(sorted(key for key in unread if key not in _BOOKKEEPING))
    if own is not None:
        _refuse_unknown(foreign, read, where)
        if kind != "albertine" and (wrong := differences(config, kind)):
            raise CheckpointError(
                f"the albertine object contradicts model_type {kind!r}", where=where, received=", ".join(wrong)
            )
    ignored = tuple(sorted(key for key in unread if key in _BOOKKEEPING))
    return ReadConfig(
        config=config, layout=kind, ours=own is not None, foreign_keys=foreign, ignored_keys=ignored, notes=notes
    )


def _albert_groups(config: EncoderConfig) -> int:
    return config.num_hidden_layers if config.share == "none" else config.num_hidden_groups


def _same_groups(layers: int, groups: int) -> bool:
    """Say whether transformers' floating-point rule gives every layer the group that integers give it."""
    return all(int(layer / (layers / groups)) == layer * groups // layers for layer in range(layers))


def _read_keys(kind: ModelType) -> tuple[str, ...]:
    special = ("classifier_dropout",) if kind == "bert" else _ALBERT_KEYS
    return (*_SHARED_KEYS, *special, "hidden_act")


def _read_model_type(values: Mapping[str, object], where: str, *, ours: bool) -> tuple[ModelType, tuple[str, ...]]:
    found = values.get("model_type")
    if found is None and not ours:
        # Configurations from before 2020 do not say what they are.
        kind: ModelType = "albert" if {"embedding_size", "num_hidden_groups"} & set(values) else "bert"
        return kind, (f"config.json has no model_type; it is read as {kind}",)
    if found == "bert":
        return "bert", ()
    if found == "albert":
        return "albert", ()
    if found == "albertine" and ours:
        return "albertine", ()
    raise CheckpointError(
        "this architecture is not one that is read here",
        where=f"{where}: model_type",
        received=repr(found),
        allowed="bert, albert, or albertine with an albertine object",
    )


def _check_fixed_keys(values: Mapping[str, object], where: str) -> None:
    for key, allowed in _MUST_BE.items():
        if values.get(key) not in allowed:
            raise CheckpointError(
                f"{key} at this value computes something else than an encoder of ours does",
                where=f"{where}: {key}",
                received=repr(values[key]),
                allowed=repr(allowed[-1]),
            )


def _refuse_contradictions(
    fields: Mapping[str, object], own: Mapping[str, object], kind: ModelType, where: str
) -> None:
    """Refuse an albertine object that says otherwise of what Hugging Face has a name for, and reads from there."""
    # What groups are where nothing is shared, and a BERT's dropout, Hugging Face has no exact name for.
    told = {*_SHARED_KEYS, "hidden_act", *(("embedding_size", "inner_group_num") if kind == "albert" else ())}
    wrong = [f"{key}: {fields[key]!r} and {own[key]!r}" for key in sorted(told & set(own)) if fields[key] != own[key]]
    if wrong:
        raise CheckpointError(
            "the albertine object contradicts the rest of the configuration",
            where=where,
            received="; ".join(wrong),
            next_step="Correct the one that is wrong",
        )


def _check_groups(values: Mapping[str, object], kind: str, where: str) -> None:
    layers, groups = values.get("num_hidden_layers"), values.get("num_hidden_groups", 1)
    if kind != "albert" or not isinstance(layers, int) or not isinstance(groups, int):
        return
    if 0 < groups <= layers <= MOST_LAYERS and not _same_groups(layers, groups):
        raise CheckpointError(
            "transformers' rounding gives some layers of this shape another group than layer * groups // layers does",
            where=f"{where}: num_hidden_groups",
            received=f"num_hidden_layers={layers}, num_hidden_groups={groups}",
            allowed="numbers of layers and groups for which both rules agree",
        )


def _fields(values: Mapping[str, object], kind: ModelType, where: str) -> dict[str, object]:
    """Return the fields of an `EncoderConfig` that the Hugging Face part of a configuration amounts to."""
    absent = [key for key in _REQUIRED_KEYS if key not in values]
    if absent:
        raise CheckpointError("the configuration lacks sizes", where=where, received=f"no {', no '.join(absent)}")
    defaults: dict[str, object] = {**_COMMON_DEFAULTS, **_DEFAULTS.get(kind, _DEFAULTS["albert"])}
    names = (*_SHARED_KEYS, *(() if kind == "bert" else _ALBERT_KEYS))
    fields = {key: values.get(key, defaults.get(key)) for key in names}
    if fields["pad_token_id"] is None:
        fields["pad_token_id"] = 0
    if fields["initializer_range"] == 0 and not isinstance(fields["initializer_range"], bool):
        fields["initializer_range"] = _COMMON_DEFAULTS["initializer_range"]  # read when weights are made, not here
    activation = values.get("hidden_act", defaults["hidden_act"])
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise CheckpointError(
            "unknown activation",
            where=f"{where}: hidden_act",
            received=repr(activation),
            allowed=", ".join(_ACTIVATIONS),
        )
    fields["hidden_act"] = _ACTIVATIONS[activation]
    if kind == "bert":
        dropout = values.get("classifier_dropout")
        fields |= {
            "classifier_dropout_prob": fields["hidden_dropout_prob"] if dropout is None else dropout,
            "embedding_size": fields["hidden_size"],
            "share": "none",
        }
    elif kind == "albert":
        fields |= {"share": "all", "projection": "always"}
        if fields["classifier_dropout_prob"] is None:
            fields["classifier_dropout_prob"] = fields["hidden_dropout_prob"]
    columns = {field.name: field.default for field in dataclasses.fields(EncoderConfig)}
    return {**{key: value for key, value in columns.items() if value is not dataclasses.MISSING}, **fields}


def _build(fields: Mapping[str, object], where: str) -> EncoderConfig:
    try:
        return EncoderConfig.from_dict(fields)
    except ConfigError as error:
        raise CheckpointError(
            error.what,
            where=f"{where}: {error.where}" if error.where else where,
            received=error.received,
            allowed=error.allowed,
            next_step=error.next_step,
        ) from error


def _refuse_unknown(unknown: tuple[str, ...], known: set[str], where: str) -> None:
    if unknown:
        hints = [f"{key} (did you mean {close}?)" if (close := nearest(key, known)) else key for key in unknown]
        raise CheckpointError(
            "unknown keys in a configuration of ours",
            where=where,
            received=", ".join(hints),
            allowed=", ".join(sorted(known - set(_MUST_BE))),
        )
