"""The body of a task model, whichever it is: an encoder, a recurrent network or averaged word vectors.

The one place that knows every class of body; what a solver fits has no module, but its configuration is written here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import nn

from albertine.errors import CheckpointError, ConfigError, did_you_mean
from albertine.models.config import EncoderConfig, ParameterCount, count_parameters, flops_per_token
from albertine.models.encoder import Encoder
from albertine.models.ngrams import BagOfWordsConfig
from albertine.models.pair_features import OverlapConfig
from albertine.models.recurrent import BiLstm, RecurrentConfig
from albertine.models.word_vectors import AveragedVectors, WordVectorsConfig

__all__ = [
    "AnyConfig",
    "BodyConfig",
    "SolverConfig",
    "body_flops_per_token",
    "body_kind",
    "body_output_size",
    "body_parameters",
    "build_body",
    "config_from_dict",
    "config_to_dict",
]

BodyConfig = EncoderConfig | RecurrentConfig | WordVectorsConfig
SolverConfig = BagOfWordsConfig | OverlapConfig
"""Of the baselines that are fitted to texts in one go."""
AnyConfig = BodyConfig | SolverConfig
_BaselineT = TypeVar("_BaselineT", RecurrentConfig, WordVectorsConfig, BagOfWordsConfig, OverlapConfig)

# The value of `albertine.body` in config.json.
_RECURRENT, _WORD_VECTORS, _BAG_OF_WORDS, _OVERLAP = "bilstm", "word-vectors", "bag-of-words", "overlap"


def build_body(config: BodyConfig) -> nn.Module:
    """Build the module of a configuration, with random weights."""
    if isinstance(config, RecurrentConfig):
        return BiLstm(config)
    if isinstance(config, WordVectorsConfig):
        return AveragedVectors(config)
    return Encoder(config)


def body_kind(config: AnyConfig) -> str:
    """Say what a model is: bert, albert, encoder (any other column of values), or the baseline's name.

    bert and albert are the published functions at any size: learned positions, norms after each part, and blocks that
    are all the layers' own (BERT, without a factorised embedding) or all shared inside their group (ALBERT).
    """
    if isinstance(config, RecurrentConfig):
        return _RECURRENT
    if isinstance(config, WordVectorsConfig):
        return _WORD_VECTORS
    if isinstance(config, BagOfWordsConfig):
        return _BAG_OF_WORDS
    if isinstance(config, OverlapConfig):
        return _OVERLAP
    if config.position_embedding != "learned" or config.norm_placement != "post":
        return "encoder"
    if config.share == "none" and not config.has_projection and config.inner_group_num == 1:
        return "bert"
    return "albert" if config.share == "all" else "encoder"


def body_output_size(config: BodyConfig) -> int:
    """Return the width of `pooler_output`."""
    return config.hidden_size if isinstance(config, EncoderConfig) else config.output_size


def body_parameters(config: BodyConfig) -> ParameterCount:
    """Count the parameters of a body: those that are stored, and those that a text meets, shared ones once a pass.

    Only an encoder can meet a block more than once; a baseline's two counts are equal.
    """
    if isinstance(config, EncoderConfig):
        return count_parameters(config)
    if isinstance(config, RecurrentConfig):
        unique = config.vocab_size * config.embedding_size
        for width in _recurrent_inputs(config):
            unique += 2 * 4 * config.hidden_size * (width + config.hidden_size + 2)
    else:
        unique = (config.vocab_size + config.bigram_buckets) * config.embedding_size
    return ParameterCount(unique=unique, executed=unique)


def body_flops_per_token(config: BodyConfig, length: int) -> float:
    """Return the floating-point operations of one token in a text of `length` tokens; a multiply-add counts two."""
    if isinstance(config, EncoderConfig):
        return float(flops_per_token(config, length))
    if isinstance(config, RecurrentConfig):
        # two directions, four gates, each a product with the input and with the state
        return float(sum(2 * 2 * 4 * config.hidden_size * (w + config.hidden_size) for w in _recurrent_inputs(config)))
    vectors = 1.0 + (max(0, length - 1) / max(1, length) if config.bigram_buckets else 0.0)
    return vectors * config.embedding_size


def _recurrent_inputs(config: RecurrentConfig) -> list[int]:
    """Return the width that every LSTM layer reads."""
    return [config.embedding_size] + [config.output_size] * (config.num_hidden_layers - 1)


def config_to_dict(config: AnyConfig) -> dict[str, object]:
    """Return what config.json holds of a model."""
    if isinstance(config, EncoderConfig):
        return dict(config.to_dict())
    return {"model_type": "albertine", "albertine": {"body": body_kind(config), **dataclasses.asdict(config)}}


def config_from_dict(values: Mapping[str, object], *, where: str = "config.json") -> AnyConfig:
    """Read what `config_to_dict` wrote, an encoder's or a baseline's.

    Args:
        values: the contents of config.json.
        where: the file, for messages.

    Raises:
        CheckpointError: the body is none that exists.
        ConfigError: an unknown field or a value out of range.
    """
    own = values.get("albertine")
    kind = own.get("body") if isinstance(own, Mapping) else None
    if not isinstance(own, Mapping) or kind is None:
        return EncoderConfig.from_dict(dict(values))
    fields = {key: value for key, value in own.items() if key != "body"}
    if kind == _RECURRENT:
        return _from_fields(RecurrentConfig, fields, where)
    if kind == _WORD_VECTORS:
        return _from_fields(WordVectorsConfig, fields, where)
    if kind == _BAG_OF_WORDS:
        return _from_fields(BagOfWordsConfig, fields, where)
    if kind == _OVERLAP:
        return _from_fields(OverlapConfig, fields, where)
    raise CheckpointError(
        "unknown body",
        where=f"{where}: albertine.body",
        received=repr(kind),
        allowed=", ".join((_RECURRENT, _WORD_VECTORS, _BAG_OF_WORDS, _OVERLAP)),
    )


def _from_fields(cls: type[_BaselineT], fields: Mapping[str, object], where: str) -> _BaselineT:
    """Build a baseline's configuration; lists become the tuples they were."""
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(fields) - known):
        raise ConfigError(
            "unknown fields",
            where=where,
            received=", ".join(unknown),
            allowed=", ".join(sorted(known)),
            next_step=did_you_mean(unknown[0], known),
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    build: Callable[..., _BaselineT] = cls
    try:
        return build(**values)
    except TypeError as error:
        raise ConfigError("a field is missing or of the wrong type", where=where, received=error) from error
