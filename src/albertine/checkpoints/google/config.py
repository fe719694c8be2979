"""bert_config.json and albert_config.json, Google's and brightmart's <-> `EncoderConfig`.

Google's code knows one GELU, the tanh form, and calls it `gelu`. Its classes ignore keys that they do not know, so what
else a model of ours is stands in an `albertine` object, which only we read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from albertine.checkpoints.google.names import GoogleLayout
from albertine.checkpoints.huggingface import ReadConfig
from albertine.errors import CheckpointError, ConfigError
from albertine.models.config import EncoderConfig

__all__ = [
    "GOOGLE_KEYS",
    "GOOGLE_LAYOUTS",
    "google_config",
    "google_differences",
    "google_layout",
    "read_google_config",
]

GOOGLE_LAYOUTS: tuple[GoogleLayout, ...] = ("google-bert", "google-albert", "brightmart-albert")
"""In the order in which they are tried: the simplest that can hold a model is its own."""

_EPSILON = 1e-12
"""The LayerNorm epsilon of TensorFlow 1, which no configuration can change."""
_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu"}
_NOTE = "albertine"
_SHARES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")

_BERT_KEYS: Mapping[str, object] = {
    "vocab_size": None,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 16,  # 2 in BERT's last version; the table in the checkpoint says which
    "initializer_range": 0.02,
}
GOOGLE_KEYS: Mapping[GoogleLayout, Mapping[str, object]] = {
    "google-bert": _BERT_KEYS,
    "google-albert": {
        **_BERT_KEYS,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_hidden_layers": 12,
        "num_hidden_groups": 1,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "inner_group_num": 1,
        "hidden_dropout_prob": 0,
        "attention_probs_dropout_prob": 0,
        "type_vocab_size": 2,
    },
    "brightmart-albert": {**_BERT_KEYS, "embedding_size": None, "ln_type": "postln"},
}
"""The keys that the original classes read, with what they mean where they are absent; None: they must be there."""
_FIXED: Mapping[GoogleLayout, Mapping[str, object]] = {
    "google-bert": {"share": "none"},
    "google-albert": {"share": "all"},
    "brightmart-albert": {"share": "all", "embedding_norm_width": "hidden", "projection_bias": False},
}
_NORM_PLACEMENT = {"postln": "post", "preln": "pre"}
# Keys that are in published files and that no code reads.
# fmt: off
_IGNORED = frozenset((
    "directionality", "down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks", "pooler_fc_size",
    "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
))
# fmt: on
# Keys of another layout; at these values they say nothing, at any other the file is of another model.
_FOREIGN_AT: Mapping[GoogleLayout, Mapping[str, object]] = {
    "google-bert": {"ln_type": "postln"},
    "google-albert": {"ln_type": "postln"},
    "brightmart-albert": {"num_hidden_groups": 1, "inner_group_num": 1},
}


def read_google_config(values: Mapping[str, object], layout: GoogleLayout, *, where: str) -> ReadConfig:
    """Read bert_config.json or albert_config.json.

    Args:
        values: the contents of the file.
        layout: whose code reads it; `google_names.detect_layout` tells it from the checkpoint.
        where: the file, for messages.

    Raises:
        CheckpointError: a value that is missing, impossible or of another architecture, an activation that is not
            supported, layers that Google's rounding groups in another way than ours, a wrong note of ours.
    """
    _check_foreign(values, layout, where)
    plain = _build(_plain_fields(values, layout, where), where)
    note = values.get(_NOTE)
    if note is None:
        config = plain
    elif isinstance(note, Mapping):
        config = _with_note(plain, note, layout, where)
    else:
        raise CheckpointError("an object is expected here", where=f"{where}: {_NOTE}", received=repr(note))
    if layout == "google-albert" and not _same_groups(config):
        raise CheckpointError(
            "Google's rounding gives some layers of this shape another group than layer * groups // layers does",
            where=f"{where}: num_hidden_groups",
            received=f"num_hidden_layers={config.num_hidden_layers}, num_hidden_groups={_google_groups(config)}",
            allowed="numbers of layers and groups for which both rules agree",
        )
    keys = GOOGLE_KEYS[layout]
    ignored = _IGNORED | set(_FOREIGN_AT[layout])
    unread = sorted(set(values) - set(keys) - {_NOTE})
    return ReadConfig(
        config=config,
        layout=layout,
        ours=note is not None,
        foreign_keys=tuple(key for key in unread if key not in ignored),
        ignored_keys=tuple(key for key in unread if key in ignored),
        notes=tuple(
            f"{Path(where).name} has no {key}; {default!r} is what that means to the original code"
            for key, default in keys.items()
            if key not in values
        ),
    )


def google_config(config: EncoderConfig, layout: GoogleLayout) -> dict[str, object]:
    """Return what bert_config.json or albert_config.json holds; `read_google_config` is the inverse.

    An `albertine` object is there only where the file would not give the same configuration without. It names the erf
    form of GELU, which Google's code cannot compute: it will run such a model with the tanh form.

    Raises:
        CheckpointError: the original code cannot compute this model.
    """
    if wrong := google_differences(config, layout):
        raise CheckpointError(
            f"the code of {layout} cannot compute this model", where="config", received=", ".join(wrong)
        )
    values = _plain_values(config, layout)
    plain = _build(_plain_fields(values, layout, "config"), "config")
    given, read = config.to_dict(), plain.to_dict()
    note = {name: value for name, value in given.items() if read[name] != value}
    return {**dict(sorted(values.items())), **({_NOTE: note} if note else {})}


def google_differences(config: EncoderConfig, layout: GoogleLayout) -> tuple[str, ...]:
    """Name the fields, with their values, that make a configuration another function than the original code's.

    The erf form of GELU is none of them, because `google_config` can note it down.
    """
    equal_widths = config.embedding_size == config.hidden_size
    wrong = {
        "position_embedding": config.position_embedding != "learned",
        "type_vocab_size": config.type_vocab_size == 0,
        "layer_norm_eps": config.layer_norm_eps != _EPSILON,
        "tie_word_embeddings": not config.tie_word_embeddings,
        "embedding_norm_width": config.embedding_norm_width == "none",
    }
    if layout == "brightmart-albert":
        wrong |= {
            "embedding_norm_width": config.embedding_norm_width != "hidden",
            "projection": not config.has_projection,
            "projection_bias": config.projection_bias,
            "share": config.num_attention_blocks != config.inner_group_num
            or config.num_feed_forward_blocks != config.inner_group_num,
            "inner_group_num": config.inner_group_num != 1,
        }
        return _named(wrong, config)
    own_blocks = config.share == "none" or config.num_hidden_groups == config.num_hidden_layers
    wrong["norm_placement"] = config.norm_placement != "post"
    if layout == "google-bert":
        wrong |= {
            "embedding_size": not equal_widths,
            "projection": config.has_projection and equal_widths,
            "share": not own_blocks,
            "inner_group_num": config.inner_group_num != 1,
        }
    else:
        wrong |= {
            "projection": config.has_projection and equal_widths,
            "projection_bias": config.has_projection and not config.projection_bias,
            # Without a projection both widths are one.
            "embedding_norm_width": config.embedding_norm_width == "none"
            or (config.has_projection and config.embedding_norm_width == "hidden"),
            "share": not own_blocks and config.share != "all",
            "num_hidden_groups": not _same_groups(config),
        }
    return _named(wrong, config)


def google_layout(config: EncoderConfig) -> GoogleLayout:
    """Return the original code that computes the same function.

    Raises:
        CheckpointError: none does; the message names, for each, the fields that keep it from that.
    """
    wrong = {layout: google_differences(config, layout) for layout in GOOGLE_LAYOUTS}
    for layout, fields in wrong.items():
        if not fields:
            return layout
    raise CheckpointError(
        "no original TensorFlow code computes this model",
        where="config",
        received="; ".join(f"not {layout}: {', '.join(fields)}" for layout, fields in wrong.items()),
        next_step="Convert to huggingface or albertine instead",
    )


def _check_foreign(values: Mapping[str, object], layout: GoogleLayout, where: str) -> None:
    for key, allowed in _FOREIGN_AT[layout].items():
        if values.get(key, allowed) not in (None, allowed):
            raise CheckpointError(
                f"this configuration is not one of {layout}, which the tensors are of",
                where=f"{where}: {key}",
                received=repr(values[key]),
                allowed=f"{allowed!r}, or no such key",
                next_step="Use the configuration that was published with this checkpoint",
            )


def _plain_fields(values: Mapping[str, object], layout: GoogleLayout, where: str) -> dict[str, object]:
    """Return the fields of an `EncoderConfig` that the original code would read, without our note."""
    keys = GOOGLE_KEYS[layout]
    if absent := [key for key, default in keys.items() if default is None and values.get(key) is None]:
        raise CheckpointError("the configuration lacks sizes", where=where, received=f"no {', no '.join(absent)}")
    fields: dict[str, object] = {key: values.get(key, default) for key, default in keys.items()}
    fields["hidden_act"] = _chosen(fields["hidden_act"], _ACTIVATIONS, f"{where}: hidden_act")
    if "ln_type" in fields:
        fields["norm_placement"] = _chosen(fields.pop("ln_type") or "postln", _NORM_PLACEMENT, f"{where}: ln_type")
    for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if fields[key] is None:  # which the original code takes for no dropout
            fields[key] = 0.0
    fields = {key: float(value) if key in _SHARES and type(value) is int else value for key, value in fields.items()}
    fields.setdefault("embedding_size", fields["hidden_size"])
    if layout == "brightmart-albert" and fields["embedding_size"] == fields["hidden_size"]:
        fields["projection"] = "always"
    return {**fields, **_FIXED[layout], "layer_norm_eps": _EPSILON}


def _plain_values(config: EncoderConfig, layout: GoogleLayout) -> dict[str, object]:
    """Return the keys that the original code reads."""
    fields: dict[str, object] = dict(config.to_dict())
    fields["hidden_act"] = "relu" if config.hidden_act == "relu" else "gelu"
    fields["ln_type"] = "preln" if config.norm_placement == "pre" else "postln"
    fields["num_hidden_groups"] = _google_groups(config)
    return {key: fields[key] for key in GOOGLE_KEYS[layout]}


def _with_note(plain: EncoderConfig, note: Mapping[str, object], layout: GoogleLayout, where: str) -> EncoderConfig:
    """Return the configuration with the fields of our note, which must not change what the original code reads."""
    config = _build({**plain.to_dict(), **note}, f"{where}: {_NOTE}")
    before, after = _plain_values(plain, layout), _plain_values(config, layout)
    wrong = [f"{key}={value!r}" for key, value in after.items() if value != before[key]]
    if wrong := [*wrong, *google_differences(config, layout)]:
        raise CheckpointError(
            "our note contradicts the configuration it stands in", where=f"{where}: {_NOTE}", received=", ".join(wrong)
        )
    return config


def _chosen(value: object, allowed: Mapping[str, str], where: str) -> str:
    found = allowed.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise CheckpointError(
            "this value computes something else than an encoder of ours does",
            where=where,
            received=repr(value),
            allowed=", ".join(allowed),
        )
    return found


def _google_groups(config: EncoderConfig) -> int:
    """Return the groups that Google's code would be told."""
    return config.num_hidden_layers if config.share == "none" else config.num_hidden_groups


def _same_groups(config: EncoderConfig) -> bool:
    """Say whether Google's floating-point rule gives every layer the group that integers give it."""
    layers, groups = config.num_hidden_layers, _google_groups(config)
    return all(int(layer / layers * groups) == layer * groups // layers for layer in range(layers))


def _named(wrong: Mapping[str, bool], config: EncoderConfig) -> tuple[str, ...]:
    return tuple(f"{name}={getattr(config, name)!r}" for name, differs in wrong.items() if differs)


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
