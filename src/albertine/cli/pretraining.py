"""The verb that pretrains: pretrain."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated

import typer

from albertine.batching.masking import MaskingSchedule, MaskingUnit
from albertine.batching.step_plan import Phase
from albertine.cli import options
from albertine.cli.output import say, show_json, show_text
from albertine.errors import ConfigError
from albertine.training.config import OptimizerName, ScheduleName
from albertine.training.pretraining import run
from albertine.training.pretraining.choices import (
    InitialWords,
    Objective,
    PairAsked,
    PretrainingConfig,
    pretraining_defaults,
)

__all__ = ["pretrain"]

PRETRAIN_SCHEMA = 1
_BUDGET, _EXAMPLES, _TRAINING = "Budget", "Examples", "Training"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kmbg]?)", re.IGNORECASE)


def pretrain(
    corpus: Annotated[Path, typer.Argument(help="A folder that corpus build made.")],
    encoder: Annotated[
        str, typer.Option("--encoder", help="preset:NAME for random weights, or a checkpoint to go on from.")
    ],
    out: options.OutOption,
    tokens: Annotated[
        str | None, typer.Option("--tokens", help="Tokens to learn from, such as 200M.", rich_help_panel=_BUDGET)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="Minutes of training, evaluations not counted.", rich_help_panel=_BUDGET),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Passes over the corpus.", rich_help_panel=_BUDGET)
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", help="No more optimizer steps than this.", rich_help_panel=_BUDGET)
    ] = None,
    objective: Annotated[
        Objective,
        typer.Option(
            "--objective",
            help="masked-words, or replaced-tokens (ELECTRA; wants hundreds of millions of tokens).",
            rich_help_panel=_EXAMPLES,
        ),
    ] = "masked-words",
    pair: Annotated[
        PairAsked,
        typer.Option(
            "--pair",
            help="nsp, sop or none; auto: the encoder's own, if the corpus has pairs.",
            rich_help_panel=_EXAMPLES,
        ),
    ] = "auto",
    masking: Annotated[
        MaskingUnit | None,
        typer.Option("--masking", help="Default: the encoder family's own.", rich_help_panel=_EXAMPLES),
    ] = None,
    mask_share: Annotated[
        str,
        typer.Option(
            "--mask-share",
            help="Share of tokens hidden; 0.3:0.15 goes from one to the other.",
            rich_help_panel=_EXAMPLES,
        ),
    ] = "0.15",
    initial_words: Annotated[
        InitialWords,
        typer.Option(
            "--initial-words",
            help="Word embeddings to begin with: by what stands near each other in the corpus, or random.",
            rich_help_panel=_TRAINING,
        ),
    ] = "co-occurrence",
    lengths: Annotated[
        str,
        typer.Option("--lengths", help="Tokens of a row; with shares, one after another.", rich_help_panel=_EXAMPLES),
    ] = "128:0.9,512:0.1",
    tokens_per_step: Annotated[
        str | None,
        typer.Option(
            "--tokens-per-step", help="Batch size in tokens (default: by the budget).", rich_help_panel=_EXAMPLES
        ),
    ] = None,
    first_tokens_per_step: Annotated[
        str | None,
        typer.Option("--first-tokens-per-step", help="Batch that grows: its first size.", rich_help_panel=_EXAMPLES),
    ] = None,
    ramp: Annotated[
        float, typer.Option("--ramp", help="Share of the steps in which it grows.", rich_help_panel=_EXAMPLES)
    ] = 0.0,
    tokens_per_micro_batch: Annotated[
        str,
        typer.Option(
            "--tokens-per-micro-batch", help="Tokens computed at once; fewer save memory.", rich_help_panel=_TRAINING
        ),
    ] = str(PretrainingConfig().tokens_per_micro_batch),
    dropout: Annotated[
        float | None,
        typer.Option("--dropout", help="While pretraining (default: the encoder's own).", rich_help_panel=_TRAINING),
    ] = None,
    optimizer: Annotated[
        OptimizerName, typer.Option("--optimizer", help="adamw, or lamb for large batches.", rich_help_panel=_TRAINING)
    ] = "adamw",
    learning_rate: options.LearningRateOption = None,
    schedule: Annotated[
        ScheduleName,
        typer.Option("--schedule", help="Fall of the rate after warm-up.", rich_help_panel=_TRAINING),
    ] = "linear",
    warmup: Annotated[
        float | None,
        typer.Option("--warmup", help="Share of the run in which the rate rises.", rich_help_panel=_TRAINING),
    ] = None,
    cooldown: Annotated[
        float,
        typer.Option("--cooldown", help="Share at the end in which it falls to 0.", rich_help_panel=_TRAINING),
    ] = 0.0,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", help="Decoupled.", rich_help_panel=_TRAINING)
    ] = None,
    max_grad_norm: Annotated[
        float | None, typer.Option("--max-grad-norm", help="Norm that gradients are cut to.", rich_help_panel=_TRAINING)
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option("--evaluations", help="Times that held-out text is looked at.", rich_help_panel=_TRAINING),
    ] = None,
    held_out_tokens: Annotated[
        str | None,
        typer.Option(
            "--held-out-tokens", help="How much of it each time (default: by the budget).", rich_help_panel=_TRAINING
        ),
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option("--checkpoint-minutes", help="Save at least so often.", rich_help_panel=_TRAINING)
    ] = 10.0,
    precision: options.PrecisionOption = "auto",
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", rich_help_panel=_TRAINING)
    ] = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, examples and dropout.")] = 0,
    new_vocabulary: Annotated[
        bool, typer.Option("--new-vocabulary", help="Give a checkpoint the corpus's vocabulary instead of its own.")
    ] = False,
    trackers: Annotated[
        list[str] | None, typer.Option("--track", help="Show the curve in tensorboard or mlflow as well.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Measure, say what the run would take, and end.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again, whatever stands in the folder.")] = False,
    lang: options.LangOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Pretrain an encoder on a corpus; an interrupted run continues with the same command."""
    config = PretrainingConfig(
        objective=objective,
        pair=pair,
        masking=masking,
        mask_share=_schedule(mask_share),
        phases=_phases(lengths),
        tokens_per_step=_count(tokens_per_step, "--tokens-per-step"),
        first_tokens_per_step=_count(first_tokens_per_step, "--first-tokens-per-step"),
        ramp=ramp,
        tokens_per_micro_batch=_count(tokens_per_micro_batch, "--tokens-per-micro-batch") or 0,
        held_out_tokens=_count(held_out_tokens, "--held-out-tokens"),
        initial_words=initial_words,
        new_vocabulary=new_vocabulary,
    )
    given = {
        "tokens": _count(tokens, "--tokens"),
        "minutes": minutes,
        "epochs": epochs,
        "max_steps": max_steps,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "warmup": warmup,
        "cooldown": cooldown,
        "weight_decay": weight_decay,
        "max_grad_norm": max_grad_norm,
        "dropout": dropout,
        "evaluations": evaluations,
        "checkpoint_seconds": 60 * checkpoint_minutes,
        "precision": precision,
        "seed": seed,
    }
    training = pretraining_defaults(**{name: value for name, value in given.items() if value is not None})
    if plan:
        made = run.plan_pretraining(corpus, encoder=encoder, out=out, config=config, training=training, device=device)
        if as_json:
            show_json({"schema_version": PRETRAIN_SCHEMA, "plan": made.to_dict()})
        else:
            show_text("\n".join(made.lines()))
        return
    outcome = run.pretrain(
        corpus,
        encoder=encoder,
        out=out,
        config=config,
        training=training,
        resume=not restart,
        trackers=trackers or (),
        lang=lang,
        device=device,
    )
    if not outcome.first:
        return
    measured = outcome.measurements
    if as_json:
        document = {
            "folder": str(out),
            "stop_reason": outcome.stop_reason,
            "measurements": dataclasses.asdict(measured),
        }
        show_json({"schema_version": PRETRAIN_SCHEMA, **document})
    else:
        shown = " · ".join(
            f"{name} {measured.dev_metrics[name]:.4f}" for name in _SHOWN if name in measured.dev_metrics
        )
        show_text(f"held out: {shown}")
    say(f"encoder folder: {out}")
    say(f"next: albertine finetune text-classification FILE --encoder {out} --out runs/mine")


