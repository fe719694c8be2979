"""A configuration as far as a checkpoint's shapes tell it, where bert_config.json is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from albertine.checkpoints.google.config import GOOGLE_KEYS
from albertine.checkpoints.google.names import GoogleLayout, canonical_google, google_block
from albertine.checkpoints.source import StoredTensor
from albertine.errors import CheckpointError
from albertine.models.config import EncoderConfig, preset_names

__all__ = ["ShapedConfig", "config_from_shapes", "missing_config"]

_CONFIG_FILE: Mapping[GoogleLayout, str] = {
    "google-bert": "bert_config.json",
    "google-albert": "albert_config.json",
    "brightmart-albert": "albert_config.json",
}
_WIDTHS = ("embedding_size", "hidden_size", "intermediate_size")
_BLOCK = re.compile(
    r"bert/encoder/(?:layer_(?P<layer>\d{1,6})|transformer/group_(?P<group>\d{1,6})/inner_group_(?P<inner>\d{1,6}))/"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapedConfig:
    """A configuration as far as the shapes of a checkpoint's tensors tell it."""

    values: Mapping[str, object]
    """Every key of the configuration file, guesses included."""
    guessed: tuple[str, ...]
    """The keys among them that decide what is computed and of which the shapes say nothing."""
    preset: str | None
    """The published architecture of the same widths, whose numbers the guesses are."""


def missing_config(entries: Mapping[str, StoredTensor], layout: GoogleLayout, *, where: str) -> CheckpointError:
    """Return the error for a checkpoint without configuration: it has the file to write in it.

    Args:
        entries: the checkpoint's variables.
        layout: whose code wrote them.
        where: the folder of the checkpoint, for messages.

    Raises:
        CheckpointError: the shapes do not tell a configuration either.
    """
    shaped = config_from_shapes(entries, layout, where=where)
    source = f"those of {shaped.preset}" if shaped.preset else "guesses"
    file = _CONFIG_FILE[layout]
    return CheckpointError(
        f"no {file} beside the checkpoint",
        where=where,
        next_step=f"Put the {file} of this model there, or write {json.dumps(shaped.values)} into a file of that name, "
        f"after checking {', '.join(shaped.guessed)}, which cannot be seen in the tensors (here: {source}); the other "
        "sizes are those of the tensors",
    )


def config_from_shapes(entries: Mapping[str, StoredTensor], layout: GoogleLayout, *, where: str) -> ShapedConfig:
    """Put a configuration together from the shapes of a checkpoint's tensors.

    Args:
        entries: the checkpoint's variables.
        layout: whose code wrote them.
        where: the checkpoint, for messages.

    Raises:
        CheckpointError: a tensor that tells a size is missing or is no matrix.
    """
    shapes = {canonical_google(name): entry.shape for name, entry in entries.items()}

    def matrix(name: str) -> tuple[int, ...]:
        shape = shapes.get(name)
        if shape is None or len(shape) != 2 or 0 in shape:
            raise CheckpointError(
                "no configuration, and the tensor that would tell its sizes is not there as a matrix",
                where=f"{where}: {name}",
                received="no such tensor" if shape is None else f"shape {shape}",
                next_step=f"Put the model's {_CONFIG_FILE[layout]} beside the checkpoint",
            )
        return shape

    places = [found for name in shapes if (found := _BLOCK.match(name))]
    layers, groups, inner = (
        1 + max((int(place[axis]) for place in places if place[axis]), default=0)
        for axis in ("layer", "group", "inner")
    )
    vocab_size, embedding_size = matrix("bert/embeddings/word_embeddings")
    kernel = "ffn_1/intermediate/dense/kernel" if layout == "google-albert" else "intermediate/dense/kernel"
    hidden_size, intermediate_size = matrix(f"{google_block(0, layout)}/{kernel}")
    seen: dict[str, object] = {
        "vocab_size": vocab_size,
        "embedding_size": embedding_size,
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "max_position_embeddings": matrix("bert/embeddings/position_embeddings")[0],
        "type_vocab_size": matrix("bert/embeddings/token_type_embeddings")[0],
        "num_hidden_layers": layers,
        "num_hidden_groups": groups,
        "inner_group_num": inner,
    }
    name = _published(layout, seen)
    published = EncoderConfig.preset(name) if name else None
    guesses: dict[str, object] = {
        "num_attention_heads": published.num_attention_heads if published else _heads(hidden_size)
    }
    if layout != "google-bert":
        # No fewer layers than groups, of which every one is used.
        guesses["num_hidden_layers"] = max(published.num_hidden_layers if published else 12, groups)
    if layout == "brightmart-albert":
        guesses["ln_type"] = "postln"
    values = {**GOOGLE_KEYS[layout], **seen, **guesses}
    return ShapedConfig(
        values={key: values[key] for key in sorted(GOOGLE_KEYS[layout])}, guessed=tuple(guesses), preset=name
    )


def _published(layout: GoogleLayout, seen: Mapping[str, object]) -> str | None:
    """Return the preset of the same family and widths."""
    for name in preset_names():
        fields = EncoderConfig.preset(name).to_dict()
        same_family = fields["share"] == ("none" if layout == "google-bert" else "all")
        if same_family and all(fields[key] == seen[key] for key in _WIDTHS):
            return name
    return None


def _heads(hidden_size: int) -> int:
    """Guess the heads: 64 wide, as in every BERT of Google's, else the most of the usual numbers that divides."""
    return hidden_size // 64 if hidden_size % 64 == 0 else next(n for n in (12, 8, 4, 2, 1) if hidden_size % n == 0)
