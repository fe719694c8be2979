"""The options that several verbs share, each written once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from albertine.errors import ConfigError
from albertine.tasks.config import parse_options
from albertine.training.config import TrainingConfig

__all__ = [
    "AllowPickleOption",
    "AnswerPrecisionOption",
    "BaselinesOption",
    "BatchSizeOption",
    "DepthOption",
    "DevOption",
    "EncodersOption",
    "EncodingOption",
    "EpochsOption",
    "EvaluationsOption",
    "ExactOption",
    "JsonOption",
    "LabelColumn",
    "LangOption",
    "LearningRateOption",
    "MaxLengthOption",
    "MinutesOption",
    "OnErrorOption",
    "OutOption",
    "PrecisionOption",
    "QuotingOption",
    "TaskOption",
    "TestOption",
    "TextColumn",
    "TextPairColumn",
    "TokenizerOption",
    "TrainingOption",
    "VocabularySizeOption",
    "depth_asked",
    "names_of",
    "training_config",
]

_DATA = "Data"
_TRAINING = "Training"

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for everything the command makes.")]
LangOption = Annotated[
    str | None, typer.Option("--lang", help="Language of reports and model cards: en or zh (default: the locale's).")
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help="Column of the text: its name, or its number where there is no header.",
        rich_help_panel=_DATA,
    ),
]
TextPairColumn = Annotated[
    str | None, typer.Option("--text-pair-column", help="Column of the second text of a pair.", rich_help_panel=_DATA)
]
LabelColumn = Annotated[str | None, typer.Option("--label-column", help="Column of the label.", rich_help_panel=_DATA)]
EncodingOption = Annotated[
    str, typer.Option("--encoding", help="Encoding of the data files, such as gb18030.", rich_help_panel=_DATA)
]
OnErrorOption = Annotated[
    str,
    typer.Option("--on-error", help="What a bad row does: stop, or skip (counted and listed).", rich_help_panel=_DATA),
]
QuotingOption = Annotated[
    Literal["auto", "on", "off"],
    typer.Option("--quoting", help="Whether a quote holds a field together.", rich_help_panel=_DATA),
]
DevOption = Annotated[
    Path | None, typer.Option("--dev", help="Development file (default: a tenth of the data).", rich_help_panel=_DATA)
]
TestOption = Annotated[
    Path | None, typer.Option("--test", help="Test file (default: a tenth of the data).", rich_help_panel=_DATA)
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="NAME=VALUE, an option of the task alone; give it once for each.", rich_help_panel=_TRAINING
    ),
]
TrainingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--training",
        help="NAME=VALUE, any other field of the training, such as dropout=0.3 or warmup_steps=500; give it once for "
        "each.",
        rich_help_panel=_TRAINING,
    ),
]
EncodersOption = Annotated[
    str | None,
    typer.Option(
        "--encoders",
        help="Encoders, separated by commas: folders, shipped encoders or preset:NAME; none for baselines alone. "
        "Default: what ships for the data's language, else BERT and ALBERT of 4 layers x 312, random weights.",
    ),
]
BaselinesOption = Annotated[
    str | None,
    typer.Option(
        "--baselines",
        help="Baselines, separated by commas, or none (default: those of bag-of-words,overlap,word-vectors,bilstm that "
        "can do the task; overlap compares the two texts of a pair).",
    ),
]
EpochsOption = Annotated[
    float | None, typer.Option("--epochs", help="Passes over the training split.", rich_help_panel=_TRAINING)
]
MinutesOption = Annotated[
    float | None,
    typer.Option("--minutes", help="Training time of a run, instead of --epochs.", rich_help_panel=_TRAINING),
]
EvaluationsOption = Annotated[
    int | None,
    typer.Option(
        "--evaluations", help="Times a run looks at the development split to keep its best.", rich_help_panel=_TRAINING
    ),
]
BatchSizeOption = Annotated[int | None, typer.Option("--batch-size", help="Texts a step.", rich_help_panel=_TRAINING)]
LearningRateOption = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", help="Peak learning rate (default: by encoder, said aloud).", rich_help_panel=_TRAINING
    ),
]
MaxLengthOption = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        help="Tokens a text at most (default: fits nearly all training texts, said aloud).",
        rich_help_panel=_TRAINING,
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option("--precision", help="auto (measured on this machine), fp32 or bf16.", rich_help_panel=_TRAINING),
]
AnswerPrecisionOption = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    typer.Option("--precision", help="auto (the best that the model and this machine have), fp32, bf16 or int8."),
]
DepthOption = Annotated[
    str | None,
    typer.Option(
        "--depth",
        help="Passes through an elastic model: a number, or auto for as many as a text needs (default: all).",
    ),
]
ExactOption = Annotated[
    bool, typer.Option("--exact", help="Every text by itself: its scores never depend on the others. Slower.")
]
VocabularySizeOption = Annotated[
    int,
    typer.Option(
        "--vocabulary-size", help="Entries of the vocabulary learnt for random weights.", rich_help_panel=_TRAINING
    ),
]
AllowPickleOption = Annotated[
    bool, typer.Option("--allow-pickle", help="Read pytorch_model.bin, with a loader that runs nothing.")
]
TokenizerOption = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        help="Tokenizer folder for random weights, instead of a learnt vocabulary.",
        rich_help_panel=_TRAINING,
    ),
]


def names_of(text: str | None, *, option: str) -> list[str] | None:
    """Split a comma-separated option; `none` is the empty list, an absent option None.

    Raises:
        ConfigError: a name is empty or given twice.
    """
    if text is None:
        return None
    if text.strip() == "none":
        return []
    names = [name.strip() for name in re.split(r"[,，]", text)]
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(
            "every name must be given once and none may be empty",
            where=option,
            received=repr(text),
            next_step="Separate the names by single commas",
        )
    return names


def training_config(named: Mapping[str, object], others: Sequence[str] | None) -> TrainingConfig:
    """Return how to train, from the options with names of their own (None where not given) and from NAME=VALUE.

    Raises:
        ConfigError: a name that does not exist, a value out of range, or one that was given in both ways.
    """
    given = {name: value for name, value in named.items() if value is not None}
    read = parse_options(TrainingConfig, others or (), of="the training")
    twice = sorted(given.keys() & read.keys())
    if twice:
        raise ConfigError(
            "a training option was given twice",
            received=f"--training {twice[0]}=… and --{twice[0].replace('_', '-')}",
            next_step="Leave out one of them",
        )
    return TrainingConfig.from_dict(given | read)


def depth_asked(text: str | None) -> int | Literal["auto"] | None:
    """Read what --depth was given.

    Raises:
        ConfigError: it is neither a number nor auto.
    """
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise ConfigError("not a depth", where="--depth", received=repr(text), allowed="a number of passes, or auto")
    return int(text)
