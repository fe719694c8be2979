"""A pretraining run: from a corpus folder and the name of an encoder to an encoder folder."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from albertine.batching.prefetch import Prefetched
from albertine.batching.step_plan import StepPlan
from albertine.checkpoints.load import open_state
from albertine.checkpoints.reading import read_json
from albertine.checkpoints.writing import save_state
from albertine.errors import ConfigError, FailureError
from albertine.inference.precision import Precision, choose_precision
from albertine.models.config import count_parameters
from albertine.progress import ProgressBar
from albertine.settings import language
from albertine.tasks.pretraining import part_weights, pretraining_loss
from albertine.training.candidates import Candidate, find_candidate
from albertine.training.config import TrainingConfig
from albertine.training.curve_spans import unigram_entropy
from albertine.training.devices import find_device
from albertine.training.held_out import measure_held_out
from albertine.training.hidden_rank import hidden_state_rank
from albertine.training.log import LogPoint, read_log
from albertine.training.loop import fit
from albertine.training.manifest import (
    Measurements,
    check_folder,
    check_not_foreign,
    command_line,
    forget_finished,
    make_manifest,
    read_measurements,
)
from albertine.training.pretraining.card import encoder_card
from albertine.training.pretraining.choices import PretrainingConfig
from albertine.training.pretraining.plan import PretrainingPlan, budget_tokens, read_plan, write_plan
from albertine.training.pretraining.preparing import saved_state
from albertine.training.pretraining.setup import Setup, make_plan, open_setup, run_inputs
from albertine.training.processes import SINGLE, Processes, open_processes
from albertine.training.progress import ProgressCallback
from albertine.training.result import TrainingResult
from albertine.training.schedule import Budget
from albertine.training.trackers import open_trackers
from albertine.training.watchdog import Watchdog

__all__ = ["PretrainingOutcome", "plan_pretraining", "pretrain"]

logger = logging.getLogger("albertine")

_LOG_POINTS = 500
"""Of a run; the watchdog judges by them."""
_CHECKED_BATCHES = 2
"""Of held-out text, read before the first step."""
_CHECK = ".check."


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingOutcome:
    """A finished run."""

    folder: Path
    """With the encoder, its tokenizer, card and manifest, and the run's log."""
    measurements: Measurements
    """`dev_metrics` are those on held-out text, at the kept weights."""
    curve: tuple[LogPoint, ...]
    stop_reason: str | None = None
    """Why a verdict of the watchdog ended it; None where none did, or the run was finished before."""
    first: bool = True
    """Whether this process is the one that speaks, of several."""


def pretrain(
    corpus: str | Path,
    *,
    encoder: str | Path,
    out: str | Path,
    config: PretrainingConfig | None = None,
    training: TrainingConfig,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    trackers: Sequence[str] = (),
    lang: str | None = None,
    device: str = "auto",
) -> PretrainingOutcome:
    """Pretrain an encoder on a corpus and write its folder; called again after an interruption, go on where it stopped.

    Under torchrun all its processes take part.

    Args:
        corpus: a folder that `build_corpus` made.
        encoder: `preset:NAME` for random weights, or a checkpoint to go on from.
        out: the folder of the encoder; checkpoints, plan and log lie in it too.
        config: what is learnt; None for the defaults.
        training: how weights move, with a budget in tokens, minutes, epochs or steps; `pretraining_defaults` makes one.
        resume: False begins again, whatever this run left in `out` before.
        progress: called after every step; None draws a bar on stderr.
        trackers: programs that are shown the learning curve as well: tensorboard (in `out/tensorboard`), mlflow.
        lang: language of the card, en or zh; None by the environment.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.

    Raises:
        ConfigError: a name that does not exist, an option out of range, no budget, or another model in `out`.
        DataError: the corpus cannot be used.
        TokenizerError: the corpus has another vocabulary than the encoder.
        FailureError: the run diverged, or the disk or the memory is full; the last checkpoint stays.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything is saved, the same call continues.
    """
    config = config or PretrainingConfig()
    candidate, source, folder = _named(encoder, corpus, out)
    card_language = language(lang)
    base = find_device(device)
    with open_processes(base) as processes, _one_voice(processes):
        place = processes.device(base)
        inputs = run_inputs(source, candidate, config, training)
        if processes.on_first(lambda: resume and check_folder(folder, inputs)):
            logger.info("this run is finished already: %s", folder)
            return dataclasses.replace(_finished(folder), first=processes.first)
        processes.on_first(lambda: check_not_foreign(folder))
        setup = open_setup(source, candidate, config, training)
        setup.module.to(place)
        plan = _plan_of_run(setup, folder, inputs, place, processes, resume=resume)
        result = _trained(setup, plan, folder, inputs, processes, resume, progress, trackers)
        measurements = processes.on_first(
            lambda: dataclasses.asdict(_saved(setup, plan, result, folder, inputs, card_language))
        )
        return PretrainingOutcome(
            folder=folder,
            measurements=Measurements(**measurements),
            curve=result.curve,
            stop_reason=result.stop_reason,
            first=processes.first,
        )


