"""The verbs that make and use one model: finetune, evaluate, predict."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from albertine import registry
from albertine.cli import options, streams
from albertine.cli.output import say, show_json, show_text
from albertine.data.columns import Columns
from albertine.inference.engine import EngineSettings
from albertine.inference.loading import load
from albertine.inference.model import Model, PrecisionAsked
from albertine.records import Example, Opinion, Prediction, Span
from albertine.settings import prepare_computing
from albertine.tasks.config import parse_options
from albertine.training import run
from albertine.training.data_source import DataSource, task_behind
from albertine.training.default_encoder import AUTO
from albertine.training.manifest import read_measurements
from albertine.training.methods.choices import Methods
from albertine.training.recipe import Recipe
from albertine.training.repeats import RepeatedResult

__all__ = ["evaluate", "finetune", "predict"]

_METHODS = "Methods"

FINETUNE_SCHEMA = 1
PREDICT_SCHEMA = 1


def finetune(
    task: Annotated[str, typer.Argument(help="What to learn: " + ", ".join(registry.tasks.builtin) + ".")],
    data: Annotated[Path, typer.Argument(help="A data file, or a folder with train, dev and test.")],
    out: options.OutOption,
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            help="Folder, shipped encoder, preset:NAME or baseline; auto: what ships for the data's language.",
        ),
    ] = AUTO,
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
    overlap: Annotated[
        int | None, typer.Option("--overlap", help="Tokens that two windows of a longer text share.")
    ] = None,
    max_error: Annotated[
        float | None, typer.Option("--max-error", help="Keep silent where more answers than this share may be wrong.")
    ] = None,
    task_options: options.TaskOption = None,
    training: options.TrainingOption = None,
    epochs: options.EpochsOption = None,
    minutes: options.MinutesOption = None,
    batch_size: options.BatchSizeOption = None,
    batch_tokens: Annotated[
        int | None, typer.Option("--batch-tokens", help="Tokens a step at most, instead of --batch-size.")
    ] = None,
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
    layer_decay: Annotated[
        float | None,
        typer.Option("--layer-decay", help="Rate of a layer beside the one above it.", rich_help_panel=_METHODS),
    ] = None,
    average: Annotated[
        float | None,
        typer.Option(
            "--average", help="Keep a moving average of the weights, such as 0.999.", rich_help_panel=_METHODS
        ),
    ] = None,
    r_drop: Annotated[
        float | None,
        typer.Option("--r-drop", help="Weight of the distance between two passes.", rich_help_panel=_METHODS),
    ] = None,
    adversarial: Annotated[
        float | None,
        typer.Option("--adversarial", help="Step against the loss on the embedded words.", rich_help_panel=_METHODS),
    ] = None,
    low_rank: Annotated[
        int | None,
        typer.Option("--low-rank", help="Train changes of this rank in place of the blocks.", rich_help_panel=_METHODS),
    ] = None,
    elastic: Annotated[
        bool, typer.Option("--elastic", help="Train every depth, for predict --depth.", rich_help_panel=_METHODS)
    ] = False,
    exit_loss: Annotated[
        float | None,
        typer.Option(
            "--exit-loss", help="How much of the metric --depth auto may cost, such as 0.005.", rich_help_panel=_METHODS
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option("--freeze", help="embeddings, body, or a number of blocks from below.", rich_help_panel=_METHODS),
    ] = None,
    trackers: Annotated[
        list[str] | None, typer.Option("--track", help="Show the curve in tensorboard or mlflow as well.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Train so many times, each with a seed of its own.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Train and test on so many parts of all the data.")
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(
            "--hold-out",
            help="Labels that are not learnt, separated by commas, or how many of them: measures whether the model "
            "notices what it does not know.",
        ),
    ] = None,
    search: Annotated[
        int | None, typer.Option("--search", help="Try so many training options first, and take the best.")
    ] = None,
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
        "batch_tokens": batch_tokens,
        "accumulation": accumulation,
        "learning_rate": learning_rate,
        "evaluations": evaluations,
        "class_weights": class_weights,
        "early_stopping": early_stopping,
        "precision": None if precision == "auto" else precision,
        "seed": seed or None,
    }
    config = options.training_config(chosen, training)
    asked = {
        "layer_decay": layer_decay,
        "average": average,
        "r_drop": r_drop,
        "adversarial": adversarial,
        "low_rank": low_rank,
        "elastic": elastic or None,
        "exit_loss": exit_loss,
        "freeze": freeze,
    }
    source = DataSource(
        data=data,
        dev=dev,
        test=test,
        columns=Columns(text=text_column, text_pair=text_pair_column, label=label_column),
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
        hold_out=_held_out(hold_out),
    )
    recipe = Recipe(
        task=task,
        encoder=encoder,
        config=config,
        methods=Methods.from_dict({name: value for name, value in asked.items() if value is not None}),
        max_length=max_length,
        overlap=overlap,
        max_error=max_error,
        options=parse_options(task_behind(task).options, task_options or (), of=task),
        tokenizer=tokenizer,
        vocabulary_size=vocabulary_size,
    )
    if seeds is not None or folds is not None:
        repeated = run.repeat_recipe(recipe, source, out=out, seeds=seeds, folds=folds, resume=not restart, lang=lang)
        _show_repeated(repeated, as_json=as_json)
        return
    model = run.finetune_recipe(
        recipe, source, out=out, search=search, trackers=trackers or (), resume=not restart, lang=lang
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


def _held_out(text: str | None) -> tuple[str, ...] | int:
    if text is None:
        return ()
    return int(text) if text.isdecimal() else tuple(part.strip() for part in text.split(","))


def _show_repeated(result: RepeatedResult, *, as_json: bool) -> None:
    if as_json:
        show_json(result.to_dict())
    else:
        show_text(result.render())


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    data: Annotated[Path, typer.Argument(help="A labelled data file, or a folder: its test file, else its dev file.")],
    text_column: options.TextColumn = None,
    text_pair_column: options.TextPairColumn = None,
    label_column: options.LabelColumn = None,
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    quoting: options.QuotingOption = "auto",
    out_of_scope: Annotated[
        Path | None,
        typer.Option("--out-of-scope", help="Texts that belong to none of the labels: are they noticed?"),
    ] = None,
    precision: options.AnswerPrecisionOption = "auto",
    depth: options.DepthOption = None,
    exact: options.ExactOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Measure a model on labelled data."""
    result = run.evaluate(
        _opened(model, precision, depth, exact=exact),
        data,
        columns=Columns(text=text_column, text_pair=text_pair_column, label=label_column),
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
        out_of_scope=out_of_scope,
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
    precision: options.AnswerPrecisionOption = "auto",
    depth: options.DepthOption = None,
    exact: options.ExactOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one prediction a line.")] = False,
) -> None:
    """Answer texts with a model: label, probability and text, a line each, in the order they came."""
    loaded = _opened(model, precision, depth, exact=exact)
    if file == "-":
        if sys.stdin.isatty():
            say("reading texts from the keyboard, one a line; end with Ctrl-D")
        pieces = streams.piped_examples(encoding)
    else:
        columns = Columns(text=text_column, text_pair=text_pair_column)
        format = loaded.task.format(loaded.task_config.options)
        pieces = streams.file_examples(
            Path(file), format, columns, encoding=encoding, on_error=on_error, quoting=quoting
        )
    for examples in pieces:
        predictions = loaded.predict_examples(examples)
        for example, prediction in zip(examples, predictions, strict=True):
            if as_json:
                show_json(_document(example, prediction), indent=None)
            else:
                text = " | ".join(part for part in (example.text, example.text_pair) if part is not None)
                show_text("\t".join([*_columns(prediction), " ".join(text.split())]))


