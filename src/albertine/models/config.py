"""The encoder's configuration: BERT, ALBERT and the 2017 Transformer are columns of values of one class.

Letters: V vocabulary, E embedding width, H hidden width, F feed-forward width, T tokens of a text.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args, get_origin, get_type_hints

from albertine.errors import ConfigError, nearest
from albertine.models.presets import PretrainingChoices, find_preset, preset_names

__all__ = [
    "MOST_LAYERS",
    "EncoderConfig",
    "ParameterCount",
    "PassBlocks",
    "PretrainingChoices",
    "count_parameters",
    "flops_per_token",
    "preset_names",
    "pretraining_choices",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassBlocks:
    """The blocks of weights that one pass runs."""

    attention: int
    """Index of the attention block."""
    feed_forward: int
    """Index of the feed-forward block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Everything that decides the encoder's function and shape."""

    vocab_size: int
    """Rows of the word embedding table."""
    hidden_size: int
    """Width of the hidden states; cost grows with its square."""
    num_hidden_layers: int
    """Layers; each is `inner_group_num` passes."""
    num_attention_heads: int
    """Attention heads; divides `hidden_size`."""
    intermediate_size: int
    """Inner width of the feed-forward part, by custom four times `hidden_size`."""
    embedding_size: int
    """Width of the word embeddings; smaller than `hidden_size` is ALBERT's factorisation."""
    projection: Literal["auto", "always", "never"] = "auto"
    """The linear map from E to H. auto: where the widths differ; always: also where they are equal, as transformers'
    ALBERT has it; never: the widths must be equal."""
    projection_bias: bool = True
    """Whether that map has a bias; brightmart's Chinese ALBERT has none."""
    embedding_norm_width: Literal["embedding", "hidden", "none"] = "embedding"
    """Where positions, segments and the embedding LayerNorm live. embedding: at width E, before the projection
    (Google's BERT and ALBERT); hidden: at width H, after it (brightmart); none: at width E, without a norm (the
    Transformer of 2017). The masked-word head mirrors it."""
    num_hidden_groups: int = 1
    """Groups of consecutive layers; blocks are shared inside a group only. More groups, more parameters."""
    inner_group_num: int = 1
    """Blocks that a layer runs one after another."""
    share: Literal["all", "attention", "feed-forward", "none"] = "none"
    """What the layers of a group share: everything, the attention part with its norm, the feed-forward part with its
    norm, or nothing. What is not shared, every layer has for itself."""
    hidden_act: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    """Activation of the feed-forward part and the masked-word head: erf GELU, its tanh form (Google's code), ReLU."""
    norm_placement: Literal["post", "pre"] = "post"
    """post: LayerNorm after each residual sum; pre: before each part, inside the residual. No norm follows the last
    layer in either case, as in brightmart's xxlarge, the pre-norm ALBERT there is."""
    position_embedding: Literal["learned", "sinusoidal"] = "learned"
    """learned: a table of `max_position_embeddings` rows; sinusoidal: sines and cosines without parameters, with the
    word embeddings scaled by √E (arXiv:1706.03762 sections 3.4, 3.5)."""
    max_position_embeddings: int = 512
    """The longest text in tokens."""
    type_vocab_size: int = 2
    """Segments; 0 means no segment embeddings, and `token_type_ids` are then ignored."""
    layer_norm_eps: float = 1e-12
    """Added to the variance in every LayerNorm."""
    hidden_dropout_prob: float = 0.1
    """Share of hidden values set to zero in training: after the embeddings and each part."""
    attention_probs_dropout_prob: float = 0.1
    """Share of attention weights set to zero in training."""
    classifier_dropout_prob: float = 0.1
    """Share of pooled values set to zero in training, in front of a task's head."""
    initializer_range: float = 0.02
    """Standard deviation of the initial weights."""
    pad_token_id: int = 0
    """The id that fills rows up; its embedding starts at zero and is not trained through the input."""
    tie_word_embeddings: bool = True
    """Whether the masked-word head scores words with the word embeddings themselves; otherwise it has a table of its
    own. The encoder is the same either way."""
    add_pooler: bool = True
    """Whether the first token's state goes through a dense layer and tanh to become the text's vector."""

    def __post_init__(self) -> None:
        for name, kind in _field_types().items():
            _check_type(name, kind, getattr(self, name))
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ConfigError("must be positive", where=name, received=getattr(self, name), allowed="more than 0")
        for name, most in _AT_MOST.items():
            if getattr(self, name) > most:
                raise ConfigError(
                    "larger than any model", where=name, received=f"{getattr(self, name):,}", allowed=f"up to {most:,}"
                )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError("not a share", where=name, received=getattr(self, name), allowed="0 ≤ share < 1")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                "hidden_size must be a multiple of num_attention_heads",
                where="hidden_size",
                received=f"hidden_size={self.hidden_size}, num_attention_heads={self.num_attention_heads}",
            )
        if self.num_passes > MOST_LAYERS:
            raise ConfigError(
                "more passes than any model has",
                where="inner_group_num",
                received=f"{self.num_passes:,}",
                allowed=f"up to {MOST_LAYERS:,}",
            )
        if self.num_hidden_groups > self.num_hidden_layers:
            raise ConfigError(
                "there cannot be more groups than layers",
                where="num_hidden_groups",
                received=self.num_hidden_groups,
                allowed=f"1 … {self.num_hidden_layers}",
            )
        if self.projection == "never" and self.embedding_size != self.hidden_size:
            raise ConfigError(
                "without a projection embedding_size must equal hidden_size",
                where="projection",
                received=f"embedding_size={self.embedding_size}, hidden_size={self.hidden_size}",
                next_step='Use projection="auto"',
            )
        if self.type_vocab_size < 0:
            raise ConfigError("must not be negative", where="type_vocab_size", received=self.type_vocab_size)
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise ConfigError(
                "the id is outside the vocabulary",
                where="pad_token_id",
                received=self.pad_token_id,
                allowed=f"0 … {self.vocab_size - 1}",
            )

    @classmethod
    def preset(cls, name: str, **overrides: str | int | float | bool) -> EncoderConfig:
        """Return a published architecture, with single fields replaced on request.

        Raises:
            ConfigError: no such preset, no such field, or a value that does not fit.
        """
        return cls.from_dict({**find_preset(name).columns, **overrides})

    @classmethod
    def from_dict(cls, values: Mapping[str, object], *, where: str | None = None) -> EncoderConfig:
        """Build a configuration from plain values; fields without a default must be there, unknown keys are errors.

        Args:
            values: field name to value.
            where: the file the values come from, for messages.

        Raises:
            ConfigError: an unknown key (the message names the nearest), a missing one, a value that does not fit.
        """
        known = _field_types()
        unknown = [key for key in values if key not in known]
        if unknown:
            hints = [f"{key} (did you mean {close}?)" if (close := nearest(key, known)) else key for key in unknown]
            raise ConfigError(
                "unknown configuration field" + ("s" if len(unknown) > 1 else ""),
                where=where,
                received=", ".join(hints),
                allowed=", ".join(sorted(known)),
            )
        missing = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is dataclasses.MISSING and field.name not in values
        ]
        if missing:
            raise ConfigError("configuration fields are missing", where=where, received=", ".join(missing) + " absent")
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks every type

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """Return every field as a plain value, the inverse of `from_dict`."""
        return dataclasses.asdict(self)

    def with_dropout(self, chance: float | None) -> EncoderConfig:
        """Return the configuration with another dropout in all layers; None leaves its own."""
        if chance is None:
            return self
        return dataclasses.replace(self, hidden_dropout_prob=chance, attention_probs_dropout_prob=chance)

    @property
    def num_passes(self) -> int:
        """Block applications of a full forward: layers times inner blocks."""
        return self.num_hidden_layers * self.inner_group_num

    @property
    def has_projection(self) -> bool:
        """Whether there is a linear map from E to H."""
        return self.projection == "always" or self.embedding_size != self.hidden_size

    @property
    def embedding_norm_size(self) -> int:
        """The width at which positions, segments and the embedding norm live."""
        return self.hidden_size if self.embedding_norm_width == "hidden" else self.embedding_size

    @property
    def num_attention_blocks(self) -> int:
        """Attention blocks of weights."""
        return self._block_count(shared=self.share in ("all", "attention"))

    @property
    def num_feed_forward_blocks(self) -> int:
        """Feed-forward blocks of weights."""
        return self._block_count(shared=self.share in ("all", "feed-forward"))

    def group_of_layer(self, layer: int) -> int:
        """Return the group of layer `layer`, counted from 0: `layer * groups // layers`, in integers.

        Google's code computes it in floating point, which for 22 or 23 layers of as many groups gives two layers one
        group and leaves another unused.
        """
        return layer * self.num_hidden_groups // self.num_hidden_layers

    def blocks_of_pass(self, index: int) -> PassBlocks:
        """Return the blocks that pass `index` runs (0 … num_passes-1)."""
        layer, inner = divmod(index, self.inner_group_num)
        own = layer * self.inner_group_num + inner
        grouped = self.group_of_layer(layer) * self.inner_group_num + inner
        return PassBlocks(
            attention=grouped if self.share in ("all", "attention") else own,
            feed_forward=grouped if self.share in ("all", "feed-forward") else own,
        )

    def _block_count(self, *, shared: bool) -> int:
        return (self.num_hidden_groups if shared else self.num_hidden_layers) * self.inner_group_num