_SHOWN = ("masked_word_loss", "masked_accuracy", "pair_accuracy", "replaced_auc")


def _count(text: str | None, option: str) -> int | None:
    """Read a number that may end in K, M or B.

    Raises:
        ConfigError: it is none.
    """
    if text is None:
        return None
    found = _COUNT.fullmatch(text.strip().replace(",", "").replace("_", ""))
    if found is None or not (number := round(float(found[1]) * _UNITS[found[2].lower()])):
        raise ConfigError(
            "not a number of tokens", where=option, received=text, allowed="a number such as 500000 or 200M"
        )
    return number


def _schedule(text: str) -> MaskingSchedule:
    first, colon, last = text.partition(":")
    return MaskingSchedule(first=_share(first, "--mask-share"), last=_share(last if colon else first, "--mask-share"))


def _phases(text: str) -> tuple[Phase, ...]:
    """Read `128` or `128:0.9,512:0.1`."""
    phases = []
    for part in re.split(r"[,，]", text):
        length, colon, share = part.partition(":")
        if not length.strip().isdecimal():
            raise ConfigError(
                "not a list of lengths", where="--lengths", received=text, allowed="128, or with shares 128:0.9,512:0.1"
            )
        phases.append(Phase(length=int(length), share=_share(share, "--lengths") if colon else 1.0))
    return tuple(phases)


def _share(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError("not a share", where=option, received=text, allowed="a number such as 0.15") from error