def _opened(model: Path, precision: PrecisionAsked, depth: str | None, *, exact: bool) -> Model:
    prepare_computing(answering=True)
    settings = EngineSettings(max_texts=1) if exact else None
    return load(model, precision=precision, depth=options.depth_asked(depth), settings=settings)


def _columns(prediction: Prediction) -> list[str]:
    """Return what stands before the text on a line: the answer, whatever kind it is, and how probable it is."""
    spans = "; ".join(_piece(one.label, one) for one in prediction.spans)
    if prediction.text is not None:
        answer = " ".join(prediction.text.split())
    elif prediction.opinions is not None:
        answer = "; ".join(map(_opinion, prediction.opinions))
    elif prediction.label is not None:
        answer = prediction.label
    elif prediction.labels is not None:
        answer = ",".join(prediction.labels)
    elif prediction.value is not None:
        answer = f"{prediction.value:.4f}"
    else:
        answer = spans
    score = [] if prediction.score is None else [f"{prediction.score:.4f}"]
    return [answer, *score, spans] if prediction.label is not None and spans else [answer, *score]


def _piece(name: str, span: Span | None) -> str:
    return f"{name} (implied)" if span is None else f"{name} {span.start}-{span.end} {' '.join(span.text.split())}"


def _opinion(opinion: Opinion) -> str:
    about = _piece(opinion.category or "aspect", opinion.aspect)
    words = "" if opinion.expression is None else f", {_piece('by', opinion.expression)}"
    return f"{opinion.polarity}: {about}{words}"


def _document(example: Example, prediction: Prediction) -> dict[str, object]:
    """Return an example and its prediction, ready for JSON; what the task does not give is absent."""
    pair = example.text_pair
    texts = {"text": example.text} if pair is None else {"text_a": example.text, "text_b": pair}
    found = dataclasses.asdict(prediction)
    found["output"] = found.pop("text")
    if prediction.label is None:
        del found["scores"]
    if not prediction.spans and (prediction.label is not None or prediction.value is not None):
        del found["spans"]
    if not prediction.abstained:
        del found["abstained"]
    named = {"id": example.identifier} if example.identifier else {}
    return {
        "schema_version": PREDICT_SCHEMA,
        **named,
        **texts,
        **{name: value for name, value in found.items() if value is not None},
    }
