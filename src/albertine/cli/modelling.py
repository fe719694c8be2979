"""The verbs that make and use one model: finetune, evaluate, predict."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from albertine.cli import options, streams
from albertine.cli.output import say, show_json, show_text
from albertine.data.columns import Columns
from albertine.inference.model import load
from albertine.records import Prediction
from albertine.training import run
from albertine.training.config import TrainingConfig
from albertine.training.manifest import read_measurements

__all__ = ["evaluate", "finetune", "predict"]

FINETUNE_SCHEMA = 1
PREDICT_SCHEMA = 1


def finetune(
    task: Annotated[str, typer.Argument(help="What to learn: text-classification.")],
    data: Annotated[Path, typer.Argument(help="A data file, or a folder with train, dev and test.")],
    encoder: Annotated[str, typer.Option("--encoder", help="Folder, preset:NAME, or a baseline's name.")],
    out: options.OutOption,
    dev: options.DevOption = None,
    test: options.TestOption = None,
    text_column: options.TextColumn = None,
    text_pair_column: options.TextPairColumn = None,
    label_column: options.LabelColumn = None,
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    quoting: options.QuotingOption = "auto",
    tokenizer: options.TokenizerOption = None,
    vocabulary_size: options.VocabularySizeOption = 8000,
    max_length: options.MaxLengthOption = None,
    epochs: options.EpochsOption = None,
    minutes: options.MinutesOption = None,
    batch_size: options.BatchSizeOption = None,
    accumulation: Annotated[
        int | None, typer.Option("--accumulation", help="Parts a step is computed in, to save memory.")
    ] = None,
    learning_rate: options.LearningRateOption = None,
    evaluations: options.EvaluationsOption = None,
    class_weights: Annotated[str | None, typer.Option("--class-weights", help="none or balanced.")] = None,
    early_stopping: Annotated[
        int | None, typer.Option("--early-stopping", help="Evaluations without a gain before stopping.")
    ] = None,
    precision: options.PrecisionOption = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the split, the weights and the order.")] = 0,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again, whatever stands in the folder.")] = False,
    lang: options.LangOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Train one model on labelled data; an interrupted training continues with the same command."""
    chosen = {
        "epochs": epochs,
        "minutes": minutes,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "learning_rate": learning_rate,
        "evaluations": evaluations,
        "class_weights": class_weights,
        "early_stopping": early_stopping,
        "precision": precision,
        "seed": seed,
    }
    config = TrainingConfig.from_dict({name: value for name, value in chosen.items() if value is not None})
    model = run.finetune(
        task,
        data=data,
        encoder=encoder,
        out=out,
        dev=dev,
        test=test,
        columns=Columns(text=text_column, text_pair=text_pair_column, label=label_column),
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
        tokenizer=tokenizer,
        vocabulary_size=vocabulary_size,
        max_length=max_length,
        config=config,
        resume=not restart,
        lang=lang,
    )
    results = read_measurements(model.manifest, where=str(out / "manifest.json"))
    if as_json:
        show_json({"schema_version": FINETUNE_SCHEMA, "folder": str(out), "measurements": dataclasses.asdict(results)})
    else:
        quality = results.test_metrics or results.dev_metrics
        split = "test" if results.test_metrics else "dev"
        show_text(f"{results.main_metric} {quality[results.main_metric]:.4f} on the {split} split")
    say(f"model folder: {out}")
    say(f"next: albertine predict {out} FILE")


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    data: Annotated[Path, typer.Argument(help="A labelled data file, or a folder: its test file, else its dev file.")],
    text_column: options.TextColumn = None,
    text_pair_column: options.TextPairColumn = None,
    label_column: options.LabelColumn = None,
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    quoting: options.QuotingOption = "auto",
    precision: options.PrecisionOption = "auto",
    as_json: options.JsonOption = False,
) -> None:
    """Measure a model on labelled data."""
    result = run.evaluate(
        load(model, precision=precision),
        data,
        columns=Columns(text=text_column, text_pair=text_pair_column, label=label_column),
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
    )
    if as_json:
        show_json(result.to_dict())
    else:
        show_text(result.render())


def predict(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    file: Annotated[str, typer.Argument(help="A file of texts (.txt, .csv, .jsonl, …), or - for a pipe.")] = "-",
    text_column: options.TextColumn = None,
    text_pair_column: options.TextPairColumn = None,
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    quoting: options.QuotingOption = "auto",
    precision: options.PrecisionOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one prediction a line.")] = False,
) -> None:
    """Answer texts with a model: label, probability and text, a line each, in the order they came."""
    loaded = load(model, precision=precision)
    if file == "-":
        if sys.stdin.isatty():
            say("reading texts from the keyboard, one a line; end with Ctrl-D")
        pieces = streams.piped_examples(encoding)
    else:
        columns = Columns(text=text_column, text_pair=text_pair_column)
        pieces = streams.file_examples(Path(file), columns, encoding=encoding, on_error=on_error, quoting=quoting)
    for examples in pieces:
        predictions = loaded.predict_examples(examples)
        for example, prediction in zip(examples, predictions, strict=True):
            if as_json:
                show_json(_document(example.text, example.text_pair, prediction), indent=None)
            else:
                text = " | ".join(part for part in (example.text, example.text_pair) if part is not None)
                show_text(f"{prediction.label}\t{prediction.score:.4f}\t{' '.join(text.split())}")


def _document(text: str, text_pair: str | None, prediction: Prediction) -> dict[str, object]:
    texts = {"text": text} if text_pair is None else {"text_a": text, "text_b": text_pair}
    answer = {"label": prediction.label, "score": prediction.score, "scores": dict(prediction.scores)}
    return {"schema_version": PREDICT_SCHEMA, **texts, **answer}