def plan_pretraining(
    corpus: str | Path,
    *,
    encoder: str | Path,
    out: str | Path,
    config: PretrainingConfig | None = None,
    training: TrainingConfig,
    device: str = "auto",
) -> PretrainingPlan:
    """Return what `pretrain` would do and take, measured, without beginning; nothing is written.

    Arguments and errors are those of `pretrain`.
    """
    candidate, source, folder = _named(encoder, corpus, out)
    place = find_device(device)
    setup = open_setup(source, candidate, config or PretrainingConfig(), training)
    setup.module.to(place)
    precision = choose_precision(place, training.precision)
    return make_plan(setup, folder, device=place, precision=precision, processes=SINGLE)


def _named(encoder: str | Path, corpus: str | Path, out: str | Path) -> tuple[Candidate, Path, Path]:
    candidate, folder = find_candidate(encoder), Path(out)
    if candidate.folder is not None and candidate.folder.resolve() == folder.resolve():
        raise ConfigError(
            "the encoder would be overwritten by what becomes of it",
            where="--out",
            received=str(out),
            next_step="Give another folder",
        )
    return candidate, Path(corpus), folder


@contextmanager
def _one_voice(processes: Processes) -> Iterator[None]:
    """Let the first process alone say, inside the block, what all of them come to."""
    before = logger.level
    if not processes.first:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _plan_of_run(
    setup: Setup,
    folder: Path,
    inputs: Mapping[str, object],
    device: torch.device,
    processes: Processes,
    *,
    resume: bool,
) -> PretrainingPlan:
    """Take up the plan of the run that is continued, or make one, and say it."""
    told = processes.on_first(lambda: _dict_of(read_plan(folder, inputs) if resume else None))
    if told is not None:
        return PretrainingPlan.from_dict(told)
    precision: Precision = processes.broadcast(choose_precision(device, setup.training.precision))
    logger.info("measuring what a step takes …")
    plan = make_plan(setup, folder, device=device, precision=precision, processes=processes)
    for line in plan.lines():
        logger.info("%s", line)
    processes.on_first(lambda: _begin(folder, plan, inputs))
    return plan


def _begin(folder: Path, plan: PretrainingPlan, inputs: Mapping[str, object]) -> None:
    """Keep the plan; a finished run that stood here, and is begun again, is no longer one."""
    forget_finished(folder)
    write_plan(folder, plan, inputs)


def _dict_of(plan: PretrainingPlan | None) -> dict[str, object] | None:
    return None if plan is None else plan.to_dict()


def _trained(
    setup: Setup,
    plan: PretrainingPlan,
    folder: Path,
    inputs: Mapping[str, object],
    processes: Processes,
    resume: bool,
    progress: ProgressCallback | None,
    trackers: Sequence[str],
) -> TrainingResult:
    """Run the loop."""
    module, size = setup.module, plan.size
    training = _for_loop(setup, size.total_steps)
    held_out = setup.held_out_batches(size)
    made = setup.examples(size)
    watch = _watchdog(setup, made.plan, training)
    device = next(module.parameters()).device
    watch.measured(0, rank=hidden_state_rank(module, held_out[0].batch.to(device)))

    def evaluate(precision: Precision) -> Mapping[str, float]:
        # a metric that cannot be told, as where no token was replaced, is not finite and left out
        return {_main_metric(setup.config): math.nan, **measure_held_out(module, held_out, precision).values()}

    def check(precision: Precision) -> None:
        measure_held_out(module, held_out[:_CHECKED_BATCHES], precision)
        _check_saving(setup, folder)

    with ExitStack() as stack:
        batches = setup.steps(made, processes)
        if device.type == "cuda":
            batches = stack.enter_context(Prefetched(batches))
        bar = ProgressBar() if progress is None else None
        if bar is not None:
            stack.enter_context(closing(bar))
        observers = stack.enter_context(open_trackers(trackers if processes.first else (), folder, inputs))
        return fit(
            module,
            pretraining_loss,
            batches,
            config=training,
            learning_rate=plan.learning_rate,
            total_steps=training.max_steps,
            folder=folder,
            evaluate=evaluate,
            main_metric=_main_metric(setup.config),
            sanity_check=check,
            greater_is_better=setup.config.objective == "replaced-tokens",
            identity={**inputs, "total_steps": size.total_steps, "tokens_per_step": size.tokens_per_step},
            resume=resume,
            progress=progress or bar,
            processes=processes,
            weigh=functools.partial(part_weights, module),
            watch=watch,
            observers=observers,
        )


