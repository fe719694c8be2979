"""The published architectures: families as columns of values, and the sizes each was published in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from albertine.errors import unknown_name

__all__ = ["Preset", "PretrainingChoices", "find_preset", "preset_names"]

Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingChoices:
    """How a family is pretrained: what stands beside the architecture in the papers."""

    pair_objective: Literal["nsp", "sop"] | None
    """nsp: is the second text the next one, or from another document? sop: are the two in order? None: no pair task."""
    masking: Literal["pieces", "whole-words", "n-grams"]
    """The unit that masked-word prediction hides."""
    tokenizer: Literal["wordpiece", "unigram"]
    """The kind of vocabulary."""
    lowercase: bool
    """True where texts are lower-cased and accents dropped before tokenization."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One published architecture."""

    name: str
    family: str
    """The column of values that it shares with its other sizes."""
    columns: Mapping[str, Value]
    """Every field of the encoder's configuration."""
    pretraining: PretrainingChoices


# Sources: BERT arXiv:1810.04805 and google-research/bert; ALBERT arXiv:1909.11942 and google-research/albert; the sizes
# of the Chinese ALBERT brightmart/albert_zh; the Transformer arXiv:1706.03762. Differences worth knowing:
# * BERT and the Chinese families use erf GELU as in their converted checkpoints; Google's own code has the tanh form.
# * masking: the first BERT hid single pieces; whole words came with its 2019 update, and every BERT here takes them.
# * bert-chinese is not published: it has BERT's column at the Chinese ALBERT's sizes, to compare them at equal width.
# * transformer-tiny is the size that Wu et al. (2021, Good for Misconceived Reasons) found best for 29,000 sentence
#   pairs; transformer-small is not published.
# * the 2017 encoder has no segments, no embedding norm and no pooler of its own; the pooler is here so that every
#   column can be fine-tuned alike.
# fmt: off
_FAMILY_NAMES = ("bert", "albert", "albert-chinese", "bert-chinese", "transformer")
_FAMILIES: dict[str, tuple[Value, ...]] = {
    #                                bert           albert       albert-chinese  bert-chinese   transformer
    "projection":                   ("auto",        "auto",      "auto",         "auto",        "auto"),
    "projection_bias":              (True,          True,        True,           True,          True),
    "embedding_norm_width":         ("embedding",   "embedding", "embedding",    "embedding",   "none"),
    "num_hidden_groups":            (1,             1,           1,              1,             1),
    "inner_group_num":              (1,             1,           1,              1,             1),
    "share":                        ("none",        "all",       "all",          "none",        "none"),
    "hidden_act":                   ("gelu",        "gelu_tanh", "gelu",         "gelu",        "relu"),
    "norm_placement":               ("post",        "post",      "post",         "post",        "post"),
    "position_embedding":           ("learned",     "learned",   "learned",      "learned",     "sinusoidal"),
    "max_position_embeddings":      (512,           512,         512,            512,           512),
    "type_vocab_size":              (2,             2,           2,              2,             0),
    "layer_norm_eps":               (1e-12,         1e-12,       1e-12,          1e-12,         1e-6),
    "hidden_dropout_prob":          (0.1,           0.0,         0.0,            0.1,           0.1),
    "attention_probs_dropout_prob": (0.1,           0.0,         0.0,            0.1,           0.1),
    "classifier_dropout_prob":      (0.1,           0.1,         0.1,            0.1,           0.1),
    "initializer_range":            (0.02,          0.02,        0.02,           0.02,          0.02),
    "pad_token_id":                 (0,             0,           0,              0,             0),
    "tie_word_embeddings":          (True,          True,        True,           True,          True),
    "add_pooler":                   (True,          True,        True,           True,          True),
}
_PRETRAINING: dict[str, tuple[Value | None, ...]] = {
    #                                bert           albert       albert-chinese  bert-chinese   transformer
    "pair_objective":               ("nsp",         "sop",       "sop",          "nsp",         None),
    "masking":                      ("whole-words", "n-grams",   "whole-words",  "whole-words", "whole-words"),
    "tokenizer":                    ("wordpiece",   "unigram",   "wordpiece",    "wordpiece",   "wordpiece"),
    "lowercase":                    (True,          True,        True,           True,          False),
}

_SIZE_COLUMNS = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                 "intermediate_size")
_SIZES: dict[str, tuple[str, tuple[int, ...]]] = {
    #                        family                vocab    E     H   layers heads   F
    "bert-tiny":            ("bert",             (30_522,  128,  128,   2,   2,    512)),
    "bert-mini":            ("bert",             (30_522,  256,  256,   4,   4,  1_024)),
    "bert-small":           ("bert",             (30_522,  512,  512,   4,   8,  2_048)),
    "bert-medium":          ("bert",             (30_522,  512,  512,   8,   8,  2_048)),
    "bert-base":            ("bert",             (30_522,  768,  768,  12,  12,  3_072)),
    "bert-large":           ("bert",             (30_522, 1024, 1024,  24,  16,  4_096)),
    "albert-base":          ("albert",           (30_000,  128,  768,  12,  12,  3_072)),
    "albert-large":         ("albert",           (30_000,  128, 1024,  24,  16,  4_096)),
    "albert-xlarge":        ("albert",           (30_000,  128, 2048,  24,  16,  8_192)),
    "albert-xxlarge":       ("albert",           (30_000,  128, 4096,  12,  64, 16_384)),
    "albert-chinese-tiny":  ("albert-chinese",   (21_128,  128,  312,   4,  12,  1_248)),
    "albert-chinese-small": ("albert-chinese",   (21_128,  128,  384,   6,  12,  1_536)),
    "bert-chinese-tiny":    ("bert-chinese",     (21_128,  312,  312,   4,  12,  1_248)),
    "bert-chinese-small":   ("bert-chinese",     (21_128,  384,  384,   6,  12,  1_536)),
    "transformer-tiny":     ("transformer",      ( 8_000,  128,  128,   4,   4,    256)),
    "transformer-small":    ("transformer",      ( 8_000,  256,  256,   3,   4,  1_024)),
    "transformer-base":     ("transformer",      (37_000,  512,  512,   6,   8,  2_048)),
}
# fmt: on


def preset_names() -> tuple[str, ...]:
    """Return the name of every preset, family by family, small to large."""
    return tuple(_SIZES)


def find_preset(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        ConfigError: no such preset; the message names the nearest.
    """
    if name not in _SIZES:
        raise unknown_name("preset", name, _SIZES)
    family, sizes = _SIZES[name]
    column = _FAMILY_NAMES.index(family)
    values = {field: row[column] for field, row in _FAMILIES.items()}
    choices = {field: row[column] for field, row in _PRETRAINING.items()}
    return Preset(
        name=name,
        family=family,
        columns={**dict(zip(_SIZE_COLUMNS, sizes, strict=True)), **values},
        pretraining=PretrainingChoices(**choices),  # type: ignore[arg-type]  # the table's values are tested
    )