_POSITIVE = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "embedding_size",
    "num_hidden_groups",
    "inner_group_num",
    "max_position_embeddings",
    "layer_norm_eps",
    "initializer_range",
)
# No model is as large; a configuration that says so is damaged or hostile, and must not cost memory or time.
MOST_LAYERS = 4096
_AT_MOST = {
    "vocab_size": 1 << 28,
    "hidden_size": 1 << 20,
    "num_hidden_layers": MOST_LAYERS,
    "num_attention_heads": 1 << 20,
    "intermediate_size": 1 << 20,
    "embedding_size": 1 << 20,
    "num_hidden_groups": MOST_LAYERS,
    "inner_group_num": 64,
    "max_position_embeddings": 1 << 28,
    "type_vocab_size": 1 << 20,
}


@cache
def _field_types() -> dict[str, type]:
    return get_type_hints(EncoderConfig)


def _check_type(name: str, kind: type, value: object) -> None:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ConfigError("unknown value", where=name, received=repr(value), allowed=", ".join(get_args(kind)))
        return
    allowed = (int, float) if kind is float else (kind,)
    # bool is an int in Python, but true is no number of layers.
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError("wrong type", where=name, received=repr(value), allowed=kind.__name__)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError("not a finite number", where=name, received=value)


def pretraining_choices(name: str) -> PretrainingChoices:
    """Return how the preset `name` is pretrained.

    Raises:
        ConfigError: no such preset.
    """
    return find_preset(name).pretraining


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCount:
    """Parameters of encoder and pooler."""

    unique: int
    """Stored numbers: what memory and disk hold."""
    executed: int
    """The same with a shared block counted once a pass: what arithmetic meets."""