def _for_loop(setup: Setup, total_steps: int) -> TrainingConfig:
    """Return the configuration that the loop gets: its budget in what it counts, its log as fine as the watch needs."""
    training = setup.training
    tokens = budget_tokens(training, setup.train.num_tokens)
    return dataclasses.replace(
        training, epochs=None, tokens=tokens, log_every=training.log_every or max(1, total_steps // _LOG_POINTS)
    )


def _watchdog(setup: Setup, steps: StepPlan, training: TrainingConfig) -> Watchdog:
    budget = Budget.of(training, training.max_steps)
    return Watchdog(
        vocab_size=setup.start.config.vocab_size,
        progress=lambda point: budget.progress(point.step, point.seconds, point.tokens),
        phase=lambda point: steps.at(max(0, point.step - 1)).phase,
        unigram_entropy=unigram_entropy(setup.token_counts),
    )


def _main_metric(config: PretrainingConfig) -> str:
    return "replaced_auc" if config.objective == "replaced-tokens" else "masked_word_loss"


def _check_saving(setup: Setup, folder: Path) -> None:
    """Write the encoder as it stands and read it again, so that saving fails now and not at the end.

    Raises:
        FailureError: it came back otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_CHECK}*"):  # a process was killed while it checked
        shutil.rmtree(left, ignore_errors=True)
    state = saved_state(setup.module, setup.start)
    with tempfile.TemporaryDirectory(prefix=_CHECK, dir=folder) as name:
        save_state(state, setup.tokenizer, Path(name) / "encoder", "albertine")
        again = open_state(Path(name) / "encoder", quiet=True).state.tensors
    odd = [key for key, one in state.tensors.items() if key not in again or not torch.equal(again[key], one.cpu())]
    if odd:
        raise FailureError("an encoder that was written and read again is not the same", received=odd[0])


def _saved(
    setup: Setup,
    plan: PretrainingPlan,
    result: TrainingResult,
    folder: Path,
    inputs: Mapping[str, object],
    card_language: str,
) -> Measurements:
    """Measure the kept weights and write the encoder's folder."""
    held_out = measure_held_out(setup.module, setup.held_out_batches(plan.size), result.precision)
    measured = Measurements.of_run(
        result,
        main_metric=_main_metric(setup.config),
        dev_metrics=held_out.values(),
        learning_rate=plan.learning_rate,
        device=plan.device,
    )
    state = saved_state(setup.module, setup.start)
    count = count_parameters(state.config)
    data: dict[str, object] = {
        "source": setup.train.folder.resolve().name,
        "documents": setup.train.num_documents,
        "held_out_documents": setup.held_out.num_documents,
        "tokens": setup.train.num_tokens,
        "held_out_tokens": setup.held_out.num_tokens,
        "pair": plan.pair_reason,
        "interventions": [one.describe() for one in result.interventions],
    }
    command = command_line(sys.argv)
    save_state(
        state,
        setup.tokenizer,
        folder,
        "albertine",
        manifest=make_manifest(
            inputs=inputs,
            data=data,
            measurements=measured,
            parameters={"unique": count.unique, "executed": count.executed},
            command=command,
        ),
        card=encoder_card(
            state.config,
            name=setup.candidate.shown,
            corpus=data,
            choices=setup.config,
            training=setup.training,
            plan=plan,
            result=result,
            measured=measured,
            command=command,
            language=card_language,  # type: ignore[arg-type]  # checked by `language`
        ),
    )
    return measured


def _finished(folder: Path) -> PretrainingOutcome:
    where = folder / "manifest.json"
    curve = folder / "log.jsonl"
    return PretrainingOutcome(
        folder=folder,
        measurements=read_measurements(read_json(where), where=str(where)),
        curve=read_log(curve) if curve.exists() else (),
    )