def count_parameters(config: EncoderConfig) -> ParameterCount:
    """Count the parameters of encoder and pooler from the configuration alone, heads not included."""
    width, hidden = config.embedding_norm_size, config.hidden_size
    fixed = config.vocab_size * config.embedding_size + config.type_vocab_size * width
    if config.position_embedding == "learned":
        fixed += config.max_position_embeddings * width
    if config.embedding_norm_width != "none":
        fixed += 2 * width
    if config.has_projection:
        fixed += config.embedding_size * hidden + config.projection_bias * hidden
    if config.add_pooler:
        fixed += hidden * hidden + hidden
    norm = 2 * hidden
    attention = 4 * (hidden * hidden + hidden) + norm
    feed_forward = 2 * hidden * config.intermediate_size + config.intermediate_size + hidden + norm
    return ParameterCount(
        unique=fixed + config.num_attention_blocks * attention + config.num_feed_forward_blocks * feed_forward,
        executed=fixed + config.num_passes * (attention + feed_forward),
    )


def flops_per_token(config: EncoderConfig, length: int) -> int:
    """Return the floating-point operations that a forward pass spends on one token of a text of `length` tokens.

    Counted are the matrix products, two operations a multiply-add: projection, attention (whose products with keys
    and values grow with `length`) and feed-forward parts of every pass. The pooler, which runs once a text, norms,
    activations and table look-ups are not.

    Raises:
        ConfigError: `length` is not positive.
    """
    if length < 1:
        raise ConfigError("a text has at least one token", where="length", received=length, allowed="1 or more")
    hidden = config.hidden_size
    one_pass = 4 * hidden * hidden + 2 * hidden * config.intermediate_size + 2 * length * hidden
    projection = config.embedding_size * hidden if config.has_projection else 0
    return 2 * (projection + config.num_passes * one_pass)
